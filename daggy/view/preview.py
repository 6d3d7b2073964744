"""What an edit of a run does, by template and cause: computed after it, or before it by trying it on a copy."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from attrs import define, evolve, field, frozen

from daggy.attempt import State
from daggy.plan import Block, Difference, DifferenceRow, Plan, difference
from daggy.plan.summary import group_name
from daggy.run import states
from daggy.run.causes import INVALIDATED
from daggy.run.commands import on_requeue, on_resume
from daggy.run.edit import on_edit, replan
from daggy.run.indexes import Indexes
from daggy.run.run import Run, from_ranges
from daggy.run.states import Now
from daggy.spec.model import RunSpec
from daggy.tracker import Moved, Submitted

EXAMPLES = 3
"""Examples of each cause."""


@frozen
class Why:
    """Tasks of a template that run again for one cause; `examples` are indexes in the new version."""

    cause: str
    tasks: int
    examples: Sequence[int]


@frozen
class TemplateDifference:
    """What becomes of the tasks of one template, or of all without parameters if they are many.

    Each task is counted once: `kept` are those that stay as they are, `invalidated` those that run again because a
    parent does, and `again` those that run again although nothing changed: they are requeued or resumed.
    """

    name: str
    kept: int
    added: int
    removed: int
    changed: int
    invalidated: int
    again: int
    why: Sequence[Why]


@frozen
class DifferenceShape:
    """What an edit to `version` means for each template; `to_run` counts all tasks that have yet to run after it."""

    version: int
    to_run: int
    templates: Sequence[TemplateDifference]

    def is_empty(self) -> bool:
        """Return whether no task is added, removed or run again."""
        return not any(row.added or row.removed or row.changed or row.invalidated or row.why for row in self.templates)


def preview(
    run: Run,
    spec: RunSpec,
    now: Now,
    *,
    keep_downstream: bool = False,
    rerun: Callable[[Plan], Indexes] | None = None,
    made: Plan | None = None,
) -> DifferenceShape:
    """Return what an edit would do, by doing it to this run: a copy, to be dropped afterwards.

    `rerun` chooses, from the plan after the edit, what is requeued beside it; `made` is the spec's plan, if there is
    one.

    Raises:
        SpecError: the spec cannot be planned.
    """
    new = replan(run, spec, made)
    changes = difference(run.plan, new)
    known = len(run.moves)
    submitted = Submitted(
        run.id, run.version + 1, b"", new.digest, spec.name, spec.tags, now.wall, keep_downstream=keep_downstream
    )
    on_edit(run, changes, submitted, now)
    if rerun is not None:
        on_requeue(run, rerun(run.plan), now)
    return shape(run, changes, run.moves[known:])


def preview_again(run: Run, chosen: Indexes | None, now: Now, *, keep_downstream: bool = False) -> DifferenceShape:
    """Return what requeueing tasks, or resuming (`chosen` None), would do, by doing it to this copy of a run."""
    known = len(run.moves)
    if chosen is None:
        on_resume(run, now)
    else:
        on_requeue(run, chosen, now, keep_downstream=keep_downstream)
    return shape(run, difference(run.plan, run.plan), run.moves[known:])


def shape(run: Run, changes: Difference, moves: Sequence[Moved]) -> DifferenceShape:
    """Return what an edit did.

    Args:
        run: The run after it.
        changes: What led to its present plan.
        moves: What the edit moved.
    """
    rows = changes.rows()
    reruns = _reruns(run, changes, moves, {row.name for row in rows})
    to_run = int(run.frontier.totals()[states.IS_ACTIVE].sum())
    return DifferenceShape(run.version, to_run, [_row(row, reruns[row.name]) for row in rows])


def difference_of(told: Mapping[str, Any]) -> DifferenceShape:
    """Return the difference that plain JSON data describes."""
    templates = [TemplateDifference(**{**row, "why": [Why(**why) for why in row["why"]]}) for row in told["templates"]]
    return DifferenceShape(told["version"], told["to_run"], templates)


@define
class _Reruns:
    """Tasks of one row that run again: `unchanged` of them although their definitions and parents are the same."""

    why: dict[str, Why] = field(factory=dict)
    unchanged: int = 0
    invalidated: int = 0


def _row(row: DifferenceRow, reruns: _Reruns) -> TemplateDifference:
    return TemplateDifference(
        row.name, int(row.kept) - reruns.unchanged, int(row.added), int(row.removed), int(row.changed),
        reruns.invalidated, reruns.unchanged - reruns.invalidated, list(reruns.why.values()),
    )  # fmt: skip


def _reruns(run: Run, changes: Difference, moves: Sequence[Moved], names: Container[str]) -> defaultdict[str, _Reruns]:
    """Return by name of a row which tasks run again, each for the first cause that it has."""
    found: defaultdict[str, _Reruns] = defaultdict(_Reruns)
    seen = np.zeros(run.plan.size, np.bool_)
    for moved in moves:
        if moved.state is not State.WAITING or moved.version != run.version:
            continue
        indexes = from_ranges(moved.ranges)
        fresh = indexes[~seen[indexes]]
        seen[fresh] = True
        for name, block, chosen in _by_row(run, fresh, names):
            _add(found[name], moved.cause, chosen, _unchanged(changes, block, chosen))
    return found


def _add(reruns: _Reruns, cause: str, chosen: Indexes, unchanged: int) -> None:
    before = reruns.why.get(cause, Why(cause, 0, ()))
    examples = (*before.examples, *chosen[:EXAMPLES].tolist())[:EXAMPLES]
    reruns.why[cause] = evolve(before, tasks=before.tasks + len(chosen), examples=examples)
    reruns.unchanged += unchanged
    reruns.invalidated += unchanged if cause.startswith(INVALIDATED) else 0


def _unchanged(changes: Difference, block: Block, chosen: Indexes) -> int:
    """Return how many of these tasks of a new block were there before with the same definition and parents."""
    is_changed = changes.changed[block.number]
    changed = is_changed[chosen - block.start] if isinstance(is_changed, np.ndarray) else np.bool_(is_changed)
    return int(np.count_nonzero((changes.back(chosen) >= 0) & ~changed))


def _by_row(run: Run, indexes: Indexes, names: Container[str]) -> Iterator[tuple[str, Block, Indexes]]:
    for block, chosen in run.frontier.by_block(indexes):
        whole = group_name(block) if block.explicit else block.full(block.templates[0].name)
        if whole in names:
            yield whole, block, chosen
            continue
        for index in chosen.tolist():
            yield run.plan.template_name(index), block, np.array([index], np.int64)
