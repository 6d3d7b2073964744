"""Where the results come from that tasks take as inputs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from attrs import frozen

from daggy.errors import Problem
from daggy.plan.blocks import Block
from daggy.plan.gates import GateArray
from daggy.plan.plans import Plan
from daggy.plan.scopes import Place
from daggy.spec.model import Template


@frozen(eq=False)
class Source:
    """The tasks whose results one input of a task, or of all tasks of a template with parameters, takes.

    Args:
        array: The gates between them and those who take them.
        row: The only one, as an index in the run; -1: those behind the taker's gate.
        is_one: Whether it is one result, not a list of them. It follows from the templates, never from sizes.
    """

    array: GateArray
    row: int
    is_one: bool

    def gate(self, index: int) -> int:
        """Return the gate of a task that takes them: all tasks behind it take the same."""
        return self.array.gate_before(index)

    def tasks(self, gate: int) -> Sequence[int]:
        """Return the tasks whose results are taken by those behind a gate, ascending."""
        if self.row >= 0:
            return (self.row,)
        parents = self.array.parents(gate)
        return parents if isinstance(parents, Sequence) else parents.tolist()


def source(plan: Plan, block: Block, index: int, task: str) -> Source:
    """Return where an input comes from.

    Args:
        plan: The run's.
        block: Of those who take it.
        index: One of those.
        task: The name of a template that they wait for, as they write it.
    """
    parent, row = _place(plan, block, task)
    arrays = [array for array in plan.into[block.number] if array.parent is parent and array.gate_before(index) >= 0]
    if row >= 0:
        own = parent.start + row
        array = next(array for array in arrays if own in array.parents(array.gate_before(index)))
        return Source(array, own, is_one=True)
    (array,) = arrays
    return Source(array, -1, is_one=all(name in array.match for axis in parent.axes for name in axis.names))


def _place(plan: Plan, block: Block, name: str) -> Place:
    """Return where the template is that is meant by a name in a block: in its scope, or one around it."""
    scopes = [block.scope, *(plan.block_of(origin).scope for origin in plan.lineage(block))]
    return next(place for scope in scopes if (place := plan.scopes[scope].place(name)) is not None)


def unfit_inputs(plan: Plan, blocks: Sequence[Block]) -> list[Problem]:
    """Return what is wrong with inputs of templates that have just been planned."""
    problems = []
    for block, template in _taking(blocks):
        for name, one in template.inputs.items():
            if not one.task:
                continue
            parent, row = _place(plan, block, one.task)
            policy = parent.templates[max(row, 0)].policy
            path = f"tasks.{template.name}.inputs.{name}"
            if policy.is_generator:
                mend = "take the result of a task that is no generator"
                problems.append(Problem(path, f"'{one.task}' is a generator: its answer is no result", mend))
            elif not policy.result:
                problems.append(Problem(path, f"'{one.task}' leaves no result", 'give it "result": true'))
    return problems


def _taking(blocks: Sequence[Block]) -> Iterator[tuple[Block, Template]]:
    for block in blocks:
        if block.takes_inputs:
            yield from ((block, template) for template in block.templates if template.inputs)
