"""How long the loop of an engine stops while large specs are taken in, edited and read back."""

from __future__ import annotations

import gc
import importlib
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import trio
from attrs import define

from daggy.attempt import RunState
from daggy.engine.directory import StateDirectory
from daggy.engine.engine import Engine
from daggy.engine.intake.reading import Intake
from daggy.testing.noop import NoopExecutor, NoopSettings
from daggy_sqlite import SqliteTracker
from tests.bench import specs
from tests.bench.fresh import BenchError, Figures, fresh, resident
from tests.bench.goals import Measured
from tests.bench.sizes import Sizes

TICK = 0.001
"""Seconds between two looks at the clock."""

HEAD = '{"directory": "/", "tasks": {'

PHASES = ("submit", "edit", "restore")


def stops(sizes: Sizes, directory: Path) -> Iterator[tuple[str, Measured]]:
    """Measure an engine with SQLite to which a million hand-written tasks come."""
    path = directory / "explicit.json"
    with path.open("w") as file:
        file.write(HEAD)
        file.writelines(islice(specs.explicit(sizes.unit), 1, None))
    size = path.stat().st_size / 1e6
    figures = fresh("stops.stopped", path=str(path), directory=str(directory))
    path.unlink()
    more = {"submit": f"; {size:.0f} MB; this process at its peak {figures['peak'] / 1e6:,.0f} MB"}
    for phase in PHASES:
        told = f"{figures[f'{phase}.seconds']:.1f} s in all{more.get(phase, '')}"
        yield f"stop.{phase}", Measured(figures[phase], told)


@define
class Probe:
    """Looks at the clock all the time; `longest` is what it could not, in seconds."""

    longest: float = 0.0

    async def run(self) -> None:
        """Look until cancelled."""
        last = time.perf_counter()
        while True:
            await trio.sleep(TICK)
            moment = time.perf_counter()
            self.longest = max(self.longest, moment - last - TICK)
            last = moment


@asynccontextmanager
async def _watched(phase: str, figures: Figures) -> AsyncIterator[None]:
    """Note what a phase takes, and the longest stop in it."""
    probe = Probe()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(probe.run)
        await trio.sleep(10 * TICK)
        probe.longest, began = 0.0, time.perf_counter()
        yield
        figures[f"{phase}.seconds"] = time.perf_counter() - began
        await trio.sleep(2 * TICK)
        nursery.cancel_scope.cancel()
    figures[phase] = probe.longest


def stopped(path: str, directory: str) -> Figures:
    """Submit a document, let it run to its end, edit one task of it, and read it back in the next engine.

    Args:
        path: Of the document.
        directory: Where the state directory is made, and removed.

    Returns:
        For each of PHASES the longest stop and the seconds in all; `peak`: resident bytes of this process.

    Raises:
        BenchError: not everything completed.
    """
    importlib.import_module("numpy.ma")  # as `daggy serve` does
    sys.setswitchinterval(0.0005)  # idem
    figures: Figures = {}
    with TemporaryDirectory(dir=directory) as folder, StateDirectory.open(Path(folder)) as state:
        trio.run(_submitted, Path(path), state, figures)
        gc.collect()
        trio.run(_read_back, state, figures)
    return {**figures, "peak": resident("VmHWM")}


@asynccontextmanager
async def _engine(directory: StateDirectory) -> AsyncIterator[Engine]:
    tracker = SqliteTracker(SqliteTracker.Settings(), directory.path)
    twin = SqliteTracker.open_readonly(SqliteTracker.Settings(), directory.path)
    make = {"default": lambda site: NoopExecutor(NoopSettings(), site)}
    engine = Engine(tracker, make, directory, twin=twin, follow=True)
    async with engine.open():
        await engine.runs.take_up()
        yield engine
    twin.close()
    tracker.close()


async def _submitted(path: Path, directory: StateDirectory, figures: Figures) -> None:
    intake = Intake()
    async with _engine(directory) as engine:
        async with _watched("submit", figures):
            accepted = await intake.read(path)
            number = await engine.commands.submit(accepted.spec, accepted.raw, made=accepted.plan)
        await engine.runs.ended(number)
        edited = await trio.to_thread.run_sync(_edited, path)
        async with _watched("edit", figures):
            accepted = await intake.read(edited)
            await engine.commands.edit(number, accepted.spec, accepted.raw, made=accepted.plan)
        await engine.runs.ended(number)
        if (state := engine.runs[number].state) is not RunState.COMPLETED:
            raise BenchError(f"the run ended {state.name.lower()}: {engine.runs[number].counts()}")


def _edited(path: Path) -> Path:
    """Return the document with one command changed and one task added."""
    target = path.with_suffix(".edited.json")
    data = path.read_bytes().replace(b'"0000100"', b'"changed"')
    target.write_bytes(
        data.replace(HEAD.encode(), f'{HEAD}"added": {{"details": {{"command": ["/bin/echo"]}}}},'.encode(), 1)
    )
    return target


async def _read_back(directory: StateDirectory, figures: Figures) -> None:
    async with _engine(directory) as engine, _watched("restore", figures):
        run = await engine.runs.find(1)
        if run.version != 2 or run.counts()["completed"] != run.plan.size:
            raise BenchError(f"run 1 was read back at version {run.version}: {run.counts()}")
