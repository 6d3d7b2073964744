"""Rows of the reducer and its ledger alone: no engine, no executor, no tracker."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tests.bench.goals import Measured
from tests.bench.sizes import Sizes


def drains(sizes: Sizes, _: Path) -> Iterator[tuple[str, Measured]]:
    """Measure the drain of a diamond in batches of three sizes."""
    for batch in (10_000, 100, 1):
        yield f"drain.{batch}", Measured(None, "tests/bench/drain.py is not there")
