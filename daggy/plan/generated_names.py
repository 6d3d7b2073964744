"""Names that a generator's answer may use beyond its own, and what it must not wait for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np
from attrs import evolve, field, frozen
from numpy.typing import NDArray

from daggy.errors import Problem
from daggy.plan.blocks import Block
from daggy.plan.edges import EXISTS, UNKNOWN, Edges
from daggy.plan.gates import GateArray, RowsGate
from daggy.plan.linked import JoinedGates, LinkedGates
from daggy.plan.scopes import Place, Scope
from daggy.spec.model import Template

if TYPE_CHECKING:
    from daggy.plan.plans import Plan


@frozen(eq=False)
class OuterNames:
    """Resolves names among new templates, then in the scopes around them, from the innermost.

    Args:
        plan: The existing plan.
        origin: The generator task's index; -1 if there is nothing outside.
        where: Vertex of each new template.
        found: Templates outside that were named, in the order of first mention; their vertices follow the new ones'.
    """

    plan: Plan
    origin: int
    where: Mapping[str, int]
    found: list[Place] = field(factory=list)
    _vertices: dict[str, int] = field(factory=dict)

    def child(self, name: str) -> int:
        """Return what is wrong with a name in `children` that is not a sibling's."""
        return UNKNOWN if self._place(name) is None else EXISTS

    def parent(self, name: str) -> int:
        """Return the vertex of a name in `parents` that is not a sibling's."""
        vertex = self._vertices.get(name)
        if vertex is None:
            place = self._place(name)
            vertex = UNKNOWN
            if place is not None:
                vertex = len(self.where) + len(self.found)
                self.found.append(place)
            self._vertices[name] = vertex
        return vertex

    def _place(self, name: str) -> Place | None:
        places = (scope.place(name) for scope in self._scopes())
        return next((place for place in places if place is not None), None)

    def _scopes(self) -> Iterator[Scope]:
        if self.origin < 0:
            return
        block = self.plan.block_of(self.origin)
        yield self.plan.scopes[block.scope]
        for origin in self.plan.lineage(block):
            yield self.plan.scopes[self.plan.block_of(origin).scope]

    def __iter__(self) -> Iterator[str]:
        """Iterate over all names that may be used, the nearest first."""
        return chain(self.where, *self._scopes())


def wait_for_own_generator(
    outer: OuterNames, templates: Sequence[Template], edges: Edges
) -> tuple[Edges, list[Problem]]:
    """Return the edges without those from the generator itself, and those that could never be satisfied.

    Everything that waits for the generator, or for what its template generates, waits for the new tasks too.
    """
    if not outer.found:
        return edges, []
    plan, origin = outer.plan, outer.origin
    ancestors = [origin, *plan.lineage(plan.block_of(origin))]
    behind = _behind(plan, [plan.locate(index) for index in ancestors])
    problems: list[Problem] = []
    keep = np.ones(len(edges.sources), dtype=np.bool_)
    for vertex, (block, row) in enumerate(outer.found, len(outer.where)):
        users = np.flatnonzero(edges.sources == vertex)
        task = block.start + max(row, 0)
        if task in ancestors and (row >= 0 or block.size == 1):
            keep[users] = False
        elif behind.has(block, row):
            name = block.templates[max(row, 0)].name
            problems += _never(name, [templates[target] for target in edges.targets[users].tolist()])
    kept = evolve(edges, sources=edges.sources[keep], targets=edges.targets[keep], on=edges.on[keep])
    return kept, problems


def _never(name: str, users: list[Template]) -> Iterator[Problem]:
    for template in users:
        place = next(place for place, entry in enumerate(template.parents) if entry.task == name)
        yield Problem(
            f"tasks.{template.name}.parents[{place}]",
            f"'{name}' waits for the generator, and so for what it generates",
            "remove it: generated tasks wait for their own generator anyway",
        )


@frozen(eq=False)
class _Reached:
    """Templates seen: product blocks by number, rows of explicit blocks by flag."""

    products: set[int] = field(factory=set)
    rows: dict[int, NDArray[np.bool_]] = field(factory=dict)

    def has(self, block: Block, row: int) -> bool:
        """Return whether this template was seen."""
        if not block.explicit:
            return block.number in self.products
        flags = self.rows.get(block.number)
        return flags is not None and bool(flags[row])

    def add(self, block: Block, rows: NDArray[np.int64]) -> NDArray[np.int64] | None:
        """Note these rows, or the product block; return the new ones, None if there are none."""
        if not block.explicit:
            fresh = block.number not in self.products
            self.products.add(block.number)
            return rows if fresh else None
        flags = self.rows.setdefault(block.number, np.zeros(block.size, dtype=np.bool_))
        rows = rows[~flags[rows]]
        flags[rows] = True
        return rows if len(rows) else None


def _behind(plan: Plan, starts: Sequence[Place]) -> _Reached:
    """Return all templates that wait for one of these, directly or not, and these.

    What waits for a generator waits for what it generated, so the search goes on from generated templates to it.
    """
    reached = _Reached()
    todo = [(block, np.array([max(row, 0)], dtype=np.int64)) for block, row in starts]
    while todo:
        block, rows = todo.pop()
        fresh = reached.add(block, rows)
        if fresh is None:
            continue
        for array in plan.out[block.number]:
            todo += _next(plan, array, fresh)
        for place, row in map(plan.locate, plan.lineage(block)):
            todo.append((place, np.array([max(row, 0)], dtype=np.int64)))
    return reached


def _next(plan: Plan, array: GateArray, rows: NDArray[np.int64]) -> Iterator[tuple[Block, NDArray[np.int64]]]:
    """Yield what these rows of an array's source feed (all of it, if that is a product block)."""
    none = np.zeros(1, dtype=np.int64)
    if isinstance(array, LinkedGates):
        yield array.child, array.rows[array.gates(rows + array.parent.start)].astype(np.int64)
    elif isinstance(array, JoinedGates):
        for gate in np.unique(array.gates(rows + array.parent.start)).tolist():
            yield array.blocks[gate], none
    elif isinstance(array, RowsGate):
        yield array.child, array.rows - array.child.start
    else:
        yield plan.blocks[array.targets[0]], none
