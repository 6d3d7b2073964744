"""What an edit is said to do is what it does, and every task is in one column."""

import json
from typing import Any

import numpy as np
from hypothesis import given, strategies as st

from daggy.attempt import State
from daggy.plan import plan
from daggy.run import states
from daggy.run.commands import on_requeue
from daggy.run.run import Run
from daggy.run.states import Now
from daggy.spec import parse
from daggy.spec.model import RunSpec
from daggy.view.preview import preview, preview_again
from tests.unit.run.kit import answer, begun, now, spec_of, take, tasks

NOW = Now(1000.0, 10.0)
ENDED = [states.COMPLETED, states.COMPLETED, states.COMPLETED, states.ERRORED, states.KILLED, states.WAITING]


def spec(dates: list[str], command: str, explicit: int, *, match: bool) -> RunSpec:
    """Return a chain of three templates and some tasks without parameters behind them."""
    parents: list[Any] = [{"task": "pull", "match": ["DATE"]} if match else "pull"]
    tasks: dict[str, Any] = {
        "pull": {"details": {"command": [command, "{{ DATE }}"]}},
        "clean": {"details": {"command": ["clean", "{{ DATE }}"]}, "parents": parents},
        "report": {"details": {"command": ["report"]}, "parents": ["clean"]},
        **{f"mail{number}": {"details": {"command": ["mail"]}, "parents": ["report"]} for number in range(explicit)},
    }
    return parse(json.dumps({"parameters": {"DATE": dates}, "tasks": tasks}).encode(), directory="/")


specs = st.builds(
    spec,
    st.lists(st.sampled_from("abcdef"), min_size=1, max_size=4, unique=True),
    st.sampled_from(["pull", "fetch"]),
    st.sampled_from([0, 2, 25]),
    match=st.booleans(),
)


@given(specs, specs, st.lists(st.sampled_from(ENDED), min_size=1, max_size=9), st.booleans())
def test_every_task_is_in_one_column_and_what_runs_again_waits(
    old: RunSpec, new: RunSpec, codes: list[int], asked: bool
) -> None:
    run = Run(1, plan(old), created=0.0, epoch=1)
    run.frontier.state[:] = np.resize(np.array(codes, np.uint8), run.plan.size)
    run.frontier.recount()
    run.begin()
    before = run.plan.size
    completed = run.counts()["completed"]
    shown = preview(run, new, NOW, rerun=lambda made: np.flatnonzero(np.resize([asked, False], made.size)))
    rows = shown.templates
    kept, changed = sum(row.kept for row in rows), sum(row.changed for row in rows)
    again = sum(row.invalidated + row.again for row in rows)
    assert min(min(row.kept, row.again, row.invalidated) for row in rows) >= 0
    assert kept + changed + again + sum(row.added for row in rows) == run.plan.size
    assert kept + changed + again + sum(row.removed for row in rows) == before
    assert shown.to_run == run.plan.size - run.counts()["completed"]
    assert run.counts()["completed"] <= min(kept, completed)
    for row in rows:
        for why in row.why:
            assert 0 < len(why.examples) <= why.tasks
            for index in why.examples:
                assert run.frontier.state[index] != State.COMPLETED
    assert shown.version == run.version == 2


@given(specs)
def test_the_same_spec_changes_nothing(same: RunSpec) -> None:
    run = Run(1, plan(same), created=0.0, epoch=1)
    run.frontier.state[:] = states.COMPLETED
    run.frontier.recount()
    run.begin()
    assert preview(run, same, NOW).is_empty()
    assert run.counts()["completed"] == run.plan.size


def test_earlier_answers_of_a_generator_are_in_no_row() -> None:
    document = tasks(g={"is_generator": True}, report=["g"])
    run = begun(document)
    for other in "yz":
        on_requeue(run, np.zeros(1, np.int64), now(), keep_downstream=True)
        take(run, "g")
        answer(run, "g", x=[], **{other: []})
    rows = {row.name: row for row in preview(run, spec_of(document), now()).templates}
    assert list(rows) == ["g", "report", "g/x", "g/z"]
    assert all((row.kept, row.added, row.removed) == (1, 0, 0) for row in rows.values())
    again = preview_again(run, np.zeros(1, np.int64), now()).templates
    assert [row.name for row in again] == list(rows)
    assert sum(row.added + row.removed for row in again) == 0
