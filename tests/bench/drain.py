"""Planning and draining without processes: how fast and how small plan, frontier, reducer and ledger are by themselves."""

from __future__ import annotations

import resource
import struct
import subprocess
import sys
import time
from collections.abc import Iterator

import numpy as np
from attrs import frozen

from daggy.attempt import REPORT, Kind, Reports, RunState
from daggy.plan import plan
from daggy.run.reports import on_reports
from daggy.run.run import Run
from daggy.run.states import Now
from daggy.spec import RunSpec, parse

TASKS = 10_000_000
"""Of the diamond that is drained."""

NOW = Now(1.0, 1.0)
DIAMOND = b"""{"directory": "/", "parameters": {"N": {"range": [0, %d]}}, "tasks": {
    "a": {"details": {"command": ["true", "{{ N }}"]}},
    "b": {"details": {"command": ["true", "{{ N }}"]}, "parents": [{"task": "a", "match": ["N"]}]},
    "c": {"details": {"command": ["true", "{{ N }}"]}, "parents": [{"task": "a", "match": ["N"]}]},
    "d": {"details": {"command": ["true", "{{ N }}"]}, "parents": [{"task": "b", "match": ["N"]}, {"task": "c", "match": ["N"]}]}
}}"""
ALL_TO_ALL = b"""{"directory": "/", "parameters": {"N": {"range": [0, 10000]}}, "tasks": {
    "a": {"details": {"command": ["true", "{{ N }}"]}},
    "b": {"details": {"command": ["true", "{{ N }}"]}, "parents": ["a"]}
}}"""


@frozen
class Row:
    """One row of the table: what was measured, the goal and the stretch as performance goals name them."""

    what: str
    value: float
    unit: str
    goal: float
    stretch: float
    more_is_better: bool = True


def diamond(tasks: int) -> RunSpec:
    """Return the spec of a diamond of four templates."""
    return parse(DIAMOND % (tasks // 4), directory="/")


def begun(tasks: int) -> Run:
    """Return a run of the diamond with its first tasks ready."""
    run = Run(1, plan(diamond(tasks)), created=0.0, epoch=1)
    run.begin()
    return run


def drain(run: Run, batch: int) -> float:
    """Let every task succeed, in batches; return tasks a second. The reports are written into one buffer."""
    rows = np.zeros(batch, REPORT)
    rows["kind"], rows["run"], rows["version"], rows["epoch"] = Kind.FINISHED, 1, 1, 1
    rows["row"]["attempt"] = 1
    column = rows["row"]["index"]
    frontier, lanes = run.frontier, run.frontier.lanes
    began = time.perf_counter()
    while frontier.ready:
        taken = frontier.take(lanes[max(frontier.ready)], batch)
        column[: len(taken)] = taken
        on_reports(run, Reports(rows[: len(taken)]), NOW)
    rate = run.plan.size / (time.perf_counter() - began)
    assert run.state is RunState.COMPLETED
    return rate


def drain_one_by_one(run: Run) -> float:
    """Let every task succeed, each reported by itself; return tasks a second."""
    rows = np.zeros(1, REPORT)
    rows["kind"], rows["run"], rows["version"], rows["epoch"] = Kind.FINISHED, 1, 1, 1
    rows["row"]["attempt"] = 1
    buffer = rows.view(np.uint8).data
    write = struct.Struct("<I").pack_into
    report = Reports(rows)
    frontier, lanes = run.frontier, run.frontier.lanes
    began = time.perf_counter()
    while frontier.ready:
        index = frontier.take_one(lanes[max(frontier.ready)])
        if index >= 0:
            write(buffer, 21, index)
            on_reports(run, report, NOW)
    rate = run.plan.size / (time.perf_counter() - began)
    assert run.state is RunState.COMPLETED
    return rate


def plan_seconds(tasks: int) -> float:
    """Return how long the plan of a diamond and its first ready tasks take."""
    spec = diamond(tasks)
    began = time.perf_counter()
    run = Run(1, plan(spec), created=0.0, epoch=1)
    run.begin()
    return time.perf_counter() - began


def all_to_all_seconds() -> float:
    """Return how long 10,000 tasks take to plan that each wait for 10,000."""
    spec = parse(ALL_TO_ALL, directory="/")
    began = time.perf_counter()
    made = plan(spec)
    seconds = time.perf_counter() - began
    assert made.edges() == 10**8
    return seconds


def bytes_a_task(drained: bool) -> float:
    """Return the memory of a diamond's plan and frontier a task, above imports; in a process of its own."""
    code = f"from tests.bench.drain import resident; resident({drained})"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(said.stdout)


def resident(drained: bool) -> None:
    """Print the growth of the process by a diamond, in bytes a task."""
    drain(begun(100_000), 10_000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    run = begun(TASKS)
    if drained:
        drain(run, 10_000)
    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 / TASKS)


def rows() -> Iterator[Row]:
    """Measure every row that needs neither processes nor an engine."""
    for tasks, goal, stretch in ((1_000_000, 0.1, 0.02), (10_000_000, 0.5, 0.2), (100_000_000, 3.0, 1.0)):
        yield Row(f"plan of a template diamond: {tasks // 10**6}M tasks", plan_seconds(tasks), "s", goal, stretch, False)
    yield Row("10,000 × 10,000 all-to-all, plan", all_to_all_seconds() * 1000, "ms", 10, 1, False)
    yield Row("memory of plan and frontier, a task, above imports", bytes_a_task(False), "bytes", 12, 8, False)
    yield Row("memory a task once it has an attempt", bytes_a_task(True), "bytes", 100, 48, False)
    yield Row("reducer and ledger alone, batches of 10,000", drain(begun(TASKS), 10_000) / 1e6, "M tasks/s", 5, 12)
    yield Row("reducer and ledger alone, batches of 100", drain(begun(TASKS // 5), 100) / 1e6, "M tasks/s", 3, 5)
    yield Row("reducer and ledger alone, one by one", drain_one_by_one(begun(TASKS // 20)) / 1e3, "k tasks/s", 300, 450)


if __name__ == "__main__":
    for row in rows():
        print(f"{row.what:60} {row.value:10.2f} {row.unit:10} (goal {row.goal:g}, stretch {row.stretch:g})")
