"""What tasks tell of themselves: kept for the task that it is about, once, and read back."""

from __future__ import annotations

from attrs import evolve

from daggy.attempt import Kind, Reports, Ticket
from daggy.plan import difference
from daggy.run.edit import on_edit, replan
from daggy.run.replay import replay
from daggy.run.reports import on_reports
from daggy.run.run import Run
from daggy.run.states import SMALL
from daggy.tracker import Noted
from tests.unit.run.kit import Book, begun, now, report_of, spec_of, submitted, take, tasks


def telling(ticket: Ticket, note: str, kind: Kind = Kind.STARTED) -> Reports:
    return evolve(report_of([ticket], kind), notes={0: note})


def notes(run: Run) -> dict[str, str]:
    return {run.plan.name(index): note.text for index, note in run.notes.items()}


def recorded(run: Run) -> list[tuple[int, int, int, str]]:
    entries = [entry for entry in run.take_entries() if isinstance(entry, Noted)]
    return [(entry.version, entry.index, entry.attempt, entry.note) for entry in entries]


def test_a_note_is_kept_and_recorded_where_it_says_something_new() -> None:
    run = begun(tasks(a=[], b=[]))
    a, b = map(run.ticket, take(run, "a", "b"))
    for note in ("{}", "{}", '{"n":1}'):
        on_reports(run, telling(a, note), now())
    on_reports(run, telling(Ticket(1, 1, b.index, 1, 7), "{}"), now())  # of an attempt that there is not
    on_reports(run, telling(a, '{"n":2}', Kind.FINISHED), now())
    on_reports(run, telling(a, '{"n":3}'), now())  # it has ended
    assert notes(run) == {"a": '{"n":2}'}
    assert recorded(run) == [(1, a.index, 1, note) for note in ("{}", '{"n":1}', '{"n":2}')]


def test_the_note_of_an_end_among_many_is_kept() -> None:
    run = begun(tasks(**{f"t{number}": [] for number in range(2 * SMALL)}))
    tickets = list(map(run.ticket, take(run)))
    ended = report_of(tickets, Kind.FINISHED)
    on_reports(run, evolve(ended, notes={SMALL: "{}"}), now())
    assert list(run.notes) == [tickets[SMALL].index]


def test_a_note_follows_its_task_through_an_edit_and_is_read_back() -> None:
    document = tasks(gone=[], stays=[])
    run = begun(document)
    book = Book(submitted(run, document, 1, 0.0))
    stays = run.ticket(take(run, "stays")[0])
    on_reports(run, telling(stays, '{"n":1}'), now())
    edited = tasks(stays=[], more=[])
    on_edit(run, difference(run.plan, replan(run, spec_of(edited))), submitted(run, edited, 2, 0.0), now())
    assert notes(run) == {"stays": '{"n":1}'}
    book.take(run)
    assert notes(replay(book.record(), book.history(), 2, now())) == {"stays": '{"n":1}'}
    on_reports(run, telling(stays, '{"n":2}'), now())  # by the ticket of the first version
    book.take(run)
    assert notes(run) == notes(replay(book.record(), book.history(), 2, now())) == {"stays": '{"n":2}'}
