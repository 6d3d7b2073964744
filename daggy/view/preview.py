"""What an edit of a run does, by template and cause: computed after it, or before it by trying it on a copy."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from attrs import evolve, frozen

from daggy.attempt import State
from daggy.plan import Difference, DifferenceRow, Plan, difference
from daggy.plan.summary import group_name
from daggy.run.commands import on_requeue, on_resume
from daggy.run.edit import on_edit, replan
from daggy.run.indexes import Indexes
from daggy.run.run import Run, from_ranges
from daggy.run.states import Now
from daggy.spec.model import RunSpec
from daggy.tracker import Moved, Submitted

EXAMPLES = 3
"""Examples of each cause."""

INVALIDATED = "invalidated"
"""Start of the cause of a completed task downstream of what runs again."""


@frozen
class Why:
    """Tasks of a template that run again for one cause; `examples` are indexes in the new version."""

    cause: str
    tasks: int
    examples: Sequence[int]


@frozen
class TemplateDifference:
    """What becomes of the tasks of one template, or of all without parameters; `kept` leaves out what runs again."""

    name: str
    kept: int
    added: int
    removed: int
    changed: int
    invalidated: int
    why: Sequence[Why]


@frozen
class DifferenceShape:
    """What an edit to `version` means for each template."""

    version: int
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
    causes = _causes(run, moves, {row.name for row in rows})
    return DifferenceShape(run.version, [_row(row, causes.get(row.name, [])) for row in rows])


def difference_of(told: Mapping[str, Any]) -> DifferenceShape:
    """Return the difference that plain JSON data describes."""
    templates = [TemplateDifference(**{**row, "why": [Why(**why) for why in row["why"]]}) for row in told["templates"]]
    return DifferenceShape(told["version"], templates)


def _row(row: DifferenceRow, whys: list[Why]) -> TemplateDifference:
    invalidated = sum(why.tasks for why in whys if why.cause.startswith(INVALIDATED))
    kept = row.kept - min(row.kept, invalidated)
    return TemplateDifference(
        row.name, int(kept), int(row.added), int(row.removed), int(row.changed), invalidated, whys
    )


def _causes(run: Run, moves: Sequence[Moved], names: Container[str]) -> Mapping[str, list[Why]]:
    """Return by name of a row why its tasks run again."""
    found: dict[str, dict[str, Why]] = defaultdict(dict)
    for moved in moves:
        if moved.state is not State.WAITING or moved.version != run.version:
            continue
        for name, indexes in _by_row(run, moved, names):
            before = found[name].get(moved.cause, Why(moved.cause, 0, ()))
            examples = (*before.examples, *indexes[:EXAMPLES].tolist())[:EXAMPLES]
            found[name][moved.cause] = evolve(before, tasks=before.tasks + len(indexes), examples=examples)
    return {name: list(whys.values()) for name, whys in found.items()}


def _by_row(run: Run, moved: Moved, names: Container[str]) -> Iterator[tuple[str, Indexes]]:
    for block, chosen in run.frontier.by_block(from_ranges(moved.ranges)):
        whole = group_name(block) if block.explicit else block.full(block.templates[0].name)
        if whole in names:
            yield whole, chosen
            continue
        for index in chosen.tolist():
            yield run.plan.template_name(index), np.array([index], np.int64)
