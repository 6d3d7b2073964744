"""What tasks tell of themselves while they run: the last note of each."""

from __future__ import annotations

import numpy as np

from daggy.attempt import Reports, Ticket
from daggy.plan import present
from daggy.run.run import Note, Run
from daggy.run.states import IS_IN_FLIGHT, Now
from daggy.tracker import History, Noted


def take_notes(run: Run, reports: Reports, now: Now) -> None:
    """Keep what tasks in flight tell of themselves, if it is something else than before."""
    for position, text in sorted(reports.notes.items()):
        row = reports.rows[position]
        version, epoch = int(row["version"]), int(row["epoch"])
        ticket = Ticket(run.id, version, int(row["row"]["index"]), epoch, int(row["row"]["attempt"]))
        index = run.launched.get(ticket, ticket.index if (version, epoch) == (run.version, run.epoch) else -1)
        if not 0 <= index < run.plan.size or not IS_IN_FLIGHT[run.frontier.state[index]]:
            continue
        before = run.notes.get(index)
        is_new = before is None or (before.attempt, before.text) != (ticket.attempt, text)
        if run.frontier.attempt[index] == ticket.attempt and is_new:
            run.notes[index] = Note(ticket.attempt, text, now.wall)
            run.record(Noted(run.id, run.version, index, ticket.attempt, text, now.wall))


def read_back(run: Run, history: History) -> None:
    """Take over what was told under the present version of the run's spec."""
    for entry in history.notes:
        if entry.version == run.version:
            (index,) = present(run.plan, np.array([entry.index], np.int64)).tolist()
            if index >= 0:
                run.notes[index] = Note(entry.attempt, entry.note, entry.at)
