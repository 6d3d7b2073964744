"""What happened to each task of a run: columns of ended attempts, appended, and a pointer to each task's last."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from daggy.attempt import ATTEMPT, Rows, State

CHUNK = 1 << 15
"""Rows of a chunk. Chunks are never moved, so that views of them stay valid for ever."""

SIZE = ATTEMPT.itemsize

_PLAIN = np.dtype(
    {
        "names": ["row", "outcome", "counters"],
        "formats": [f"V{SIZE}", "u1", "<u4"],
        "offsets": [0, 35, 36],
        "itemsize": SIZE,
    }
)
"""ATTEMPT as plain bytes, which are copied several times faster, with the columns that the reducer writes; `counters` are
failures and crashes in one word."""


class Ledger:
    """Ended attempts of one run in the order in which they ended.

    Rows are written once. `pending` of them have not been given to a tracker yet. A row's index belongs to the version
    of the spec that was current when it was appended: `versions` holds (first row, version).
    """

    __slots__ = ("_buffer", "_chunks", "_given", "_plain", "_size", "messages", "versions")

    def __init__(self, version: int = 1) -> None:
        """Start empty."""
        self._chunks: list[Rows] = []
        self._buffer = memoryview(b"")  # the last chunk's bytes
        self._plain = np.empty(0, _PLAIN)  # the last chunk again
        self._size = 0
        self._given = 0
        self.messages: dict[int, str] = {}
        self.versions: list[tuple[int, int]] = [(0, version)]

    def __len__(self) -> int:
        """Return the number of rows."""
        return self._size

    def append(self, rows: Rows) -> int:
        """Add rows of ATTEMPT; return the number of the first."""
        first = self._size
        start = 0
        while start < len(rows):
            offset = self._size % CHUNK
            if offset == 0:
                self._add_chunk()
            count = min(CHUNK - offset, len(rows) - start)
            self._chunks[-1][offset : offset + count] = rows[start : start + count]
            self._size += count
            start += count
        return first

    def append_successes(self, rows: NDArray[np.void]) -> int:
        """Add attempts that completed their tasks, as the plain bytes of ATTEMPT, the columns of the reducer not yet filled.

        Returns:
            The number of the first.
        """
        first = self._size
        start = 0
        while start < len(rows):
            offset = self._size % CHUNK
            if offset == 0:
                self._add_chunk()
            count = min(CHUNK - offset, len(rows) - start)
            fresh = self._plain[offset : offset + count]
            fresh["row"] = rows[start : start + count]
            fresh["outcome"] = State.COMPLETED
            fresh["counters"] = 0
            self._size += count
            start += count
        return first

    def append_bytes(self, row: bytes) -> int:
        """Add one row given as the bytes of ATTEMPT; return its number."""
        number = self._size
        offset = number % CHUNK
        if offset == 0:
            self._add_chunk()
        self._buffer[offset * SIZE : offset * SIZE + SIZE] = row
        self._size = number + 1
        return number

    def _add_chunk(self) -> None:
        chunk = np.empty(CHUNK, ATTEMPT)
        self._chunks.append(chunk)
        self._buffer = chunk.view(np.uint8).data
        self._plain = chunk.view(_PLAIN)

    def row(self, number: int) -> Rows:
        """Return one row, as a zero-dimensional view."""
        return self._chunks[number // CHUNK][number % CHUNK, ...]

    def rows(self, numbers: NDArray[np.int64]) -> Rows:
        """Return copies of these rows, in this order."""
        result = np.empty(len(numbers), ATTEMPT)
        chunk = numbers // CHUNK
        for position in np.unique(chunk):
            chosen = chunk == position
            result[chosen] = self._chunks[position][numbers[chosen] % CHUNK]
        return result

    def pieces(self, start: int, stop: int) -> Iterator[Rows]:
        """Yield views that cover the rows from `start` to `stop`."""
        while start < stop:
            offset = start % CHUNK
            count = min(CHUNK - offset, stop - start)
            yield self._chunks[start // CHUNK][offset : offset + count]
            start += count

    def new_version(self, version: int) -> None:
        """Say that rows from here on have indexes of this version."""
        self.versions.append((self._size, version))

    def take_pending(self) -> Iterator[tuple[int, Rows]]:
        """Yield (number of the first row, view) for what was appended since the last call."""
        first, self._given = self._given, self._size
        for piece in self.pieces(first, self._size):
            yield first, piece
            first += len(piece)

    def mark_given(self) -> None:
        """Say that all rows came from a tracker and need not be given to it."""
        self._given = self._size
