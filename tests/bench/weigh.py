"""Plans made and runs completed in this process, timed and weighed: what a fresh process does for the rows of plans."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

import numpy as np

from daggy.attempt import ATTEMPT, REPORT, Kind, Reports, RunState
from daggy.plan import plan
from daggy.run.indexes import Indexes
from daggy.run.reports import on_reports
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
    complete(run, BATCH)
    drained, peak = resident() - start, resident("VmHWM") - start
    return {"begun": begun, "drained": drained, "peak": peak, "row": ATTEMPT.itemsize}


def drained(count: int, batch: int) -> Figures:
    """Plan a diamond and complete all of it in batches; return tasks a second of what the reducer and its ledger do."""
    run = Run(1, plan(parse(specs.diamond(count), directory="/")), created=0.0, epoch=1)
    run.begin()
    return {"rate": run.plan.size / complete(run, batch)}


def complete(run: Run, batch: int) -> float:
    """Hand out and complete all tasks of a run, a batch at a time; what a tracker would keep is let go.

    Returns:
        The seconds spent in handing out and in reports: making the reports is not the reducer's work.
    """
    now, ready, spent = Now(0.0, 0.0), run.frontier.ready, 0.0
    run.change(RunState.RUNNING, now)
    while ready:
        began = time.perf_counter()
        taken = _taken(run, batch)
        spent += time.perf_counter() - began
        if not len(taken):  # a queue says that it is empty when it is asked once more
            continue
        reports = completed(run, taken)
        began = time.perf_counter()
        on_reports(run, reports, now)
        spent += time.perf_counter() - began
        run.take_entries()
    if run.state is not RunState.COMPLETED:
        raise BenchError(f"the run is {run.state.name.lower()}: {run.counts()}")
    return spent


def _taken(run: Run, batch: int) -> Sequence[int] | Indexes:
    """Hand out up to so many tasks of the deepest block with any."""
    queue = run.frontier.queues[max(run.frontier.ready)]
    if batch > 1:
        return run.frontier.take(queue, batch)
    index = run.frontier.take_one(queue)
    return [index] if index >= 0 else []


def completed(run: Run, indexes: Sequence[int] | Indexes) -> Reports:
    """Return a FINISHED report, reason OK, for each of these tasks' first attempts."""
    rows = np.zeros(len(indexes), REPORT)
    rows["kind"], rows["run"], rows["version"], rows["epoch"] = Kind.FINISHED, run.id, run.version, run.epoch
    rows["row"]["index"], rows["row"]["attempt"] = indexes, 1
    return Reports(rows)


def read_explicit(path: str) -> Figures:
    """Read and plan a document; return seconds, and the bytes of this process at its peak."""
    began, cpu = time.perf_counter(), time.process_time()
    spec = parse(Path(path).read_bytes(), directory="/")
    read = time.perf_counter() - began
    plan(spec)
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    return {"read": read, "seconds": seconds, "cpu": cpu, "peak": resident("VmHWM")}
