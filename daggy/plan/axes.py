"""The axes of a template, and what `exclude` makes of them.

A block is a full product of its axes, and all arithmetic of plans and runs builds on that. So combinations are left
out of an axis, not of a block: the axes that a combination names become one, whose positions are the rows that are
left. Everything else then counts, numbers and matches as ever.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from daggy.plan.blocks import Axis
from daggy.plan.rows import once, rows_of
from daggy.spec.model import Combination, RunSpec, Template
from daggy.spec.parameters import PickedValues

MOST_ROWS = 1 << 25
"""Combinations of the parameters that are excluded together: those that are left are written out."""


class ExcludeError(Exception):
    """Combinations cannot be left out as written. Becomes a problem with the path of the template."""

    def __init__(self, message: str, mend: str) -> None:
        """Keep the problem and its mend."""
        self.message = message
        self.mend = mend
        super().__init__(message, mend)


def axes_of(spec: RunSpec, template: Template) -> tuple[Axis, ...]:
    """Return the axes that a template's parameters span.

    Raises:
        ExcludeError: nothing is left of them, or nothing is left out.
    """
    groups = {name: tuple(sorted(group)) for group in spec.zip for name in group}
    sheets = {group for group in groups.values() if spec.is_sheet(group)} if groups else set()
    groups |= {name: (name,) for group in sheets for name in group if name in template.parameters}
    axes = [
        _of_sheet(spec, template, group)
        if group in sheets
        else Axis(group, tuple(spec.values(template, name) for name in group))
        for group in {groups.get(name, (name,)) for name in template.uses}
    ]
    axes.sort(key=lambda axis: axis.names)
    return without(axes, template.exclude) if template.exclude else tuple(axes)


def _of_sheet(spec: RunSpec, template: Template, group: tuple[str, ...]) -> Axis:
    """Return the axis of the distinct rows of those columns of a sheet that a template uses, in the sheet's order."""
    names = tuple(name for name in group if name in template.uses and name not in template.parameters)
    columns = [(spec.parameters[name], np.arange(len(spec.parameters[name]), dtype=np.int64)) for name in names]
    _, numbers = rows_of(columns)
    first = np.sort(np.unique(numbers, return_index=True)[1])
    values = tuple(PickedValues(of, places[first].astype(np.int32)) for of, places in map(once, columns))
    return Axis(names, values, tuple((name,) for name in names))


def without(axes: Sequence[Axis], exclude: Sequence[Combination]) -> tuple[Axis, ...]:
    """Return the axes with those that are named together as one, without these combinations.

    Raises:
        ExcludeError: no row is left, no row has such a combination, or there are too many.
    """
    made = [axis for axis in axes if not any(_names(combination) & set(axis.names) for combination in exclude)]
    left = list(exclude)
    while left:
        chosen, left = _connected(axes, left)
        names = set().union(*map(_names, chosen))
        made.append(_joined([axis for axis in axes if names & set(axis.names)], chosen))
    return tuple(sorted(made, key=lambda axis: axis.names))


def _names(combination: Combination) -> set[str]:
    return {name for name, _ in combination}


def _connected(axes: Sequence[Axis], exclude: list[Combination]) -> tuple[list[Combination], list[Combination]]:
    """Return the combinations that share axes with the first, directly or not, and the others."""
    reached = set[str]()
    chosen, left = exclude[:1], exclude[1:]
    fresh = chosen
    while fresh:
        named = set().union(*map(_names, fresh))
        reached |= {name for axis in axes if named & set(axis.names) for name in axis.names}
        fresh = [combination for combination in left if reached & _names(combination)]
        left = [combination for combination in left if not reached & _names(combination)]
        chosen = chosen + fresh
    return chosen, left


def _joined(axes: Sequence[Axis], exclude: Iterable[Combination]) -> Axis:
    """Return one axis of all rows of the product of these that have none of the combinations."""
    sizes = [len(axis) for axis in axes]
    count = int(np.prod(sizes, dtype=object))
    if count > MOST_ROWS:
        names = ", ".join(f"'{name}'" for axis in axes for name in axis.names)
        message = f"{names} have {count:,} combinations"
        raise ExcludeError(message, f"{MOST_ROWS:,} at most can be excluded from: use fewer values, or a generator")
    kept = np.ones(sizes, dtype=np.bool_)
    for combination in exclude:
        kept[np.ix_(*(_positions(axis, combination) for axis in axes))] = False
    rows = np.flatnonzero(kept.ravel())
    if not len(rows):
        raise ExcludeError("every combination is excluded, so that no task is left", "leave some out of 'exclude'")
    columns: dict[str, PickedValues] = {}
    for axis, places in zip(axes, np.unravel_index(rows, sizes), strict=True):
        columns |= {name: _picked(axis, name, places) for name in axis.names}
    groups = tuple(sorted(group for axis in axes for group in axis.groups))
    return Axis(tuple(sorted(columns)), tuple(columns[name] for name in sorted(columns)), groups)


def _positions(axis: Axis, combination: Combination) -> NDArray[np.int64]:
    """Return the positions of an axis that have the values of a combination; all if it names none of its parameters."""
    named = [(name, text) for name, text in combination if name in axis.names]
    found = np.arange(len(axis), dtype=np.int64)
    for name, text in named:
        found = np.intersect1d(found, axis.where(name, text))
    if named and not len(found):
        shown = " with ".join(f"{name} '{text}'" for name, text in named)
        raise ExcludeError(f"no combination has {shown}", "leave it out of 'exclude'")
    return found


def _picked(axis: Axis, name: str, places: NDArray[np.intp]) -> PickedValues:
    values = axis.of(name)
    if isinstance(values, PickedValues):
        return PickedValues(values.of, values.places[places])
    return PickedValues(values, places.astype(np.int32))
