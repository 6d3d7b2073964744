"""Texts of some rows of a ledger, such as messages: one piece of memory, not an object each."""

from __future__ import annotations

from array import array
from bisect import bisect_left

import numpy as np
from numpy.typing import NDArray


class TextColumn:
    """Texts by the numbers of their rows, which ascend; most rows have none. About 16 bytes beside each text."""

    __slots__ = ("_bytes", "_ends", "_numbers")

    def __init__(self) -> None:
        """Begin without texts."""
        self._numbers = array("Q")
        self._ends = array("Q")
        self._bytes = bytearray()

    @property
    def weight(self) -> int:
        """Return the bytes of all texts."""
        return len(self._bytes)

    def __len__(self) -> int:
        """Return how many rows have one."""
        return len(self._numbers)

    def add(self, number: int, text: str) -> None:
        """Add the text of a row behind all that have one; an empty one is none."""
        if text:
            self._bytes += text.encode("utf-8", "surrogatepass")
            self._numbers.append(number)
            self._ends.append(len(self._bytes))

    def get(self, number: int) -> str:
        """Return the text of a row; empty: it has none."""
        place = bisect_left(self._numbers, number)
        return self._text(place) if place < len(self._numbers) and self._numbers[place] == number else ""

    def written(self, numbers: NDArray[np.int64]) -> list[bytes]:
        """Return the texts of these rows, UTF-8; empty: it has none."""
        if not self._numbers:
            return [b""] * len(numbers)
        own, ends = np.frombuffer(self._numbers, np.uint64), np.frombuffer(self._ends, np.uint64)
        wanted = numbers.astype(np.uint64)
        places = np.minimum(np.searchsorted(own, wanted), len(own) - 1)
        begins = np.where(places > 0, ends[places - 1], 0)
        bounds = zip(begins.tolist(), ends[places].tolist(), (own[places] == wanted).tolist(), strict=True)
        with memoryview(self._bytes) as texts:
            return [bytes(texts[begin:end]) if is_there else b"" for begin, end, is_there in bounds]

    def between(self, first: int, last: int) -> dict[int, str]:
        """Return the texts of the rows from `first` to before `last`, by position counted from `first`."""
        if not self._numbers:
            return {}
        places = range(bisect_left(self._numbers, first), bisect_left(self._numbers, last))
        return {self._numbers[place] - first: self._text(place) for place in places}

    def _text(self, place: int) -> str:
        begin = self._ends[place - 1] if place else 0
        return self._bytes[begin : self._ends[place]].decode("utf-8", "surrogatepass")
