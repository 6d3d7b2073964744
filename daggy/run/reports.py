"""Applies executors' reports to a run: attempts that start, end, are lost or come back unstarted."""

from __future__ import annotations

import struct
from bisect import bisect_right

import numpy as np
from attrs import frozen

from daggy.attempt import (
    ATTEMPT,
    NO_TEXTS,
    REPORT,
    STOPPED,
    Kind,
    Reason,
    Reports,
    Rows,
    Texts,
    Ticket,
    chosen,
)
from daggy.run import retry, states
from daggy.run.notes import take_notes
from daggy.run.run import Doom, Run, alone
from daggy.run.states import COMPLETED, DELAYED, ERRORED, IN_FLIGHT, KILLED, QUEUED, REMOVED, RUNNING, WAITING, Now
from daggy.run.successes import heads_of, on_completed, on_launched, plain_successes
from daggy.spec.model import Policy

PEEK = struct.Struct("<8xB4xIIII24xhB7xB")
"""kind, version, epoch, index, attempt, code, reason, flags of one REPORT row."""

SIZE = REPORT.itemsize
FINISHED, STARTED, OK = int(Kind.FINISHED), int(Kind.STARTED), int(Reason.OK)
"""Plain integers: every report is compared with them."""

ROW_AT = REPORT.itemsize - ATTEMPT.itemsize
STARTED_AT = ROW_AT + 8


def on_reports(run: Run, reports: Reports, now: Now) -> None:
    """Apply one batch of reports of this run, in order. Those whose ticket is not current are counted and dropped."""
    apply_reports(run, reports, now)
    run.settle(now)


def apply_reports(run: Run, reports: Reports, now: Now) -> None:
    """Apply reports; the caller checks whether the run is to stop or has ended.

    Of a large batch, starts count first, then successes, then the rest: no ticket has more than a start and an end in
    it.
    """
    rows = reports.rows
    if reports.notes:
        take_notes(run, reports, now)
    if len(rows) <= states.SMALL or run.doomed or run.orphans or run.tickets:
        _on_few(run, reports, now)
        return
    rows = np.ascontiguousarray(rows)
    heads = heads_of(rows)
    is_plain = plain_successes(run, heads, reports)
    if is_plain is None:
        on_completed(run, heads)
        return
    is_start = rows["kind"] == Kind.STARTED
    on_launched(run, rows[is_start])
    on_completed(run, heads[is_plain])
    _on_few(run, chosen(reports, np.flatnonzero(~(is_start | is_plain))), now)


def _on_few(run: Run, reports: Reports, now: Now) -> None:
    """Apply reports one at a time, on plain integers."""
    raw, unpack, at = reports.rows.tobytes(), PEEK.unpack_from, -SIZE
    has_texts = bool(reports.messages or reports.results)
    state, attempts = run.frontier.mv_state, run.frontier.mv_attempt
    for position in range(len(reports.rows)):
        at += SIZE
        kind, version, epoch, index, attempt, code, reason, flags = unpack(raw, at)
        texts = reports.texts(position) if has_texts else NO_TEXTS
        is_gone = index < len(state) and state[index] == REMOVED
        if version != run.version or epoch != run.epoch or run.orphans or is_gone:
            index = _translate(run, raw[at : at + SIZE], texts)
            if index < 0:
                continue
        if index >= len(state) or state[index] not in IN_FLIGHT or attempts[index] != attempt:
            run.stale += 1
        elif index in run.answering:
            run.stale += 1  # it has ended; its task's state is decided when its answer has been read
        elif kind == FINISHED:
            row = raw[at + ROW_AT : at + SIZE]
            if reason == OK and index not in run.doomed:
                _complete(run, index, row, texts)
            else:
                _end(run, _End(index, reason, code, flags, row, texts), now)
        elif kind == STARTED:
            run.started[index] = struct.unpack_from("<d", raw, at + STARTED_AT)[0]
            run.frontier.move_one(index, run.frontier.block_number(index), RUNNING)
        else:
            on_recalled(run, index)


def _translate(run: Run, report: bytes, texts: Texts) -> int:
    """Return the present index of the task that a report is about, which an earlier version or engine may have
    launched, or an earlier answer generated; -1 if it has none any more: then only its end is recorded.
    """
    rows = np.frombuffer(report, REPORT)
    row = rows["row"][0]
    ticket = Ticket(run.id, int(rows["version"][0]), int(row["index"]), int(rows["epoch"][0]), int(row["attempt"]))
    if ticket in run.orphans:
        if rows["kind"][0] != Kind.STARTED:
            del run.orphans[ticket]
        if rows["kind"][0] == Kind.FINISHED:
            ended = rows["row"].copy()
            ended["outcome"] = KILLED
            run.record(alone(run.id, ticket.version, ended, texts))
        return -1
    known = ticket.index if (ticket.version, ticket.epoch) == (run.version, run.epoch) else -1
    index = run.launched.get(ticket, known)
    run.stale += index < 0
    return index


def _complete(run: Run, index: int, row: bytes, texts: Texts) -> None:
    """Apply one success: the common case."""
    frontier = run.frontier
    number = bisect_right(frontier.starts, index) - 1
    queue = frontier.only_queue[number] or frontier.queue_of(index)
    if queue.policy.is_generator:
        run.ask_for_answer(index, row, texts)
        return
    if texts is not NO_TEXTS or run.failures or run.crashes or run.started or run.doomed or run.tickets:
        _append(run, index, row, COMPLETED, texts)
        run.forget_failures(index)
    else:  # its attempt is all that is kept of it
        frontier.mv_last[index] = run.ledger.append_bytes(row, COMPLETED, 0, 0) + 1
    queue.in_flight -= 1
    frontier.in_flight -= 1
    counts, state = frontier.mv_counts[number], frontier.mv_state
    counts[state[index]] -= 1
    counts[COMPLETED] += 1
    state[index] = COMPLETED
    run.gates.finish_one(index, number)


def _append(run: Run, index: int, row: bytes, outcome: int, texts: Texts) -> None:
    """Write one attempt into the ledger; its task is no longer in flight."""
    failures = crashes = 0
    if run.failures or run.crashes:
        failures, crashes = min(run.failures.get(index, 0), 65535), min(run.crashes.get(index, 0), 65535)
    if run.tickets:  # it may have been launched under another index
        row = index.to_bytes(4, "little") + row[4:]
    number = run.ledger.append_bytes(row, outcome, failures, crashes)
    run.frontier.mv_last[index] = number + 1
    if texts is not NO_TEXTS:
        run.ledger.add_texts(number, texts)
    if run.started or run.doomed or run.tickets:
        run.forget_flight(index)


def complete_generator(run: Run, index: int, rows: Rows, texts: Texts) -> None:
    """Complete a generator: its answer is part of the run. The caller sees to its gates."""
    frontier = run.frontier
    number = frontier.block_number(index)
    _append(run, index, rows.tobytes(), COMPLETED, texts)
    frontier.land(frontier.queue_of(index))
    frontier.move_one(index, number, COMPLETED)
    run.forget_failures(index)


def end_generator(run: Run, index: int, rows: Rows, reason: Reason, texts: Texts, now: Now) -> None:
    """End a generator whose process succeeded but which did not complete."""
    rows["reason"] = reason
    _end(run, _End(index, reason, 0, 0, rows.tobytes(), texts), now)


@frozen
class _End:
    """An attempt that ended other than by plain success."""

    index: int
    reason: int
    code: int
    flags: int
    row: bytes
    texts: Texts


def _end(run: Run, end: _End, now: Now) -> None:
    """Decide the state of a task whose attempt ended, record it and pass it on."""
    frontier = run.frontier
    index = end.index
    number, queue = frontier.block_number(index), frontier.queue_of(index)
    outcome, pause = _verdict(run, end, queue.policy)
    if outcome == COMPLETED:
        if not queue.policy.is_generator:  # one whose answer is to be read has not ended yet
            run.doomed.pop(index, None)
        _complete(run, index, end.row, end.texts)
        return
    again = run.doomed.get(index) is Doom.AGAIN
    _append(run, index, end.row, QUEUED if outcome == DELAYED else outcome, end.texts)
    frontier.land(queue)
    if again:
        place_by_gates(run, index)
    elif outcome == QUEUED:
        frontier.queue_one(index, number)
    else:
        frontier.move_one(index, number, outcome)
        if outcome == DELAYED:
            run.delays.add(index, now.mono + pause)
        else:
            run.errored += outcome == ERRORED
            run.gates.fail(np.array([index], np.int64))


def _verdict(run: Run, end: _End, policy: Policy) -> tuple[int, float]:
    """Return the state that an attempt's end leads to, and the seconds until it may start again."""
    index, reason, doom = end.index, end.reason, run.doomed.get(end.index)
    if doom is Doom.AGAIN:
        return WAITING, 0.0
    if doom is Doom.DISCARD:
        return KILLED, 0.0
    if reason == Reason.OK and not (doom is Doom.KILL and policy.is_generator):  # its answer is not wanted
        return COMPLETED, 0.0
    if doom is Doom.KILL or (reason == Reason.KILLED and not end.flags & STOPPED):
        return KILLED, 0.0
    if end.flags & STOPPED:
        return (KILLED if run.halted or run.killed else QUEUED), 0.0
    if reason == Reason.LOST:
        run.crashes[index] = crashes = run.crashes.get(index, 0) + 1
        return (QUEUED if crashes <= policy.crash_limit and not run.halted else ERRORED), 0.0
    run.failures[index] = failures = run.failures.get(index, 0) + 1
    if run.halted or failures > policy.max_retries or not retry.is_retriable(policy, reason, end.code):
        return ERRORED, 0.0
    pause = retry.delay(policy, failures, (run.id, index, run.frontier.mv_attempt[index]))
    return (DELAYED if pause else QUEUED), pause


def place_by_gates(run: Run, index: int) -> None:
    """Put a task whose attempt does not count into the state that its gates give."""
    frontier = run.frontier
    number = frontier.block_number(index)
    verdict = run.gates.verdict(index)
    if verdict == QUEUED:
        frontier.queue_one(index, number)
        return
    frontier.move_one(index, number, verdict)
    if verdict != WAITING:
        run.gates.fail(np.array([index], np.int64))


def on_recalled(run: Run, index: int) -> None:
    """Take back a task that was handed out and has not started.

    Its attempt's number is free again, unless a command that ended the attempt has recorded it: the next engine would
    take another attempt of that number for the one that was ended.
    """
    frontier = run.frontier
    number, queue = frontier.block_number(index), frontier.queue_of(index)
    doom = run.doomed.get(index)
    run.forget_flight(index)
    if run.spent.get(index) != frontier.mv_attempt[index]:
        frontier.mv_attempt[index] -= 1
    frontier.land(queue)
    if doom is Doom.AGAIN:
        place_by_gates(run, index)
    elif doom is None:
        frontier.queue_one(index, number)
    else:
        frontier.move_one(index, number, KILLED)  # as was recorded with the command
        run.gates.fail(np.array([index], np.int64))


def on_tick(run: Run, now: Now) -> None:
    """Make tasks ready whose delay is over."""
    for index in run.delays.take_due(now.mono):
        if run.frontier.mv_state[index] == DELAYED:
            run.frontier.queue_one(index, run.frontier.block_number(index))
