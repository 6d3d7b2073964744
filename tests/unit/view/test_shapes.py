"""The shapes of runs and tasks, against what the contract says and a naive reference."""

import datetime as dt
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st

from daggy.attempt import ATTEMPT, Reason, RunState, State, Texts
from daggy.errors import UsageError
from daggy.plan import plan
from daggy.run import states
from daggy.run.run import Run
from daggy.spec import parse
from daggy.view import shapes

SPEC = {
    "name": "nightly",
    "tags": {"env": "test"},
    "parameters": {"DATE": ["2022-01-01", "2022-01-02"], "N": {"range": [0, 3]}},
    "tasks": {
        "pull": {"details": {"command": ["true", "{{ DATE }}"]}},
        "fit": {"details": {"command": ["true", "{{ DATE }}", "{{ N }}"]}, "parents": ["pull"]},
        "report": {"details": {"command": ["true"]}, "parents": ["fit"]},
        "clean": {"details": {"command": ["true"]}},
    },
}


def fresh(spec: dict[str, Any] | None = None) -> Run:
    made = plan(parse(json.dumps(spec or SPEC).encode(), directory="/"))
    run = Run(7, made, created=1767323045.678, epoch=1)
    run.begin()
    return run


def scattered(codes: list[int]) -> Run:
    run = fresh()
    run.frontier.state[:] = np.resize(np.array(codes, np.uint8), run.plan.size)
    run.frontier.recount()
    return run


def test_run_has_the_shape_of_the_contract() -> None:
    shown = shapes.as_json(shapes.describe(fresh()))
    assert list(shown) == [
        "run_id", "name", "tags", "state", "version", "created", "started", "ended", "counts", "templates",
        "held",
    ]  # fmt: skip
    assert shown["run_id"] == 7
    assert shown["tags"] == {"env": "test"}
    assert shown["state"] == "queued"
    assert shown["created"] == "2026-01-02T03:04:05.678Z"
    assert shown["ended"] is None
    assert list(shown["counts"]) == [state.name.lower() for state in State]
    assert shown["counts"]["waiting"] + shown["counts"]["queued"] == 10
    by_name = {template["name"]: template for template in shown["templates"]}
    assert by_name["fit"]["parameters"] == ["DATE", "N"]
    assert by_name["fit"]["tasks"] == 6
    assert "" not in by_name, "few templates without parameters have a row each"
    assert sum(template["tasks"] for template in shown["templates"]) == 10
    json.dumps(shown)


@pytest.mark.parametrize("count", [1, shapes.SEPARATE, shapes.SEPARATE + 1])
def test_templates_without_parameters_have_a_row_each_if_they_are_few(count: int) -> None:
    names = [f"t{number}" for number in range(count)]
    run = fresh({"tasks": {name: {"details": {"command": ["true"]}} for name in names}})
    run.frontier.move_one(0, 0, states.COMPLETED)
    rows = list(shapes.template_shapes(run))
    assert [row.name for row in rows] == (names if count <= shapes.SEPARATE else [""])
    assert rows[0].counts["completed"] == 1
    assert sum(row.counts["queued"] for row in rows) == count - 1
    assert sum(row.tasks for row in rows) == count


def test_task_has_the_shape_of_the_contract() -> None:
    run = fresh()
    index = run.plan.index("pull.DATE:2022-01-01")
    shown = shapes.as_json(shapes.task(run, index))
    assert shown == {
        "index": index, "name": "pull.DATE:2022-01-01", "template": "pull", "parameters": {"DATE": "2022-01-01"},
        "state": "queued", "attempts": 0, "started": None, "ended": None, "note": None,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("reason", "code", "exit_code", "number"),
    [
        (Reason.OK, 0, 0, None),
        (Reason.EXIT, 3, 3, None),
        (Reason.SIGNAL, -9, None, 9),
        (Reason.TIMEOUT, -15, None, 15),
        (Reason.SPAWN, 0, None, None),
    ],
)
def test_attempts_say_how_they_ended(reason: Reason, code: int, exit_code: int | None, number: int | None) -> None:
    row = np.zeros((), ATTEMPT)
    row["reason"], row["code"], row["place"], row["rss_kb"], row["attempt"] = reason, code, 2, 10, 1
    shown = shapes.attempt(row, Texts("said"), {2: ("default", "here")})
    assert (shown.exit_code, shown.signal, shown.message) == (exit_code, number, "said")
    assert (shown.pool, shown.host, shown.max_rss_bytes, shown.started) == ("default", "here", 10240, None)


@given(st.floats(0, 4e9))
def test_timestamps_read_back_to_the_millisecond(seconds: float) -> None:
    text = shapes.timestamp(seconds)
    assert len(text) == len("2026-01-02T03:04:05.678Z")
    assert abs(dt.datetime.fromisoformat(text).timestamp() - seconds) <= 0.000501


@given(
    st.lists(st.sampled_from(range(states.CODES)), min_size=1, max_size=10),
    st.sets(st.sampled_from(list(State))),
    st.sampled_from(["", "pull", "fit", "report"]),
    st.sampled_from([{}, {"DATE": "2022-01-02"}, {"DATE": "2022-01-01", "N": "2"}]),
    st.integers(0, 11),
    st.integers(1, 4),
    st.sampled_from([(1, 1), (1, 2), (2, 1 << 20), (shapes.FIRST, shapes.PIECE)]),
)
def test_a_page_holds_the_tasks_that_match(
    codes: list[int],
    wanted: set[State],
    template: str,
    where: dict[str, str],
    after: int,
    limit: int,
    steps: tuple[int, int],
) -> None:
    if not set(where) <= {"pull": {"DATE"}, "report": set()}.get(template, {"DATE", "N"}):
        return
    run = scattered(codes)
    public = [int(states.PUBLIC[code]) for code in run.frontier.state.tolist()]
    expected = [
        index
        for index in range(after, run.plan.size)
        if public[index] != 255
        and (not wanted or State(public[index]) in wanted)
        and (not template or run.plan.template_name(index) == template)
        and where.items() <= run.plan.parameters(index).items()
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shapes, "FIRST", steps[0])
        patch.setattr(shapes, "PIECE", steps[1])
        page = shapes.tasks(run, shapes.Filter(tuple(wanted), template, where), after, limit)
    assert [task.index for task in page.items] == expected[:limit]
    assert page.next == (expected[limit] if len(expected) > limit else None)


def test_a_page_far_behind_what_does_not_match_is_found() -> None:
    run = fresh(
        {"parameters": {"N": {"range": [0, 3_000_000]}}, "tasks": {"t": {"details": {"command": ["x", "{{ N }}"]}}}}
    )
    run.frontier.state[-2:] = states.ERRORED
    run.frontier.recount()
    for matching in (shapes.Filter((State.ERRORED,)), shapes.Filter((State.ERRORED,), "t")):
        page = shapes.tasks(run, matching, limit=1)
        assert ([task.index for task in page.items], page.next) == ([2_999_998], 2_999_999)


def test_unknown_nouns_in_a_filter_are_refused() -> None:
    run = fresh()
    with pytest.raises(UsageError, match="no task named 'pul'; did you mean 'pull'"):
        shapes.tasks(run, shapes.Filter(template="pul"))
    with pytest.raises(UsageError, match="no task has a parameter 'DAY'; there are: DATE, N"):
        shapes.tasks(run, shapes.Filter(where={"DAY": "1"}))
    with pytest.raises(ValueError, match="no state named 'done'; there are: waiting, queued"):
        shapes.task_state("done")
    assert shapes.run_state("errored") is RunState.ERRORED
