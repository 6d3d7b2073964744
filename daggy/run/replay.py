"""Reads a run back: plan and states from what a tracker kept."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from daggy.attempt import State
from daggy.errors import DirectoryError
from daggy.plan import Plan, difference, grow, plan
from daggy.run import retry, states
from daggy.run.commands import RUN_KILLED
from daggy.run.edit import replan, take_version
from daggy.run.growth import retire
from daggy.run.run import Run, from_ranges
from daggy.run.states import DELAYED, QUEUED, WAITING, Now
from daggy.spec import parse, parse_fragment
from daggy.tracker import Attempts, History, Moved, RunRecord, Version


def replay(
    record: RunRecord, history: History, epoch: int, now: Now, made: Mapping[int, Plan] = MappingProxyType({})
) -> Run:
    """Return the run that its entries describe; what was in flight is queued again, numbered above every known attempt.

    Args:
        record: The run.
        history: What is kept of it.
        epoch: The engine's.
        now: The moment.
        made: Plans of versions of its spec that were made already, without what was generated.

    Raises:
        DirectoryError: this version of Daggy plans one of its specs differently from the version that wrote it.
    """
    first = history.versions[0]
    run = Run(record.run, _plan(first, made), created=record.created, epoch=epoch, version=first.version)
    run.started_at = record.started
    _grow_all(run, first)
    later = list(history.versions[1:])
    for entry in history.entries:
        while later and entry.version >= later[0].version:
            _advance(run, later.pop(0), made)
        _apply(run, entry)
    while later:
        _advance(run, later.pop(0), made)
    run.outbox.entries.clear()
    run.ledger.mark_given()
    _settle_states(run, now)
    run.frontier.recount()
    run.begin()
    run.state, run.ended_at = record.state, record.ended
    return run


def _plan(version: Version, made: Mapping[int, Plan]) -> Plan:
    found = made.get(version.version) or plan(parse(version.spec, directory=None))
    if found.digest != version.digest:
        raise DirectoryError(
            f"version {version.version} of the run's spec was planned differently by the version of Daggy "
            f"that wrote it ({version.digest}; this one: {found.digest}): continue with that version, or use another "
            "directory"
        )
    return found


def _grow_all(run: Run, version: Version) -> None:
    """Grow the plan by what was generated under this version, in order; a later answer of a generator replaces an
    earlier one.
    """
    for generated in version.generated:
        if run.answers.get(generated.index) == generated.answer:
            continue
        retire(run, generated.index)
        fragment = parse_fragment(generated.answer, run.plan.spec, source=run.plan.name(generated.index))
        if fragment.tasks:
            run.answers[generated.index] = generated.answer
            run.frontier.grow(grow(run.plan, generated.index, fragment))
            run.gates.grow()


def _advance(run: Run, version: Version, made: Mapping[int, Plan]) -> None:
    base = _plan(version, made)
    new = replan(run, base.spec, base)
    run.frontier.recount()
    take_version(run, difference(run.plan, new), version.version)
    _grow_all(run, version)
    _start_anew(run)


def _start_anew(run: Run) -> None:
    """Note a command that continues the run: failures so far no longer count."""
    run.killed = False
    run.errored = 0


def _apply(run: Run, entry: Attempts | Moved) -> None:
    """Replay one entry; entries of tasks that a later edit removed are skipped."""
    if entry.version != run.version:
        return
    if isinstance(entry, Moved):
        _apply_move(run, entry)
    else:
        _apply_attempts(run, entry)


def _apply_move(run: Run, entry: Moved) -> None:
    indexes = from_ranges(entry.ranges)
    indexes = indexes[run.frontier.state[indexes] != states.REMOVED]
    run.frontier.state[indexes] = entry.state
    run.moves.append(entry)
    if run.superseded:
        for index in indexes.tolist():
            run.superseded.pop(index, None)
    run.superseded.update(entry.flying.tolist())
    run.spent.update(entry.flying.tolist())
    if entry.state is State.KILLED:
        run.killed = run.killed or entry.cause.startswith(RUN_KILLED)
        return
    run.discarded.update(entry.flying.tolist())
    _start_anew(run)
    if run.failures or run.crashes:
        for index in indexes.tolist():
            run.forget_failures(index)


def _apply_attempts(run: Run, entry: Attempts) -> None:
    rows = entry.rows
    indexes = rows["index"].astype(np.int64)
    frontier = run.frontier
    removed = frontier.state[indexes] == states.REMOVED
    numbers = run.ledger.append(rows) + np.arange(1, len(rows) + 1, dtype=np.int64)
    frontier.state[indexes] = np.where(removed, states.REMOVED, rows["outcome"])
    frontier.attempt[indexes] = rows["attempt"]
    frontier.last[indexes] = numbers
    run.errored += int(np.count_nonzero(rows["outcome"] == State.ERRORED))
    for index in indexes.tolist() if run.superseded else ():
        run.superseded.pop(index, None)
    for position, message in entry.messages.items():
        run.ledger.messages[int(numbers[position]) - 1] = message
    for position in np.flatnonzero((rows["failures"] > 0) | (rows["crashes"] > 0)).tolist():
        run.failures[int(indexes[position])] = int(rows["failures"][position])
        run.crashes[int(indexes[position])] = int(rows["crashes"][position])


def _settle_states(run: Run, now: Now) -> None:
    """Turn outcomes into states: a task between retries waits out what is left of its delay."""
    frontier = run.frontier
    again = np.flatnonzero(frontier.state == QUEUED)
    frontier.state[again] = WAITING
    for index in again.tolist():
        row = run.last_row(index)
        policy = frontier.queue_of(index).policy
        if row is None or not policy.retry_delay:
            continue
        if not retry.is_retriable(policy, int(row["reason"]), int(row["code"])):
            continue
        pause = retry.delay(policy, int(row["failures"]), (run.id, index, int(row["attempt"])))
        left = min(pause, float(row["ended"]) + pause - now.wall)  # the wall clock may have been set back
        if left > 0:
            frontier.state[index] = DELAYED
            run.delays.add(index, now.mono + left)
    for index in [i for i in (*run.failures, *run.crashes) if states.IS_ENDED[frontier.state[i]]]:
        run.forget_failures(index)
