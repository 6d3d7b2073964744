"""A generator that answers again: its tasks are compared with those of before."""

from __future__ import annotations

import numpy as np
import pytest

from daggy.attempt import Kind, Reason, State
from daggy.plan import difference
from daggy.run.commands import on_requeue, on_resume
from daggy.run.edit import on_edit, replan
from daggy.run.reconcile import on_recovered, on_unfollowed
from daggy.run.replay import replay
from daggy.run.reports import on_reports
from daggy.run.run import Run, moves_of, places_of
from daggy.tracker import Attempts
from tests.unit.run import kit
from tests.unit.run.kit import Json, answer, begun, now, outcome, reports, states_of, take, tasks

GENERATOR = {"is_generator": True}
A_RUN = tasks(g=GENERATOR, report=["g"])


def again(run: Run, name: str, *, keep: bool = True, **templates: object) -> None:
    """Requeue a generator and let it answer these templates."""
    on_requeue(run, np.array([run.plan.index(name)]), now(), keep_downstream=keep)
    take(run, name)
    answer(run, name, **templates)


def finish(run: Run) -> list[str]:
    """Let everything succeed, generators aside; return the names in order."""
    names = []
    while taken := take(run):
        names += [run.plan.name(index) for index in taken]
        reports(run, taken)
    return names


def answered(document: Json = A_RUN, **templates: object) -> Run:
    """A run whose generator has answered these templates, and that has completed."""
    run = begun(document)
    take(run, "g")
    answer(run, "g", **templates)
    finish(run)
    return run


def attempts(run: Run) -> dict[str, int]:
    return {name: int(run.frontier.attempt[run.plan.index(name)]) for name in states_of(run)}


def cause(run: Run, name: str) -> str:
    return next(moves_of(run, run.plan.index(name))).cause


def test_tasks_of_both_answers_stay_completed_and_what_waits_for_all_runs_again() -> None:
    run = answered(a=[], b=["a"])
    again(run, "g", a=[], b=["a"], c=[])
    assert finish(run) == ["g/c", "report"]
    assert attempts(run) == {"g": 2, "g/a": 1, "g/b": 1, "g/c": 1, "report": 2}
    assert cause(run, "report") == "new answer: parents changed: +g/c"
    assert outcome(run).name == "COMPLETED"


def test_without_keeping_what_is_downstream_they_run_again_as_the_same_tasks() -> None:
    run = answered(a=[], b=["a"])
    again(run, "g", keep=False, a=[], b=["a"], c=[])
    assert sorted(finish(run)) == ["g/a", "g/b", "g/c", "report"]
    assert attempts(run) == {"g": 2, "g/a": 2, "g/b": 2, "g/c": 1, "report": 2}
    first, last = [int(kit.row_of(run, index)["attempt"]) for _, index in places_of(run, run.plan.index("g/a"))][::-1]
    assert (first, last) == (1, 2)


def test_a_changed_task_runs_again_and_what_is_downstream_of_it() -> None:
    run = answered(a=[], b=["a"], c=[])
    again(run, "g", a={"details": {"command": ["false"]}}, b=["a"], c=[])
    assert finish(run) == ["g/a", "g/b", "report"]
    assert cause(run, "g/a") == "new answer: command changed"
    assert cause(run, "g/b") == "new answer: invalidated: g/a runs again"


def test_a_task_that_is_left_out_is_killed_and_its_children_are_told() -> None:
    run = answered(a=[], b=[])
    again(run, "g", a=[], b=[], c={"max_retries": 1})
    (index,) = take(run, "g/c")
    ticket = run.ticket(index)
    run.take_entries()
    again(run, "g", a=[], b=[])
    assert run.outbox.kills == [ticket]
    assert sorted(states_of(run)) == ["g", "g/a", "g/b", "report"]
    on_reports(run, kit.report_of([ticket], Kind.FINISHED, Reason.KILLED), now())
    ended = [entry for entry in run.take_entries() if isinstance(entry, Attempts)]
    assert [(int(row["index"]), int(row["outcome"])) for entry in ended for row in entry.rows if row["reason"]] == [
        (index, State.KILLED)
    ]
    assert finish(run) == ["report"]


def test_a_task_that_runs_meanwhile_goes_on_under_its_ticket() -> None:
    run = answered(a=[])
    again(run, "g", a=[], b=[])
    (index,) = take(run, "g/b")
    ticket = run.ticket(index)
    again(run, "g", b=[], c=[])
    assert run.ticket(run.plan.index("g/b")) == ticket
    assert run.index_of(ticket) == run.plan.index("g/b") != index
    reports(run, [run.plan.index("g/b")])
    assert states_of(run)["g/b"] == "completed"
    assert finish(run) == ["g/c", "report"]


def test_what_its_generators_generated_stays_where_it_fits() -> None:
    run = begun(A_RUN)
    take(run, "g")
    answer(run, "g", a=[], x=GENERATOR, y=GENERATOR)
    take(run, "g/x", "g/y")
    answer(run, "g/x", deep=[])
    answer(run, "g/y", deep=["a"])
    finish(run)
    again(run, "g", b=[], x=GENERATOR, y=GENERATOR)
    assert cause(run, "g/y") == "new answer: its own answer does not fit any more"
    assert states_of(run) == {
        "g": "completed", "g/b": "queued", "g/x": "completed", "g/y": "queued", "g/x/deep": "completed",
        "report": "waiting",
    }  # fmt: skip


def test_a_first_answer_with_tasks_makes_what_ran_without_them_run_again() -> None:
    run = answered()
    assert outcome(run).name == "COMPLETED"
    again(run, "g", a=[])
    assert finish(run) == ["g/a", "report"]


def test_an_answer_does_not_undo_a_kill_or_a_failure() -> None:
    run = begun(tasks(g=GENERATOR, report=["g"], other={"parents": [{"task": "g", "on": "ended"}]}))
    take(run, "g")
    answer(run, "g", a=[])
    reports(run, take(run))
    reports(run, take(run, "report"), reason=Reason.EXIT, code=1)
    again(run, "g", a=[], b=[])
    assert states_of(run)["report"] == "errored"


def test_attempts_of_all_answers_are_read_back_as_those_of_one_task() -> None:
    run = answered(a=[], b=[])
    book = kit.Book(kit.submitted(run, A_RUN, 1, 0.0))
    again(run, "g", keep=False, b=[], a=[])
    finish(run)
    again(run, "g", keep=False, c=[], b=[])
    finish(run)
    book.take(run)
    back = replay(book.record(), book.history(), 2, now())
    assert attempts(back) == attempts(run) == {"g": 3, "g/b": 3, "g/c": 1, "report": 3}
    assert [*places_of(back, back.plan.index("g/b"))] == [*places_of(run, run.plan.index("g/b"))]


def test_an_attempt_that_outlives_its_engine_is_of_the_task_that_it_was_started_for() -> None:
    run = answered(a=[])
    book = kit.Book(kit.submitted(run, A_RUN, 1, 0.0))
    again(run, "g", a=[], b=[])
    (index,) = take(run, "g/b")
    ticket = run.ticket(index)
    again(run, "g", b=[], c=[])
    book.take(run)
    back = replay(book.record(), book.history(), 2, now())
    rest = on_recovered(back, kit.report_of([ticket], Kind.FINISHED), now())
    on_unfollowed(back, rest, now())
    assert not len(rest.rows)
    assert states_of(back)["g/b"] == "completed"
    assert attempts(back) == {"g": 3, "g/b": 1, "g/c": 0, "report": 1}
    assert finish(back) == ["g/c", "report"]


def test_an_answer_does_not_reset_the_count_of_failures() -> None:
    document = {**tasks(g=GENERATOR, report=["g"], p=[], q=[]), "max_failures": 2}
    run = begun(document)
    book = kit.Book(kit.submitted(run, document, 1, 0.0))
    take(run, "g")
    answer(run, "g")
    reports(run, take(run, "report"))
    on_requeue(run, np.array([run.plan.index("g")]), now(), keep_downstream=True)
    reports(run, take(run, "p"), reason=Reason.EXIT, code=1)
    take(run, "g")
    answer(run, "g", a=[])
    assert cause(run, "report") == "new answer: parents changed: +g/a"
    book.take(run)
    back = replay(book.record(), book.history(), 2, now())
    for one in (run, back):
        reports(one, take(one, "q"), reason=Reason.EXIT, code=1)
        assert states_of(one)["g/a"] == "killed"


def test_an_edit_that_an_answer_does_not_fit_makes_its_generator_run_again() -> None:
    before, after = tasks(g=GENERATOR, p=[], report=["g"]), tasks(g=GENERATOR, report=["g"])
    run = answered(before, a=["p"])
    changes = difference(run.plan, replan(run, kit.spec_of(after)))
    on_edit(run, changes, kit.submitted(run, after, 2, 1.0, keep_downstream=True), now())
    assert states_of(run) == {"g": "queued", "report": "completed"}
    assert cause(run, "g") == "its answer does not fit any more"
    take(run, "g")
    answer(run, "g", a=[])
    assert finish(run) == ["g/a", "report"]


@pytest.mark.parametrize(("before", "after"), [("12", "123"), ("123", "12")])
def test_an_edit_after_which_an_answer_comes_to_other_tasks_has_what_waits_for_it_run_again(
    before: str, after: str
) -> None:
    """Also if what is downstream is to be kept: its parents are others, as if they had been written by hand."""
    old, new = (tasks(g=GENERATOR, report=["g"]) | {"parameters": {"P": list(values)}} for values in (before, after))
    run = answered(old, a={"details": {"command": ["say", "{{ P }}"]}})
    changes = difference(run.plan, replan(run, kit.spec_of(new)))
    on_edit(run, changes, kit.submitted(run, new, 2, 1.0, keep_downstream=True), now())
    assert states_of(run)["report"] == ("waiting" if len(after) > len(before) else "queued")
    assert cause(run, "report") == "a generator that it waits for has other tasks"
    assert finish(run) == ["g/a.P:3", "report"][-1 if len(after) < len(before) else -2 :]


def test_a_generator_that_ended_while_its_run_was_halted_is_not_read_back_as_killed_once_the_run_goes_on() -> None:
    document = {**tasks(bad=[], g=GENERATOR), "max_failures": 1}
    run = begun(document)
    bad, generator = take(run, "bad", "g")
    reports(run, [bad], reason=Reason.EXIT, code=1)
    reports(run, [generator])  # its answer has not been read
    on_resume(run, now())
    book = kit.Book(kit.submitted(run, document, 1, 0.0))
    book.take(run)
    assert states_of(replay(book.record(), book.history(), 2, now())) == {"bad": "queued", "g": "queued"}
