"""Many texts as a few arrays, and a lookup from name to row without a dictionary of a million names."""

from __future__ import annotations

import sys
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import blake2b

import numpy as np
from attrs import field, frozen
from numpy.typing import NDArray

PIECE = 4096
"""Texts that are compared in one step."""

_WIDTH = 8
"""Bytes of a name's hash."""


@frozen(eq=False)
class Texts:
    """Many byte strings end to end.

    Args:
        blob: All of them, uint8.
        bounds: Where each begins, and where the last one ends: uint32 or uint64, one more than there are.
    """

    blob: NDArray[np.uint8]
    bounds: NDArray[np.unsignedinteger]
    # Views of the same memory that give plain bytes and ints: several times faster than numpy for one text at a time.
    _blob: memoryview = field(init=False, repr=False)
    _bounds: memoryview = field(init=False, repr=False)

    @_blob.default
    def _view_blob(self) -> memoryview:
        return self.blob.data

    @_bounds.default
    def _view_bounds(self) -> memoryview:
        return self.bounds.data

    @classmethod
    def of(cls, parts: Sequence[bytes]) -> Texts:
        """Return these, end to end."""
        lengths = np.fromiter(map(len, parts), np.uint64, len(parts))
        bounds = np.zeros(len(parts) + 1, np.uint64)
        np.cumsum(lengths, out=bounds[1:])
        small = bounds[-1] < 1 << 32
        return cls(np.frombuffer(b"".join(parts), np.uint8), bounds.astype(np.uint32) if small else bounds)

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._bounds) - 1

    def __getitem__(self, place: int) -> bytes:
        """Return one, by its place from 0 on."""
        bounds = self._bounds
        return self._blob[bounds[place] : bounds[place + 1]].tobytes()

    def __iter__(self) -> Iterator[bytes]:
        """Iterate over all."""
        return map(self.__getitem__, range(len(self)))

    def same(self, places: NDArray[np.int64], other: Texts, others: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return which of these texts equal those of another, pair by pair."""
        found = np.zeros(len(places), np.bool_)
        for start in range(0, len(places), PIECE):
            piece = slice(start, start + PIECE)
            found[piece] = _same(self, places[piece], other, others[piece])
        return found


def _same(one: Texts, places: NDArray[np.int64], other: Texts, others: NDArray[np.int64]) -> NDArray[np.bool_]:
    begin, at = one.bounds[places].astype(np.int64), other.bounds[others].astype(np.int64)
    lengths = one.bounds[places + 1].astype(np.int64) - begin
    alike: NDArray[np.bool_] = lengths == other.bounds[others + 1].astype(np.int64) - at
    if alike.all() and _in_a_row(places) and _in_a_row(others):  # most texts of two versions stand in the same order
        size = int(lengths.sum())
        if np.array_equal(one.blob[begin[0] : begin[0] + size], other.blob[at[0] : at[0] + size]):
            return alike
    for place in np.flatnonzero(alike).tolist():
        size = int(lengths[place])
        mine, theirs = int(begin[place]), int(at[place])
        alike[place] = one._blob[mine : mine + size] == other._blob[theirs : theirs + size]  # noqa: SLF001  # its own class
    return alike


def _in_a_row(places: NDArray[np.int64]) -> bool:
    return bool((np.diff(places) == 1).all())


@frozen(eq=False)
class PackedNames(Mapping[str, int]):
    """Row by name.

    Args:
        texts: Names by row, UTF-8, all different.
        order: Rows in the order of their names' hashes.
        hashes: Those hashes, ascending, uint64.
    """

    texts: Texts
    order: NDArray[np.uint32]
    hashes: NDArray[np.uint64]
    _order: memoryview = field(init=False, repr=False)
    _hashes: memoryview = field(init=False, repr=False)

    @_order.default
    def _view_order(self) -> memoryview:
        return self.order.data

    @_hashes.default
    def _view_hashes(self) -> memoryview:
        return self.hashes.data

    @classmethod
    def of(cls, names: Iterable[str]) -> PackedNames:
        """Return the rows of these names, which are all different."""
        parts = [name.encode() for name in names]
        hashes = np.frombuffer(b"".join([blake2b(part, digest_size=_WIDTH).digest() for part in parts]), np.uint64)
        order = np.argsort(hashes, kind="stable").astype(np.uint32)
        return cls(Texts.of(parts), order, hashes[order])

    def __len__(self) -> int:
        """Return how many names there are."""
        return len(self.order)

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names, by row."""
        return map(bytes.decode, self.texts)

    def __getitem__(self, name: str) -> int:
        """Return the row of a name.

        Raises:
            KeyError: there is none.
        """
        row = self.find(name)
        if row < 0:
            raise KeyError(name)
        return row

    def find(self, name: str) -> int:
        """Return the row of a name, or -1."""
        try:
            written = name.encode()
        except UnicodeEncodeError:
            return -1
        wanted = int.from_bytes(blake2b(written, digest_size=_WIDTH).digest(), sys.byteorder)
        hashes, order = self._hashes, self._order
        place = bisect_left(hashes, wanted)
        while place < len(hashes) and hashes[place] == wanted:
            row: int = order[place]
            if self.texts[row] == written:
                return row
            place += 1
        return -1

    def rows_of(self, other: PackedNames) -> NDArray[np.int64]:
        """Return for each row of another the row of the same name here, or -1."""
        places = np.searchsorted(self.hashes, other.hashes)
        places[places == len(self)] = 0
        near = np.flatnonzero(self.hashes[places] == other.hashes) if len(self) else np.zeros(0, np.int64)
        theirs = other.order[near].astype(np.int64)
        mine = self.order[places[near]].astype(np.int64)
        by_row = np.argsort(theirs)
        theirs, mine = theirs[by_row], mine[by_row]
        for place in np.flatnonzero(~self.texts.same(mine, other.texts, theirs)).tolist():  # two names, one hash
            mine[place] = self.find(other.texts[int(theirs[place])].decode())
        rows = np.full(len(other), -1, np.int64)
        rows[theirs] = mine
        return rows


def rows_by_name(names: Mapping[str, int], others: Mapping[str, int]) -> NDArray[np.int64]:
    """Return for each of these names, in their order, its row among the others, or -1."""
    if isinstance(names, PackedNames) and isinstance(others, PackedNames):
        return others.rows_of(names)
    return np.fromiter((others.get(name, -1) for name in names), np.int64, len(names))
