"""Rows of the reducer and its ledger alone: no engine, no executor, no tracker."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from statistics import median

from tests.bench.fresh import fresh
from tests.bench.goals import Measured
from tests.bench.sizes import Sizes

UNITS = {10_000: 10.0, 100: 1.0, 1: 0.1}
"""By size of the batch, millions of tasks: each about as long as the others."""


def drains(sizes: Sizes, _: Path) -> Iterator[tuple[str, Measured]]:
    """Measure the drain of a diamond in batches of three sizes."""
    for batch, units in UNITS.items():
        count = int(sizes.unit * units)
        rates = [fresh("weigh.drained", count=count, batch=batch)["rate"] for _ in range(sizes.repeats)]
        yield f"drain.{batch}", Measured(median(rates), f"{count:,} tasks; median of {sizes.repeats}")
