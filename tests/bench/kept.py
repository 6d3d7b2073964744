"""Rows of what a server has kept: how soon it is ready, how soon it knows a large run, what lists of runs cost."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median

import numpy as np
import trio

from daggy.attempt import ATTEMPT, Rows, RunState, State
from daggy.engine.directory import StateDirectory
from daggy.engine.engine import Engine
from daggy.plan import plan
from daggy.spec import parse
from daggy.testing.noop import NoopExecutor, NoopSettings
from daggy.tracker import Attempts, Entry, Place, RunChanged, Submitted
from daggy_sqlite import SqliteTracker
from tests.bench import specs
from tests.bench.asking import Asker, quantile, spread
from tests.bench.cli import program
from tests.bench.fresh import BenchError, Figures, fresh
from tests.bench.goals import Measured
from tests.bench.machine import load
from tests.bench.service import Service, service, started
from tests.bench.sizes import Sizes

AT_ONCE = 1000
"""Runs that are written in one transaction."""

NAMES = 100
"""Runs are called by so many names in turn."""

ASKED = 20
"""How often each list is asked for."""

LISTS = {
    "newest": "",
    "older": "&cursor={middle}",
    "of a state": "&state=completed",
    "of a rare state": "&state=errored",
    "of a name": "&name=nightly-7",
    "of a tag": "&tag=number:{rare}",
    "of nothing": "&name=nobody",
}
"""What is asked of a list of runs."""


def kept(sizes: Sizes, directory: Path) -> Iterator[tuple[str, Measured]]:
    """Measure `daggy serve` on a directory with one large finished run, and the first look at that run."""
    state = directory / "state"
    fresh("kept.fill_attempts", directory=str(state), count=sizes.unit)
    ready, first, stops = [], [], []
    for _ in range(sizes.repeats):
        with started([*program(), "serve", "--port", "0", "--dir", str(state)], state) as server:
            ready.append(server.ready)
            with server.asking() as asker:
                asker.ask("GET", "/runs?limit=1")  # the application has been loaded
                seconds, longest = _first(server, asker)
            first.append(seconds)
            stops.append(longest)
    size = (state / "daggy.db").stat().st_size / 1e6
    shutil.rmtree(state)
    yield "start", Measured(median(ready), f"{_range(ready)}; database of {size:.0f} MB; load {load():.1f}")
    yield "history", Measured(median(first), f"{_range(first)}; median of {len(first)}")
    yield "history.stop", Measured(min(stops), f"best of {len(stops)}, worst {max(stops) * 1e3:.1f} ms")


def _first(server: Service, asker: Asker) -> tuple[float, float]:
    """Return the seconds of the first look at the run, and the longest that somebody else waited meanwhile."""
    found: list[float] = []

    def look() -> None:
        with server.asking() as other:
            found.append(other.timed("/runs/1"))

    looking = threading.Thread(target=look)
    looking.start()
    waits = [asker.timed("/pools")]
    while looking.is_alive():
        waits.append(asker.timed("/pools"))
    if not found:
        raise BenchError("the run cannot be read back")
    return found[0], max(waits)


def _range(seconds: Sequence[float]) -> str:
    return f"{min(seconds):.2f}…{max(seconds):.2f} s"


def fill_attempts(directory: str, count: int) -> Figures:
    """Leave a directory in which one run of so many tasks has completed."""
    path = Path(directory)
    path.mkdir(mode=0o700)
    with StateDirectory.open(path) as state:
        trio.run(_complete, state, count)
    return {}


async def _complete(directory: StateDirectory, count: int) -> None:
    tracker = SqliteTracker(SqliteTracker.Settings(), directory.path)
    engine = Engine(tracker, {"default": lambda site: NoopExecutor(NoopSettings(), site)}, directory)
    raw = specs.placed(specs.diamond(count))
    async with engine.open():
        await engine.runs.ended(await engine.commands.submit(parse(raw, directory="/"), raw))
    tracker.close()


def lists(sizes: Sizes, directory: Path) -> Iterator[tuple[str, Measured]]:
    """Measure pages of the list of runs where there are a hundred thousand."""
    state = directory / "state"
    fresh("kept.fill_runs", directory=str(state), count=sizes.runs)
    with service(state, kept=True, retention=2 * sizes.runs) as server, server.asking() as asker:
        found = {kind: _asked(asker, query, sizes.runs) for kind, query in LISTS.items()}
    shutil.rmtree(state)
    worst = max(quantile(each, 0.99) for each in found.values())
    yield "lists", Measured(worst, f"{spread(found)}; {sizes.runs:,} runs; load {load():.1f}")


def _asked(asker: Asker, query: str, runs: int) -> list[float]:
    path = f"/runs?limit=100{query.format(middle=runs // 2, rare=runs // 3)}"
    return [asker.timed(path) for _ in range(ASKED)]


def fill_runs(directory: str, count: int) -> Figures:
    """Leave a directory in which so many runs of two tasks have ended, one of a thousand errored."""
    path = Path(directory)
    path.mkdir(mode=0o700)
    raw = specs.placed(specs.small(2))
    digest = plan(parse(raw, directory="/")).digest
    rows = _rows()
    with StateDirectory.open(path) as state:
        tracker = SqliteTracker(SqliteTracker.Settings(), state.path)
        tracker.append([Place(1, "default", "default")])
        for first in range(1, count + 1, AT_ONCE):
            numbers = range(first, min(first + AT_ONCE, count + 1))
            tracker.append([entry for run in numbers for entry in _ended(run, raw, digest, rows)])
        tracker.close()
    return {}


def _rows() -> Rows:
    rows = np.zeros(2, ATTEMPT)
    rows["index"], rows["attempt"], rows["outcome"], rows["place"] = [0, 1], 1, State.COMPLETED, 1
    return rows


def _ended(run: int, raw: bytes, digest: str, rows: Rows) -> Iterator[Entry]:
    at = 1.7e9 + run
    tags = {"team": f"team-{run % 7}", "number": str(run)}
    yield Submitted(run, 1, raw, digest, f"nightly-{run % NAMES}", tags, at)
    yield RunChanged(run, RunState.RUNNING, at)
    yield Attempts(run, 1, rows)
    yield RunChanged(run, RunState.COMPLETED if run % 1000 else RunState.ERRORED, at + 1)
