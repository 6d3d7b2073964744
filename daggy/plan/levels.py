"""Topological levels of templates, and the cycles that leave them without one."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


def levels(sources: Ints, targets: Ints, least: Ints) -> Ints:
    """Return the length of the longest path that ends at each vertex, -1 for those on or behind a cycle.

    It uses plain lists and ints: a chain of a million templates has a million levels, too many for a numpy call each.

    Args:
        sources: Tail of each edge, a vertex from 0 to `len(least)`.
        targets: Head of each edge, ascending.
        least: What each vertex's level is at least.
    """
    if (sources < targets).all():
        return _as_written(sources, targets, least)
    return _sought(sources, targets, least)


def _as_written(sources: Ints, targets: Ints, least: Ints) -> Ints:
    """Return the levels where parents are numbered below their children, as most specs are written."""
    level: list[int] = least.tolist()
    for source, target in zip(sources.tolist(), targets.tolist(), strict=True):
        below = level[source] + 1
        if level[target] < below:  # noqa: PLR1730  # max() doubles the time of the loop
            level[target] = below
    return np.array(level, dtype=np.int64)


def _sought(sources: Ints, targets: Ints, least: Ints) -> Ints:
    """Return the levels by removing, one after the other, vertices without parents left (Kahn, 1962)."""
    count = len(least)
    heads = targets[np.argsort(sources, kind="stable")].tolist()
    bounds = [0, *np.cumsum(np.bincount(sources, minlength=count)).tolist()]
    waiting = np.bincount(targets, minlength=count).tolist()
    level: list[int] = least.tolist()
    closed = [False] * count
    free = [vertex for vertex, left in enumerate(waiting) if not left]
    while free:
        vertex = free.pop()
        closed[vertex] = True
        below = level[vertex] + 1
        for child in heads[bounds[vertex] : bounds[vertex + 1]]:
            if level[child] < below:  # noqa: PLR1730  # idem
                level[child] = below
            waiting[child] -= 1
            if not waiting[child]:
                free.append(child)
    return np.where(closed, level, -1)


def find_cycles(sources: Ints, targets: Ints, level: Ints) -> list[list[int]]:
    """Return cycles that share no vertex, each in the order of its edges, from its lowest vertex.

    Every vertex of level -1 has a parent of level -1, so that going up from one must lead to a cycle.
    """
    inside = (level[sources] < 0) & (level[targets] < 0)
    parent = dict(zip(targets[inside].tolist(), sources[inside].tolist(), strict=True))
    cycles = []
    walk_of: dict[int, int] = {}
    for first in parent:
        path: list[int] = []
        vertex = first
        while vertex not in walk_of:
            walk_of[vertex] = first
            path.append(vertex)
            vertex = parent[vertex]
        if path and walk_of[vertex] == first:
            cycle = path[path.index(vertex) :][::-1]
            lowest = cycle.index(min(cycle))
            cycles.append(cycle[lowest:] + cycle[:lowest])
    return cycles
