"""Launches hold what the spec says, by name, value and attempt; what has no value fails alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st

from daggy.attempt import ATTEMPT, Reason, Texts
from daggy.engine.render import Renderer
from daggy.errors import TemplateError
from daggy.plan import plan
from daggy.run.run import Run
from daggy.run.states import COMPLETED, ERRORED
from daggy.spec import parse

WORDS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=5)


def run_of(tasks: dict[str, Any], **more: Any) -> Run:
    raw = json.dumps({"directory": "/base", "tasks": tasks, **more}).encode()
    run = Run(7, plan(parse(raw, directory="/")), created=0.0, epoch=1)
    run.begin()
    return run


@given(st.lists(WORDS, min_size=1, max_size=4, unique=True), st.integers(-3, 3))
def test_tasks_with_parameters_are_rendered_one_as_the_other(texts: list[str], start: int) -> None:
    said = {"command": ["say", "{{ T }}-{{ N + 1 }}"], "environment": {"GIVEN": "{{ N }}"}, "directory": "d"}
    run = run_of({"t": {"details": said}}, parameters={"T": texts, "N": {"range": [start, start + 2]}})
    block = run.plan.blocks[0]
    run.frontier.attempt[:] = np.arange(run.plan.size) + 1
    launches, failures = Renderer(run).launches(block, np.arange(run.plan.size))
    assert not failures
    expected = [(number, text) for number in (start, start + 1) for text in texts]
    for index, ((number, text), launch) in enumerate(zip(expected, launches, strict=True)):
        assert (launch.index, launch.attempt) == (index, index + 1)
        assert launch.argv == ["say", f"{text}-{number + 1}"]
        assert launch.directory == "/base/d"
        assert launch.environment == {
            "GIVEN": str(number),
            "DAGGY_PARAM_N": str(number),
            "DAGGY_PARAM_T": text,
            "DAGGY_TASK": run.plan.name(index),
        }
    distinct = {id(launch.environment) for launch in launches}
    assert len(distinct) == len(launches), "no task may change what another one gets"


def test_what_has_no_value_fails_and_its_neighbours_do_not() -> None:
    run = run_of({"t": {"details": {"command": ["x", "{{ 6 // N }}"]}}}, parameters={"N": [2, 0, 3]})
    launches, failures = Renderer(run).launches(run.plan.blocks[0], np.arange(3))
    assert [(launch.index, launch.argv[1]) for launch in launches] == [(0, "3"), (2, "2")]
    assert [(index, reason) for index, _, reason in failures] == [(1, Reason.TEMPLATE)]
    with pytest.raises(TemplateError):
        Renderer(run).one(1)
    assert Renderer(run).one(2).argv == ["x", "2"]


def test_hand_written_tasks_keep_what_each_of_them_says() -> None:
    details = {"command": ["{{ run.id }}", "{{ task.name }}"], "stdin": "in", "timeout": "2m", "grace": 1}
    run = run_of({"a": {"details": details, "is_generator": True}, "b": {"details": {"shell": "exit {{ 1 + 1 }}"}}})
    renderer = Renderer(run)
    first, second = (renderer.one(run.plan.index(name)) for name in "ab")
    assert first.argv == ["7", "a"]
    assert (first.stdin, first.timeout, first.grace, first.generator) == ("in", 120.0, 1.0, True)
    assert first.environment == {"DAGGY_TASK": "a"}
    assert (second.argv, second.generator) == (["/bin/sh", "-c", "exit '2'"], False)


@pytest.mark.parametrize(("executor", "expected"), [("ssh", {"nice": 5}), ("fork", None), ("slurm", None), ("", None)])
@pytest.mark.parametrize("parameters", [{}, {"N": [1]}])
def test_an_executor_is_handed_its_own_options_only(
    executor: str, expected: dict[str, int] | None, parameters: dict[str, list[int]]
) -> None:
    command = ["echo", "{{ N }}"] if parameters else ["echo"]
    details = {"command": command, "options": {"fork": {}, "ssh": {"nice": 5}}}
    run = run_of({"t": {"details": details}}, parameters=parameters)
    (launch,), _ = Renderer(run).launches(run.plan.blocks[0], np.arange(1), executor)
    assert launch.options == expected


FIT = {"details": {"command": ["fit", "{{ N }}"]}}


def fitted(results: dict[str, Any], states: dict[str, int], folder: Path, **take: Any) -> tuple[Run, Renderer]:
    """A run in which tasks have ended with results, by name, as JSON data; and what renders it."""
    run = run_of({"fit": FIT, "take": {"details": {"command": ["take"]}, **take}}, parameters={"N": [1, 2]})
    for name, state in states.items():
        index = run.plan.index(name)
        row = np.zeros(1, ATTEMPT)
        row["index"], row["attempt"] = index, 1
        number = run.ledger.append_bytes(row.tobytes(), state, 0, 0)
        run.ledger.add_texts(number, Texts(result=json.dumps(results[name]) if name in results else ""))
        run.frontier.state[index], run.frontier.last[index] = state, number + 1
    return run, Renderer(run, folder / "inputs")


BOTH = {"fit.N:1": COMPLETED, "fit.N:2": COMPLETED}
ONE = {"fit": {"task": "fit", "match": ["N"]}}


def test_a_task_takes_results_and_values(tmp_path: Path) -> None:
    words = [
        "{{ inputs.fit }}",
        "{{ inputs.fit.n + 1 }}",
        "{{ inputs.yes }}",
        "{{ inputs.text }}",
        "{{ inputs.score }}",
    ]
    inputs = {
        **ONE, "yes": {"value": True}, "text": {"value": "a b"}, "score": {"task": "fit", "match": ["N"], "key": "n"},
    }  # fmt: skip
    results = {"fit.N:2": {"n": 0.10, "m": [None, "ä"]}, "fit.N:1": {"n": 7}}
    run, renderer = fitted(results, BOTH, tmp_path, inputs=inputs, expand=["N"], details={"command": words})
    assert renderer.one(run.plan.index("take.N:1")).argv == ['{"n":7}', "8", "true", "a b", "7"]
    assert renderer.one(run.plan.index("take.N:2")).argv == ['{"n":0.1,"m":[null,"ä"]}', "1.1", "true", "a b", "0.1"]


def test_many_results_are_a_file_with_a_line_each_that_all_behind_a_gate_share(tmp_path: Path) -> None:
    inputs = {"fits": {"task": "fit"}, "keys": {"task": "fit", "key": "n"}}
    details = {"command": ["{{ inputs.fits }}", "{{ inputs.keys }}", "{{ N }}"]}
    run, renderer = fitted(
        {"fit.N:1": {"n": 1}, "fit.N:2": {"n": "\n"}}, BOTH, tmp_path, inputs=inputs, details=details
    )
    one, other = (renderer.one(run.plan.index(f"take.N:{n}")).argv for n in (1, 2))
    assert one[:2] == other[:2]
    assert Path(one[0]).read_text() == '{"n": 1}\n{"n": "\\n"}\n'
    assert Path(one[1]).read_text() == '1\n"\\n"\n'


def test_a_failed_parent_that_need_only_end_gives_null(tmp_path: Path) -> None:
    parents = [{"task": "fit", "match": ["N"], "on": "ended"}]
    details = {"command": ["{{ inputs.fit }}"]}
    states = {"fit.N:1": ERRORED, "fit.N:2": COMPLETED}
    run, renderer = fitted(
        {"fit.N:1": 1, "fit.N:2": 2}, states, tmp_path, inputs=ONE, parents=parents, details=details, expand=["N"]
    )
    assert [renderer.one(run.plan.index(f"take.N:{n}")).argv for n in (1, 2)] == [["null"], ["2"]]


@pytest.mark.parametrize(
    ("states", "inputs", "message"),
    [
        (BOTH, ONE, "'fit.N:1' left no result"),
        ({}, ONE, "'fit.N:1' has not completed yet"),
        (BOTH, {"fits": {"task": "fit"}}, "'fit.N:1' left no result"),
        (BOTH, {"n": {"task": "fit", "match": ["N"], "key": "n"}}, "'fit.N:1' left no result"),
    ],
)
def test_an_input_that_is_not_there_fails_its_task_alone(
    states: dict[str, int], inputs: Any, message: str, tmp_path: Path
) -> None:
    run, renderer = fitted({"fit.N:2": {"n": 1}}, states, tmp_path, inputs=inputs, expand=["N"])
    block = run.plan.block_of(run.plan.index("take.N:1"))
    launches, failures = renderer.launches(block, np.arange(block.start, block.stop))
    assert failures[0] == (block.start, message, Reason.MISSING)
    assert [launch.index for launch in launches] == [block.start + 1] * (len(failures) == 1)


def test_a_result_without_the_key_and_one_that_no_process_takes(tmp_path: Path) -> None:
    inputs = {"n": {"task": "fit", "match": ["N"], "key": "n"}}
    run, renderer = fitted({"fit.N:1": {"m": 1}, "fit.N:2": {"n": "\0"}}, BOTH, tmp_path, inputs=inputs, expand=["N"])
    block = run.plan.block_of(run.plan.index("take.N:1"))
    assert renderer.launches(block, np.arange(block.start, block.stop))[1] == [
        (block.start, "the result of 'fit.N:1' has no 'n'", Reason.MISSING),
        (block.start + 1, "the input 'n' holds a NUL character", Reason.TEMPLATE),
    ]


@pytest.mark.parametrize("digits", [f"1{'0' * 500}", "1e500", f"{'[' * 3000}{']' * 3000}"])
def test_a_result_that_cannot_be_read_fails_its_task_alone(digits: str, tmp_path: Path) -> None:
    run, renderer = fitted({"fit.N:2": 1}, BOTH, tmp_path, inputs=ONE, expand=["N"])
    row = np.zeros(1, ATTEMPT)
    number = run.ledger.append_bytes(row.tobytes(), COMPLETED, 0, 0)
    run.ledger.add_texts(number, Texts(result=digits))
    run.frontier.last[run.plan.index("fit.N:1")] = number + 1
    block = run.plan.block_of(run.plan.index("take.N:1"))
    launches, ((index, message, reason),) = renderer.launches(block, np.arange(block.start, block.stop))
    assert ([launch.index for launch in launches], index) == ([block.start + 1], block.start)
    assert (message.startswith("the result cannot be read: "), reason) == (True, Reason.TEMPLATE)


def test_a_list_that_cannot_be_written_fails_its_task_and_not_the_engine(tmp_path: Path) -> None:
    (tmp_path / "inputs").write_text("no folder")
    inputs = {"fits": {"task": "fit"}}
    run, renderer = fitted({"fit.N:1": 1, "fit.N:2": 2}, BOTH, tmp_path, inputs=inputs)
    index = run.plan.index("take")
    (failure,) = renderer.launches(run.plan.block_of(index), np.array([index]))[1]
    assert failure == (index, "the list of its input 'fits' cannot be written: File exists", Reason.MISSING)
