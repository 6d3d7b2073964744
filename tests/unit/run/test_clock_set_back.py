"""A wall clock that was set back while nobody looked, found by the crash test."""

from __future__ import annotations

from daggy.attempt import Reason
from daggy.run.replay import replay
from tests.unit.run.kit import Book, begun, now, reports, submitted, take, tasks


def test_clock_set_back_holds_up_a_retry_no_longer_than_its_delay() -> None:
    document = tasks(bad={"max_retries": 1, "retry_delay": 1})
    run = begun(document)
    book = Book(submitted(run, document, 1, 0.0))
    reports(run, take(run), reason=Reason.EXIT, code=1, started=7200.0, ended=7201.0)
    book.take(run)
    again = replay(book.record(), book.history(), run.epoch + 1, now(50.0))
    due = again.delays.next_due()
    assert due is not None
    assert due - 50.0 <= 1.5
