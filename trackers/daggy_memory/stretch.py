"""Attempts of one run in the order in which they ended, as few arrays and without copies where they are adjacent."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping

import numpy as np

from daggy.tracker import ATTEMPT, Attempts, Rows

CHUNK = 4096
"""Rows in a chunk of our own, for batches that are not views of the ledger's."""
LARGE = 256
"""Rows of a batch that is not a view but large enough to be kept as it is."""


class Stretch:
    """A contiguous piece of one chunk of rows, all of one version.

    `chunk` is a one-dimensional array of ATTEMPT; `start` and `stop` are positions in it; `messages` and
    `results` are by position in the stretch.
    """

    __slots__ = ("address", "chunk", "messages", "results", "start", "stop", "version")

    def __init__(self, version: int, chunk: Rows, address: int, start: int, stop: int) -> None:
        """Begin with rows `start` to `stop` of a chunk that lies at `address`."""
        self.version = version
        self.chunk = chunk
        self.address = address
        self.start = start
        self.stop = stop
        self.messages: dict[int, str] = {}
        self.results: dict[int, str] = {}

    def __len__(self) -> int:
        """Return the number of rows."""
        return self.stop - self.start

    def attempts(self, run: int, first: int, last: int) -> Attempts:
        """Return rows `first` to `last` of the stretch as a view, with their texts."""
        rows = self.chunk[self.start + first : self.start + last]
        messages, results = (_between(texts, first, last) for texts in (self.messages, self.results))
        return Attempts(run, self.version, rows, messages, results)

    def chosen(self, run: int, positions: np.ndarray[tuple[int], np.dtype[np.int64]]) -> Attempts:
        """Return the rows at these positions of the stretch, copied, with their texts."""
        rows = self.chunk[self.start : self.stop][positions]
        places = list(enumerate(positions.tolist()))
        messages, results = ({n: texts[p] for n, p in places if p in texts} for texts in (self.messages, self.results))
        return Attempts(run, self.version, rows, messages, results)


class Stretches:
    """All attempts of one run. Appending costs by the batch, reading a page costs by the page."""

    def __init__(self) -> None:
        """Begin empty."""
        self.count = 0
        self._stretches: list[Stretch] = []
        self._ends: list[int] = []  # of each stretch, counted from the run's first attempt
        self._spare = np.zeros(0, ATTEMPT)
        self._used = 0

    def append(self, batch: Attempts, *, fresh: bool) -> bool:
        """Keep a batch; return whether it began a new stretch (always if `fresh`)."""
        rows = batch.rows
        chunk = _chunk(rows)
        if chunk is None:
            rows, chunk = self._own(rows)
        last = self._stretches[-1] if self._stretches and not fresh else None
        address = last.address if last is not None and last.chunk is chunk else chunk.ctypes.data
        start = (rows.ctypes.data - address) // ATTEMPT.itemsize
        joined = last is not None and last.chunk is chunk and last.stop == start and last.version == batch.version
        if last is None or not joined:
            last = Stretch(batch.version, chunk, address, start, start)
            self._stretches.append(last)
            self._ends.append(self.count)
        before = len(last)
        for texts, more in ((last.messages, batch.messages), (last.results, batch.results)):
            texts.update((before + place, text) for place, text in more.items())
        last.stop += len(rows)
        self.count += len(rows)
        self._ends[-1] = self.count
        return not joined

    @property
    def last(self) -> int:
        """Return the number of the last stretch."""
        return len(self._stretches) - 1

    def stretch(self, number: int) -> Stretch:
        """Return the stretch of this number, from 0."""
        return self._stretches[number]

    def page(self, run: int, after: int, limit: int) -> Iterator[Attempts]:
        """Return `limit` attempts at most, after the first `after`."""
        number = bisect_right(self._ends, after)
        left = limit
        while left > 0 and number < len(self._stretches):
            stretch = self._stretches[number]
            first = max(0, after - (self._ends[number] - len(stretch)))
            last = min(len(stretch), first + left)
            yield stretch.attempts(run, first, last)
            left -= last - first
            number += 1

    def page_of(self, run: int, index: int, after: int, limit: int) -> Iterator[Attempts]:
        """Return `limit` attempts of one task at most, after the first `after` of its attempts."""
        for stretch in self._stretches:
            if limit <= 0:
                return
            found = np.flatnonzero(stretch.chunk["index"][stretch.start : stretch.stop] == index)
            wanted = found[after : after + limit]
            after = max(0, after - len(found))
            limit -= len(wanted)
            if len(wanted):
                yield stretch.chosen(run, wanted)

    def _own(self, rows: Rows) -> tuple[Rows, Rows]:
        """Copy rows that are not a view to a chunk of ours; return the copy and its chunk."""
        if len(rows) > len(self._spare) - self._used:
            self._spare = np.zeros(max(CHUNK, len(rows)), ATTEMPT)
            self._used = 0
        begin = self._used
        self._used += len(rows)
        copy = self._spare[begin : self._used]
        copy[:] = rows
        return copy, self._spare


def _chunk(rows: Rows) -> Rows | None:
    """Return the array that rows are a part of, or None if they are to be copied."""
    if not rows.flags.c_contiguous:
        return None
    base: object = rows.base
    if base is None:
        return rows if len(rows) >= LARGE else None
    return base if isinstance(base, np.ndarray) and base.dtype == ATTEMPT and base.ndim == 1 else None


def _between(texts: Mapping[int, str], first: int, last: int) -> dict[int, str]:
    if len(texts) < last - first:
        return {place - first: text for place, text in texts.items() if first <= place < last}
    return {place - first: texts[place] for place in range(first, last) if place in texts}
