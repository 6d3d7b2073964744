"""Applies to a run that was read back what launchers finished in the meantime, and what they still run or hold."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from daggy.attempt import Kind, Reports, Rows, Ticket, chosen
from daggy.plan import present
from daggy.run import states
from daggy.run.reports import apply_reports
from daggy.run.run import Doom, Run
from daggy.run.states import DELAYED, KILLED, QUEUED, SENT, Now

RESUMABLE = states.mask(*states.UNSTARTED, states.KILLED, states.UPSTREAM_FAILED)
"""States of a task that may have an attempt in flight that does not follow from its history."""


def on_recovered(run: Run, reports: Reports, now: Now) -> Reports:
    """Apply what launchers finished or lost, and adopt what still runs or is held, in whatever order it arrives; return
    what does not follow (yet).

    A report counts if its task is ready, and its attempt is above every known one and every one that a command ended;
    a generator's counts once its answer has been read, so call this again with the rest after that. What is adopted
    keeps the ticket that it was launched with. Until `on_unfollowed` the run neither ends nor stops for its failures.
    """
    run.is_recovering = True
    rest = np.argsort(reports.rows["row"]["attempt"], kind="stable").tolist()
    before = len(rest) + 1
    while len(rest) < before:
        before, left = len(rest), dict.fromkeys(rest)
        passed: dict[int, list[int]] = {}
        for position in rest:
            row = reports.rows[position : position + 1]
            index = _present_index(run, row)
            if not _is_next(run, index, row):
                passed.setdefault(index, []).append(position)
                continue
            for earlier in passed.pop(index, ()):  # a command ended it before this attempt was launched
                if _can_be_set_aside(run, index, reports.rows[earlier : earlier + 1]):
                    _set_aside(run, {index: earlier}, reports, now)
                    del left[earlier]
            _put_in_flight(run, index, row)
            _apply(run, position, reports, now)
            del left[position]
        rest = list(left)
    run.begin()  # queues still hold entries that were passed over
    return chosen(reports, rest)


def on_unfollowed(run: Run, rest: Reports, now: Now) -> None:
    """Treat what did not follow as ended by a command, or by the loss of what it depended on.

    Attempts that have ended are only recorded; others are killed before their tasks start again. New attempts
    are numbered above all of them, and above those that a command has recorded.
    """
    while chosen := _first_of_each(run, rest):
        _set_aside(run, chosen, rest, now)
    number_above(run, [*_numbers(run, rest), *run.spent.items()])
    run.superseded.clear()
    run.discarded.clear()
    run.is_recovering = False
    run.begin()


def number_above(run: Run, numbers: Iterable[tuple[int, int]]) -> None:
    """Number the next attempts of tasks that are not in flight above these: index and number of each."""
    for index, number in numbers:
        if run.frontier.state[index] not in states.IN_FLIGHT:
            run.frontier.attempt[index] = max(number, int(run.frontier.attempt[index]))


def _numbers(run: Run, reports: Reports) -> Iterator[tuple[int, int]]:
    """Yield present index and attempt of each report whose task is still there."""
    for position in range(len(reports.rows)):
        row = reports.rows[position : position + 1]
        if (index := _present_index(run, row)) >= 0:
            yield index, int(row["row"]["attempt"][0])


def _first_of_each(run: Run, reports: Reports) -> dict[int, int]:
    """Return by task the position of its earliest report that can be set aside."""
    found: dict[int, int] = {}
    for position in np.argsort(reports.rows["row"]["attempt"], kind="stable").tolist():
        row = reports.rows[position : position + 1]
        index = _present_index(run, row)
        if index >= 0 and index not in found and _can_be_set_aside(run, index, row):
            found[index] = position
    return found


def _can_be_set_aside(run: Run, index: int, row: Rows) -> bool:
    is_new = int(row["row"]["attempt"][0]) > run.frontier.attempt[index]
    return bool(is_new and RESUMABLE[run.frontier.state[index]])


def _is_next(run: Run, index: int, row: Rows) -> bool:
    if index < 0 or run.frontier.state[index] not in (QUEUED, DELAYED):
        return False
    return int(row["row"]["attempt"][0]) > max(int(run.frontier.attempt[index]), run.superseded.get(index, 0))


def _present_index(run: Run, row: Rows) -> int:
    """Return the present index of the task of a report; -1 if it has none.

    An earlier version of the spec may have launched it, or an earlier answer have generated it.
    """
    version, index = int(row["version"][0]), row["row"]["index"].astype(np.int64)
    for earlier in sorted(run.translations):
        if earlier >= version:
            changes = run.translations[earlier]
            index = changes.translate(index) if index[0] < changes.old.size else index[:0]
            if not len(index) or index[0] < 0:
                return -1
            version = min((v for v in run.translations if v > earlier), default=run.version)
    if version != run.version or index[0] >= run.plan.size:
        return -1
    return int(present(run.plan, index)[0])


def _put_in_flight(run: Run, index: int, row: Rows) -> None:
    """Put a task in flight under the ticket that it was launched with."""
    frontier = run.frontier
    attempt = row["row"][0]
    epoch = int(row["epoch"][0])
    ticket = Ticket(run.id, int(row["version"][0]), int(attempt["index"]), epoch, int(attempt["attempt"]))
    frontier.move_one(index, frontier.block_number(index), SENT)
    frontier.attempt[index] = ticket.attempt
    frontier.queue_of(index).in_flight += 1
    frontier.in_flight += 1
    run.tickets[index] = ticket
    run.launched[ticket] = index


def _apply(run: Run, position: int, reports: Reports, now: Now) -> None:
    if reports.rows["kind"][position] == Kind.HELD:
        return  # in flight, and no more
    apply_reports(run, chosen(reports, [position]), now)


def _set_aside(run: Run, chosen: Mapping[int, int], reports: Reports, now: Now) -> None:
    """Let attempts end without effect: `chosen` is position by task.

    Their tasks are in flight until then, and what followed from their failure no longer holds.
    """
    for index, position in chosen.items():
        is_killed = run.frontier.state[index] == KILLED
        _put_in_flight(run, index, reports.rows[position : position + 1])
        counts = run.frontier.attempt[index] > run.discarded.get(index, 0)
        run.doomed[index] = Doom.AGAIN if not is_killed else Doom.KILL if counts else Doom.DISCARD
    run.begin()
    for index, position in chosen.items():
        _apply(run, position, reports, now)
        if reports.rows["kind"][position] in (Kind.STARTED, Kind.HELD):
            run.outbox.kills.append(run.ticket(index))
