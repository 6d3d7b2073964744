"""Gates between two product blocks that agree on some parameters: one for each combination of the shared values."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from daggy.plan.blocks import Block, Indexes
from daggy.plan.gates import GateArray, Marked
from daggy.plan.lookup import Lookup

_KEPT = 4096  # offsets of so many tasks are kept with the array; more are made when asked for


@frozen
class Span:
    """Adjacent axes read as one digit, and the value of one step of it on the other side.

    Args:
        stride: Distance of two neighbours in the number that is read.
        size: Number of positions; 0 if the digit is the leading one, so that no remainder need be taken.
        step: What one position adds to the number that is made.
        table: Translates the position first; None if it stays as it is.
    """

    stride: int
    size: int
    step: int
    table: Lookup | None = None

    def read(self, offset: int) -> int:
        """Return what this digit of `offset` adds, -1 if its value is missing on the other side."""
        digit = offset // self.stride
        if self.size:
            digit %= self.size
        if self.table is not None:
            digit = self.table.one(digit)
            if digit < 0:
                return -1
        return digit * self.step

    def digits(self, offsets: Indexes) -> Indexes:
        """Return this digit of each offset, translated; -1 where its value is missing."""
        digits = offsets // self.stride if self.stride > 1 else offsets
        if self.size:
            # Division by a constant is vectorised in numpy, the remainder is not.
            digits = digits - digits // self.size * self.size
        return digits if self.table is None else self.table.find(digits)


Spans = tuple[Span, ...]


@frozen(eq=False)
class Rest:
    """The offsets of all combinations of the unmatched axes.

    Args:
        spans: (stride, size) of each run of such axes.
        kept: The offsets, ascending, if they are few.
    """

    spans: tuple[tuple[int, int], ...]
    kept: Indexes | None

    @property
    def size(self) -> int:
        """Return the number of combinations."""
        return math.prod(size for _, size in self.spans)

    def offsets(self) -> Indexes:
        """Return the offsets, ascending."""
        return _offsets(self.spans) if self.kept is None else self.kept

    def around(self, base: int) -> Sequence[int]:
        """Return the offsets added to `base`, as a range where they are one."""
        if not self.spans:
            return (base,)
        if len(self.spans) == 1:
            stride, size = self.spans[0]
            return range(base, base + size * stride, stride)
        listed: list[int] = (self.offsets() + base).tolist()
        return listed


def _offsets(spans: tuple[tuple[int, int], ...]) -> Indexes:
    offsets = np.zeros(1, dtype=np.int64)
    for stride, size in spans:
        offsets = (offsets[:, None] + np.arange(0, size * stride, stride, dtype=np.int64)).ravel()
    return offsets


def rest(spans: tuple[tuple[int, int], ...]) -> Rest:
    """Return the rest of a block, its offsets made at once if they are few."""
    small = math.prod(size for _, size in spans) <= _KEPT
    return Rest(spans, _offsets(spans) if small else None)


@frozen(eq=False)
class MatchedGates(GateArray):
    """A child waits for the parents that have its own values of the matched parameters.

    Gates are numbered by the child's positions on the matched axes, the last fastest.

    Args:
        child: The children's block.
        feeds: From a parent's offset to its gate.
        waits: From a child's offset to its gate.
        back: From a gate to the offset of its first parent.
        ahead: From a gate to the offset of its first child.
        others: The parents of one gate, from the first.
        fan: The children of one gate, from the first.
        partial: Whether some parents feed nothing.
        folds: For `counts`: the size of each run of parent axes, and whether it is matched.
        tables: For `counts`: for each matched axis, in order, where the child's values are among the parent's.
    """

    child: Block
    feeds: Spans
    waits: Spans
    back: Spans
    ahead: Spans
    others: Rest
    fan: Rest
    partial: bool
    folds: tuple[tuple[int, bool], ...]
    tables: tuple[Lookup | None, ...]
    gate_count: int

    @property
    def size(self) -> int:
        """Return the number of combinations of matched values."""
        return self.gate_count

    @property
    def total(self) -> int:
        """Return the number of combinations of the parent's other values."""
        return self.others.size

    @property
    def targets(self) -> tuple[int, ...]:
        """Return the number of the children's block."""
        return (self.child.number,)

    def gates(self, indexes: Indexes) -> Indexes:
        """Return the gates that these parents feed, without those whose values no child has."""
        return _translate(self.feeds, indexes - self.parent.start, self.partial)

    def gates_of(self, index: int) -> Sequence[int]:
        """Return the one gate that a parent feeds, or none."""
        gate = _read(self.feeds, index - self.parent.start)
        return (gate,) if gate >= 0 else ()

    def children(self, gates: Indexes) -> Indexes:
        """Return the children behind these gates, gate by gate."""
        first = _translate(self.ahead, gates, False) + self.child.start
        return (first[:, None] + self.fan.offsets()).ravel() if self.fan.spans else first

    def children_of(self, gate: int) -> Sequence[int]:
        """Return the children behind one gate."""
        return self.fan.around(_read(self.ahead, gate) + self.child.start)

    def gate_before(self, index: int) -> int:
        """Return the child's gate."""
        inside = self.child.start <= index < self.child.stop
        return _read(self.waits, index - self.child.start) if inside else -1

    def gates_before(self, indexes: Indexes) -> Indexes:
        """Return the gate of each of these children."""
        return _translate(self.waits, indexes - self.child.start, False)

    def parents(self, gate: int) -> Sequence[int]:
        """Return the parents that feed one gate."""
        return self.others.around(_read(self.back, gate) + self.parent.start)

    def counts(self, marked: Marked) -> NDArray[np.int32]:
        """Return the number of marked parents by gate: a sum over the axes that are not matched."""
        summed = tuple(place for place, (_, matched) in enumerate(self.folds) if not matched)
        cube = marked.reshape([size for size, _ in self.folds])
        counts = np.add.reduce(cube, axis=summed, dtype=np.int32) if summed else cube.astype(np.int32)
        for place, table in enumerate(self.tables):
            if table is not None:
                counts = np.take(counts, table.find(np.arange(len(table.here))), axis=place)
        return counts.ravel()

    def edges(self) -> int:
        """Return gates times parents times children of each."""
        return self.gate_count * self.others.size * self.fan.size

    def content(self) -> list[bytes]:
        """Return the translations of positions."""
        return [b"-" if table is None else table.content() for table in self.tables]


def _translate(spans: Spans, offsets: Indexes, partial: bool) -> Indexes:
    """Return the sum of what all spans read; with `partial`, only where no value is missing."""
    made = np.zeros(len(offsets), dtype=np.int64)
    found = np.ones(len(offsets), dtype=np.bool_) if partial else None
    for span in spans:
        digits = span.digits(offsets)
        if found is not None and span.table is not None:
            found &= digits >= 0
        made += digits * span.step if span.step > 1 else digits
    return made if found is None else made[found]


def _read(spans: Spans, offset: int) -> int:
    made = 0
    for span in spans:
        read = span.read(offset)
        if read < 0:
            return -1
        made += read
    return made


@frozen(eq=False)
class EqualGates(GateArray):
    """Task by task: every parent has one child, at the same offset, which waits for it alone."""

    child: Block

    @property
    def size(self) -> int:
        """Return the number of parents."""
        return self.parent.size

    @property
    def total(self) -> int:
        """Return 1."""
        return 1

    @property
    def shift(self) -> int:
        """Return the distance from parent to child."""
        return self.child.start - self.parent.start

    @property
    def targets(self) -> tuple[int, ...]:
        """Return the number of the children's block."""
        return (self.child.number,)

    def gates(self, indexes: Indexes) -> Indexes:
        """Return the parents' offsets."""
        return indexes - self.parent.start

    def gates_of(self, index: int) -> Sequence[int]:
        """Return the parent's offset."""
        return (index - self.parent.start,)

    def children(self, gates: Indexes) -> Indexes:
        """Return the tasks at these offsets."""
        return gates + self.child.start

    def children_of(self, gate: int) -> Sequence[int]:
        """Return the task at this offset."""
        return (gate + self.child.start,)

    def gate_before(self, index: int) -> int:
        """Return the child's offset."""
        return index - self.child.start if self.child.start <= index < self.child.stop else -1

    def gates_before(self, indexes: Indexes) -> Indexes:
        """Return the offset of each of these children."""
        return indexes - self.child.start

    def parents(self, gate: int) -> Sequence[int]:
        """Return the task at this offset."""
        start = self.parent.start + gate
        return range(start, start + 1)

    def counts(self, marked: Marked) -> NDArray[np.int32]:
        """Return the flags as numbers."""
        return marked.astype(np.int32)

    def edges(self) -> int:
        """Return the number of parents."""
        return self.parent.size

    def content(self) -> list[bytes]:
        """Return nothing: it follows from the two blocks."""
        return []
