"""Rows of the whole engine: everything but processes, with an executor that finishes what it is given at once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from statistics import median

from tests.bench.fresh import fresh
from tests.bench.goals import Measured
from tests.bench.sizes import Sizes


def engine(sizes: Sizes, directory: Path) -> Iterator[tuple[str, Measured]]:
    """Measure the drain of a diamond, from its submission to the announcement of its end."""
    for tracker in ("memory", "sqlite"):
        runs = [
            fresh(
                "drive.drive",
                spec="diamond",
                count=sizes.engine,
                directory=str(directory),
                tracker=tracker,
                executor="noop",
            )
            for _ in range(sizes.repeats)
        ]
        cpu = median(one["cpu"] for one in runs) / sizes.engine * 1e6
        rate = sizes.engine / median(one["run"] for one in runs)
        yield f"engine.{tracker}", Measured(rate, f"{cpu:.1f} µs CPU a task; median of {sizes.repeats}")
