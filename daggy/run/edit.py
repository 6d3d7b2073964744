"""Replaces a run's spec: which tasks stay, which run again, which are removed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

import numpy as np

from daggy.errors import SpecError
from daggy.plan import Difference, Plan, grow, plan
from daggy.run import states
from daggy.run.commands import run_again
from daggy.run.frontier import PIECE, Frontier
from daggy.run.gates import Gates
from daggy.run.indexes import Indexes, Where, where_of
from daggy.run.run import KILLING, Run
from daggy.run.states import QUEUED, REMOVED, WAITING, Now
from daggy.run.succession import built_on
from daggy.spec import parse_fragment
from daggy.spec.model import RunSpec
from daggy.tracker import Submitted

T = TypeVar("T")

CARRIED = np.arange(states.CODES, dtype=np.uint8)
"""The state that each state becomes in a new version: delays end, and a removed task that is back has yet to run.
"""
CARRIED[states.DELAYED] = QUEUED
CARRIED[REMOVED] = WAITING


OTHER_TASKS = "a generator that it waits for has other tasks"


def replan(run: Run, spec: RunSpec, made: Plan | None = None) -> Plan:
    """Return the plan of a new spec, grown by the answers of the run's generators where these still fit.

    `made` is that spec's plan, if there is one already.

    Raises:
        SpecError: the spec cannot be planned.
    """
    new = made or plan(spec)
    for old_index, answer in run.answers.items():
        new = _regrow(run, new, old_index, answer)
    return new


def _regrow(run: Run, new: Plan, old_index: int, answer: bytes) -> Plan:
    try:
        index = new.index(run.plan.name(old_index))
        if not new.block_of(index).template(index).policy.is_generator:
            return new
        fragment = parse_fragment(answer, new.spec, source=new.name(index))
        return grow(new, index, fragment) if fragment.tasks else new
    except (KeyError, SpecError):
        return new  # the generator is gone, or its answer does not fit the new spec: it runs again


def on_edit(run: Run, changes: Difference, submitted: Submitted, now: Now, actor: str = "") -> None:
    """Replace the run's plan by a new version's, resume, and run again what changed and what is downstream of it.

    Args:
        run: The run, in any state.
        changes: From its present plan to what `replan` gave.
        submitted: The entry that records the new version.
        now: The moment.
        actor: The user.
    """
    run.record(submitted)
    misfits = _misfits(run, changes)
    take_version(run, changes, submitted.version)
    chosen: dict[str, Indexes] = {}
    for cause, indexes in changed(changes):
        chosen[cause] = np.concatenate([chosen.get(cause, np.empty(0, np.int64)), indexes])
    others = [built_on(run, origin) for origin in _with_other_tasks(changes)]
    for cause, indexes in (("its answer does not fit any more", misfits), (OTHER_TASKS, _all(others))):
        chosen[cause] = np.setdiff1d(indexes, _all(chosen.values()))
    dying = np.array([index for index, doom in run.doomed.items() if doom in KILLING], np.int64)
    failed = np.union1d(run.frontier.where(states.IS_FAILED), dying)
    chosen["resumed"] = np.setdiff1d(failed, _all(chosen.values()))
    if not run_again(run, chosen, now, actor=actor, keep_downstream=submitted.keep_downstream):
        run.reopen(now)
        run.begin()
        run.settle(now)


def _misfits(run: Run, changes: Difference) -> Indexes:
    """Return the generators, by their new indexes, whose answers do not fit the new version."""
    new = changes.new
    there = changes.translate(np.fromiter(run.answers, np.int64, len(run.answers)))
    lacking = (index for index in there[there >= 0].tolist() if index not in new.generated)
    asked = [index for index in lacking if new.block_of(index).template(index).policy.is_generator]
    return np.array(sorted(asked), np.int64)


def _with_other_tasks(changes: Difference) -> set[int]:
    """Return the generators, by their new indexes, whose answers come to more or to fewer tasks than before."""
    found = set()
    for block in changes.new.current:
        if block.origin >= 0 and changes.back(np.array([block.origin], np.int64))[0] >= 0:
            there = changes.back_range(block, block.start, block.stop)
            if there is None or (not isinstance(there, slice) and (there < 0).any()):
                found.add(block.origin)
    for block in changes.old.current:
        if block.origin >= 0:
            origin = int(changes.translate(np.array([block.origin], np.int64))[0])
            if (
                origin in changes.new.generated
                and (changes.translate(np.arange(block.start, block.stop, dtype=np.int64)) < 0).any()
            ):
                found.add(origin)
    return found


def _all(parts: Iterable[Indexes]) -> Indexes:
    return np.unique(np.concatenate([np.empty(0, np.int64), *parts]))


def changed(changes: Difference) -> Iterator[tuple[str, Indexes]]:
    """Yield tasks whose definition or parents differ, by cause; new ones among them."""
    for block, is_changed in zip(changes.new.blocks, changes.changed, strict=True):
        if isinstance(is_changed, (bool, np.bool_)):
            if not is_changed:
                continue
            indexes = np.arange(block.start, block.stop, dtype=np.int64)
        else:
            indexes = np.flatnonzero(is_changed) + block.start
        yield changes.cause(block.number), indexes


def take_version(run: Run, changes: Difference, version: int) -> None:
    """Move the run's columns to a new version's indexes; what was ready waits until the run begins again.

    Removed tasks keep their history; those that run are killed.
    """
    old, frontier = run.frontier, Frontier(changes.new)
    for block in changes.new.blocks:
        for start in range(block.start, block.stop, PIECE):
            stop = min(start + PIECE, block.stop)
            there = changes.back_range(block, start, stop)
            if there is None:
                continue
            here: Where = slice(start, stop)
            if not isinstance(there, slice):
                kept = there >= 0
                here, there = where_of(np.flatnonzero(kept) + start), where_of(there[kept])
            frontier.state[here] = CARRIED[old.state[there]]
            frontier.attempt[here] = old.attempt[there]
            frontier.last[here] = old.last[there]
    _move_flights(run, changes)
    _move_sparse(run, changes)
    run.frontier = frontier
    frontier.recount()
    run.gates = Gates(frontier)
    run.translations[run.version] = changes
    run.version = version
    run.ledger.new_version(version)
    run.delays.clear()


def _move_flights(run: Run, changes: Difference) -> None:
    """Give tasks in flight their new index and keep the ticket that they were launched with."""
    flying = run.frontier.where(states.IS_IN_FLIGHT)
    tickets, doomed, started, answering = {}, {}, {}, {}
    for index, new in zip(flying.tolist(), changes.translate(flying).tolist(), strict=True):
        ticket = run.ticket(index)
        if new < 0:
            run.abandon(index)
            continue
        tickets[new] = ticket
        if index in run.doomed:
            doomed[new] = run.doomed[index]
        if index in run.started:
            started[new] = run.started[index]
        if index in run.answering:
            answering[new] = run.answering[index]
    run.tickets, run.doomed, run.started, run.answering = tickets, doomed, started, answering
    run.launched = {ticket: index for index, ticket in tickets.items()}


def _move_sparse(run: Run, changes: Difference) -> None:
    run.failures = _moved(run.failures, changes)
    run.crashes = _moved(run.crashes, changes)
    run.superseded = _moved(run.superseded, changes)
    run.discarded = _moved(run.discarded, changes)
    run.spent = _moved(run.spent, changes)
    run.notes = _moved(run.notes, changes)
    answers = _moved(run.answers, changes)
    run.answers = {index: answer for index, answer in answers.items() if index in changes.new.generated}


def _moved(old: dict[int, T], changes: Difference) -> dict[int, T]:
    new = changes.translate(np.fromiter(old, np.int64, len(old))).tolist()
    return {index: value for index, value in zip(new, old.values(), strict=True) if index >= 0}
