"""A day's worth of runs through one server that keeps a thousand of them: whether it stays as it was."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from attrs import define, field

from tests.bench import specs
from tests.bench.asking import quantile
from tests.bench.fresh import resident
from tests.bench.goals import Measured
from tests.bench.machine import load
from tests.bench.service import Service, service
from tests.bench.sizes import Sizes

CLIENTS = 4
"""Who submits at once."""

LIST_EACH = 20
"""After so many submissions of a client it asks for the list of runs."""

PARTS = 10
"""The day is looked at in so many parts."""

KEPT = 1000
"""Ended runs that the server keeps."""


@define
class Part:
    """One part of the day: seconds that submissions and lists took, and bytes of the server at its end."""

    submits: list[float] = field(factory=list)
    lists: list[float] = field(factory=list)
    resident: int = 0
    kept: int = 0

    def said(self) -> str:
        """Return all of it in a line."""
        figures = [
            f"{name} {quantile(each, 0.5) * 1e3:.1f}/{quantile(each, 0.99) * 1e3:.1f} ms"
            for name, each in (("submit", self.submits), ("list", self.lists))
        ]
        return f"{self.resident / 1e6:.0f} MB, {', '.join(figures)} (p50/p99), database {self.kept / 1e6:.0f} MB"


def day(sizes: Sizes, directory: Path) -> Iterator[tuple[str, Measured]]:
    """Measure memory, submissions and lists in the second part of a day, and compare the last part with it.

    In the first part everything is loaded, and what is to be kept has yet to come.
    """
    began = time.perf_counter()
    state = directory / "state"
    parts = []
    with service(state, kept=True, retention=KEPT) as server:
        for number in range(PARTS):
            parts.append(_part(server, sizes.day // PARTS))
            parts[-1].kept = (state / "daggy.db").stat().st_size
            print(f"part {number + 1} of {PARTS}: {parts[-1].said()}", file=sys.stderr, flush=True)
    shutil.rmtree(state)
    told = f"{sizes.day:,} runs of 3 in {time.perf_counter() - began:.0f} s; load {load():.1f}"
    early, late = parts[1], parts[-1]
    yield (
        "day.memory",
        Measured(late.resident / early.resident, f"{early.resident / 1e6:.0f}…{late.resident / 1e6:.0f} MB; {told}"),
    )
    yield "day.submit", _compared([one.submits for one in parts])
    yield "day.list", _compared([one.lists for one in parts])


def _part(server: Service, count: int) -> Part:
    part = Part()
    left = iter(range(count))
    spec = specs.placed(specs.small(3))

    def submit() -> None:
        with server.asking() as asker:
            for number in left:
                began = time.perf_counter()
                asker.submit(spec)
                part.submits.append(time.perf_counter() - began)
                if number % LIST_EACH == 0:
                    part.lists.append(asker.timed("/runs?limit=100"))

    with ThreadPoolExecutor(CLIENTS) as clients:
        for done in [clients.submit(submit) for _ in range(CLIENTS)]:
            done.result()
    part.resident = resident(process=str(server.process.pid))
    return part


def _compared(parts: Sequence[Sequence[float]]) -> Measured:
    """Return the median of the last part over that of the second."""
    medians = [quantile(each, 0.5) for each in parts]
    shown = ", ".join(f"{quantile(each, 0.99) * 1e3:.0f}" for each in parts)
    told = f"p50 {medians[1] * 1e3:.1f}…{medians[-1] * 1e3:.1f} ms; p99 of each part, ms: {shown}"
    return Measured(medians[-1] / medians[1], told)
