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


def pools(sizes: Sizes, directory: Path) -> Iterator[tuple[str, Measured]]:
    """Measure the same drain on pools of several machines that together take as many tasks as the one of the first."""
    what = {"spec": "diamond", "count": sizes.engine // 4, "directory": str(directory), "executor": "noop"}
    cpu: dict[int, list[float]] = {1: [], 16: [], 256: []}
    for _ in range(sizes.repeats):
        for machines, seconds in cpu.items():
            seconds.append(fresh("drive.drive", machines=machines, **what)["cpu"])
    for machines in (16, 256):
        ratio = median(many / one for one, many in zip(cpu[1], cpu[machines], strict=True))
        each = [f"{median(cpu[count]) / (sizes.engine // 4) * 1e6:.1f}" for count in (machines, 1)]
        yield f"pool.{machines}", Measured(ratio, f"{each[0]} µs CPU a task, one machine {each[1]}")
