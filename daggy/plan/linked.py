"""Gates that the rows of an explicit block feed: adjacency lists in both directions, as arrays."""

from __future__ import annotations

import bisect
from collections.abc import Sequence

import numpy as np
from attrs import field, frozen
from numpy.typing import NDArray

from daggy.errors import InternalError
from daggy.plan.blocks import Block, Indexes
from daggy.plan.gates import GateArray, Marked

Ints = NDArray[np.int32]

MOST_OF_THEM = 0.25
"""Share of a block's rows from which looking at all of them is quicker."""


@frozen(eq=False)
class Links:
    """Which row feeds which gate: compressed sparse rows in both directions.

    Every gate has a parent; pairs are distinct.

    Args:
        into: For gate `g`, `feeders[into[g]:into[g + 1]]` are the rows that feed it, ascending.
        feeders: Rows of the parents' block.
        out: For row `r`, `fed[out[r]:out[r + 1]]` are the gates it feeds, ascending.
        fed: Numbers of gates.
        totals: Number of parents of each gate; an int if it is the same for all.
    """

    into: Ints
    feeders: Ints
    out: Ints
    fed: Ints
    totals: int | Ints


def link(rows: Indexes, gates: Indexes, row_count: int, gate_count: int) -> Links:
    """Return the links of distinct pairs (row, gate) that are sorted by gate, then row."""
    per_gate = np.bincount(gates, minlength=gate_count)
    same = len(per_gate) > 0 and bool((per_gate == per_gate[0]).all())
    return Links(
        bounds(per_gate),
        rows.astype(np.int32),
        bounds(np.bincount(rows, minlength=row_count)),
        gates[np.argsort(rows, kind="stable")].astype(np.int32),
        int(per_gate[0]) if same else per_gate.astype(np.int32),
    )


def bounds(counts: NDArray[np.intp]) -> Ints:
    """Return where the entries of each begin, and where the last ones end, from how many each has."""
    made = np.zeros(len(counts) + 1, dtype=np.int32)
    np.cumsum(counts, out=made[1:])
    return made


def gather(starts: Ints, entries: Ints, chosen: Indexes) -> Indexes:
    """Return the entries of these, one after the other, of adjacency lists that begin at `starts`."""
    first = starts[chosen].astype(np.int64)
    counts = starts[chosen + 1] - first
    ends = np.cumsum(counts)
    if len(ends) == 0 or ends[-1] == 0:
        return np.zeros(0, dtype=np.int64)
    places: Indexes = np.repeat(first - ends + counts, counts) + np.arange(ends[-1])
    return entries[places].astype(np.int64)


@frozen(eq=False)
class LinkedArray(GateArray):
    """Gates that parents feed as `links` say: their rows are offsets in the parents' block."""

    links: Links
    # Views of the same memory that give plain ints: several times faster than numpy for one row at a time.
    _out: memoryview = field(init=False, repr=False)
    _fed: memoryview = field(init=False, repr=False)

    @_out.default
    def _view_out(self) -> memoryview:
        return self.links.out.data

    @_fed.default
    def _view_fed(self) -> memoryview:
        return self.links.fed.data

    @property
    def size(self) -> int:
        """Return the number of gates."""
        return len(self.links.into) - 1

    @property
    def total(self) -> int | NDArray[np.int32]:
        """Return the number of parents of each gate."""
        return self.links.totals

    def gates(self, indexes: Indexes) -> Indexes:
        """Return the gates that these parents feed."""
        rows = indexes - self.parent.start
        if len(rows) > MOST_OF_THEM * self.parent.size:
            return self._gates_of_most(rows)
        return gather(self.links.out, self.links.fed, rows)

    def _gates_of_most(self, rows: Indexes) -> Indexes:
        """Return the gates that these rows feed, by looking at all rows once."""
        marked = np.zeros(self.parent.size, np.bool_)
        marked[rows] = True
        return self.links.fed[np.repeat(marked, np.diff(self.links.out))].astype(np.int64)

    def gates_of(self, index: int) -> Sequence[int]:
        """Return the gates that one parent feeds."""
        row = index - self.parent.start
        out = self._out
        return self._fed[out[row] : out[row + 1]]

    def parents(self, gate: int) -> Indexes:
        """Return the parents that feed one gate."""
        into = self.links.into
        return self.links.feeders[into[gate] : into[gate + 1]].astype(np.int64) + self.parent.start

    def counts(self, marked: Marked) -> NDArray[np.int32]:
        """Return the number of marked parents by gate."""
        return np.add.reduceat(marked[self.links.feeders], self.links.into[:-1], dtype=np.int32)

    def links_content(self) -> list[bytes]:
        """Return what a digest covers of the links."""
        return [self.links.into.astype("<i4").tobytes(), self.links.feeders.astype("<i4").tobytes()]


@frozen(eq=False)
class LinkedGates(LinkedArray):
    """Rows of an explicit block wait for rows of an explicit block: one gate for each child row.

    Args:
        child: The children's block.
        rows: Row of the child behind each gate, ascending.
    """

    child: Block
    rows: Ints
    _rows: memoryview = field(init=False, repr=False)

    @_rows.default
    def _view_rows(self) -> memoryview:
        return self.rows.data

    @property
    def targets(self) -> tuple[int, ...]:
        """Return the number of the children's block."""
        return (self.child.number,)

    def children(self, gates: Indexes) -> Indexes:
        """Return the child behind each gate, in the same order."""
        return self.rows[gates].astype(np.int64) + self.child.start

    def children_of(self, gate: int) -> Sequence[int]:
        """Return the one child."""
        return (self._rows[gate] + self.child.start,)

    def gate_before(self, index: int) -> int:
        """Return the child's gate, -1 if it has no parent here."""
        row = index - self.child.start
        place = int(np.searchsorted(self.rows, row))
        return place if place < len(self.rows) and self.rows[place] == row else -1

    def edges(self) -> int:
        """Return the number of links."""
        return len(self.links.feeders)

    def content(self) -> list[bytes]:
        """Return children and links."""
        return [self.rows.astype("<i4").tobytes(), *self.links_content()]


@frozen(eq=False)
class JoinedGates(LinkedArray):
    """Product blocks wait for rows of an explicit block: one gate for each of `blocks`, which it opens at once."""

    blocks: tuple[Block, ...]
    _starts: list[int] = field(init=False, repr=False)

    @_starts.default
    def _list_starts(self) -> list[int]:
        return [block.start for block in self.blocks]

    @property
    def targets(self) -> tuple[int, ...]:
        """Return the numbers of the children's blocks, ascending, one for each gate."""
        return tuple(block.number for block in self.blocks)

    @property
    def whole_target(self) -> bool:
        """Return True."""
        return True

    def whole(self, gate: int) -> int:
        """Return the number of the block behind this gate."""
        return self.blocks[gate].number

    def children(self, gates: Indexes) -> Indexes:  # noqa: ARG002  # whatever is asked
        """Raise an error: blocks are not written out."""
        raise InternalError("the children of a gate that opens a whole block are not listed")

    def children_of(self, gate: int) -> range:
        """Return the whole block behind this gate."""
        return range(self.blocks[gate].start, self.blocks[gate].stop)

    def gate_before(self, index: int) -> int:
        """Return the gate of the block that a child is in, -1 if that has no parent here."""
        place = bisect.bisect_right(self._starts, index) - 1
        return place if place >= 0 and index < self.blocks[place].stop else -1

    def edges(self) -> int:
        """Return the number of links, each times the size of the block it leads to."""
        counts = np.diff(self.links.into).tolist()
        return sum(count * block.size for count, block in zip(counts, self.blocks, strict=True))

    def content(self) -> list[bytes]:
        """Return the links; the targets are in every digest."""
        return self.links_content()
