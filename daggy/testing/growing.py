"""What executors must do whose machines come and go, and those whose place has a queue of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from daggy.executor import Demand, Executor, Kill, Kind, Launch, Reason, Reports, Stop, Wanted
from daggy.testing.drive import NEEDS, driving
from daggy.testing.entries import require

if TYPE_CHECKING:
    from daggy.testing.executors import Bench


async def grows_when_wanted(bench: Bench) -> None:
    """Check that machines come when they are wanted, go when they are idle and not wanted, and come again."""
    executor = bench.make(bench.site)
    await executor.recover(1)
    least = len(executor.capacity())
    async with driving(executor, bench.seconds) as drive:
        for number in range(2):
            drive.send(Wanted([Demand(NEEDS, 100, 0.0)]))
            await drive.until(
                lambda: len(executor.capacity()) > least, "there must be more machines when more is wanted"
            )
            name = executor.capacity()[-1].name
            await drive.until_ended(drive.launch([Launch(number, 1, ["true"], {}, "/")], on=name))
            drive.acknowledge()
            drive.send(Wanted([]))
            await drive.until(lambda: len(executor.capacity()) <= least, "machines that nothing needs must go")
            require(name in executor.machines(), "machines() must name those that have gone")


async def holds_what_waits(bench: Bench, tasks: int) -> None:
    """Check that what waits in the queue of the place is HELD by the next executor, until it begins or is killed."""
    first = bench.make(bench.site)
    require(not len((await first.recover(3)).rows), "recover() in a fresh site must give nothing")
    async with driving(first, bench.seconds) as drive:
        sleep = ["/bin/sh", "-c", "sleep 1000"]
        name = drive.machine()
        tickets = drive.launch([Launch(number, 1, sleep, {}, "/") for number in range(tasks)], width=tasks, on=name)
        await drive.until(lambda: bool(drive.started), "a place that has room must start something")
        said = [first.waits(ticket) for ticket in tickets]
        require(all(isinstance(one, str) for one in said), "waits() must give a text")
        drive.send(Stop(leave=True))
        await drive.until_returned()
        require(not drive.ended, "what waits or runs must stay when its executor leaves")
    await _held(bench, 4, tasks)
    executor, reports = await _held(bench, 5, tasks)  # it says the same as long as nobody acts on it
    async with driving(executor, bench.seconds) as drive:
        drive.take(reports, tickets, on=name)
        drive.send(Kill(tickets, "enough"))
        for report in await drive.until_ended(tickets):
            if report["kind"] == Kind.FINISHED:
                require(bool(report["row"]["reason"] == Reason.KILLED), "what began must end when it is killed")
        await drive.until_ended(drive.launch([Launch(0, 2, ["true"], {}, "/")]))


async def _held(bench: Bench, epoch: int, tasks: int) -> tuple[Executor, Reports]:
    executor = bench.make(bench.site)
    reports = await executor.recover(epoch)
    told = [Kind(int(kind)) for kind in reports.rows["kind"]]
    named = sorted(reports.rows["row"]["index"].tolist())
    require(named == list(range(tasks)), f"recover() must name each task once, not {named}")
    require(set(told) <= {Kind.STARTED, Kind.HELD}, f"what goes on must be STARTED or HELD, not {told}")
    require(Kind.HELD in told, "recover() must tell what waits in the queue of the place as HELD")
    return executor, reports
