"""The plan of a run: blocks and gates, and how to query them."""

from __future__ import annotations

import bisect
import heapq
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from attrs import field, frozen
from numpy.typing import NDArray

from daggy.errors import UsageError
from daggy.plan import names
from daggy.plan.blocks import Block, Indexes
from daggy.plan.gates import GateArray
from daggy.plan.scopes import Place, Scope
from daggy.spec.model import RunSpec, Template, Value, Values
from daggy.spec.parameters import PickedValues

if TYPE_CHECKING:
    from daggy.plan.translation import Translation

PLAN_FORMAT = 1
"""Version of the order of indexes: raised whenever the same spec would give other indexes, gates or digests."""


@frozen(eq=False)
class Plan:
    """Blocks and gates of one run. It never changes; `grow` makes a larger one that shares it.

    Blocks stand in the order in which their templates are written; the explicit block stands where the first
    template without parameters does. What generators add follows in the order in which they answered.

    Args:
        spec: The run's spec, without what generators answered.
        blocks: All tasks, as ascending and contiguous ranges of indexes.
        arrays: All dependencies.
        size: Number of tasks.
        digest: Of blocks and gates, with the version of the plan format.
        out: By block: the arrays that its tasks feed.
        into: By block: the arrays with gates that its tasks wait behind.
        need: By block: the number of gates in front of each task; an array by row if it is explicit.
        generated: Index of a generator task to the numbers of the blocks that its last answer came to.
        scopes: Generator task's name to the templates that it answered; the spec's own are in "".
        replaced: By number of a block of an earlier answer: where its tasks are in the answer that took its place;
            None: nowhere. Names refer to no such block.
    """

    spec: RunSpec
    blocks: tuple[Block, ...]
    arrays: tuple[GateArray, ...]
    size: int
    digest: str
    out: tuple[tuple[GateArray, ...], ...] = field(repr=False)
    into: tuple[tuple[GateArray, ...], ...] = field(repr=False)
    need: tuple[int | NDArray[np.unsignedinteger], ...] = field(repr=False)
    generated: Mapping[int, tuple[int, ...]] = field(factory=dict)
    scopes: Mapping[str, Scope] = field(factory=dict, repr=False)
    replaced: Mapping[int, Translation | None] = field(factory=dict, repr=False)

    @cached_property
    def current(self) -> tuple[Block, ...]:
        """Return the blocks whose tasks are part of the run: without those of earlier answers of generators."""
        replaced = self.replaced
        return tuple(block for block in self.blocks if block.number not in replaced) if replaced else self.blocks

    @cached_property
    def takes_inputs(self) -> bool:
        """Return whether any task of the run has inputs."""
        return any(block.takes_inputs for block in self.current)

    @cached_property
    def starts(self) -> list[int]:
        """Return the index of each block's first task."""
        return [block.start for block in self.blocks]

    @cached_property
    def order(self) -> tuple[int, ...]:
        """Return the numbers of the blocks, parents before children, generated ones before their generator's children.

        Where paths leave an explicit block and come back to it there is no such order: then some order.
        """
        below = [{target for array in self.out[block.number] for target in array.targets} for block in self.blocks]
        for block in self.blocks:
            for origin in self.lineage(block):
                above = self.block_of(origin).number
                below[above].add(block.number)
                below[block.number].update(target for array in self.out[above] for target in array.targets)
        return _ordered(below, [block.depth for block in self.blocks])

    def lineage(self, block: Block) -> tuple[int, ...]:
        """Return the generator task that this block comes from, then the generator of that one, and so on."""
        origins: list[int] = []
        while block.origin >= 0:
            origins.append(block.origin)
            block = self.block_of(block.origin)
        return tuple(origins)

    def block_of(self, index: int) -> Block:
        """Return the block that a task is in."""
        return self.blocks[bisect.bisect_right(self.starts, index) - 1]

    def locate(self, index: int) -> Place:
        """Return a task's block, and its row if that is an explicit one, else -1."""
        block = self.block_of(index)
        return block, index - block.start if block.explicit else -1

    def digits(self, block: Block, indexes: Indexes) -> list[Indexes]:
        """Return for each axis of a block the positions of these of its tasks."""
        return block.digits(indexes)

    def template_name(self, index: int) -> str:
        """Return the full name of a task's template: its scope is part of it."""
        block = self.block_of(index)
        return block.template_name(index)

    def name(self, index: int) -> str:
        """Return a task's name."""
        return self.names([index])[0]

    def names(self, indexes: Sequence[int] | Indexes) -> list[str]:
        """Return the names of these tasks."""
        listed: Sequence[int] = indexes.tolist() if isinstance(indexes, np.ndarray) else indexes
        made = []
        for index in listed:
            block = self.block_of(index)
            template = block.template_name(index)
            made.append(template if block.explicit else names.join(template, block.texts(index)))
        return made

    def parameters(self, index: int) -> dict[str, str]:
        """Return the text of each of a task's parameters, sorted by parameter."""
        return self.block_of(index).texts(index)

    def values(self, index: int) -> dict[str, Value]:
        """Return the value of each of a task's parameters, as templates see it."""
        return self.block_of(index).values(index)

    def index(self, name: str) -> int:
        """Return the index of the task with this name.

        Raises:
            KeyError: there is none; its argument says so, and what was meant.
        """
        scope, template, texts = names.split(name)
        try:
            block, found = self.template(f"{scope}/{template}" if scope else template)
            if block.explicit and not texts:
                return block.start + block.rows[template]
            if sorted(texts) != sorted(found.uses):
                raise UsageError(f"no task named '{name}'; the parameters of '{template}' are {_listed(found.uses)}")
            selected = self.select(block.full(template), texts)
        except UsageError as error:
            raise KeyError(str(error)) from None
        if not len(selected):
            why = "are excluded, or " if found.exclude else ""
            raise KeyError(f"no task named '{name}'; its values {why}belong to different steps of a zip")
        return int(selected[0])

    def template(self, full: str) -> tuple[Block, Template]:
        """Return the block and the template with this full name.

        Raises:
            UsageError: there is none.
        """
        scope, _, own = full.rpartition("/")
        siblings = self.scopes.get(scope) or self.scopes.get(names.canonical(scope))
        place = None if siblings is None else siblings.place(own)
        if place is None:
            mend = names.suggest(scope, self.scopes) if siblings is None else names.suggest(own, siblings)
            raise UsageError(f"no task named '{full}'" + (f"; {mend}" if mend else ""))
        block, row = place
        return block, block.templates[max(row, 0)]

    def select(self, template: str, where: Mapping[str, str]) -> Indexes:
        """Return the indexes of a template's tasks, ascending, narrowed to these texts of parameters.

        Args:
            template: Full name.
            where: Parameter to text of its value.

        Raises:
            UsageError: no such template, parameter or value; names what there is.
        """
        block, found = self.template(template)
        if block.explicit:
            if where:
                raise UsageError(f"task '{template}' has no parameter '{next(iter(where))}'; it has none")
            return np.array([block.start + block.rows[found.name]], dtype=np.int64)
        fixed: dict[int, Indexes] = {}
        for name, text in where.items():
            axis = block.axis_of(name)
            if axis < 0:
                raise UsageError(f"task '{template}' has no parameter '{name}'; it has {_listed(found.uses)}")
            found_here = block.axes[axis].where(name, text)
            if not len(found_here):
                shown = examples(block.axes[axis].of(name))
                raise UsageError(f"no task of '{template}' has {name} '{text}'; it has {shown}")
            fixed[axis] = np.intersect1d(fixed[axis], found_here) if axis in fixed else found_here
        indexes = np.full(1, block.start, dtype=np.int64)
        for axis, (size, stride) in enumerate(zip(block.sizes, block.strides, strict=True)):
            steps = fixed[axis] if axis in fixed else np.arange(size, dtype=np.int64)
            indexes = (indexes[:, None] + steps * stride).ravel()
        return indexes

    def edges(self) -> int:
        """Return the number of dependencies that specs and answers name, computed without visiting each."""
        return sum(array.edges() for array in self.arrays if array.targets[0] not in self.replaced)


def _listed(parameters: Sequence[str]) -> str:
    return ", ".join(f"'{name}'" for name in parameters) or "none"


def examples(values: Values) -> str:
    """Return some values of a parameter, as messages list what there is."""
    values = values.distinct() if isinstance(values, PickedValues) else values
    shown = [f"'{values.text(place)}'" for place in range(min(3, len(values)))]
    more = f", … '{values.text(len(values) - 1)}'" if len(values) > len(shown) else ""
    return ", ".join(shown) + more


def _ordered(below: list[set[int]], depths: list[int]) -> tuple[int, ...]:
    """Return a topological order of blocks; where there is none, the least deep block goes first."""
    above = [0] * len(below)
    for number, targets in enumerate(below):
        targets.discard(number)
        for target in targets:
            above[target] += 1
    left = set(range(len(below)))
    ready = [(depths[number], number) for number in left if not above[number]]
    heapq.heapify(ready)
    order: list[int] = []
    while left:
        number = heapq.heappop(ready)[1] if ready else min(left, key=lambda other: (depths[other], other))
        if number not in left:
            continue
        left.remove(number)
        order.append(number)
        for target in below[number]:
            above[target] -= 1
            if not above[target]:
                heapq.heappush(ready, (depths[target], target))
    return tuple(order)
