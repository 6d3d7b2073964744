"""Launches hold what the spec says, by name, value and attempt; what has no value fails alone."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st

from daggy.engine.render import Renderer
from daggy.errors import TemplateError
from daggy.plan import plan
from daggy.run.run import Run
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
    assert [index for index, _ in failures] == [1]
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
