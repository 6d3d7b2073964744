"""A plan by template: what `check` and `graph` show."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
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
    return [row for block in plan.blocks for row in _rows(plan, block)]


def _rows(plan: Plan, block: Block) -> Iterable[SummaryRow]:
    if not block.explicit or block.size > FEW:
        parents = [row for array in plan.into[block.number] for row in _parents(array, block)]
        parameters = tuple(name for name, _, _ in block.columns)
        name = group_name(block) if block.explicit else block.full(block.templates[0].name)
        return [SummaryRow(name, parameters, block.size, tuple(parents))]
    return [_explicit_row(plan, block, index) for index in range(block.start, block.stop)]


def _parents(array: GateArray, block: Block) -> list[ParentRow]:
    """Return what a block waits for in one array: one row, or one for each of a few explicit parents."""
    if isinstance(array, JoinedGates):
        parents = array.parents(array.gate_before(block.start))
        return _explicit_parents(array, parents - array.parent.start, block.size)
    if isinstance(array, LinkedGates):
        return [ParentRow(group_name(array.parent), (), array.on, array.edges())]
    return [ParentRow(_name(array.parent), array.match, array.on, array.edges())]


def _explicit_row(plan: Plan, block: Block, index: int) -> SummaryRow:
    parents: list[ParentRow] = []
    for array in plan.into[block.number]:
        gate = array.gate_before(index)
        if gate >= 0 and isinstance(array, RowsGate):
            parents.append(ParentRow(_name(array.parent), (), array.on, array.parent.size))
        elif gate >= 0:
            parents += _explicit_parents(array, np.asarray(array.parents(gate)) - array.parent.start, 1)
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
    return {
        "name": plan.spec.name,
        "tasks": plan.size,
        "edges": plan.edges(),
        "templates": [_row_as_json(row) for row in summary(plan)],
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
