"""What every executor must do: `check_executor`."""

from __future__ import annotations

import math
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from attrs import frozen

from daggy.errors import Problem
from daggy.executor import REPORT, Executor, Kind, Launch, Reason, Recall, Site, Stop, Work
from daggy.testing import running
from daggy.testing.drive import RUN, Drive, driving
from daggy.testing.entries import require
from daggy.testing.growing import grows_when_wanted, holds_what_waits
from daggy.testing.restarts import goes_on_when_left, survives_its_end

Make = Callable[[Site], Executor]
"""Makes an executor of a site; called again for the same one after the first has stopped."""


@frozen
class Bench:
    """How to get an executor that runs, for one check, in a site of its own."""

    make: Make
    site: Site
    seconds: float

    @asynccontextmanager
    async def drive(self) -> AsyncIterator[Drive]:
        """Make an executor, ask it to recover, and run it."""
        executor = self.make(self.site)
        reports = await executor.recover(1)
        require(reports.rows.dtype == REPORT, "recover() must give an array of REPORT")
        require(len(reports.rows) == 0, "recover() in a fresh site must give nothing")
        async with driving(executor, self.seconds) as drive:
            yield drive


async def check_executor(
    make: Make,
    directory: Path,
    *,
    processes: bool = True,
    durable: bool = False,
    linger: bool = False,
    grows: bool = False,
    holds: int = 0,
    seconds: float = 20.0,
) -> None:
    """Check everything that the engine relies on; must be awaited in `trio.run`.

    Args:
        make: Makes an executor of a site. Its first machine must take two tasks at once.
        directory: An empty one, for the state directories of the checks.
        processes: Whether it starts real processes; without, only what concerns reports is checked.
        durable: Whether its finishes must survive until they are acknowledged; needs `processes`.
        linger: Whether what runs must go on without an engine, to be taken up by the next one; needs `durable`.
        grows: Whether machines must come when they are wanted, and go when they are idle and are not.
        holds: So many tasks are more than the place starts at once: those that wait in its queue must be HELD when the
            next executor recovers. 0 if it has no queue of its own.
        seconds: How long anything may take.

    Raises:
        AssertionError: a rule is broken; the message says which.
    """
    checks = [*_CHECKS, *(running.CHECKS if processes else ())]
    for number, check in enumerate(checks):
        place = directory / f"{number}-{check.__name__.strip('_')}"
        place.mkdir(parents=True)
        await check(Bench(make, _site(place), seconds))
    for name, is_wanted, further in (
        ("durable", durable, survives_its_end),
        ("linger", linger, goes_on_when_left),
        ("grows", grows, grows_when_wanted),
        ("holds", holds, partial(holds_what_waits, tasks=holds)),
    ):
        if is_wanted:
            place = directory / name
            place.mkdir(parents=True)
            await further(Bench(make, _site(place, durable=True, linger=name in ("linger", "holds")), seconds))


def _site(place: Path, *, durable: bool = False, linger: bool = False) -> Site:
    """Return a site of its own: whatever carries its tickets may be killed. The folder of its run is there."""
    (place / "runs" / str(RUN) / "packs").mkdir(parents=True, exist_ok=True)
    return Site("default", place.absolute(), f"check-{os.urandom(8).hex()}", durable=durable, linger=linger)


async def _tells_what_it_is(bench: Bench) -> None:
    executor = bench.make(bench.site)
    machines = executor.capacity()
    names = [machine.name for machine in machines]
    require(bool(names) or not executor.fixed, "capacity() of a fixed pool must name a machine")
    require(len(set(names)) == len(names), f"machines must have names of their own, not {names}")
    for machine in machines:
        totals = (machine.totals or {}).values()
        require(all(total > 0 for total in totals), f"totals of '{machine.name}' must be positive")
        bounded = machine.totals is not None or machine.slots is not None
        require(bounded, f"machine '{machine.name}' must have totals or slots")
        require((machine.until or math.inf) > time.time(), f"machine '{machine.name}' must go away later than now")
    require(isinstance(executor.fixed, bool), "fixed must be a bool")
    require(set(names) <= set(executor.machines()), "machines() must have all that capacity() names")
    for problem in executor.check(Work("command", {"cores": 1.0}, {"nonsense": 1}, is_generator=False)):
        require(isinstance(problem, Problem), "check() must give Problems")


async def _ends_every_launch_once(bench: Bench) -> None:
    async with bench.drive() as drive:
        tickets = drive.launch(plain(range(40)), width=2)
        tickets += drive.launch([launch._replace(attempt=2) for launch in plain(range(5))], lane=1, width=1)
        for report in await drive.until_ended(tickets):
            row = report["row"]
            require(bool(report["kind"] == Kind.FINISHED), "what was not recalled must be FINISHED")
            require(bool(row["reason"] == Reason.OK and row["code"] == 0), "a task that succeeded must have reason OK")
            require(bool(row["ended"] >= row["started"] > 0), "an attempt must end after it started")


async def _names_the_machine_of_each_task(bench: Bench) -> None:
    async with bench.drive() as drive:
        for number, machine in enumerate(drive.executor.capacity()[:8]):  # each report is checked as it comes
            await drive.until_ended(drive.launch(plain([number]), on=machine.name))


async def _takes_requests_about_what_has_ended(bench: Bench) -> None:
    async with bench.drive() as drive:
        tickets = drive.launch(plain(range(3)), width=1)
        await drive.until_ended(tickets)
        drive.send(Recall(tickets))
        drive.acknowledge()
        drive.acknowledge()
        await drive.until_ended(drive.launch(plain([9])))


async def _returns_when_stopped(bench: Bench) -> None:
    for immediate in (False, True):
        async with bench.drive() as drive:
            await drive.until_ended(drive.launch(plain([1])))
            drive.acknowledge()
            drive.send(Stop(immediate))
            await drive.until_returned()


async def _returns_when_the_channel_ends(bench: Bench) -> None:
    async with bench.drive() as drive:
        await drive.until_ended(drive.launch(plain([1])))
        drive.acknowledge()
        drive.close()
        await drive.until_returned()


def plain(indexes: Sequence[int]) -> list[Launch]:
    """Return launches of `true`."""
    return [Launch(index, 1, ["true"], {}, "/") for index in indexes]


_CHECKS: Sequence[Callable[[Bench], Awaitable[None]]] = (
    _tells_what_it_is,
    _ends_every_launch_once,
    _names_the_machine_of_each_task,
    _takes_requests_about_what_has_ended,
    _returns_when_stopped,
    _returns_when_the_channel_ends,
)
