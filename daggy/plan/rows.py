"""Finds combinations of values of several parameters: each is numbered once, however often it occurs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from attrs import frozen

from daggy.plan.blocks import Axis, Indexes, same_values
from daggy.plan.lookup import Lookup, lookup, missing
from daggy.spec.model import Values
from daggy.spec.parameters import PickedValues

Column = tuple[Values, Indexes]
"""One parameter of many tasks: its values, and which of them each task has."""

_DENSE = 8  # keys below this many times their number are counted, not sorted


@frozen(eq=False)
class Rows:
    """Distinct combinations of values, numbered in the order of the values, the last parameter fastest.

    Args:
        values: Of each parameter, each once.
        steps: For each parameter, what is there, ascending: the number of the combination of those before it, times the
            number of its values, plus the position among them.
    """

    values: tuple[Values, ...]
    steps: tuple[Indexes, ...]

    def __len__(self) -> int:
        """Return the number of combinations."""
        return len(self.steps[-1])

    def find(self, columns: Sequence[Column]) -> Indexes:
        """Return the number of each task's combination, -1 where it is none of these."""
        numbers = np.zeros(len(columns[0][1]), dtype=np.int64)
        for values, step, column in zip(self.values, self.steps, columns, strict=True):
            here, places = once(column)
            found = lookup(here, values).find(places)
            keys = numbers * len(values) + found
            numbers = np.minimum(np.searchsorted(step, keys), len(step) - 1)
            numbers[(step[numbers] != keys) | (found < 0) | (keys < 0)] = -1
        return numbers


def rows_of(columns: Sequence[Column]) -> tuple[Rows, Indexes]:
    """Return the distinct combinations that some tasks have, and the number of each task's."""
    numbers = np.zeros(len(columns[0][1]), dtype=np.int64)
    values, steps = [], []
    for column in columns:
        here, places = once(column)
        step, numbers = _numbered(numbers * len(here) + places)
        values.append(here)
        steps.append(step)
    return Rows(tuple(values), tuple(steps)), numbers


def once(column: Column) -> Column:
    """Return a column as one over values that are there once."""
    values, places = column
    return (values.of, values.places[places].astype(np.int64)) if isinstance(values, PickedValues) else column


def _numbered(keys: Indexes) -> tuple[Indexes, Indexes]:
    """Return the distinct keys, ascending, and the place of each key among them."""
    bound = int(keys.max(initial=0)) + 1
    if bound > _DENSE * len(keys):
        distinct, numbers = np.unique(keys, return_inverse=True)
        return distinct, numbers.astype(np.int64)
    there = np.zeros(bound, dtype=np.bool_)
    there[keys] = True
    return np.flatnonzero(there), (np.cumsum(there) - 1)[keys]


def all_of(axis: Axis) -> list[Column]:
    """Return each parameter of an axis at all its positions."""
    places = np.arange(len(axis), dtype=np.int64)
    return [(values, places) for values in axis.values]


def lookups(here: Axis, there: Axis) -> list[Lookup]:
    """Return how to find positions of an axis in one of the same parameters.

    There is one for each parameter, which have to agree; one for all, if values of `there` repeat.
    """
    if len(there.names) == 1 or not there.picked:
        return [lookup(mine, theirs) for mine, theirs in zip(here.values, there.values, strict=True)]
    if all(map(same_values, here.values, there.values)):
        return [Lookup(here.values[0], there.values[0], True, None)]
    rows, numbers = rows_of(all_of(there))
    place_of = np.full(len(rows) + 1, -1, dtype=np.int32)  # the last stands for what is not found
    place_of[numbers] = np.arange(len(numbers), dtype=np.int32)
    return [Lookup(here.values[0], there.values[0], False, place_of[rows.find(all_of(here))])]


def same_set(here: Axis, there: Axis) -> bool:
    """Return whether two axes have the same values, in whatever order."""
    if here.names != there.names or len(here) != len(there):
        return False
    return not any(len(positions) for positions in missing(lookups(here, there)))
