"""Rows of plans: how fast they are made and what they weigh; how a million hand-written tasks are read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from statistics import median

from tests.bench import specs
from tests.bench.fresh import fresh
from tests.bench.goals import Measured
from tests.bench.sizes import Sizes


def plans(sizes: Sizes, _: Path) -> Iterator[tuple[str, Measured]]:
    """Measure plans of templates: diamonds of three sizes, and all-to-all."""
    for name, times in (("1M", 1), ("10M", 10), ("100M", 100)):
        figures = fresh("weigh.planned", spec="diamond", count=sizes.unit * times, repeats=sizes.repeats)
        yield f"plan.{name}", Measured(figures["seconds"], f"median of {sizes.repeats}")
    figures = fresh("weigh.planned", spec="fan", count=sizes.unit // 100, repeats=sizes.repeats)
    yield "fan", Measured(figures["seconds"], f"median of {sizes.repeats}")


def memory(sizes: Sizes, _: Path) -> Iterator[tuple[str, Measured]]:
    """Measure what plan, frontier and ledger weigh, once every task has been touched."""
    count = sizes.unit * 10
    figures = fresh("weigh.weighed", count=count)
    begun, after, peak = (figures[key] / count for key in ("begun", "drained", "peak"))
    ledger = figures["row"]
    yield "memory.plan", Measured(after - ledger, f"{begun:.1f} before the first task is handed out")
    yield "memory.attempt", Measured(after, f"{ledger:.0f} of it in the ledger; {peak:.1f} at the peak")


def explicit(sizes: Sizes, directory: Path) -> Iterator[tuple[str, Measured]]:
    """Measure a document of hand-written tasks: read, validated, planned, in a process of its own."""
    path = directory / "explicit.json"
    with path.open("w") as file:
        file.writelines(specs.explicit(sizes.unit))
    size = path.stat().st_size / 1e6
    runs = [fresh("weigh.read_explicit", path=str(path)) for _ in range(sizes.repeats)]
    path.unlink()
    read, whole, cpu = (median(one[key] for one in runs) for key in ("read", "seconds", "cpu"))
    yield (
        "explicit.time",
        Measured(whole, f"{size:.0f} MB; reading {read:.2f} s of it; {cpu:.2f} s of CPU; median of {len(runs)}"),
    )
    peak = median(one["peak"] for one in runs)
    yield "explicit.memory", Measured(peak / sizes.unit, f"{peak / 1e6:,.0f} MB in all, imports included")
