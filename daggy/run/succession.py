"""A generator answers again: tasks that are in both answers go on as what they were, those left out are removed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from attrs import evolve, frozen
from numpy.typing import NDArray

from daggy.errors import SpecError
from daggy.plan import Block, Plan, changed_by_answer, grow, present, tasks_text
from daggy.run import states
from daggy.run.causes import ANSWERED
from daggy.run.commands import HAS_RUN, has_run
from daggy.run.indexes import Indexes
from daggy.run.run import Run
from daggy.run.states import DELAYED, REMOVED
from daggy.spec import parse_fragment
from daggy.spec.model import RunSpec


@frozen(eq=False)
class Succession:
    """A run's plan with a new answer.

    Args:
        origin: The generator's task.
        plan: The plan with the new tasks, and with all that generators among them had answered.
        answers: What generators have answered whose tasks are in that plan.
        earlier: Numbers of the blocks of earlier answers that the new ones replace.
        misfits: Generators, by their new indexes, whose own earlier answers do not fit any more.
    """

    origin: int
    plan: Plan
    answers: Mapping[int, bytes]
    earlier: tuple[int, ...]
    misfits: Indexes


def succession(run: Run, origin: int, fragment: RunSpec | None, answer: bytes) -> Succession:
    """Return what a run becomes by an answer of a generator; nothing has changed yet.

    Args:
        run: The run.
        origin: The generator's task.
        fragment: The answer as a spec; None if it is empty.
        answer: Its bytes.

    Raises:
        SpecError: the answer does not fit the run.
    """
    old = run.plan
    fragment = fragment or evolve(old.spec, tasks=())
    if not len(fragment.tasks) and origin not in run.answers:
        return Succession(origin, old, run.answers, (), np.empty(0, np.int64))
    plan = grow(old, origin, fragment)
    within = set(_answers_within(run, origin))
    answers = {index: said for index, said in run.answers.items() if index != origin and index not in within}
    if len(fragment.tasks):
        answers[origin] = answer
    misfits = []
    for before in (index for index in run.answers if index in within):
        index = int(present(plan, np.array([before], np.int64))[0])
        if index < 0 or not plan.block_of(index).template(index).policy.is_generator:
            continue
        said = run.answers[before]
        try:
            plan = grow(plan, index, parse_fragment(said, plan.spec, source=plan.name(index)), before)
            answers[index] = said
        except SpecError:
            misfits.append(index)
    earlier = tuple(number for number in plan.replaced if number not in old.replaced)
    return Succession(origin, plan, answers, earlier, np.array(misfits, np.int64))


def _answers_within(run: Run, origin: int) -> Iterator[int]:
    """Yield the generators among what a generator generated, directly or not."""
    for number in run.plan.generated.get(origin, ()) if origin in run.answers else ():
        if run.frontier.generators[number]:
            block = run.plan.blocks[number]
            for index in [index for index in run.answers if block.start <= index < block.stop]:
                yield index
                yield from _answers_within(run, index)


def succeed(run: Run, made: Succession) -> None:
    """Take over a plan with a new answer; tasks of the earlier one go on under their new indexes, or are removed.

    If the answer replaces an earlier one the run has to begin again: gates and queues are still those of that one.
    """
    run.frontier.grow(made.plan)
    run.gates.grow()
    run.answers = dict(made.answers)
    for number in made.earlier:
        block, found = made.plan.blocks[number], made.plan.replaced[number]
        here, there = _moves(made.plan, number)
        stays = there >= 0
        if found is not None:
            _carry(run, block, found.target, here[stays], there[stays])
        _drop(run, block, here[~stays])


def _moves(plan: Plan, number: int) -> tuple[Indexes, Indexes]:
    """Return the tasks of a block that was replaced, and where they are now, -1 for those that are gone."""
    block, found = plan.blocks[number], plan.replaced[number]
    here = np.arange(block.start, block.stop, dtype=np.int64)
    return here, np.full(block.size, -1, np.int64) if found is None else found.of(here)


def _carry(run: Run, old: Block, new: Block, here: Indexes, there: Indexes) -> None:
    """Let tasks go on under other indexes; those in flight keep their tickets."""
    frontier = run.frontier
    for column in (frontier.state, frontier.attempt, frontier.last):
        column[there] = column[here]
    frontier.counts[new.number] = np.bincount(frontier.state[new.start : new.stop], minlength=states.CODES)
    codes = frontier.state[here]
    for before, index in _pairs(here, there, states.IS_IN_FLIGHT[codes]):
        _move_flight(run, before, index)
    for before, index in _pairs(here, there, codes == DELAYED):
        if (due := run.delays.due_of.pop(before, None)) is not None:
            run.delays.add(index, due)
    sparse: tuple[dict[int, Any], ...] = run.failures, run.crashes, run.superseded, run.discarded, run.spent, run.notes
    for kept in sparse:
        moving = np.isin(here, np.fromiter(kept, np.int64, len(kept)))
        for before, index in _pairs(here, there, moving):
            kept[index] = kept.pop(before)
    frontier.move(old, here, REMOVED)


def _pairs(here: Indexes, there: Indexes, chosen: NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    return zip(here[chosen].tolist(), there[chosen].tolist(), strict=True)


def _move_flight(run: Run, before: int, index: int) -> None:
    ticket = run.ticket(before)
    run.frontier.queue_of(before).in_flight -= 1
    run.frontier.queue_of(index).in_flight += 1
    run.tickets.pop(before, None)
    run.tickets[index], run.launched[ticket] = ticket, index
    if before in run.doomed:
        run.doomed[index] = run.doomed.pop(before)
    if before in run.started:
        run.started[index] = run.started.pop(before)
    if before in run.answering:
        run.answering[index] = run.answering.pop(before)


def _drop(run: Run, block: Block, indexes: Indexes) -> None:
    """Remove tasks of one block from the run; those that run are killed, and recorded when they have ended."""
    frontier = run.frontier
    for index in indexes[states.IS_IN_FLIGHT[frontier.state[indexes]]].tolist():
        run.abandon(index)
        frontier.land(frontier.queue_of(index))
        run.forget_flight(index)
    sparse: tuple[dict[int, Any], ...] = run.failures, run.crashes, run.notes
    for kept in sparse:
        for index in indexes[np.isin(indexes, np.fromiter(kept, np.int64, len(kept)))].tolist():
            del kept[index]
    frontier.move(block, indexes, REMOVED)


def consequences(run: Run, made: Succession, known: int) -> dict[str, Indexes]:
    """Return the tasks that a new answer changes, by cause: disjoint sets.

    These are tasks of the answer whose definition or parents differ, generators whose own answers do not fit any more,
    and, if there are more or fewer tasks than before, those that wait for all of them and have run.

    Args:
        run: The run, which has taken over the answer.
        made: What was taken over.
        known: The number of blocks that it had before.
    """
    found = [
        (cause, np.flatnonzero(np.broadcast_to(is_changed, block.size)) + block.start)
        for block, is_changed, cause in changed_by_answer(made.plan, made.earlier)
    ]
    found.append(("its own answer does not fit any more", made.misfits))
    added, removed = _added(made, known), _removed(made)
    if len(added) or len(removed):
        found.append((tasks_text(made.plan, added, removed), built_on(run, made.origin)))
    causes: dict[str, Indexes] = {}
    seen = np.empty(0, np.int64)
    for cause, indexes in found:
        fresh = np.setdiff1d(indexes, seen)
        if len(fresh):
            said = ANSWERED + cause
            causes[said] = np.union1d(causes.get(said, fresh), fresh)
            seen = np.union1d(seen, fresh)
    return causes


def _added(made: Succession, known: int) -> Indexes:
    """Return the tasks that were not there before."""
    fresh = made.plan.blocks[known:]
    start = fresh[0].start if fresh else made.plan.size
    is_new = np.ones(made.plan.size - start, np.bool_)
    for number in made.earlier:
        _, there = _moves(made.plan, number)
        is_new[there[there >= 0] - start] = False
    return np.flatnonzero(is_new) + start


def _removed(made: Succession) -> Indexes:
    """Return the tasks that are no longer there."""
    gone = [here[there < 0] for here, there in (_moves(made.plan, number) for number in made.earlier)]
    return np.concatenate([np.empty(0, np.int64), *gone])


def built_on(run: Run, origin: int) -> Indexes:
    """Return what waits for all that a generator generates and has run, or runs, and is not being killed."""
    plan, frontier = run.plan, run.frontier
    parts = [np.empty(0, np.int64)]
    for one in (origin, *plan.lineage(plan.block_of(origin))):
        for array in plan.out[frontier.block_number(one)]:
            targets = [plan.blocks[number] for number in array.targets]
            gates = array.gates_of(one)
            if array.whole_target:
                parts.append(frontier.where(HAS_RUN, [plan.blocks[array.whole(gate)] for gate in gates]))
            elif any(frontier.counts[target.number, HAS_RUN].any() for target in targets):
                parts.append(array.children(np.array(gates, np.int64)))
    return has_run(run, np.unique(np.concatenate(parts)))
