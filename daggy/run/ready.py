"""Queues of ready tasks, one for each block and policy: choosing the next launch costs by the number of queues."""

from __future__ import annotations

from array import array
from collections import deque

import numpy as np
from attrs import define, field

from daggy.run.indexes import Where
from daggy.spec.model import Policy


class Fifo:
    """A queue of task indexes. Entries may be stale (the task has moved on), so the caller checks the state."""

    __slots__ = ("_head", "_items", "_ranges")

    def __init__(self) -> None:
        """Start empty."""
        self._items = array("I")
        self._head = 0
        self._ranges: deque[list[int]] = deque()  # [start, stop]

    def __len__(self) -> int:
        """Return how many entries there are, stale ones included."""
        return len(self._items) - self._head + sum(stop - start for start, stop in self._ranges)

    def __bool__(self) -> bool:
        """Return whether any entry is left."""
        return len(self._items) > self._head or bool(self._ranges)

    def push(self, index: int) -> None:
        """Add one task."""
        self._items.append(index)

    def push_many(self, where: Where) -> None:
        """Add tasks in this order; a slice costs as much as one task."""
        if not isinstance(where, slice):
            self._items.frombytes(where.astype(np.uint32).tobytes())
            return
        start, stop = where.start, where.stop
        if self._ranges and self._ranges[-1][1] == start:
            self._ranges[-1][1] = stop
        else:
            self._ranges.append([start, stop])

    def take_one(self) -> int:
        """Take the next entry; -1 if there is none."""
        head, items = self._head, self._items
        if head < len(items):
            index = items[head]
            self._head = head = head + 1
            if head > 4096 and head * 2 > len(items):
                self._compact()
            return index
        if not self._ranges:
            return -1
        first = self._ranges[0]
        index = first[0]
        first[0] = index + 1
        if first[0] == first[1]:
            self._ranges.popleft()
        return index

    def take(self, most: int) -> Where:
        """Take up to `most` entries: as many as can be returned in one piece."""
        if self._head < len(self._items):
            taken = np.frombuffer(self._items[self._head : self._head + most], np.uint32).astype(np.int64)
            self._head += len(taken)
            if self._head * 2 > len(self._items):
                self._compact()
            return taken
        if not self._ranges:
            return np.empty(0, np.int64)
        first = self._ranges[0]
        start, stop = first
        if start + most < stop:
            first[0] = stop = start + most
        else:
            self._ranges.popleft()
        return slice(start, stop)

    def clear(self) -> None:
        """Forget all entries."""
        self._items = array("I")
        self._head = 0
        self._ranges.clear()

    def _compact(self) -> None:
        """Free the memory of entries that were taken; amortised, each entry is moved at most once."""
        del self._items[: self._head]
        self._head = 0


@define(eq=False)
class ReadyQueue:
    """Ready tasks of one block and policy.

    Args:
        number: Position among the run's queues.
        block: The block's number.
        policy: Their policy.
        depth: Length of the longest path of blocks above it; of equal priority the deeper goes first.
        tasks: The ready ones, in the order in which they became ready; may hold stale entries.
        in_flight: How many of its tasks are handed out or running.
    """

    number: int
    block: int
    policy: Policy
    depth: int
    tasks: Fifo = field(factory=Fifo)
    in_flight: int = 0

    @property
    def room(self) -> int:
        """Return how many more may be handed out under `max_parallel`."""
        most = self.policy.max_parallel
        return 1 << 30 if most is None else max(0, most - self.in_flight)
