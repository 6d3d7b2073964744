"""Rows of real processes: ours and the C loop in turn, ratios of neighbours."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from statistics import median

from tests.bench.baseline import Baseline, Limit, compiled
from tests.bench.fresh import Figures, fresh
from tests.bench.goals import Measured
from tests.bench.sizes import Sizes

SLOTS = 2
ECHO = ["/bin/echo", "1234"]
NO_GCC = "no gcc, nothing to compare with"


def processes(sizes: Sizes, directory: Path) -> Iterator[tuple[str, Measured]]:
    """Measure `echo`, captured: C, memory tracker, SQLite tracker, large main process, and again."""
    baseline = compiled(directory)
    limits, rounds = _limit(baseline, sizes), []
    for _ in range(sizes.rounds):
        rounds.append(_round(sizes, directory))
        limits += _limit(baseline, sizes)
    for tracker in ("memory", "sqlite"):
        yield f"processes.{tracker}", _of([one[tracker] for one in rounds], sizes.processes, limits)
    cpu = [one["memory"]["cpu"] / sizes.processes for one in rounds]
    yield "processes.cpu", Measured(median(cpu), _spread(cpu, 1e6, "µs"))
    ratios = [one["memory"]["seconds"] / one["large"]["seconds"] for one in rounds]
    yield "processes.large", Measured(median(ratios), f"{sizes.large / (1 << 30):.2g} GB; {_range(ratios)}")


def _limit(baseline: Baseline | None, sizes: Sizes) -> list[Limit]:
    return [baseline.run(ECHO, sizes.processes, SLOTS)] if baseline else []


def _round(sizes: Sizes, directory: Path) -> dict[str, Figures]:
    arguments: dict[str, object] = {"spec": "flat", "count": sizes.processes, "directory": str(directory)}
    return {
        "memory": fresh("drive.drive", **arguments),
        "large": fresh("drive.drive", **arguments, large=sizes.large),
        "sqlite": fresh("drive.drive", **arguments, tracker="sqlite"),
    }


def _of(runs: list[Figures], count: int, limits: list[Limit]) -> Measured:
    """Return the median of the ratios of our rates to those of the loop before and after."""
    rates = [count / run["seconds"] for run in runs]
    shown = f"{median(rates):,.0f} tasks/s"
    if not limits:
        return Measured(None, f"{shown}; {NO_GCC}")
    around = [(before.rate + after.rate) / 2 for before, after in pairwise(limits)]
    ratios = [rate / limit for rate, limit in zip(rates, around, strict=True)]
    cpu = median(run["whole_cpu"] for run in runs) / count / median(limit.cpu for limit in limits)
    loop = median(limit.rate for limit in limits)
    return Measured(median(ratios), f"{shown}, C {loop:,.0f}; {_range(ratios)}; CPU in all {cpu:.2f} of C")


def _range(ratios: list[float]) -> str:
    return f"{min(ratios):.2f}…{max(ratios):.2f}"


def _spread(figures: list[float], scale: float, unit: str) -> str:
    return f"{min(figures) * scale:.1f}…{max(figures) * scale:.1f} {unit}"


def chain(sizes: Sizes, directory: Path) -> Iterator[tuple[str, Measured]]:
    """Measure a chain of `true`, two workers, and C with one child at a time."""
    baseline = compiled(directory)
    ours, theirs = [], []
    for _ in range(sizes.rounds):
        if baseline:
            theirs.append(1 / baseline.run(["/bin/true"], sizes.links, 1).rate)
        arguments: dict[str, object] = {"spec": "chain", "count": sizes.links, "directory": str(directory)}
        ours.append(fresh("drive.drive", **arguments)["run"] / sizes.links)
    shown = f"{median(ours) * 1e3:.2f} ms a link"
    if not theirs:
        yield "chain", Measured(None, f"{shown}; {NO_GCC}")
        return
    ratios = [one / other for one, other in zip(ours, theirs, strict=True)]
    yield "chain", Measured(median(ratios), f"{shown}, C {median(theirs) * 1e3:.2f} ms; {_range(ratios)}")


def calls(sizes: Sizes, directory: Path) -> Iterator[tuple[str, Measured]]:
    """Measure calls of a function, each in an interpreter of its own, and C that starts idle ones."""
    count = max(2, sizes.processes // 20)
    baseline = compiled(directory)
    ours, theirs = [], []
    for _ in range(sizes.rounds):
        if baseline:
            theirs.append(baseline.run([sys.executable, "-c", "pass"], count, SLOTS).rate)
        ours.append(count / fresh("drive.drive", spec="calls", count=count, directory=str(directory))["run"])
    shown = f"{median(ours):,.1f} calls/s"
    if not theirs:
        yield "calls.cold", Measured(None, f"{shown}; {NO_GCC}")
        return
    ratios = [one / other for one, other in zip(ours, theirs, strict=True)]
    detail = f"{shown}, C {median(theirs):,.1f} interpreters/s; {_range(ratios)}"
    yield "calls.cold", Measured(median(ratios), detail)


def latency(sizes: Sizes, directory: Path) -> Iterator[tuple[str, Measured]]:
    """Measure a chain of naps: child's start less parent's end, as attempts have them, nothing else going on."""
    figures = fresh("drive.drive", spec="naps", count=sizes.naps, directory=str(directory))
    yield "latency", Measured(figures["gap"], f"{sizes.naps} naps of 20 ms")
