"""Makes plans from specs, and grows them by generators' answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from attrs import evolve, frozen
from numpy.typing import NDArray

from daggy.errors import Problem, SpecError
from daggy.plan.axes import ExcludeError, axes_of
from daggy.plan.blocks import Axis, Block, explicit_block, product_block
from daggy.plan.digest import digest
from daggy.plan.edges import Edges, resolve
from daggy.plan.gates import GateArray
from daggy.plan.generated_names import OuterNames, wait_for_own_generator
from daggy.plan.inputs import unfit_inputs
from daggy.plan.levels import find_cycles, levels
from daggy.plan.plans import PLAN_FORMAT, Plan
from daggy.plan.scopes import Scope, scope_of
from daggy.plan.translation import Translation, translation
from daggy.plan.wiring import Vertices, needs, wire
from daggy.spec.model import RunSpec, Template
from daggy.spec.packed import PackedTemplates, names_of

MAX_TASKS = 2**32 - 1
"""Tasks that a run may have: indexes have 32 bits, and the last number is reserved."""


def plan(spec: RunSpec) -> Plan:
    """Return the plan of a spec.

    Raises:
        SpecError: unknown parents, cycles, impossible matches, too many tasks: all problems at once.
    """
    return _extend(Plan(spec, (), (), 0, f"daggy plan {PLAN_FORMAT}", (), (), ()), "", -1, spec)


def grow(plan: Plan, origin: int, spec: RunSpec, before: int = -1) -> Plan:
    """Return a plan with the tasks that a generator answered; it shares all blocks and gate arrays of the old one.

    Names in `parents` are looked up among the new tasks, then in the scopes around them, then in the run. A generator
    may answer more than once: its earlier blocks stay, but names and `generated` refer to the new ones, and `replaced`
    says which tasks are the same.

    Args:
        plan: What there was.
        origin: Index of the generator task.
        spec: Its answer. May be without tasks.
        before: Its index when it gave the answer that this one replaces, if that was another.

    Raises:
        SpecError: as for `plan`; also children that exist already, and parents that wait for the generator.
    """
    scope = plan.name(origin)
    made = _extend(plan, scope, origin, spec)
    earlier = plan.generated.get(origin if before < 0 else before, ())
    if not earlier:
        return made
    return evolve(made, replaced={**plan.replaced, **_replaced(plan, made, scope, earlier)})


@frozen(eq=False)
class _Layout:
    """Which block each template goes to: the explicit block stands where its first member would."""

    templates: Sequence[Template]
    where: Mapping[str, int]
    axes: dict[int, tuple[Axis, ...]]  # of templates with parameters, by vertex

    def blocks(self, first: int, start: int, scope: str, origin: int, depth: NDArray[np.int64]) -> list[Block]:
        """Return the blocks, numbered from `first`, with indexes from `start`."""
        made: list[Block] = []
        rows = np.flatnonzero(self._explicit())
        for vertex in sorted([*self.axes, *rows[:1].tolist()]):
            number = first + len(made)
            if vertex in self.axes:
                template = self.templates[vertex]
                block = product_block(number, scope, start, template, self.axes[vertex], origin, int(depth[vertex]))
            else:
                depths = depth[rows].astype(np.int32)
                block = explicit_block(number, scope, start, *self._members(rows), origin, depths)
            made.append(block)
            start = block.stop
        return made

    def _explicit(self) -> NDArray[np.bool_]:
        """Return which vertices have no parameters."""
        explicit = np.ones(len(self.templates), dtype=np.bool_)
        explicit[list(self.axes)] = False
        return explicit

    def _members(self, rows: NDArray[np.int64]) -> tuple[Sequence[Template], Mapping[str, int]]:
        """Return the templates of the explicit block, and the row of each name."""
        if not self.axes:
            return self.templates, self.where
        members = [self.templates[row] for row in rows.tolist()]
        return members, {template.name: row for row, template in enumerate(members)}

    def vertices(self, blocks: Sequence[Block], outer: OuterNames) -> Vertices:
        """Return where each vertex is, those outside after those of the templates."""
        explicit = self._explicit()
        block = np.zeros(len(self.templates), dtype=np.int64)
        row = np.full(len(self.templates), -1, dtype=np.int64)
        for made in blocks:
            if made.explicit:
                block[explicit] = made.number
        row[explicit] = np.arange(np.count_nonzero(explicit))
        block[sorted(self.axes)] = [made.number for made in blocks if not made.explicit]
        return Vertices(
            np.concatenate([block, np.array([found.number for found, _ in outer.found], dtype=np.int64)]),
            np.concatenate([row, np.array([place for _, place in outer.found], dtype=np.int64)]),
        )


def _extend(plan: Plan, scope: str, origin: int, spec: RunSpec) -> Plan:
    """Return the plan with these templates added, in a scope of their own."""
    templates = spec.tasks
    where = dict(zip(names_of(templates), range(len(templates)), strict=True))
    outer = OuterNames(plan, origin, where)
    edges, problems = resolve(templates, where, outer.parent, outer.child, outer)
    problems += _duplicates(templates, where)
    axes, excluded = _axes(spec)
    problems += excluded
    layout = _Layout(templates, where, axes)
    edges, waiting = wait_for_own_generator(outer, templates, edges)
    level = _levels(plan, origin, outer, edges, len(templates))
    problems += waiting + _cycles(templates, edges, level)
    blocks = layout.blocks(len(plan.blocks), plan.size, scope, origin, level)
    size = plan.size + sum(block.size for block in blocks)
    problems += _too_many(size, blocks)
    if size > MAX_TASKS:  # sizes beyond 64 bits would not even fit the arithmetic below
        raise SpecError(problems)
    every = (*plan.blocks, *blocks)
    arrays, mismatches = wire(len(plan.arrays), every, layout.vertices(blocks, outer), edges)
    if problems or mismatches:
        raise SpecError(problems + mismatches)
    made = _assemble(plan, scope, origin, blocks, arrays, size)
    if unfit := unfit_inputs(made, blocks):
        raise SpecError(unfit)
    return made


def _axes(spec: RunSpec) -> tuple[dict[int, tuple[Axis, ...]], list[Problem]]:
    """Return the axes of each template with parameters, by vertex, and what is wrong with what they exclude."""
    axes: dict[int, tuple[Axis, ...]] = {}
    problems: list[Problem] = []
    for vertex, template in () if isinstance(spec.tasks, PackedTemplates) else enumerate(spec.tasks):
        if not template.uses:
            continue
        try:
            axes[vertex] = axes_of(spec, template)
        except ExcludeError as error:
            problems.append(Problem(f"tasks.{template.name}.exclude", error.message, error.mend))
            axes[vertex] = axes_of(spec, evolve(template, exclude=()))
    return axes, problems


def _assemble(
    plan: Plan, scope: str, origin: int, blocks: Sequence[Block], arrays: Sequence[GateArray], size: int
) -> Plan:
    """Return the plan with these blocks and arrays after its own."""
    first = len(plan.blocks)
    into: list[tuple[GateArray, ...]] = [*plan.into, *[()] * len(blocks)]
    out: list[tuple[GateArray, ...]] = [*plan.out, *[()] * len(blocks)]
    for array in arrays:
        out[array.source] += (array,)
        for target in array.targets:
            into[target] += (array,)
    grown = {} if origin < 0 else {origin: tuple(block.number for block in blocks)}
    return evolve(
        plan,
        blocks=(*plan.blocks, *blocks),
        arrays=(*plan.arrays, *arrays),
        size=size,
        digest=digest(plan.digest, blocks, arrays),
        out=tuple(out),
        into=tuple(into),
        need=(*plan.need, *(needs(block, into[first + place]) for place, block in enumerate(blocks))),
        generated={**plan.generated, **grown},
        scopes=_with_scope(plan.scopes, scope, blocks),
    )


def _replaced(plan: Plan, made: Plan, scope: str, earlier: Sequence[int]) -> dict[int, Translation | None]:
    """Return what becomes of the blocks of an earlier answer, and of what its generators generated."""
    inner = f"{scope}/"
    within = (found for name, found in plan.scopes.items() if name.startswith(inner))
    gone = dict.fromkeys((block.number for found in within for block in found.blocks()), None)
    new = made.scopes[scope]
    partners = ((plan.blocks[number], new.partner(plan.blocks[number])) for number in earlier)
    return gone | {old.number: None if to is None else translation(old, to) for old, to in partners}


def _with_scope(scopes: Mapping[str, Scope], scope: str, blocks: Sequence[Block]) -> dict[str, Scope]:
    """Return the scopes with this one set, without those inside an earlier one of its name."""
    kept = dict(scopes)
    if scope in kept:
        inner = f"{scope}/"
        kept = {name: found for name, found in kept.items() if not name.startswith(inner)}
    kept[scope] = scope_of(blocks)
    return kept


def _levels(plan: Plan, origin: int, outer: OuterNames, edges: Edges, count: int) -> NDArray[np.int64]:
    """Return the depth of each template, -1 on or behind a cycle."""
    above = 0
    if origin >= 0:
        above = 1 + _depth(*plan.locate(origin))
    others = [_depth(block, row) for block, row in outer.found]
    least = np.concatenate([np.full(count, above, dtype=np.int64), np.array(others, dtype=np.int64)])
    return levels(edges.sources, edges.targets, least)


def _depth(block: Block, row: int) -> int:
    return block.depth if block.depths is None else int(block.depths[row])


def _duplicates(templates: Sequence[Template], where: dict[str, int]) -> list[Problem]:
    """Return a problem for each template whose name a later one has too."""
    if len(where) == len(templates):
        return []
    return [
        Problem(f"tasks.{template.name}", f"there is another task named '{template.name}'", "rename one of the two")
        for vertex, template in enumerate(templates)
        if where[template.name] != vertex
    ]


_SHOWN = 10  # cycles reported, and templates of a cycle shown


def _cycles(templates: Sequence[Template], edges: Edges, level: NDArray[np.int64]) -> list[Problem]:
    problems = []
    for cycle in find_cycles(edges.sources, edges.targets, level)[:_SHOWN]:
        names = [templates[vertex].name for vertex in cycle]
        shown = names if len(names) <= _SHOWN else [*names[: _SHOWN - 2], "…", names[-1]]
        text = " → ".join([*shown, names[0]])
        problems.append(Problem(f"tasks.{names[0]}", f"waits for itself: {text}", "remove one of these dependencies"))
    return problems


def _too_many(size: int, blocks: Sequence[Block]) -> list[Problem]:
    if size <= MAX_TASKS:
        return []
    largest = max(blocks, key=lambda block: block.size)
    message = f"expands to {size:,} tasks, {largest.size:,} of them '{largest.templates[0].name}'"
    return [Problem("tasks", message, f"a run has {MAX_TASKS:,} at most: use fewer values, or 'zip'")]
