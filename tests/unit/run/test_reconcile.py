"""What a crash, an edit or both may not lose or repeat."""

from __future__ import annotations

from typing import Any

import pytest

from daggy.attempt import Kind, Reason, RunState
from daggy.plan import difference
from daggy.run import edit
from daggy.run.commands import on_kill, on_requeue, on_resume
from daggy.run.growth import on_generated
from daggy.run.reconcile import on_recovered, on_unfollowed
from daggy.run.replay import replay
from daggy.run.reports import on_reports, on_tick
from daggy.run.run import Run
from daggy.spec import parse_fragment
from tests.unit.run.kit import (
    Book,
    begun,
    code_of,
    drain,
    encoded,
    joined,
    now,
    outcome,
    report_of,
    reports,
    spec_of,
    state_of,
    states_of,
    submitted,
    take,
    tasks,
)

Json = dict[str, Any]


def kept(run: Run, document: Json) -> Book:
    return Book(submitted(run, document, 1, 0.0))


def back(book: Book, run: Run, at: float = 50.0) -> Run:
    book.take(run)
    return replay(book.record(), book.history(), run.epoch + 1, now(at))


def replaced(run: Run, document: Json, at: float = 20.0, *, keep: bool = False) -> None:
    new = edit.replan(run, spec_of(document))
    edit.on_edit(
        run, difference(run.plan, new), submitted(run, document, run.version + 1, at, keep_downstream=keep), now(at)
    )


def test_finished_work_is_not_repeated_whatever_the_order_of_reports() -> None:
    document = tasks(a=[], b=["a"], c=["b"])
    run = begun(document)
    book = kept(run, document)
    spooled = []
    while taken := take(run):
        spooled += [report_of([run.ticket(taken[0])], Kind.FINISHED, started=10.0, ended=11.0)]
        reports(run, taken)
    book_of_nothing = kept(run, document)  # the engine died before any commit
    again = replay(book_of_nothing.record(), book_of_nothing.history(), 2, now(50.0))
    rest = on_recovered(again, joined(spooled[::-1]), now(50.0))
    assert not len(rest.rows)
    on_unfollowed(again, rest, now(50.0))
    again.settle(now(50.0))
    assert outcome(again) is RunState.COMPLETED
    assert outcome(back(book, run)) is RunState.COMPLETED


def test_a_finish_whose_parent_was_lost_does_not_count_and_its_number_is_not_used_again() -> None:
    document = tasks(a=[], b=["a"])
    run = begun(document)
    book = kept(run, document)
    reports(run, take(run))
    late = report_of([run.ticket(take(run)[0])], Kind.FINISHED, started=10.0)
    again = replay(book.record(), book.history(), 2, now(50.0))
    rest = on_recovered(again, late, now(50.0))
    assert len(rest.rows) == 1
    on_unfollowed(again, rest, now(50.0))
    reports(again, take(again))
    assert again.ticket(take(again, "b")[0]).attempt == 2


def test_a_kill_outlives_a_crash() -> None:
    document = {**tasks(many={"expand": ["N"]}), "parameters": {"N": [1, 2, 3]}}
    run = begun(document)
    book = kept(run, document)
    run.frontier.take(run.frontier.queues[0], 2)
    on_kill(run, None, now(5.0), "alice")
    again = back(book, run)
    assert again.counts()["killed"] == 3
    again.settle(now(50.0))
    assert outcome(again) is RunState.KILLED


def test_what_was_asked_to_run_again_is_not_taken_for_done_after_a_crash() -> None:
    document = tasks(a=[])
    run = begun(document)
    book = kept(run, document)
    ticket = run.ticket(take(run)[0])
    on_requeue(run, run.plan.select("a", {}), now(20.0))
    again = back(book, run)
    rest = on_recovered(again, report_of([ticket], Kind.FINISHED, started=10.0), now(50.0))
    assert len(rest.rows) == 1
    assert state_of(again, "a") == "queued"


def test_an_edit_runs_again_what_changed_and_what_was_built_on_it() -> None:
    document = tasks(a=[], b=["a"], c=["b"], other=[])
    run = begun(document)
    drain(run)
    changed = tasks(a=[], b={"parents": ["a"], "details": {"command": ["false"]}}, c=["b"], other=[], more=["other"])
    replaced(run, changed)
    assert states_of(run) == {"a": "completed", "b": "queued", "c": "waiting", "other": "completed", "more": "queued"}
    drain(run)
    assert outcome(run) is RunState.COMPLETED
    assert run.frontier.attempt[run.plan.index("a")] == 1
    assert run.frontier.attempt[run.plan.index("c")] == 2


def test_an_edit_with_keep_downstream_runs_again_only_what_changed() -> None:
    run = begun(tasks(a=[], b=["a"]))
    drain(run)
    replaced(run, tasks(a={"details": {"command": ["false"]}}, b=["a"]), keep=True)
    assert states_of(run) == {"a": "queued", "b": "completed"}


def test_what_an_edit_takes_out_while_it_runs_is_killed_and_its_end_is_recorded() -> None:
    document = tasks(gone=[], stays=[])
    run = begun(document)
    book = kept(run, document)
    tickets = {run.plan.name(index): run.ticket(index) for index in take(run)}
    replaced(run, tasks(stays=[]))
    assert run.outbox.kills == [tickets["gone"]]
    on_reports(run, report_of([tickets["gone"]], Kind.FINISHED, Reason.KILLED), now(21.0))
    on_reports(run, report_of([tickets["stays"]], Kind.FINISHED), now(21.0))
    assert outcome(run) is RunState.COMPLETED
    assert not run.orphans
    again = back(book, run)
    assert states_of(again) == {"stays": "completed"}
    ended = [entry for entry in book.history().entries if len(getattr(entry, "rows", ()))]
    assert [(entry.version, int(entry.rows["index"][0])) for entry in ended] == [(1, 0), (2, 0)]  # type: ignore[union-attr]


def test_an_edit_that_takes_out_what_failed_completes_the_run() -> None:
    run = begun(tasks(good=[], bad=[]))
    good, bad = take(run, "good", "bad")
    reports(run, [good])
    reports(run, [bad], reason=Reason.EXIT, code=1)
    assert outcome(run) is RunState.ERRORED
    replaced(run, tasks(good=[]))
    assert outcome(run) is RunState.COMPLETED


def test_a_resume_takes_back_a_kill_that_has_not_ended_yet() -> None:
    run = begun(tasks(a=[]))
    index = take(run)[0]
    on_kill(run, None, now())
    on_resume(run, now())
    reports(run, [index], reason=Reason.KILLED)
    assert state_of(run, "a") == "queued"
    drain(run)
    assert outcome(run) is RunState.COMPLETED


def test_a_delay_goes_on_after_a_crash() -> None:
    document = tasks(bad={"max_retries": 1, "retry_delay": 100})
    run = begun(document)
    book = kept(run, document)
    reports(run, take(run), reason=Reason.EXIT, code=1, started=10.0, ended=40.0)
    again = back(book, run, at=50.0)
    assert code_of(again, "bad") == code_of(run, "bad")
    due = again.delays.next_due()
    assert due is not None
    assert 40 <= due - 50 <= 140
    assert code_of(back(book, run, at=200.0), "bad") != code_of(run, "bad")


def test_an_edit_that_makes_a_generator_a_plain_task_drops_what_it_generated() -> None:
    run = begun(tasks(make={"is_generator": True}, after=["make"]))
    index = take(run)[0]
    reports(run, [index])
    said = encoded(tasks(made=[]))[len('{"directory": "/", ') :]
    on_generated(run, index, parse_fragment(b"{" + said, run.plan.spec), b"{" + said, now())
    drain(run)
    replaced(run, tasks(make=[], after=["make"]))
    assert states_of(run) == {"make": "queued", "after": "waiting"}
    drain(run)
    assert outcome(run) is RunState.COMPLETED


@pytest.mark.parametrize("is_lost", [False, True])
def test_what_was_to_run_again_and_was_killed_then_does_not_count(*, is_lost: bool) -> None:
    document = tasks(a=[], b=["a"])
    run = begun(document)
    book = kept(run, document)
    reports(run, take(run))
    (child,) = take(run)
    late = report_of([run.ticket(child)], Kind.FINISHED, started=10.0)
    on_requeue(run, run.plan.select("a", {}), now())
    on_kill(run, None, now())
    if is_lost:  # the engine dies, and the next one hears of it
        run = back(book, run)
        on_unfollowed(run, on_recovered(run, late, now(50.0)), now(50.0))
        run.settle(now(50.0))
    else:
        on_reports(run, late, now())
    assert states_of(run) == {"a": "killed", "b": "killed"}
    assert outcome(run) is RunState.KILLED


def test_a_retry_delay_outlives_a_crash_though_a_command_killed_what_the_task_waited_for() -> None:
    document = tasks(x=[], y={"parents": [{"task": "x", "on": "ended"}], "max_retries": 1, "retry_delay": 10})
    run = begun(document)
    book = kept(run, document)
    on_kill(run, run.plan.select("x", {}), now(5.0), "alice")
    reports(run, take(run, "y"), Kind.FINISHED, Reason.EXIT, code=1, ended=45.0)
    again = back(book, run)
    assert states_of(again) == {"x": "killed", "y": "queued"}
    assert not take(again)
    on_tick(again, now(61.0))
    assert take(again, "y")
