"""Translates indexes of one version of a plan to those of another, block by block."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from daggy.plan.blocks import Axis, Block, Indexes, same_values
from daggy.plan.lookup import Lookup, chunks, lookup
from daggy.plan.plans import Plan
from daggy.plan.rows import Rows, all_of, rows_of
from daggy.spec.model import Values
from daggy.spec.texts import rows_by_name


@frozen(eq=False)
class RowTranslation:
    """Rows of one explicit block by name: `table` gives the index in the other one by row, -1: not there."""

    source: Block
    target: Block
    table: Indexes

    def of(self, indexes: Indexes) -> Indexes:
        """Return the indexes in the other version, -1 where there is none."""
        return self.table[indexes - self.source.start]

    def of_range(self, start: int, stop: int) -> Indexes:
        """Return the indexes in the other version of a range of these, -1 where there is none."""
        return self.table[start - self.source.start : stop - self.source.start]

    def common(self) -> int:
        """Return how many tasks both versions have."""
        return int(np.count_nonzero(self.table >= 0))


@frozen(eq=False)
class FoundValues:
    """Positions on an axis by each of its parameters, which have to agree.

    `members` gives for each parameter the axis of the source that it is on, and where its values are.
    """

    members: tuple[tuple[int, Lookup], ...]

    @property
    def same(self) -> bool:
        """Return whether all values stand where they stand on the source's axis."""
        return all(found.same for _, found in self.members)

    @property
    def axes(self) -> set[int]:
        """Return the axes of the source that are looked at."""
        return {axis for axis, _ in self.members}

    def find(self, digits: Mapping[int, Indexes]) -> Indexes:
        """Return the positions for positions on axes of the source, -1 where there is none."""
        (axis, first), *others = self.members
        positions = first.find(digits[axis])
        for axis, found in others:
            positions = np.where(found.find(digits[axis]) == positions, positions, -1)
        return positions


@frozen(eq=False)
class FoundRows:
    """Positions on an axis of rows, by the values of all its parameters together.

    Args:
        rows: What is there.
        places: Position on the axis by number of a row; -1 at the end.
        members: For each parameter the axis of the source that it is on, and its values there.
        same: Whether all values stand where they stand on the source's axis.
    """

    rows: Rows
    places: NDArray[np.int32]
    members: tuple[tuple[int, Values], ...]
    same: bool

    @property
    def axes(self) -> set[int]:
        """Return the axes of the source that are looked at."""
        return {axis for axis, _ in self.members}

    def find(self, digits: Mapping[int, Indexes]) -> Indexes:
        """Return the positions for positions on axes of the source, -1 where there is none."""
        numbers = self.rows.find([(values, digits[axis]) for axis, values in self.members])
        return self.places[numbers].astype(np.int64)


@frozen(eq=False)
class AxisTranslation:
    """Tasks of one product block by their values.

    Args:
        source: The block in this version.
        target: The block in the other.
        columns: For each axis of the target, how positions on it are found.
    """

    source: Block
    target: Block
    columns: tuple[FoundValues | FoundRows, ...]

    @property
    def shift(self) -> int | None:
        """Return the distance of the two blocks if all tasks stand in the same order in both."""
        same = all(column.same for column in self.columns)
        alike = [axis.names for axis in self.source.axes] == [axis.names for axis in self.target.axes]
        return self.target.start - self.source.start if same and alike else None

    def of(self, indexes: Indexes) -> Indexes:
        """Return the indexes in the other version, -1 where there is none."""
        if self.shift is not None:
            return indexes + self.shift
        digits = dict(enumerate(self.source.digits(indexes)))
        made = np.full(len(indexes), self.target.start, dtype=np.int64)
        missing = np.zeros(len(indexes), dtype=np.bool_)
        for column, stride in zip(self.columns, self.target.strides, strict=True):
            position = column.find(digits)
            missing |= position < 0
            made += position * stride
        made[missing] = -1
        return made

    def of_range(self, start: int, stop: int) -> slice | Indexes:
        """Return the indexes in the other version of a range of these, -1 where there is none."""
        if self.shift is not None:
            return slice(start + self.shift, stop + self.shift)
        return self.of(np.arange(start, stop, dtype=np.int64))

    def common(self) -> int:
        """Return how many tasks both versions have."""
        if self.shift is not None:
            return self.source.size
        if all(len(column.axes) == 1 for column in self.columns) and len(self.source.axes) == len(self.target.axes):
            return math.prod(_common(column, self.source) for column in self.columns)
        start = self.source.start
        return sum(int(np.count_nonzero(self.of(part + start) >= 0)) for part in chunks(self.source.size))


def _common(column: FoundValues | FoundRows, source: Block) -> int:
    """Return how many positions of one axis both versions have."""
    (axis,) = column.axes
    return sum(int(np.count_nonzero(column.find({axis: part}) >= 0)) for part in chunks(source.sizes[axis]))


Translation = RowTranslation | AxisTranslation


def translation(source: Block, target: Block) -> Translation | None:
    """Return how tasks of one block are found in another of the same name, None if names differ for all."""
    if source.explicit:
        table = rows_by_name(source.rows, target.rows)
        return RowTranslation(source, target, np.where(table >= 0, table + target.start, -1))
    if {name for name, _, _ in source.columns} != {name for name, _, _ in target.columns}:
        return None
    values = {name: (axis, found) for name, axis, found in source.columns}
    return AxisTranslation(source, target, tuple(_found(source, axis, values) for axis in target.axes))


def _found(source: Block, axis: Axis, values: Mapping[str, tuple[int, Values]]) -> FoundValues | FoundRows:
    members = tuple(values[name] for name in axis.names)
    if len(members) == 1 or not axis.picked:
        pairs = zip(members, axis.values, strict=True)
        return FoundValues(tuple((place, lookup(mine, theirs)) for (place, mine), theirs in pairs))
    first = source.axes[members[0][0]]
    same = first.names == axis.names and all(map(same_values, first.values, axis.values))
    rows, numbers = rows_of(all_of(axis))
    places = np.full(len(rows) + 1, -1, dtype=np.int32)
    places[numbers] = np.arange(len(numbers), dtype=np.int32)
    return FoundRows(rows, places, members, same)


def partner(plan: Plan, other: Plan, block: Block) -> Block | None:
    """Return the block of another version that holds the same templates, if there is one.

    A block whose generator has given a new answer has none: names no longer refer to it.
    """
    mine, theirs = plan.scopes.get(block.scope), other.scopes.get(block.scope)
    if mine is None or theirs is None:
        return None
    return theirs.partner(block) if mine.partner(block) is block else None


def translate(plan: Plan, by_block: Sequence[Translation | None], indexes: Indexes) -> Indexes:
    """Return the indexes of tasks of `plan` in the other version, -1 where they are not there."""
    made = np.full(len(indexes), -1, dtype=np.int64)
    indexes = present(plan, indexes)
    numbers = _numbers(plan, indexes)
    for number in np.flatnonzero(np.bincount(numbers[numbers >= 0])).tolist():
        found = by_block[number]
        if found is not None:
            mine = numbers == number
            made[mine] = found.of(indexes[mine])
    return made


def _numbers(plan: Plan, indexes: Indexes) -> NDArray[np.intp]:
    """Return the number of the block that each task is in, -1 for the index -1."""
    return np.searchsorted(plan.starts, indexes, side="right") - 1


def present(plan: Plan, indexes: Indexes) -> Indexes:
    """Return where tasks are after all answers of their generators; -1 for those that a later answer left out, and
    for -1.
    """
    if not plan.replaced or not len(indexes):
        return indexes
    replaced = np.fromiter(plan.replaced, np.int64, len(plan.replaced))
    while True:
        numbers = _numbers(plan, indexes)
        is_earlier = np.isin(numbers, replaced)
        if not is_earlier.any():
            return indexes
        indexes = indexes.copy()
        for number in np.unique(numbers[is_earlier]).tolist():
            mine, found = numbers == number, plan.replaced[number]
            indexes[mine] = -1 if found is None else found.of(indexes[mine])


def earlier(plan: Plan, index: int) -> Iterator[int]:
    """Yield the indexes that a task had in earlier answers of its generator, the last first."""
    sources = {found.target.number: number for number, found in plan.replaced.items() if found is not None}
    while index >= 0 and (number := sources.get(plan.block_of(index).number)) is not None:
        index = _index_in(plan.block_of(index), plan.blocks[number], index)
        if index >= 0:
            yield index


def _index_in(block: Block, other: Block, index: int) -> int:
    """Return the index of a task of one block in another of its name, -1 if it is not there."""
    if block.explicit:
        row = other.rows.get(block.template(index).name, -1)
        return other.start + row if row >= 0 else -1
    found = translation(block, other)
    return -1 if found is None else int(found.of(np.array([index], np.int64))[0])
