"""How far a run is, how fast it goes, and how long it will take."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

from daggy.cli import text

WINDOW = 10.0
"""Seconds over which the rate is measured."""

UNENDED = ("waiting", "queued", "running")
"""States of tasks that have not ended."""


class Pace:
    """How fast tasks end, and when all will have."""

    def __init__(self, finished: int, now: float) -> None:
        """Begin with what had ended before."""
        self._samples = deque([(now, finished)])

    def take(self, finished: int, now: float) -> float:
        """Take note of how many have ended; return tasks a second over the last few seconds."""
        self._samples.append((now, finished))
        while len(self._samples) > 2 and now - self._samples[1][0] >= WINDOW:
            self._samples.popleft()
        before, had = self._samples[0]
        return max(0.0, (finished - had) / (now - before)) if now > before else 0.0


def progress(counts: Mapping[str, int]) -> tuple[int, int]:
    """Return how many tasks have ended, and how many there are as far as is known."""
    total = sum(counts.values())
    return total - sum(counts[state] for state in UNENDED), total


def headline(counts: Mapping[str, int], rate: float) -> str:
    """Return in one line how far a run is, how fast it goes and how long it will take."""
    ended, total = progress(counts)
    pace = f"{rate:,.0f}" if rate >= 10 else f"{rate:.1f}"
    said = f"{ended:,} of {total:,} tasks, {pace}/s"
    return f"{said}, {text.duration((total - ended) / rate)} left" if rate > 0 and total > ended else said
