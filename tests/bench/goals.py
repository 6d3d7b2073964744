"""The rows of the table: what is measured, and how good it is to be."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import field, frozen


@frozen
class Unit:
    """How a figure is written, and which way is better."""

    name: str
    more: bool = False
    scale: float = 1.0  # a figure is kept in seconds, bytes, tasks a second or as a ratio; written times this

    def text(self, figure: float) -> str:
        """Return a figure as people read it: three digits, thousands and millions as k and M."""
        shown = figure * self.scale
        for least, letter in ((1e6, "M"), (1e4, "k")):
            if shown >= least:
                return _with(f"{_three(shown / (least if letter == 'M' else 1e3))}{letter}", self.name)
        return _with(_three(shown), self.name)


def _three(value: float) -> str:
    for least, places in ((100, 0), (10, 1), (1, 2)):
        if value >= least:
            return _short(f"{value:.{places}f}")
    return _short(f"{value:.3f}")


def _short(text: str) -> str:
    return text.rstrip("0").rstrip(".") if "." in text else text


def _with(text: str, unit: str) -> str:
    return f"{text} {unit}" if unit else text


RATIO = Unit("", more=True)
RATIO_OF_CORE = Unit("of a core")
TIMES = Unit("times")
MICROSECONDS = Unit("µs", scale=1e6)
MILLISECONDS = Unit("ms", scale=1e3)
SECONDS = Unit("s")
BYTES = Unit("bytes")
RATE = Unit("tasks/s", more=True)


@frozen
class Goal:
    """One row before it is measured. Figures are in seconds, bytes, tasks a second, or ratios."""

    what: str
    unit: Unit
    goal: float
    stretch: float | None
    by_name: bool = False  # measured only if it is asked for

    def verdict(self, figure: float) -> str:
        """Return how a figure compares: `stretch`, `met` or `missed`."""
        if self.stretch is not None and self._reaches(figure, self.stretch):
            return "stretch"
        return "met" if self._reaches(figure, self.goal) else "missed"

    def ratio(self, figure: float) -> float:
        """Return how often the goal is reached: 2 is twice as good, whichever way is better."""
        least = 1e-12
        return max(figure, least) / self.goal if self.unit.more else self.goal / max(figure, least)

    def _reaches(self, figure: float, wanted: float) -> bool:
        return figure >= wanted if self.unit.more else figure <= wanted


@frozen
class Measured:
    """What a row came to; `figure` is None where it could not be measured, and `detail` says why."""

    figure: float | None
    detail: str = field(default="")


GOALS: Mapping[str, Goal] = {
    "processes.memory": Goal("real processes, output captured, memory tracker: of C", RATIO, 0.85, 0.95),
    "processes.sqlite": Goal("the same, SQLite tracker", RATIO, 0.83, 0.92),
    "processes.cpu": Goal("CPU of the main process a task", MICROSECONDS, 40e-6, 25e-6),
    "processes.large": Goal("throughput with a 3 GB main process, of a small one", RATIO, 0.95, 1.0),
    "calls.cold": Goal("calls of a Python function, of C that starts as many idle interpreters", RATIO, 0.5, 0.65),
    "ssh.rate": Goal("rate of processes on a machine over SSH, of those here", RATIO, 0.95, 1.0),
    "ssh.cpu": Goal("the same, CPU of the main process", TIMES, 1.5, 1.2),
    "ssh.4": Goal("rate of processes on four machines over SSH, of those here", RATIO, 0.95, 1.0),
    "agents.1": Goal("rate of processes at an agent, of those here, server included", RATIO, 0.9, 1.0),
    "agents.4": Goal("the same, 4 agents", RATIO, 0.9, 1.0),
    "agents.16": Goal("the same, 16 agents", RATIO, 0.9, 1.0),
    "agents.64": Goal("the same, 64 agents", RATIO, 0.8, 1.0),
    "agents.cpu": Goal("CPU of the server a task, 16 agents", MICROSECONDS, 50e-6, 30e-6),
    "agents.gap": Goal(
        "from a task's end to its child's start on another machine, idle, p99", MILLISECONDS, 20e-3, 5e-3
    ),
    "agents.large": Goal("the same while an output of 1 GB is read from one of them", MILLISECONDS, 50e-3, 20e-3),
    "agents.idle": Goal("CPU of a server with 256 idle agents, of one core", RATIO_OF_CORE, 0.01, 0.005),
    "agents.back": Goal("256 agents, all up after a restart of the server", SECONDS, 30.0, 10.0),
    "slurm.pilots": Goal("rate of processes in an allocation of Slurm's, of those here", RATIO, 0.9, 1.0, by_name=True),
    "slurm.pilots.first": Goal(
        "the first task of an idle pool, from submission to end", SECONDS, 5.0, 3.0, by_name=True
    ),
    "slurm.arrays": Goal("jobs of one task, of a bare array of `exec true`", RATIO, 0.5, 0.8, by_name=True),
    "slurm.arrays.packed": Goal("tasks of 20 a job, whole run", RATE, 250, 400, by_name=True),
    "slurm.poll": Goal("one look at Slurm's queue", MILLISECONDS, 50e-3, 20e-3, by_name=True),
    "beam.step": Goal("a Beam program as a task, above the program by hand", SECONDS, 0.2, 0.1, by_name=True),
    "beam.bundles": Goal("rate of `true` that FnApiRunner carries, of that here", RATIO, 0.6, 0.9, by_name=True),
    "chain": Goal("one link of a chain of `true`, of C one at a time", TIMES, 2.0, 1.3),
    "plan.1M": Goal("plan of a template diamond, 1M tasks", SECONDS, 0.1, 0.02),
    "plan.10M": Goal("the same, 10M tasks", SECONDS, 0.5, 0.2),
    "plan.100M": Goal("the same, 100M tasks", SECONDS, 3.0, 1.0),
    "memory.plan": Goal("memory of plan and frontier a task, above imports", BYTES, 12, 8),
    "memory.attempt": Goal("memory a task once it has an attempt", BYTES, 100, 48),
    "fan": Goal("10,000 by 10,000 all-to-all, plan", MILLISECONDS, 10e-3, 1e-3),
    "drain.10000": Goal("drain, reducer and ledger alone, batches of 10,000", RATE, 5e6, 12e6),
    "drain.100": Goal("the same, batches of 100", RATE, 3e6, 5e6),
    "drain.1": Goal("the same, one by one", RATE, 300e3, 450e3),
    "engine.memory": Goal("drain through the whole engine, memory tracker", RATE, 100e3, 300e3),
    "engine.sqlite": Goal("the same with SQLite", RATE, 60e3, 200e3),
    "pool.16": Goal("CPU of a drain on 16 machines that together take 4,096 tasks, of that on one", TIMES, 1.5, 1.2),
    "pool.256": Goal("the same, 256 machines", TIMES, 1.5, 1.2),
    "choose.pack": Goal("CPU of a choice, 256 full machines, one task ends, ten kinds", MICROSECONDS, 100e-6, 50e-6),
    "choose.spread": Goal("the same, where tasks are spread", MICROSECONDS, 100e-6, 50e-6),
    "explicit.time": Goal("an explicit spec of 1M tasks: read, validated, planned", SECONDS, 8.0, 4.0),
    "explicit.memory": Goal("the same, memory a task at the peak", BYTES, 1500, None),
    "stop.submit": Goal(
        "longest stop of the loop while 1M hand-written tasks are submitted", MILLISECONDS, 50e-3, 20e-3
    ),
    "stop.edit": Goal("the same, while one of them is edited", MILLISECONDS, 50e-3, 20e-3),
    "stop.restore": Goal("the same, while they are read back", MILLISECONDS, 50e-3, 20e-3),
    "answer.memory": Goal(
        "p99 of `GET` of a run, or of a page of its tasks, while 1M no-ops drain", MILLISECONDS, 50e-3, 20e-3
    ),
    "answer.sqlite": Goal("the same with SQLite", MILLISECONDS, 50e-3, 20e-3),
    "answer.processes": Goal("the same while processes run", MILLISECONDS, 50e-3, 20e-3),
    "answer.coming": Goal("the same while 1M hand-written tasks are submitted", MILLISECONDS, 50e-3, 20e-3),
    "answer.written": Goal("the same while these drain", MILLISECONDS, 50e-3, 20e-3),
    "start": Goal("server start with a finished run of 1M attempts, to `/ready`", SECONDS, 3.0, 1.0),
    "history": Goal("first `GET` of that run", SECONDS, 3.0, 1.5),
    "history.stop": Goal("longest other `GET` meanwhile", MILLISECONDS, 50e-3, 20e-3),
    "lists": Goal("p99 of `GET` of a page of 100,000 runs, with any filter", MILLISECONDS, 50e-3, 20e-3),
    "behind": Goal("first task of a three-task run behind 1M one-second tasks", SECONDS, 2.0, 1.1),
    "small.submitted": Goal("1,000 runs of three processes at once, all submitted", SECONDS, 10.0, 5.0),
    "small.ended": Goal("the same, all ended", SECONDS, 10.0, 5.0),
    "small.p99": Goal("the same, p99 of a submission", MILLISECONDS, 200e-3, 100e-3),
    "follow.cpu": Goal("CPU of a server that 100 follow, of one without followers", TIMES, 2.0, 1.2),
    "follow.delay": Goal("the same, from an event to its follower, p99", MILLISECONDS, 100e-3, 50e-3),
    "day.memory": Goal("memory of a server after 100,000 runs, of that after 20,000", TIMES, 1.2, 1.05, by_name=True),
    "day.submit": Goal("the same, p50 of a submission", TIMES, 1.2, 1.05, by_name=True),
    "day.list": Goal("the same, p50 of a list of runs", TIMES, 1.2, 1.05, by_name=True),
    "latency": Goal("from a task's end to its child's start, idle, p99", MILLISECONDS, 5e-3, 2e-3),
    "cli.run": Goal("`daggy run` of one task, whole process", SECONDS, 0.5, 0.3),
    "cli.help": Goal("`daggy --help`, whole process", SECONDS, 0.2, 0.1),
}
"""By name, in the order of the table."""
