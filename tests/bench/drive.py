"""One run through the whole engine in this process, timed: what a fresh process does for most rows."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import trio
from attrs import field, frozen

from daggy.attempt import RunState
from daggy.engine.directory import StateDirectory
from daggy.engine.engine import Engine
from daggy.executor import Executor, NodeState, Site
from daggy.settings import structure
from daggy.spec import parse
from daggy.testing.noop import NoopExecutor, NoopSettings
from daggy.tracker import Tracker
from daggy_fork import ForkExecutor
from daggy_memory import MemoryTracker
from daggy_sqlite import SqliteTracker
from daggy_ssh import SshExecutor, SshSettings
from tests.bench import specs
from tests.bench.fresh import BenchError, Figures

TRACKERS: dict[str, type[Tracker]] = {"memory": MemoryTracker, "sqlite": SqliteTracker}
SPECS: dict[str, Callable[[int], bytes]] = {
    "flat": specs.flat,
    "diamond": specs.diamond,
    "calls": specs.calls,
    "chain": lambda count: specs.chain(count, ["/bin/true"]),
    "naps": lambda count: specs.chain(count, ["/bin/sleep", "0.02"]),
}
AT_ONCE = 4096
"""Tasks at once of a pool of several machines, all together."""


@frozen
class Drive:
    """What is run, and with what.

    Args:
        spec: A key of SPECS.
        count: Its tasks.
        directory: Where the state directory is made, and removed.
        tracker: A key of TRACKERS.
        executor: "fork", two tasks at once; "ssh", whose machines are up before anything is submitted; or "noop", any
            number.
        machines: Of a noop executor's pool: 4,096 tasks at once, shared among so many; 0: one machine, any number.
        large: Bytes that this process holds beside what it needs.
        settings: Of an ssh executor's pool.
    """

    spec: str
    count: int
    directory: str
    tracker: str = "memory"
    executor: str = "fork"
    machines: int = 0
    large: int = 0
    settings: Mapping[str, Any] = field(factory=dict)

    def make(self, site: Site) -> Executor:
        """Return the pool's executor."""
        if self.executor == "noop":
            settings = NoopSettings(AT_ONCE // self.machines, self.machines) if self.machines else NoopSettings()
            return NoopExecutor(settings, site)
        if self.executor == "ssh":
            return SshExecutor(structure(self.settings, SshSettings, "bench"), site)
        return ForkExecutor(ForkExecutor.Settings(workers=2), site)


def drive(**arguments: object) -> Figures:
    """Run a spec to its end.

    Args:
        arguments: Those of Drive.

    Returns:
        `seconds` from an engine that is not open to one that is closed again: launchers start and end in them.
        `run`: from submission to the announced end. `cpu`: of this process in `seconds`; `whole_cpu`: with launchers
        and all tasks. `gap`: p99 of the seconds from a task's end to the start of the next one, of the attempts in
        their order.

    Raises:
        BenchError: not everything completed.
    """
    what = Drive(**arguments)  # type: ignore[arg-type]  # from JSON; attrs refuses what it does not know
    ballast = b"\1" * what.large
    with TemporaryDirectory(dir=what.directory) as folder, StateDirectory.open(Path(folder)) as directory:
        figures = trio.run(_drive, what, directory)
    assert len(ballast) == what.large
    return figures


async def _drive(what: Drive, directory: StateDirectory) -> Figures:
    kind = TRACKERS[what.tracker]
    tracker = kind(kind.Settings(), directory.path)
    raw = SPECS[what.spec](what.count)
    spec = parse(raw, directory=str(directory.path))
    engine = Engine(tracker, {"default": what.make}, directory)
    began, cpu = time.perf_counter(), time.process_time()
    async with engine.open():
        while not any(node.state == NodeState.UP.value for node in engine.nodes.listed()):  # noqa: ASYNC110 - as a user would
            await trio.sleep(0.01)
        submitted = time.perf_counter()
        number = await engine.commands.submit(spec, raw)
        await engine.runs.ended(number)
        run = time.perf_counter() - submitted
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    if engine.runs[number].state is not RunState.COMPLETED:
        raise BenchError(f"the run ended {engine.runs[number].state.name.lower()}: {engine.runs[number].counts()}")
    gap = _gap(tracker, number, what.count) if what.spec == "naps" else 0.0
    tracker.close()
    whole = cpu + children.ru_utime + children.ru_stime
    return {"seconds": seconds, "run": run, "cpu": cpu, "whole_cpu": whole, "gap": gap}


def _gap(tracker: Tracker, run: int, count: int) -> float:
    """Return p99 of the seconds from an attempt's end to the next one's start."""
    rows = np.concatenate([batch.rows for batch in tracker.attempts(run, 0, count)])
    return float(np.percentile(rows["started"][1:] - rows["ended"][:-1], 99))
