"""Finds the values of one parameter among those of another: by text, never by position."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from daggy.plan.blocks import Indexes, same_values
from daggy.spec.model import Values
from daggy.spec.packed import PackedValues
from daggy.spec.parameters import PickedValues, RangeValues

_LARGEST = 1 << 62  # numbers of a range beyond this would not fit the arithmetic of arrays
_CHUNK = 1 << 22  # positions looked at together: bounds the memory for an axis of a hundred million


@frozen(eq=False)
class Lookup:
    """Finds values of `here` in `there`. Ranges are calculated, lists are looked up once; neither writes out a range.

    Args:
        here, there: The two, as they are.
        same: Whether they have the same texts in the same order.
        table: Position in `there` of each of `here`, -1 where it is missing; None if calculated, or `same`.
    """

    here: Values
    there: Values
    same: bool
    table: NDArray[np.int32] | None

    def find(self, positions: Indexes) -> Indexes:
        """Return the positions in `there` of the values at these positions of `here`, -1 where they are missing."""
        if self.same:
            return positions
        if self.table is not None:
            return self.table[positions].astype(np.int64)
        here, there = self.here, self.there
        assert isinstance(here, RangeValues)
        assert isinstance(there, RangeValues)
        found, rest = np.divmod(positions * here.step + (here.start - there.start), there.step)
        found[(rest != 0) | (found < 0) | (found >= there.size)] = -1
        return found

    def one(self, position: int) -> int:
        """Return the position in `there` of the value at one position of `here`, -1 if it is missing."""
        if self.same:
            return position
        if self.table is not None:
            return int(self.table[position])
        return self.there.find(self.here.text(position))

    def content(self) -> bytes:
        """Return what a digest covers: the table; what is calculated follows from the axes."""
        return b"" if self.table is None else self.table.astype("<i4").tobytes()

    def surely_all(self) -> bool:
        """Return whether all values are found, as far as that can be told without looking at each."""
        if self.same:
            return True
        here, there = self.here, self.there
        if self.table is not None or not isinstance(here, RangeValues) or not isinstance(there, RangeValues):
            return False
        return here.step % there.step == 0 and self.one(0) >= 0 and self.one(here.size - 1) >= 0


def lookup(here: Values, there: Values) -> Lookup:
    """Return how to find values of one parameter among those of another, which has each once."""
    if same_values(here, there):
        return Lookup(here, there, True, None)
    if isinstance(here, PickedValues):
        return Lookup(here, there, False, lookup(here.of, there).find(here.places.astype(np.int64)).astype(np.int32))
    if isinstance(there, PickedValues):
        inside = lookup(here, there.of).find(np.arange(len(here), dtype=np.int64))
        back = np.full(len(there.of) + 1, -1, dtype=np.int32)  # the last stands for what is not found
        back[there.places] = np.arange(len(there), dtype=np.int32)
        return Lookup(here, there, False, back[inside])
    if isinstance(here, RangeValues) and isinstance(there, RangeValues) and here.places == there.places:
        bounds = (abs(values.start) + abs(values.step) * values.size for values in (here, there))
        if sum(bounds) < _LARGEST:
            return Lookup(here, there, False, None)
    if isinstance(here, PackedValues) and isinstance(there, PackedValues):
        return Lookup(here, there, False, there.names.rows_of(here.names).astype(np.int32))
    size = len(here)
    places = (there.find(here.text(place)) for place in range(size))
    return Lookup(here, there, False, np.fromiter(places, dtype=np.int32, count=size))


def chunks(size: int) -> Iterator[Indexes]:
    """Yield the numbers below `size`, ascending, not all at once."""
    for start in range(0, size, _CHUNK):
        yield np.arange(start, min(size, start + _CHUNK), dtype=np.int64)


def missing(members: list[Lookup]) -> Iterator[Indexes]:
    """Yield, ascending, positions of an axis that the other one lacks: the members of a zip group go together."""
    if len(members) == 1 and members[0].surely_all():
        return
    for positions in chunks(len(members[0].here)):
        first = members[0].find(positions)
        lost = first < 0
        for member in members[1:]:
            lost |= member.find(positions) != first
        yield positions[lost]
