"""Blocks: all tasks of one template, or of all templates without parameters, as one range of indexes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from operator import itemgetter

import numpy as np
from attrs import Factory, field, frozen
from numpy.typing import NDArray

from daggy.spec.columns import number_policies
from daggy.spec.model import Policy, Template, Value, Values
from daggy.spec.packed import PackedTemplates, has_inputs
from daggy.spec.parameters import PickedValues

Indexes = NDArray[np.int64]
"""Indexes of tasks in their run, or numbers of gates in their array."""


@frozen(eq=False)
class Axis:
    """One axis of a block: one parameter, or several that step together, because they are zipped or because
    combinations of them are left out.

    Args:
        names: The parameters, sorted.
        values: Their values, all of one length. No two positions have the same values of all parameters; those of one
            parameter may repeat if they are `PickedValues`.
        groups: What is matched as a whole: one parameter, or a zip group.
    """

    names: tuple[str, ...]
    values: tuple[Values, ...]
    groups: tuple[tuple[str, ...], ...] = field(default=Factory(lambda self: (self.names,), takes_self=True))

    def __len__(self) -> int:
        """Return the number of positions."""
        return len(self.values[0])

    @property
    def picked(self) -> bool:
        """Return whether values of one parameter may repeat."""
        return any(isinstance(values, PickedValues) for values in self.values)

    def of(self, parameter: str) -> Values:
        """Return the values of one of its parameters."""
        return self.values[self.names.index(parameter)]

    def where(self, parameter: str, text: str) -> Indexes:
        """Return the positions at which a parameter has this text, ascending."""
        values = self.of(parameter)
        if isinstance(values, PickedValues):
            return np.flatnonzero(values.places == values.of.find(text))
        position = values.find(text)
        return np.arange(position, position + (position >= 0), dtype=np.int64)


@frozen(eq=False)
class Block:
    """All tasks of one template with parameters (a *product* block), or all without any (an *explicit* one).

    Args:
        number: Position in `plan.blocks`.
        scope: Full name of the generator task whose answer this is; empty for the spec's own tasks.
        start: Index of its first task.
        size: Number of tasks.
        templates: One for a product block, one a row for an explicit block.
        explicit: Which of the two it is.
        axes: Sorted by parameter, the last fastest; a zip group stands where its first member would. None if explicit.
        sizes: Length of each axis.
        strides: Distance in indexes of two neighbours along each axis.
        origin: Index of the generator task whose answer this is, -1 for none.
        depth: Number of templates on the longest path above it; of an explicit block, of its deepest row.
        policies: The distinct policies of its templates in the order of first appearance.
        policy_of: Position in `policies` by row, if there is more than one.
        depths: `depth` of each row of an explicit block, else None.
        rows: Name to row of an explicit block, without scope; empty for a product block.
    """

    number: int
    scope: str
    start: int
    size: int
    templates: Sequence[Template]
    explicit: bool
    axes: tuple[Axis, ...]
    sizes: tuple[int, ...]
    strides: tuple[int, ...]
    origin: int
    depth: int
    policies: tuple[Policy, ...]
    policy_of: NDArray[np.uint16] | NDArray[np.uint32] | None = None
    depths: NDArray[np.int32] | None = None
    rows: Mapping[str, int] = field(factory=dict, repr=False)

    @property
    def stop(self) -> int:
        """Return the index after its last task."""
        return self.start + self.size

    def template(self, index: int) -> Template:
        """Return the template of the task with this index in the run."""
        return self.templates[index - self.start if self.explicit else 0]

    def template_name(self, index: int) -> str:
        """Return the name of the template of the task with this index, scope included."""
        row = index - self.start if self.explicit else 0
        templates = self.templates
        return self.full(templates.name(row) if isinstance(templates, PackedTemplates) else templates[row].name)

    def full(self, name: str) -> str:
        """Return a template's name with the scope of this block before it."""
        return f"{self.scope}/{name}" if self.scope else name

    def positions(self, index: int) -> list[int]:
        """Return the position on each axis of one task."""
        offset = index - self.start
        return [offset // stride % size for stride, size in zip(self.strides, self.sizes, strict=True)]

    def digits(self, indexes: Indexes) -> list[Indexes]:
        """Return for each axis the position of each of these tasks on it."""
        offsets = indexes - self.start
        return [offsets // stride % size for stride, size in zip(self.strides, self.sizes, strict=True)]

    def texts(self, index: int) -> dict[str, str]:
        """Return the text of each parameter of one task, sorted by parameter."""
        places = self.positions(index)
        return {name: values.text(places[axis]) for name, axis, values in self.columns}

    def values(self, index: int) -> dict[str, Value]:
        """Return the value of each parameter of one task, sorted by parameter."""
        places = self.positions(index)
        return {name: values.value(places[axis]) for name, axis, values in self.columns}

    @cached_property
    def columns(self) -> tuple[tuple[str, int, Values], ...]:
        """Return each parameter with its axis and its values, sorted by parameter."""
        columns = [
            (name, place, values)
            for place, axis in enumerate(self.axes)
            for name, values in zip(axis.names, axis.values, strict=True)
        ]
        return tuple(sorted(columns, key=itemgetter(0)))

    @cached_property
    def takes_inputs(self) -> bool:
        """Return whether any of its tasks has inputs."""
        return has_inputs(self.templates)

    def axis_of(self, parameter: str) -> int:
        """Return the position of the axis that a parameter is on, or -1."""
        for position, axis in enumerate(self.axes):
            if parameter in axis.names:
                return position
        return -1

    def group_of(self, parameter: str) -> tuple[str, ...]:
        """Return what is matched as a whole if this parameter is, empty if no axis has it."""
        groups = (group for axis in self.axes for group in axis.groups if parameter in group)
        return next(groups, ())


def same_values(one: Values, other: Values) -> bool:
    """Return whether two parameters have the same texts in the same order, comparing all only as a last resort."""
    if one is other:
        return True
    size = len(one)
    if size != len(other):
        return False
    if isinstance(one, PickedValues) and isinstance(other, PickedValues) and same_values(one.of, other.of):
        return bool(np.array_equal(one.places, other.places))
    if one == other:
        return True
    if any(one.text(place) != other.text(place) for place in (0, size - 1, size // 2)):
        return False
    return all(one.text(place) == other.text(place) for place in range(size))


def product_block(
    number: int, scope: str, start: int, template: Template, axes: tuple[Axis, ...], origin: int, depth: int
) -> Block:
    """Return the block of a template with parameters."""
    sizes = tuple(map(len, axes))
    strides = tuple(math.prod(sizes[place + 1 :]) for place in range(len(sizes)))
    return Block(
        number, scope, start, math.prod(sizes), (template,), False, axes, sizes, strides, origin, depth,
        (template.policy,),
    )  # fmt: skip


def explicit_block(
    number: int,
    scope: str,
    start: int,
    templates: Sequence[Template],
    rows: Mapping[str, int],
    origin: int,
    depths: NDArray[np.int32],
) -> Block:
    """Return the block of all templates without parameters; `rows` is by name, `depths` by row."""
    if isinstance(templates, PackedTemplates):
        policies, policy_of = templates.policies, templates.policy_of
    else:
        policies, policy_of = number_policies([template.policy for template in templates])
    return Block(
        number, scope, start, len(templates), templates, True, (), (), (), origin, int(depths.max()),
        policies, policy_of, depths, rows,
    )  # fmt: skip
