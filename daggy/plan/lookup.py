"""Where the values of one parameter are among those of another: by text, never by position."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from daggy.plan.blocks import Axis, Indexes, same_values
from daggy.spec.model import Values
from daggy.spec.parameters import RangeValues

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


def lookup(here: Values, there: Values) -> Lookup:
    """Return how to find values of one parameter among those of another."""
    if same_values(here, there):
        return Lookup(here, there, True, None)
    if isinstance(here, RangeValues) and isinstance(there, RangeValues) and here.places == there.places:
        bounds = (abs(values.start) + abs(values.step) * values.size for values in (here, there))
        if sum(bounds) < _LARGEST:
            return Lookup(here, there, False, None)
    size = len(here)
    places = (there.find(here.text(place)) for place in range(size))
    return Lookup(here, there, False, np.fromiter(places, dtype=np.int32, count=size))


def chunks(size: int) -> Iterator[Indexes]:
    """Yield the numbers below `size`, ascending, not all at once."""
    for start in range(0, size, _CHUNK):
        yield np.arange(start, min(size, start + _CHUNK), dtype=np.int64)


def find_axis(here: Axis, there: Axis) -> NDArray[np.int32] | None:
    """Return the position on `there` of each position on `here`, -1 where it is missing; None if all are the same.

    Both have the same parameters. The members of a zip group must be found together.
    """
    members = [lookup(mine, theirs) for mine, theirs in zip(here.values, there.values, strict=True)]
    if all(member.same for member in members):
        return None
    found = np.empty(len(here), dtype=np.int32)
    for positions in chunks(len(here)):
        first = members[0].find(positions)
        for member in members[1:]:
            first = np.where(member.find(positions) == first, first, -1)
        found[positions] = first
    return found


def same_set(here: Axis, there: Axis) -> bool:
    """Return whether two axes have the same values, in whatever order."""
    if here.names != there.names or len(here) != len(there):
        return False
    members = [lookup(mine, theirs) for mine, theirs in zip(here.values, there.values, strict=True)]
    ends = np.array([0, len(here) - 1], dtype=np.int64)
    return all(_all_found(members, positions) for positions in (ends, *chunks(len(here))))


def _all_found(members: list[Lookup], positions: Indexes) -> bool:
    first = members[0].find(positions)
    return bool((first >= 0).all()) and all(np.array_equal(member.find(positions), first) for member in members[1:])
