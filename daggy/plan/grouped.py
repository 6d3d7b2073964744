"""Gates between two product blocks that agree on some parameters of an axis of several.

The positions of such an axis do not say by arithmetic which gate they lead to, so there is an entry for each task:
some 24 bytes, where `matched` needs none.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from daggy.plan.blocks import Block, Indexes
from daggy.plan.linked import Ints, LinkedArray, bounds, gather, link
from daggy.plan.rows import Column, rows_of
from daggy.spec.model import On


@frozen(eq=False)
class GroupedGates(LinkedArray):
    """A child waits for the parents that have its own values of the matched parameters.

    Gates are numbered in the order of these values.

    Args:
        child: The children's block.
        waits: Gate of each child, by offset.
        ahead: For gate `g`, `waiting[ahead[g]:ahead[g + 1]]` are the offsets of the children behind it, ascending.
        waiting: Offsets in the children's block.
    """

    child: Block
    waits: Ints
    ahead: Ints
    waiting: Ints

    @property
    def targets(self) -> tuple[int, ...]:
        """Return the number of the children's block."""
        return (self.child.number,)

    def empty(self) -> Indexes:
        """Return the gates that no parent feeds: then the array is no good."""
        return np.flatnonzero(np.diff(self.links.into) == 0)

    def children(self, gates: Indexes) -> Indexes:
        """Return the children behind these gates, gate by gate."""
        return gather(self.ahead, self.waiting, gates) + self.child.start

    def children_of(self, gate: int) -> Sequence[int]:
        """Return the children behind one gate."""
        found = self.waiting[self.ahead[gate] : self.ahead[gate + 1]].astype(np.int64) + self.child.start
        return cast("list[int]", found.tolist())

    def gate_before(self, index: int) -> int:
        """Return the child's gate."""
        return int(self.waits[index - self.child.start]) if self.child.start <= index < self.child.stop else -1

    def gates_before(self, indexes: Indexes) -> Indexes:
        """Return the gate of each of these children."""
        return self.waits[indexes - self.child.start].astype(np.int64)

    def edges(self) -> int:
        """Return for all gates together the parents times the children of each."""
        return int(np.dot(np.diff(self.links.into).astype(np.int64), np.diff(self.ahead).astype(np.int64)))

    def content(self) -> list[bytes]:
        """Return the children's gates and the links."""
        return [self.waits.astype("<i4").tobytes(), *self.links_content()]


def grouped(number: int, parent: Block, child: Block, on: On, names: tuple[str, ...]) -> GroupedGates:
    """Return the gates between two product blocks that are matched on these parameters, perhaps with empty ones."""
    rows, waits = rows_of(_columns(child, names))
    feeds = rows.find(_columns(parent, names))
    ahead, waiting = _by_gate(waits, len(rows))
    _, feeders = _by_gate(feeds, len(rows))
    links = link(feeders, feeds[feeders], parent.size, len(rows))
    return GroupedGates(
        number, parent, on, names, links, child, waits.astype(np.int32), ahead, waiting.astype(np.int32)
    )


def _columns(block: Block, names: tuple[str, ...]) -> list[Column]:
    """Return these parameters of all tasks of a block."""
    digits = block.digits(np.arange(block.start, block.stop, dtype=np.int64))
    columns = {name: (values, digits[axis]) for name, axis, values in block.columns}
    return [columns[name] for name in names]


def _by_gate(gates: Indexes, count: int) -> tuple[Ints, NDArray[np.intp]]:
    """Return how many offsets lead to the gates before each, and the offsets by gate, without those of none."""
    order = np.argsort(gates, kind="stable")
    order = order[np.count_nonzero(gates < 0) :]
    return bounds(np.bincount(gates[order], minlength=count)), order
