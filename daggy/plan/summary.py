"""A plan by template: what `check` and `graph` show."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from attrs import frozen

from daggy.plan.blocks import Block, Indexes
from daggy.plan.gates import GateArray, RowsGate
from daggy.plan.linked import JoinedGates, LinkedGates
from daggy.plan.plans import Plan
from daggy.spec.model import On

FEW = 50
"""Templates without parameters that are shown one by one; more of them are one group."""


@frozen
class ParentRow:
    """What one template waits for: `task` is a template or a group, `edges` counts from task to task."""

    task: str
    match: tuple[str, ...]
    on: On
    edges: int


@frozen
class SummaryRow:
    """One template, or all without parameters if they are many: `name` then says so."""

    name: str
    parameters: tuple[str, ...]
    tasks: int
    parents: tuple[ParentRow, ...]


def group_name(block: Block) -> str:
    """Return the group name of the tasks of an explicit block."""
    text = f"{block.size:,} task{'' if block.size == 1 else 's'} without parameters"
    return f"{block.scope}/ {text}" if block.scope else text


def summary(plan: Plan) -> list[SummaryRow]:
    """Return a row for each template, in the order of the plan."""
    answered = _answered(plan)
    return [row for block in plan.current for row in _rows(plan, block, answered)]


Answered = Mapping[int, Sequence[Block]]
"""By number of a block: the blocks that its tasks, and generators among those, generated."""


def _answered(plan: Plan) -> Answered:
    found: dict[int, list[Block]] = {}
    for block in plan.current:
        for origin in plan.lineage(block):
            found.setdefault(plan.block_of(origin).number, []).append(block)
    return found


def _rows(plan: Plan, block: Block, answered: Answered) -> Iterable[SummaryRow]:
    if not block.explicit or block.size > FEW:
        parents = [_generator(plan, block, block.size)] if block.origin >= 0 else []
        for array in plan.into[block.number]:
            parents += _parents(array, block)
            parents += _generated(plan, array, answered, range(block.start, block.stop))
        parameters = tuple(name for name, _, _ in block.columns)
        return [SummaryRow(_shown(block), parameters, block.size, tuple(parents))]
    return [_explicit_row(plan, block, index, answered) for index in range(block.start, block.stop)]


def _shown(block: Block, row: int = 0) -> str:
    """Return the name of the row that shows a block, or one row of a small explicit block."""
    return group_name(block) if block.explicit and block.size > FEW else block.full(block.templates[row].name)


def _generator(plan: Plan, block: Block, tasks: int) -> ParentRow:
    """Return that the tasks of a block wait for the one that generated them."""
    source, row = plan.locate(block.origin)
    return ParentRow(_shown(source, max(row, 0)), (), On.COMPLETED, tasks)


def _generated(plan: Plan, array: GateArray, answered: Answered, children: range) -> Iterator[ParentRow]:
    """Yield what parents of these children in one array generated: it is waited for as they are."""
    edges: dict[str, int] = {}
    for block in answered.get(array.source, ()):
        for origin in plan.lineage(block):
            if array.parent.start <= origin < array.parent.stop:
                behind = sum(_overlap(array.children_of(gate), children) for gate in array.gates_of(origin))
                for row in range(block.size if block.explicit and block.size <= FEW else 1):
                    name, tasks = _shown(block, row), 1 if block.explicit and block.size <= FEW else block.size
                    edges[name] = edges.get(name, 0) + behind * tasks
    yield from (ParentRow(name, array.match, array.on, count) for name, count in edges.items() if count)


def _overlap(found: Sequence[int], wanted: range) -> int:
    """Return how many of some tasks are in a range."""
    if isinstance(found, range) and found.step == 1:
        return max(0, min(found.stop, wanted.stop) - max(found.start, wanted.start))
    return sum(index in wanted for index in found)


def _parents(array: GateArray, block: Block) -> list[ParentRow]:
    """Return what a block waits for in one array: one row, or one for each of a few explicit parents."""
    if isinstance(array, JoinedGates):
        parents = array.parents(array.gate_before(block.start))
        return _explicit_parents(array, parents - array.parent.start, block.size)
    if isinstance(array, LinkedGates):
        return [ParentRow(group_name(array.parent), (), array.on, array.edges())]
    return [ParentRow(_name(array.parent), array.match, array.on, array.edges())]


def _explicit_row(plan: Plan, block: Block, index: int, answered: Answered) -> SummaryRow:
    parents = [_generator(plan, block, 1)] if block.origin >= 0 else []
    for array in plan.into[block.number]:
        gate = array.gate_before(index)
        if gate >= 0 and isinstance(array, RowsGate):
            parents.append(ParentRow(_name(array.parent), (), array.on, array.parent.size))
        elif gate >= 0:
            parents += _explicit_parents(array, np.asarray(array.parents(gate)) - array.parent.start, 1)
        if gate >= 0:
            parents += _generated(plan, array, answered, range(index, index + 1))
    return SummaryRow(block.template_name(index), (), 1, tuple(parents))


def _explicit_parents(array: GateArray, rows: Indexes, children: int) -> list[ParentRow]:
    source = array.parent
    if source.size > FEW:
        return [ParentRow(group_name(source), (), array.on, len(rows) * children)]
    names = [source.full(source.templates[row].name) for row in rows.tolist()]
    return [ParentRow(name, (), array.on, children) for name in names]


def _name(block: Block) -> str:
    return block.full(block.templates[0].name)


def plan_as_json(plan: Plan) -> dict[str, Any]:
    """Return a plan by template as plain JSON data."""
    rows = summary(plan)
    return {
        "name": plan.spec.name,
        "tasks": sum(row.tasks for row in rows),
        "edges": sum(parent.edges for row in rows for parent in row.parents),
        "templates": [_row_as_json(row) for row in rows],
        "warnings": list(plan.spec.warnings),
    }


def _row_as_json(row: SummaryRow) -> dict[str, Any]:
    parents = [
        {"task": parent.task, "match": list(parent.match), "on": parent.on.name.lower(), "edges": parent.edges}
        for parent in row.parents
    ]
    return {"name": row.name, "parameters": list(row.parameters), "tasks": row.tasks, "parents": parents}


def summary_of(plan: Mapping[str, Any]) -> list[SummaryRow]:
    """Return the rows of what `plan_as_json` gave."""
    return [
        SummaryRow(
            row["name"],
            tuple(row["parameters"]),
            row["tasks"],
            tuple(
                ParentRow(parent["task"], tuple(parent["match"]), On[parent["on"].upper()], parent["edges"])
                for parent in row["parents"]
            ),
        )
        for row in plan["templates"]
    ]
