"""Resolves dependencies as written to pairs of templates, and reports everything wrong with them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain, repeat
from operator import attrgetter, is_, ne

import numpy as np
from attrs import field, frozen
from numpy.typing import NDArray

from daggy.errors import Problem
from daggy.plan.names import suggest
from daggy.spec.model import Dependency, On, Template
from daggy.spec.packed import PackedTemplates

Ints = NDArray[np.int64]
Resolve = Callable[[str], int]
"""Gives the vertex of a name: a position among the templates, a number above for what is outside, or one of these:"""
UNKNOWN = -1
EXISTS = -2
"""A task of this name exists, but must not be named here."""

_SUGGESTED = 20  # unknown names for which a closest match is looked up; that is slow among a million names


@frozen(eq=False)
class Edges:
    """Distinct dependencies between vertices, sorted by child, then parent.

    Args:
        sources: Vertex of each parent.
        targets: Vertex of each child.
        on: Whether each is waited for until it ended.
        matches: What was written as `match`, by (parent, child), where anything was.
        paths: Where those are written, by (parent, child).
    """

    sources: Ints
    targets: Ints
    on: NDArray[np.bool_]
    matches: dict[tuple[int, int], tuple[str, ...] | None] = field(factory=dict)
    paths: dict[tuple[int, int], str] = field(factory=dict)


@frozen(eq=False)
class _Side:
    """All entries of `parents`, or all of `children`: the template each stands in, and the vertex it names.

    `entries` is empty where all of them are names and nothing else.
    """

    key: str
    templates: Sequence[Template]
    names: list[str]
    entries: list[Dependency]
    own: Ints
    other: Ints

    def path(self, entry: int) -> str:
        """Return where an entry is written."""
        own = int(self.own[entry])
        first = int(np.searchsorted(self.own, own))
        return f"tasks.{self.templates[own].name}.{self.key}[{entry - first}]"


def resolve(
    templates: Sequence[Template], where: Mapping[str, int], parent: Resolve, child: Resolve, names: Iterable[str]
) -> tuple[Edges, list[Problem]]:
    """Return the edges that templates write down, and the problems that leave some out.

    Args:
        templates: Who writes.
        where: Vertex of each of them: its position.
        parent: Resolves other names in `parents`.
        child: Resolves other names in `children`.
        names: Names that exist, to suggest from.
    """
    sides = (
        _side("parents", templates, where, parent),
        _side("children", templates, where, child),
    )
    problems = [problem for side in sides for problem in _unknown(side, names)]
    problems += [problem for side in sides for problem in _own_parent(side)]
    sources = np.concatenate([sides[0].other, sides[1].own])
    targets = np.concatenate([sides[0].own, sides[1].other])
    good = (sources >= 0) & (targets >= 0) & (sources != targets)
    edges, repeated = _distinct(sides, sources, targets, good)
    return edges, problems + repeated


def _side(key: str, templates: Sequence[Template], where: Mapping[str, int], outer: Resolve) -> _Side:
    # Built-in functions instead of loops: there may be millions of entries.
    lists: Sequence[Sequence[object]]
    entries: list[Dependency] = []
    if isinstance(templates, PackedTemplates) and templates.links:
        lists = written = getattr(templates.links, key)
        names = list(chain.from_iterable(written))
    else:
        lists = given = [getattr(template, key) for template in templates]
        entries = list(chain.from_iterable(given))
        names = list(map(attrgetter("task"), entries))
    counts = np.fromiter(map(len, lists), dtype=np.int64, count=len(lists))
    own = np.repeat(np.arange(len(lists), dtype=np.int64), counts)
    other = np.fromiter(map(where.get, names, repeat(UNKNOWN)), dtype=np.int64, count=len(names))
    for entry in np.flatnonzero(other == UNKNOWN).tolist():
        other[entry] = outer(names[entry])
    return _Side(key, templates, names, entries, own, other)


def _unknown(side: _Side, names: Iterable[str]) -> list[Problem]:
    problems = []
    for count, entry in enumerate(np.flatnonzero(side.other < 0).tolist()):
        name = side.names[entry]
        if side.other[entry] == EXISTS:
            message = f"'{name}' exists already: a generated task can be a parent only of its siblings"
            problems.append(Problem(side.path(entry), message, "remove it: children of the generator wait anyway"))
            continue
        mend = suggest(name, names) if count < _SUGGESTED else ""
        problems.append(Problem(side.path(entry), f"no task named '{name}'", mend))
    return problems


def _own_parent(side: _Side) -> list[Problem]:
    return [
        Problem(side.path(entry), f"'{side.names[entry]}' waits for itself", "remove it")
        for entry in np.flatnonzero(side.own == side.other).tolist()
    ]


def _distinct(
    sides: tuple[_Side, _Side], sources: Ints, targets: Ints, good: NDArray[np.bool_]
) -> tuple[Edges, list[Problem]]:
    """Return each edge once, and those that are given twice and differ."""
    given = sides[0].entries + sides[1].entries
    places = np.flatnonzero(good)
    keys = targets[places] * (int(sources.max(initial=0)) + 1) + sources[places]
    if not (keys[1:] > keys[:-1]).all():
        order = np.argsort(keys, kind="stable")
        places, keys = places[order], keys[order]
    again = np.zeros(len(keys), dtype=np.bool_)
    again[1:] = keys[1:] == keys[:-1]
    problems = []
    for place in np.flatnonzero(again).tolist():
        one, other = int(places[place - 1]), int(places[place])
        if given and (given[one].on != given[other].on or _as_set(given[one]) != _as_set(given[other])):
            message = f"differs from {_path(sides, one)}, which gives the same dependency"
            problems.append(Problem(_path(sides, other), message, "remove one of the two"))
    places = places[~again]
    on, special = np.zeros((2, len(sources)), dtype=np.bool_)
    on[: len(given)] = [*map(is_, map(attrgetter("on"), given), repeat(On.ENDED))]
    special[: len(given)] = [*map(ne, map(attrgetter("match"), given), repeat(()))]
    matched = {(int(sources[place]), int(targets[place])): place for place in places[special[places]].tolist()}
    edges = Edges(
        sources[places],
        targets[places],
        on[places],
        {pair: given[place].match for pair, place in matched.items()},
        {pair: _path(sides, place) for pair, place in matched.items()},
    )
    return edges, problems


def _path(sides: tuple[_Side, _Side], place: int) -> str:
    """Return where an entry is written, counting through both sides."""
    count = len(sides[0].names)
    return sides[0].path(place) if place < count else sides[1].path(place - count)


def _as_set(entry: Dependency) -> frozenset[str] | None:
    return None if entry.match is None else frozenset(entry.match)
