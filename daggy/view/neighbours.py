"""What a task waits for and what waits for it, by template, with counts by state."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from attrs import frozen

from daggy.attempt import State
from daggy.plan import GateArray
from daggy.run import states
from daggy.run.indexes import Indexes
from daggy.run.run import Run, public_counts

EXAMPLES = 3
"""Examples of each template."""

SEPARATE = 100
"""Templates without parameters that are listed one by one."""


@frozen
class Example:
    """One task of a group."""

    index: int
    name: str
    state: str


@frozen
class Neighbours:
    """Tasks of one template; `template` is empty for the rest of those without parameters."""

    template: str
    tasks: int
    counts: dict[str, int]
    examples: Sequence[Example]


def parents(run: Run, index: int) -> list[Neighbours]:
    """Return what a task waits for, its generator among it."""
    block = run.plan.block_of(index)
    found = [np.array([block.origin], np.int64)] if block.origin >= 0 else []
    groups = [group for indexes in found for group in _groups(run, indexes)]
    for array in run.plan.into[block.number]:
        gate = array.gate_before(index)
        if gate >= 0:
            groups += _of(run, array.parents(gate))
    return groups


def children(run: Run, index: int) -> list[Neighbours]:
    """Return what waits for a task; not what it generated."""
    number = run.plan.block_of(index).number
    groups: list[Neighbours] = []
    for array in run.plan.arrays:
        if array.source == number:
            groups += _behind(run, array, index)
    return groups


def _behind(run: Run, array: GateArray, index: int) -> Iterator[Neighbours]:
    for gate in array.gates_of(index):
        whole = array.whole(gate)
        if whole >= 0:
            block = run.plan.blocks[whole]
            yield from _of(run, range(block.start, block.stop))
        else:
            yield from _of(run, array.children_of(gate))


def _of(run: Run, indexes: Sequence[int] | Indexes) -> Iterator[Neighbours]:
    if not isinstance(indexes, range):
        yield from _groups(run, np.asarray(indexes, np.int64))
        return
    block = run.plan.block_of(indexes.start)
    if block.explicit or indexes != range(block.start, block.stop):
        yield from _groups(run, np.arange(indexes.start, indexes.stop, indexes.step, dtype=np.int64))
        return
    counts = run.frontier.counts[block.number]  # the counts of a whole block are kept
    if not counts[states.REMOVED]:
        first = np.arange(block.start, min(block.start + EXAMPLES, block.stop), dtype=np.int64)
        yield Neighbours(run.plan.template_name(block.start), block.size, public_counts(counts), examples(run, first))


def _groups(run: Run, indexes: Indexes) -> Iterator[Neighbours]:
    indexes = indexes[run.frontier.state[indexes] != states.REMOVED]
    if not len(indexes):
        return
    if run.plan.block_of(int(indexes[0])).explicit:
        for index in indexes[:SEPARATE].tolist():
            yield _group(run, run.plan.template_name(index), np.array([index], np.int64))
        if len(indexes) > SEPARATE:
            yield _group(run, "", indexes[SEPARATE:])
        return
    yield _group(run, run.plan.template_name(int(indexes[0])), indexes)


def _group(run: Run, template: str, indexes: Indexes) -> Neighbours:
    counts = np.bincount(run.frontier.state[indexes], minlength=states.CODES)
    return Neighbours(template, len(indexes), public_counts(counts), examples(run, indexes[:EXAMPLES]))


def examples(run: Run, indexes: Indexes) -> list[Example]:
    """Return tasks with their names and states."""
    return [
        Example(index, run.plan.name(index), State(states.PUBLIC[run.frontier.state[index]]).name.lower())
        for index in indexes.tolist()
    ]
