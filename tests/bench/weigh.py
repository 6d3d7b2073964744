"""Plans made and runs completed in this process, timed and weighed: what a fresh process does for the rows of plans."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np

from daggy.attempt import ATTEMPT, REPORT, Kind, Reports, RunState
from daggy.plan import plan
from daggy.run.reports import on_reports
from daggy.run.ring import Indexes
from daggy.run.run import Run
from daggy.run.states import Now
from daggy.spec import parse
from tests.bench import specs
from tests.bench.fresh import BenchError, Figures, resident

SPECS: dict[str, Callable[[int], bytes]] = {"diamond": specs.diamond, "fan": specs.fan}
BATCH = 10_000


def planned(spec: str, count: int, repeats: int) -> Figures:
    """Plan a spec of templates so many times; return the median of the seconds."""
    read = parse(SPECS[spec](count), directory="/")
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        plan(read)
        times.append(time.perf_counter() - began)
    return {"seconds": median(times)}


def weighed(count: int) -> Figures:
    """Plan a diamond and complete all of it in batches; return bytes above what the imports weigh."""
    read = parse(specs.diamond(count), directory="/")
    start = resident()
    run = Run(1, plan(read), created=0.0, epoch=1)
    run.begin()
    begun = resident() - start
    complete(run)
    drained, peak = resident() - start, resident("VmHWM") - start
    return {"begun": begun, "drained": drained, "peak": peak, "row": ATTEMPT.itemsize}


def complete(run: Run) -> None:
    """Hand out and complete all tasks of a run, a batch at a time; what a tracker would keep is let go."""
    now, frontier = Now(0.0, 0.0), run.frontier
    run.change(RunState.RUNNING, now)
    while frontier.ready:
        taken = frontier.take(frontier.lanes[max(frontier.ready)], BATCH)
        on_reports(run, completed(run, taken), now)
        run.take_entries()
    if run.state is not RunState.COMPLETED:
        raise BenchError(f"the run is {run.state.name.lower()}: {run.counts()}")


def completed(run: Run, indexes: Indexes) -> Reports:
    """Return a FINISHED report, reason OK, for each of these tasks' first attempts."""
    rows = np.zeros(len(indexes), REPORT)
    rows["kind"], rows["run"], rows["version"], rows["epoch"] = Kind.FINISHED, run.id, run.version, run.epoch
    rows["row"]["index"], rows["row"]["attempt"] = indexes, 1
    return Reports(rows)


def read_explicit(path: str) -> Figures:
    """Read and plan a document; return seconds, and bytes of the whole process at its peak."""
    began = time.perf_counter()
    spec = parse(Path(path).read_bytes(), directory="/")
    read = time.perf_counter() - began
    plan(spec)
    return {"read": read, "seconds": time.perf_counter() - began, "peak": resident("VmHWM")}
