"""What happened to each task of a run: columns of ended attempts, appended, and a pointer to each task's last."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from daggy.attempt import ATTEMPT, Rows, State, Texts
from daggy.run.texts import TextColumn

CHUNK = 1 << 15
"""Rows of a chunk. No row is changed once it is written, so that views of them stay valid."""

FIRST = 1 << 5
"""Rows of the first chunk at the start: most runs are small, and a server holds a thousand of them."""

GROWTH = 8
"""Growth factor of the first chunk when it is full."""

SIZE = ATTEMPT.itemsize

_TAIL_AT = 35
_TAIL = struct.Struct("<BHH")
"""What the reducer writes of a row, from byte `_TAIL_AT`: outcome, failures, crashes."""

_write_tail = _TAIL.pack_into

_COMPLETED = np.frombuffer(_TAIL.pack(State.COMPLETED, 0, 0), f"V{_TAIL.size}")[0]

_PLAIN = np.dtype(
    {"names": ["row", "tail"], "formats": [f"V{SIZE}", f"V{_TAIL.size}"], "offsets": [0, _TAIL_AT], "itemsize": SIZE}
)
"""ATTEMPT as plain bytes, which are copied several times faster than column by column."""


class Ledger:
    """Ended attempts of one run in the order in which they ended.

    Rows are written once. `pending` of them have not been given to a tracker yet. A row's index belongs to the version
    of the spec that was current when it was appended: `versions` holds (first row, version). Results of the rows before
    `dropped` are not here any more.
    """

    __slots__ = (
        "_buffer",
        "_chunks",
        "_given",
        "_room",
        "_rows",
        "_size",
        "_tails",
        "dropped",
        "messages",
        "results",
        "versions",
    )

    def __init__(self, version: int = 1) -> None:
        """Start empty."""
        self._chunks: list[Rows] = []
        self._buffer = memoryview(b"")  # the last chunk's bytes
        self._rows = self._tails = np.empty(0, "V1")  # the last chunk's rows, and what the reducer writes of them
        self._size = self._room = 0
        self._given = 0
        self.messages = TextColumn()
        self.results = TextColumn()
        self.dropped = 0
        self.versions: list[tuple[int, int]] = [(0, version)]

    def __len__(self) -> int:
        """Return the number of rows."""
        return self._size

    def append(self, rows: Rows) -> int:
        """Add rows of ATTEMPT; return the number of the first."""
        first = self._size
        for there, part in self._places(len(rows)):
            self._chunks[-1][there] = rows[part]
        return first

    def append_successes(self, rows: NDArray[np.void]) -> int:
        """Add attempts that completed their tasks, as the plain bytes of ATTEMPT, the columns of the reducer not yet
        filled.

        Returns:
            The number of the first.
        """
        first = self._size
        for there, part in self._places(len(rows)):
            self._rows[there] = rows[part]
            self._tails[there].fill(_COMPLETED)
        return first

    def _places(self, count: int) -> Iterator[tuple[slice, slice]]:
        """Make room for rows; yield the place of each part in the last chunk, and which part it is."""
        start = 0
        while start < count:
            if self._size == self._room:
                self._make_room()
            offset = self._size % CHUNK
            size = min(self._room - self._size, count - start)
            self._size += size
            yield slice(offset, offset + size), slice(start, start + size)
            start += size

    def append_bytes(self, row: bytes, outcome: int, failures: int, crashes: int) -> int:
        """Add one row given as the bytes of ATTEMPT, with the columns that the reducer writes; return its number."""
        number = self._size
        if number == self._room:
            self._make_room()
        buffer, start = self._buffer, number % CHUNK * SIZE
        buffer[start : start + SIZE] = row
        _write_tail(buffer, start + _TAIL_AT, outcome, failures, crashes)
        self._size = number + 1
        return number

    def add_texts(self, number: int, texts: Texts) -> None:
        """Keep what the attempt of a row, the last one that has any, left beside it."""
        self.messages.add(number, texts.message)
        self.results.add(number, texts.result)

    def drop_results(self) -> None:
        """Forget the results of all rows, none of which is pending."""
        self.results, self.dropped = TextColumn(), self._size

    def _make_room(self) -> None:
        """Add a chunk; or make the first one larger, until it is as large as the others."""
        if self._room % CHUNK:
            old = self._chunks.pop()
            chunk = np.empty(min(CHUNK, self._room * GROWTH), ATTEMPT)
            chunk[: len(old)] = old
        else:
            chunk = np.empty(CHUNK if self._chunks else min(CHUNK, FIRST), ATTEMPT)
        self._room = len(self._chunks) * CHUNK + len(chunk)
        self._chunks.append(chunk)
        self._buffer = chunk.view(np.uint8).data
        plain = chunk.view(_PLAIN)
        self._rows, self._tails = plain["row"], plain["tail"]

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
        """Note that further rows have indexes of this version."""
        self.versions.append((self._size, version))

    def take_pending(self) -> Iterator[tuple[int, Rows]]:
        """Yield (number of the first row, view) for what was appended since the last call."""
        first, self._given = self._given, self._size
        for piece in self.pieces(first, self._size):
            yield first, piece
            first += len(piece)

    def mark_given(self) -> None:
        """Note that all rows came from a tracker and need not be given to it."""
        self._given = self._size
