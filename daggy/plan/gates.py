# ruff: noqa: ARG002  # where there is one gate, it is the answer to whatever is asked
"""Gates: what tasks wait behind, and the array of gates of one dependency between two blocks."""

from __future__ import annotations

import abc
from collections.abc import Sequence

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from daggy.errors import InternalError
from daggy.plan.blocks import Block, Indexes
from daggy.spec.model import On

Marked = NDArray[np.bool_]
"""One flag for each task of a block."""


@frozen(eq=False)
class GateArray(abc.ABC):
    """One dependency between two blocks; between an explicit one and several, all of one condition.

    Tasks are named by their index in the run, gates by their number from 0 to `size` in this array.

    Args:
        number: Position in `plan.arrays`.
        parent: The block whose tasks are counted.
        on: What is counted: parents that completed, or that ended.
        match: The parameters on which parent and child agree, sorted; empty if every child waits for all.
    """

    number: int
    parent: Block
    on: On
    match: tuple[str, ...]

    @property
    def source(self) -> int:
        """Return the number of the parents' block."""
        return self.parent.number

    @property
    @abc.abstractmethod
    def size(self) -> int:
        """Return the number of gates."""

    @property
    @abc.abstractmethod
    def total(self) -> int | NDArray[np.int32]:
        """Return the number of parents of each gate: an int if it is the same for all."""

    @property
    def shift(self) -> int | None:
        """Return how far the only child of each parent is from it, if the array is element by element.

        The gate of parent `i` is then `i - parent.start`, and its total is 1.
        """
        return None

    @property
    @abc.abstractmethod
    def targets(self) -> tuple[int, ...]:
        """Return the numbers of the children's blocks."""

    @property
    def whole_target(self) -> bool:
        """Return whether all gates of this array open a whole block at once (else none does)."""
        return False

    def whole(self, gate: int) -> int:
        """Return the number of the block that this gate opens at once, or -1."""
        return -1

    @abc.abstractmethod
    def gates(self, indexes: Indexes) -> Indexes:
        """Return the gates that these parents feed, without those that feed none; repeated where several feed one."""

    @abc.abstractmethod
    def gates_of(self, index: int) -> Sequence[int]:
        """Return the gates that one parent feeds."""

    @abc.abstractmethod
    def children(self, gates: Indexes) -> Indexes:
        """Return the tasks behind distinct gates. Not for gates that open a whole block."""

    @abc.abstractmethod
    def children_of(self, gate: int) -> Sequence[int]:
        """Return the tasks behind one gate."""

    @abc.abstractmethod
    def gate_before(self, index: int) -> int:
        """Return the gate that a child waits behind, -1 if none of this array."""

    @abc.abstractmethod
    def parents(self, gate: int) -> Sequence[int] | Indexes:
        """Return the parents that feed one gate: a range, or an array."""

    @abc.abstractmethod
    def counts(self, marked: Marked) -> NDArray[np.int32]:
        """Return how many of the marked parents feed each gate; `marked` has a flag for each task of the source."""

    @abc.abstractmethod
    def edges(self) -> int:
        """Return the number of dependencies from task to task."""

    @abc.abstractmethod
    def content(self) -> list[bytes]:
        """Return what a digest of the plan covers."""


@frozen(eq=False)
class _OneGate(GateArray):
    """A single gate that every task of a product block feeds."""

    @property
    def size(self) -> int:
        return 1

    @property
    def total(self) -> int:
        return self.parent.size

    def gates(self, indexes: Indexes) -> Indexes:
        return np.zeros(len(indexes), dtype=np.int64)

    def gates_of(self, index: int) -> Sequence[int]:
        return (0,)

    def parents(self, gate: int) -> range:
        return range(self.parent.start, self.parent.stop)

    def counts(self, marked: Marked) -> NDArray[np.int32]:
        return np.array([np.count_nonzero(marked)], dtype=np.int32)


@frozen(eq=False)
class WholeGate(_OneGate):
    """Every task of one product block waits for every task of another."""

    child: Block

    @property
    def targets(self) -> tuple[int, ...]:
        """Return the number of the children's block."""
        return (self.child.number,)

    @property
    def whole_target(self) -> bool:
        """Return True."""
        return True

    def whole(self, gate: int) -> int:
        """Return the number of the children's block."""
        return self.child.number

    def children(self, gates: Indexes) -> Indexes:
        """Raise an error: the block is not written out."""
        raise InternalError("the children of a gate that opens a whole block are not listed")

    def children_of(self, gate: int) -> range:
        """Return the whole block."""
        return range(self.child.start, self.child.stop)

    def gate_before(self, index: int) -> int:
        """Return the gate, for every task of the children's block."""
        return 0 if self.child.start <= index < self.child.stop else -1

    def gates_before(self, indexes: Indexes) -> Indexes:
        """Return the gate of each of these children: the same."""
        return np.zeros(len(indexes), dtype=np.int64)

    def edges(self) -> int:
        """Return the product of both blocks' sizes."""
        return self.parent.size * self.child.size

    def content(self) -> list[bytes]:
        """Return nothing: it follows from the two blocks."""
        return []


@frozen(eq=False)
class RowsGate(_OneGate):
    """Some rows of an explicit block wait for every task of a product block. `rows` are their indexes, sorted."""

    child: Block
    rows: Indexes

    @property
    def targets(self) -> tuple[int, ...]:
        """Return the number of the explicit block."""
        return (self.child.number,)

    def children(self, gates: Indexes) -> Indexes:
        """Return the rows, if the gate is among these."""
        return self.rows if len(gates) else self.rows[:0]

    def children_of(self, gate: int) -> list[int]:
        """Return the rows."""
        rows: list[int] = self.rows.tolist()
        return rows

    def gate_before(self, index: int) -> int:
        """Return the gate if this is one of the rows."""
        place = int(np.searchsorted(self.rows, index))
        return 0 if place < len(self.rows) and self.rows[place] == index else -1

    def edges(self) -> int:
        """Return the number of tasks times the number of rows."""
        return self.parent.size * len(self.rows)

    def content(self) -> list[bytes]:
        """Return the rows."""
        return [self.rows.astype("<i8").tobytes()]
