"""Every task that does not run has its reasons, and those that ran again have theirs."""

import json
from typing import Any

import numpy as np
from attrs import evolve

from daggy.attempt import ATTEMPT, NO_TEXTS, REPORT, Kind, Reason, Reports
from daggy.plan import plan
from daggy.run.commands import on_kill, on_requeue
from daggy.run.reports import on_reports
from daggy.run.run import Run
from daggy.run.states import Now
from daggy.spec import parse
from daggy.view import shapes
from daggy.view.explain import explain
from daggy.view.unfinished import overview

NOW = Now(1000.0, 10.0)


def task(*parents: Any, uses: str = "", **more: Any) -> dict[str, Any]:
    command = ["true", *([f"{{{{ {uses} }}}}"] if uses else [])]
    return {"details": {"command": command}, "parents": list(parents), **more}


def begun(tasks: dict[str, Any], **more: Any) -> Run:
    spec = {"parameters": {"N": [0, 1, 2, 3]}, "tasks": tasks, **more}
    run = Run(1, plan(parse(json.dumps(spec).encode(), directory="/")), created=0.0, epoch=1)
    run.begin()
    return run


def finish(run: Run, name: str, reason: Reason = Reason.OK, code: int = 0) -> None:
    """Hand out and end tasks until this one has ended."""
    index = run.plan.index(name)
    queue = run.frontier.queue_of(index)
    while (taken := run.frontier.take_one(queue)) != index:
        assert taken >= 0
    rows = np.zeros(1, REPORT)
    rows["kind"], rows["run"], rows["version"], rows["epoch"] = Kind.FINISHED, run.id, run.version, run.epoch
    row = np.zeros(1, ATTEMPT)
    row["index"], row["attempt"], row["reason"], row["code"] = index, run.frontier.attempt[index], reason, code
    rows["row"] = row
    on_reports(run, Reports(rows), NOW)


def told(run: Run, name: str, now: Now | None = None) -> list[dict[str, Any]]:
    return [dict(reason) for reason in explain(run, run.plan.index(name), {}, now).because]


def test_a_waiting_task_names_its_parents_with_counts_and_examples() -> None:
    run = begun({"pull": task(uses="N"), "report": task("pull")})
    finish(run, "pull.N:0")
    (reason,) = told(run, "report")
    assert (reason["kind"], reason["template"], reason["left"], reason["of"]) == ("parents", "pull", 3, 4)
    assert [example["name"] for example in reason["examples"]] == ["pull.N:1", "pull.N:2", "pull.N:3"]


def test_a_matched_task_names_only_its_own_parent() -> None:
    run = begun({"pull": task(uses="N"), "clean": task({"task": "pull", "match": ["N"]}, uses="N")})
    (reason,) = told(run, "clean.N:2")
    assert (reason["left"], reason["of"]) == (1, 1)
    assert reason["examples"][0]["name"] == "pull.N:2"


def test_explicit_parents_are_reported_one_by_one_and_the_rest_summed_up() -> None:
    tasks = {f"t{number}": task() for number in range(15)}
    run = begun({**tasks, "report": task(*tasks)})
    finish(run, "t0")
    reasons = told(run, "report")
    assert [reason["template"] for reason in reasons] == [f"t{number}" for number in range(1, 11)] + [""]
    assert reasons[-1]["left"] == 4


def test_an_upstream_failed_task_names_who_failed() -> None:
    run = begun({"pull": task(uses="N"), "report": task("pull"), "mail": task("report")})
    finish(run, "pull.N:1", Reason.EXIT, 3)
    explanation = explain(run, run.plan.index("report"), {})
    assert explanation.state == "upstream_failed"
    (reason,) = explanation.because
    assert (reason["left"], reason["of"]) == (1, 4)
    assert reason["examples"] == [{"index": run.plan.index("pull.N:1"), "name": "pull.N:1", "state": "errored"}]
    (reason,) = told(run, "mail")
    assert reason["examples"][0]["name"] == "report"


def test_a_task_that_waits_for_ends_counts_failures_as_ended() -> None:
    run = begun({"pull": task(uses="N"), "clean": task({"task": "pull", "on": "ended"})})
    finish(run, "pull.N:1", Reason.EXIT, 3)
    (reason,) = told(run, "clean")
    assert (reason["on"], reason["left"]) == ("ended", 3)


def test_an_errored_task_says_how_its_attempt_ended() -> None:
    run = begun({"pull": task(uses="N")})
    finish(run, "pull.N:1", Reason.EXIT, 3)
    (reason,) = told(run, "pull.N:1")
    assert (reason["kind"], reason["reason"], reason["exit_code"]) == ("attempt", "exit", 3)


def test_a_task_that_runs_again_says_who_asked_and_what_it_invalidated() -> None:
    run = begun({"pull": task(), "report": task("pull")})
    finish(run, "pull")
    finish(run, "report")
    on_requeue(run, np.array([run.plan.index("pull")], np.int64), NOW, "alice")
    moved = [reason for reason in told(run, "pull") if reason["kind"] == "moved"]
    assert [(reason["cause"], reason["actor"], reason["state"]) for reason in moved] == [
        ("requeued", "alice", "waiting")
    ]
    (invalidated,) = [reason for reason in told(run, "report") if reason["kind"] == "moved"]
    assert invalidated["cause"].startswith("invalidated: pull runs again")


def test_a_kill_names_its_actor_once() -> None:
    run = begun({"pull": task(uses="N")})
    on_kill(run, None, NOW, "root")
    (moved,) = told(run, "pull.N:1")
    assert (moved["cause"], moved["actor"]) == ("run killed", "root")
    run.moves[-1] = evolve(run.moves[-1], cause="run killed by root")  # as an earlier version recorded it
    assert told(run, "pull.N:1")[0]["cause"] == "run killed"


def test_attempts_and_moves_are_listed_in_the_order_of_time() -> None:
    run = begun({"pull": task(max_retries=1)})
    finish(run, "pull", Reason.EXIT, 3)
    finish(run, "pull")
    rows = [run.ledger.row(0), run.ledger.row(1)]
    for at, row in enumerate(rows):
        row["ended"] = 900.0 + at
    on_requeue(run, np.array([0], np.int64), NOW, "alice")
    attempts = [shapes.attempt(row, NO_TEXTS, {}) for row in rows]
    because = explain(run, 0, {}, attempts=attempts).because
    assert [(one["kind"], one.get("attempt"), one.get("exit_code"), one.get("cause")) for one in because] == [
        ("attempt", 1, 3, None), ("attempt", 2, 0, None), ("moved", None, None, "requeued"),
    ]  # fmt: skip


def test_a_single_success_needs_no_reason_and_a_second_attempt_does() -> None:
    run = begun({"pull": task(), "flaky": task(max_retries=1)})
    finish(run, "pull")
    assert told(run, "pull") == []
    finish(run, "flaky", Reason.EXIT, 1)
    finish(run, "flaky")
    assert [(one["kind"], one["attempt"]) for one in told(run, "flaky")] == [("attempt", 2)]


def test_a_run_is_explained_in_groups_and_equal_failures_are_one() -> None:
    run = begun({"pull": task(uses="N"), "other": task(), "report": task("pull"), "late": task(max_parallel=1)})
    for number, code in enumerate((1, 1, 2)):
        finish(run, f"pull.N:{number}", Reason.EXIT, code)
    finish(run, "other")
    found = overview(run, lambda index: explain(run, index, {}))
    assert [(group.state, group.template, group.tasks) for group in found.groups] == [
        ("errored", "pull", 2), ("errored", "pull", 1), ("upstream_failed", "report", 1),
        ("queued", "pull", 1), ("queued", "late", 1),
    ]  # fmt: skip
    first, second, report, *_ = found.groups
    assert [example.name for example in first.examples] == ["pull.N:0", "pull.N:1"]
    assert (first.because[0]["exit_code"], second.because[0]["exit_code"]) == (1, 2)
    assert report.because[0]["kind"] == "parents"
    assert sum(group.tasks for group in found.groups) == run.plan.size - run.counts()["completed"]


def test_a_queued_task_says_what_its_turn_waits_for_where_an_engine_knows() -> None:
    run = begun({"pull": task(uses="N", max_parallel=1)})
    queue = run.frontier.queue_of(0)
    assert run.frontier.take_one(queue) == 0
    assert told(run, "pull.N:1") == [], "a directory without an engine knows no turns"
    kinds = [reason["kind"] for reason in told(run, "pull.N:1", NOW)]
    assert kinds == ["max_parallel", "ready"]
    assert told(run, "pull.N:0", NOW)[0]["kind"] == "handed_out"


def test_a_run_limit_is_named() -> None:
    run = begun({"pull": task(uses="N", resources={"licences": 2})}, limits={"licences": 3})
    assert run.frontier.take_one(run.frontier.queue_of(0)) == 0
    limit, _ = told(run, "pull.N:1", NOW)
    assert (limit["kind"], limit["name"], limit["needs"], limit["used"], limit["of"]) == ("limit", "licences", 2, 2, 3)


def test_a_delayed_task_says_when_it_is_tried_again() -> None:
    run = begun({"pull": task(uses="N", max_retries=1, retry_delay=8)})
    finish(run, "pull.N:0", Reason.EXIT, 1)
    delay = told(run, "pull.N:0", NOW)[0]
    assert delay["kind"] == "delay"
    assert 4 <= delay["seconds"] <= 12.1
