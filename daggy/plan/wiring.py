"""Makes gate arrays between blocks from dependencies between templates."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from daggy.errors import Problem
from daggy.plan.blocks import Block
from daggy.plan.edges import Edges
from daggy.plan.gates import GateArray, RowsGate, WholeGate
from daggy.plan.linked import JoinedGates, LinkedGates, link
from daggy.plan.match import MatchError, matched_array, matched_names
from daggy.spec.model import On

Ints = NDArray[np.int64]


@frozen(eq=False)
class Vertices:
    """Where each template is: `block` by vertex, and `row` in an explicit block, -1 in a product block."""

    block: Ints
    row: Ints


@frozen(eq=False)
class _Ends:
    """Both ends of every edge."""

    source: Ints
    source_row: Ints
    target: Ints
    target_row: Ints
    on: NDArray[np.bool_]

    def groups(self, mask: NDArray[np.bool_], by_target: bool) -> Iterator[tuple[int, int, On, Ints]]:
        """Yield source block, target block and condition of edges that share them, with the edges.

        These are sorted by child, then parent. If not `by_target`, they need not share the target: it is the first's.
        """
        places = np.flatnonzero(mask)
        keys: list[NDArray[Any]] = [self.on[places], self.source[places]]
        if by_target:
            keys.insert(1, self.target[places])
        order = np.lexsort([self.source_row[places], self.target_row[places], self.target[places], *keys])
        places = places[order]
        change = np.zeros(len(places), dtype=np.bool_)
        for key in keys:
            change[1:] |= np.diff(key[order]) != 0
        for group in np.split(places, np.flatnonzero(change)):
            if len(group):
                first = int(group[0])
                yield int(self.source[first]), int(self.target[first]), On(int(self.on[first])), group


def wire(
    first: int, blocks: Sequence[Block], vertices: Vertices, edges: Edges
) -> tuple[list[GateArray], list[Problem]]:
    """Return the gate arrays of these edges, numbered from `first`, and what is wrong with their matches."""
    problems = [
        Problem(
            edges.paths[pair],
            "cannot match: one of the two uses no parameter",
            "mention the parameter there, or add it to its 'expand', or leave out 'match'",
        )
        for pair in edges.matches
        if vertices.row[pair[0]] >= 0 or vertices.row[pair[1]] >= 0
    ]
    sources, targets = edges.sources, edges.targets
    ends = _Ends(
        vertices.block[sources], vertices.row[sources], vertices.block[targets], vertices.row[targets], edges.on
    )
    arrays: list[GateArray] = []
    from_row, to_row = ends.source_row >= 0, ends.target_row >= 0
    for place in np.flatnonzero(~from_row & ~to_row).tolist():
        pair = int(sources[place]), int(targets[place])
        try:
            arrays.append(_product(first + len(arrays), blocks, ends, place, edges.matches.get(pair, ())))
        except MatchError as error:
            problems.append(Problem(edges.paths[pair], error.message, error.mend))
    for source, target, on, places in ends.groups(~from_row & to_row, by_target=True):
        rows = blocks[target].start + ends.target_row[places]
        arrays.append(RowsGate(first + len(arrays), blocks[source], on, (), blocks[target], rows))
    for source, target, on, places in ends.groups(from_row & to_row, by_target=True):
        arrays.append(_linked(first + len(arrays), blocks[source], blocks[target], on, ends, places))
    for source, _, on, places in ends.groups(from_row & ~to_row, by_target=False):
        arrays.append(_joined(first + len(arrays), blocks, source, on, ends, places))
    return arrays, problems


def _product(number: int, blocks: Sequence[Block], ends: _Ends, place: int, match: tuple[str, ...] | None) -> GateArray:
    parent, child, on = blocks[ends.source[place]], blocks[ends.target[place]], On(int(ends.on[place]))
    if match == ():
        return WholeGate(number, parent, on, (), child)
    return matched_array(number, parent, child, on, matched_names(parent, child, match))


def _linked(number: int, parent: Block, child: Block, on: On, ends: _Ends, places: Ints) -> GateArray:
    rows, gates = np.unique(ends.target_row[places], return_inverse=True)
    links = link(ends.source_row[places], gates, parent.size, len(rows))
    return LinkedGates(number, parent, on, (), links, child, rows.astype(np.int32))


def _joined(number: int, blocks: Sequence[Block], source: int, on: On, ends: _Ends, places: Ints) -> GateArray:
    targets, gates = np.unique(ends.target[places], return_inverse=True)
    links = link(ends.source_row[places], gates, blocks[source].size, len(targets))
    return JoinedGates(number, blocks[source], on, (), links, tuple(blocks[target] for target in targets.tolist()))


def needs(block: Block, arrays: Sequence[GateArray]) -> int | NDArray[np.unsignedinteger]:
    """Return the number of gates in front of each task of a block: one number, or one for each explicit row."""
    if not block.explicit:
        return len(arrays)
    counts = np.zeros(block.size, dtype=np.int64)
    for array in arrays:
        if isinstance(array, LinkedGates):
            counts[array.rows] += 1
        elif isinstance(array, RowsGate):
            counts[array.rows - block.start] += 1
    return counts.astype(np.min_scalar_type(int(counts.max())))
