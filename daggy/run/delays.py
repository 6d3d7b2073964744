"""Tasks between retries: buckets of 50 ms, so that a million delayed tasks are a few lists and one timer."""

from __future__ import annotations

import heapq
import math

WIDTH = 0.05
"""Seconds of a bucket."""


class Delays:
    """When each delayed task becomes ready, on the steady clock. Entries may be stale, as in a ready queue."""

    __slots__ = ("_buckets", "_heap", "due_of")

    def __init__(self) -> None:
        """Start empty."""
        self._buckets: dict[int, list[int]] = {}
        self._heap: list[int] = []
        self.due_of: dict[int, float] = {}

    def add(self, index: int, due: float) -> None:
        """Delay a task until `due`, rounded up to a bucket."""
        number = math.ceil(due / WIDTH)
        bucket = self._buckets.get(number)
        if bucket is None:
            bucket = self._buckets[number] = []
            heapq.heappush(self._heap, number)
        bucket.append(index)
        self.due_of[index] = number * WIDTH

    def next_due(self) -> float | None:
        """Return when the first bucket is due; None if there is none."""
        return self._heap[0] * WIDTH if self._heap else None

    def take_due(self, now: float) -> list[int]:
        """Remove and return all tasks that are due."""
        due: list[int] = []
        while self._heap and self._heap[0] * WIDTH <= now:
            number = heapq.heappop(self._heap)
            for index in self._buckets.pop(number):
                if self.due_of.get(index) == number * WIDTH:  # otherwise it has been delayed again
                    del self.due_of[index]
                    due.append(index)
        return due

    def clear(self) -> None:
        """Forget all delayed tasks."""
        self._buckets.clear()
        self._heap.clear()
        self.due_of.clear()
