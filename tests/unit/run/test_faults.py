"""Faults of earlier orchestrators that must not come back, each by its name."""

from __future__ import annotations

import json

import numpy as np
import pytest

from daggy.attempt import Kind, Reason, RunState
from daggy.errors import InternalError, SpecError
from daggy.plan import plan
from daggy.run import states
from daggy.run.commands import on_kill, on_resume
from daggy.run.growth import on_bad_answer, on_generated
from daggy.run.reports import on_reports, on_tick
from daggy.run.run import Run
from daggy.spec import parse_fragment
from tests.unit.run.kit import (
    answer,
    begun,
    drain,
    now,
    outcome,
    report_of,
    reports,
    row_of,
    spec_of,
    state_of,
    states_of,
    take,
    tasks,
)

GENERATOR = {"is_generator": True}


def test_a_run_with_a_failed_task_is_not_completed() -> None:
    run = begun(tasks(good=[], bad=[], after=["good"]))
    good, bad = take(run, "good", "bad")
    reports(run, [bad], reason=Reason.EXIT, code=1)
    reports(run, [good])
    drain(run)
    assert state_of(run, "after") == "completed"
    assert outcome(run) is RunState.ERRORED


def test_a_failed_run_ends() -> None:
    run = begun(
        tasks(first=[], second=["first"], third=["second"], last={"parents": [{"task": "third", "on": "ended"}]})
    )
    reports(run, take(run), reason=Reason.EXIT, code=1)
    assert state_of(run, "third") == "upstream_failed"
    assert state_of(run, "last") == "queued"
    drain(run)
    assert outcome(run) is RunState.ERRORED


def test_a_resume_works_if_something_completed() -> None:
    run = begun(tasks(good=[], bad=["good"], after=["bad"]))
    reports(run, take(run))
    reports(run, take(run), reason=Reason.EXIT, code=1)
    assert outcome(run) is RunState.ERRORED
    on_resume(run, now())
    assert states_of(run) == {"good": "completed", "bad": "queued", "after": "waiting"}
    drain(run)
    assert outcome(run) is RunState.COMPLETED
    assert run.frontier.attempt[run.plan.index("good")] == 1
    assert run.frontier.attempt[run.plan.index("bad")] == 2


def test_an_edge_given_twice_counts_once() -> None:
    document = tasks(first={"children": ["second"]}, second={"parents": ["first", "first"]})
    run = begun(document)
    drain(run)
    assert outcome(run) is RunState.COMPLETED


def test_an_expanded_task_waits_for_its_parent() -> None:
    document = tasks(one=[], many={"parents": ["one"], "expand": ["N"]})
    run = begun({**document, "parameters": {"N": [1, 2, 3]}})
    assert states_of(run) == {"one": "queued", "many.N:1": "waiting", "many.N:2": "waiting", "many.N:3": "waiting"}
    drain(run)
    assert outcome(run) is RunState.COMPLETED


def test_edges_among_generated_tasks_are_kept() -> None:
    run = begun(tasks(make=GENERATOR, after=["make"]))
    take(run)
    answer(run, "make", first=[], second=["first"])
    assert states_of(run) == {"make": "completed", "after": "waiting", "make/first": "queued", "make/second": "waiting"}
    reports(run, take(run))
    assert (state_of(run, "make/second"), state_of(run, "after")) == ("queued", "waiting")
    reports(run, take(run))
    assert state_of(run, "after") == "queued"


def test_children_of_a_generator_wait_for_what_its_generators_generate() -> None:
    run = begun(tasks(make=GENERATOR, after=["make"]))
    take(run)
    answer(run, "make", inner=GENERATOR)
    take(run)
    answer(run, "make/inner", deep=[])
    assert state_of(run, "after") == "waiting"
    reports(run, take(run))
    assert state_of(run, "after") == "queued"


@pytest.mark.parametrize("retries", [0, 1, 3])
def test_max_retries_is_the_number_of_retries(retries: int) -> None:
    run = begun(tasks(bad={"max_retries": retries}))
    attempts = 0
    while taken := take(run):
        attempts += 1
        reports(run, taken, reason=Reason.EXIT, code=1)
    assert attempts == 1 + retries
    assert outcome(run) is RunState.ERRORED


@pytest.mark.parametrize("limit", [0, 2])
def test_a_task_that_kills_its_host_is_lost_at_most_so_often(limit: int) -> None:
    run = begun(tasks(bad={"crash_limit": limit, "max_retries": 9}))
    attempts = 0
    while taken := take(run):
        attempts += 1
        reports(run, taken, reason=Reason.LOST)
    assert attempts == 1 + limit


def test_fan_in_is_linear() -> None:
    document = tasks(many={"expand": ["N"]}, one={"expand": ["N"], "parents": ["many"]})
    run = begun({**document, "parameters": {"N": {"range": [0, 10_000]}}})
    assert run.plan.edges() == 10_000**2
    assert sum(array.size for array in run.plan.arrays) == 1
    drain(run)
    assert outcome(run) is RunState.COMPLETED


def test_a_missing_program_ends_the_run() -> None:
    run = begun(tasks(bad=[], after=["bad"]))
    reports(run, take(run), reason=Reason.SPAWN)
    assert outcome(run) is RunState.ERRORED
    assert state_of(run, "after") == "upstream_failed"


def test_a_kill_ends_what_is_queued_behind_other_work() -> None:
    run = begun({**tasks(many={"expand": ["N"]}), "parameters": {"N": {"range": [0, 100]}}})
    taken = run.frontier.take(run.frontier.queues[0], 10).tolist()
    on_kill(run, None, now(), "bob")
    assert run.counts()["killed"] == 90
    assert sorted(ticket.index for ticket in run.outbox.kills) == taken
    reports(run, taken[:4], Kind.RECALLED)
    reports(run, taken[4:9], reason=Reason.KILLED)
    reports(run, taken[9:])
    assert outcome(run) is RunState.KILLED
    assert run.counts()["completed"] == 1


def test_an_end_reported_twice_counts_once() -> None:
    run = begun(tasks(a=[], b=[], c=["a", "b"]))
    first, _ = take(run, "a", "b")
    ticket = run.ticket(first)
    reports(run, [first])
    on_reports(run, report_of([ticket, ticket], Kind.FINISHED), now())
    assert state_of(run, "c") == "waiting"
    assert run.stale == 2


def test_a_delay_is_waited_out() -> None:
    run = begun(tasks(bad={"max_retries": 1, "retry_delay": 10}))
    reports(run, take(run), reason=Reason.EXIT, code=1)
    assert state_of(run, "bad") == "queued"
    assert not take(run)
    due = run.delays.next_due()
    assert due is not None
    assert 5 <= due - 1.0 <= 15.1
    on_tick(run, now(due - 0.1))
    assert not take(run)
    on_tick(run, now(due))
    reports(run, take(run))
    assert outcome(run) is RunState.COMPLETED
    assert row_of(run, 0)["attempt"] == 2


def test_max_failures_stops_what_has_not_started() -> None:
    document = {
        **tasks(many={"expand": ["N"]}, clean={"parents": [{"task": "many", "on": "ended"}]}),
        "max_failures": 2,
    }
    run = begun({**document, "parameters": {"N": {"range": [0, 10]}}})
    taken = run.frontier.take(run.frontier.queues[0], 4).tolist()
    reports(run, taken[:1], reason=Reason.EXIT)
    assert run.counts()["killed"] == 0
    reports(run, taken[1:2], reason=Reason.EXIT)
    assert [ticket.index for ticket in run.outbox.recalls] == taken[2:]
    reports(run, taken[2:3])
    reports(run, taken[3:], Kind.RECALLED)
    assert outcome(run) is RunState.ERRORED
    assert run.counts() | {"errored": 2, "completed": 1, "killed": 8} == run.counts()


def test_bad_answer_adds_nothing_and_is_retried() -> None:
    run = begun(tasks(make={**GENERATOR, "max_retries": 1}))
    index = take(run)[0]
    reports(run, [index])
    said = json.dumps(tasks(x=["nobody"])).encode()
    with pytest.raises(SpecError):
        on_generated(run, index, parse_fragment(said, run.plan.spec), said, now())
    on_bad_answer(run, index, "no task named 'nobody'", now())
    assert run.plan.size == 1
    assert state_of(run, "make") == "queued"
    assert row_of(run, index)["reason"] == Reason.GENERATOR
    take(run)
    answer(run, "make", x=[])
    drain(run)
    assert outcome(run) is RunState.COMPLETED


def test_an_impossible_move_reports_the_history_of_the_task() -> None:
    run = begun(tasks(one=[], two=["one"]))
    run.frontier.move_one(0, 0, states.ERRORED)  # behind the back of the gates
    with pytest.raises(InternalError, match=r"task 'two'.*completed gate 0"):
        run.settle(now())


def test_downstream_of_a_chain_of_a_hundred_thousand() -> None:
    size = 100_000
    run = Run(
        1, plan(spec_of(tasks(**{f"t{i}": [f"t{i - 1}"] if i else [] for i in range(size)}))), created=0.0, epoch=1
    )
    run.begin()
    reports(run, take(run), reason=Reason.EXIT)
    assert run.counts()["upstream_failed"] == size - 1
    on_resume(run, now())
    assert run.counts()["waiting"] == size - 1
    assert np.count_nonzero(run.frontier.state == states.QUEUED) == 1
