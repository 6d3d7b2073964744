"""Reads a run back: plan and states from what a tracker kept."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from daggy.attempt import State
from daggy.errors import DirectoryError, SpecError
from daggy.plan import Plan, difference, plan, present
from daggy.run import retry, states
from daggy.run.causes import ANSWERED
from daggy.run.commands import RUN_KILLED
from daggy.run.edit import replan, take_version
from daggy.run.indexes import Indexes
from daggy.run.notes import read_back
from daggy.run.run import Run, from_ranges
from daggy.run.states import DELAYED, QUEUED, WAITING, Now
from daggy.run.succession import succeed, succession
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
        DirectoryError: one of its specs is not read here any more, or is planned differently from the version of Daggy
            that wrote it.
    """
    try:
        return _replayed(record, history, epoch, now, made)
    except SpecError as error:
        raise unreadable(error) from error


def unreadable(error: SpecError) -> DirectoryError:
    """Return the error of a spec that was accepted once and is not any more."""
    more = f" (and {len(error.problems) - 1} more)" if len(error.problems) > 1 else ""
    return DirectoryError(
        f"its spec cannot be read here: {error.problems[0]}{more}; install what it uses, or the version of Daggy that "
        "wrote it, and start again"
    )


def _replayed(record: RunRecord, history: History, epoch: int, now: Now, made: Mapping[int, Plan]) -> Run:
    first = history.versions[0]
    run = Run(record.run, _plan(first, made), created=record.created, epoch=epoch, version=first.version)
    run.started_at = record.started
    _grow_all(run, first)
    later = list(history.versions[1:])
    for entry in history.entries:
        while later and entry.version >= later[0].version:
            _advance(run, later.pop(0), made, history)
        _apply(run, entry)
    while later:
        _advance(run, later.pop(0), made, history)
    read_back(run, history)
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

    Entries are applied after that: those of an earlier answer's tasks hold for the same tasks of the last one.
    """
    for generated in version.generated:
        if run.answers.get(generated.index) == generated.answer:
            continue
        fragment = parse_fragment(generated.answer, run.plan.spec, source=run.plan.name(generated.index))
        succeed(run, succession(run, generated.index, fragment, generated.answer))


def _advance(run: Run, version: Version, made: Mapping[int, Plan], history: History) -> None:
    read_back(run, history)
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
    indexes = _present(run, from_ranges(entry.ranges))
    run.frontier.state[indexes] = entry.state
    run.moves.append(entry)
    if run.superseded:
        for index in indexes.tolist():
            run.superseded.pop(index, None)
    there = present(run.plan, entry.flying[:, 0])
    flying = dict(zip(there[there >= 0].tolist(), entry.flying[there >= 0, 1].tolist(), strict=True))
    run.superseded.update(flying)
    run.spent.update(flying)
    if entry.state is State.KILLED:
        run.killed = run.killed or entry.cause.startswith(RUN_KILLED)
        return
    run.discarded.update(flying)
    if not entry.cause.startswith(ANSWERED):
        _start_anew(run)
    if run.failures or run.crashes:
        for index in indexes.tolist():
            run.forget_failures(index)


def _present(run: Run, indexes: Indexes) -> Indexes:
    """Return where these tasks are now, without those that are gone."""
    there = present(run.plan, indexes)
    return there if there is indexes else there[there >= 0]


def _apply_attempts(run: Run, entry: Attempts) -> None:
    rows = entry.rows
    frontier = run.frontier
    numbers = run.ledger.append(rows) + np.arange(1, len(rows) + 1, dtype=np.int64)
    there = present(run.plan, rows["index"].astype(np.int64))
    stays = there >= 0
    indexes = there[stays]
    frontier.state[indexes] = rows["outcome"][stays]
    frontier.attempt[indexes] = rows["attempt"][stays]
    frontier.last[indexes] = numbers[stays]
    run.errored += int(np.count_nonzero(rows["outcome"] == State.ERRORED))
    for index in indexes.tolist() if run.superseded else ():
        run.superseded.pop(index, None)
    for position in sorted(entry.messages):
        run.ledger.messages.add(int(numbers[position]) - 1, entry.messages[position])
    for position in sorted(entry.results):
        run.ledger.results.add(int(numbers[position]) - 1, entry.results[position])
    for position in np.flatnonzero(stays & ((rows["failures"] > 0) | (rows["crashes"] > 0))).tolist():
        run.failures[int(there[position])] = int(rows["failures"][position])
        run.crashes[int(there[position])] = int(rows["crashes"][position])


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
