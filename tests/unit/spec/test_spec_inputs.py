"""Inputs: what a spec may say of them, and what follows for the parents of a task and for who leaves results."""

from __future__ import annotations

import json
from typing import Any

import pytest

from daggy.errors import SpecError
from daggy.spec import parse, parse_fragment
from daggy.spec.model import Dependency, Input, On, RunSpec


def spec_of(inputs: Any, **keys: Any) -> RunSpec:
    """A spec whose task `take` has these inputs, beside `fit`, which has a parameter."""
    tasks = {
        "fit": {"details": {"command": ["fit", "{{ N }}"]}},
        "take": {"details": {"command": ["take"]}, "expand": ["N"], "inputs": inputs, **keys},
    }
    return parse(json.dumps({"parameters": {"N": [1, 2]}, "tasks": tasks}).encode(), directory="/")


def problem(inputs: Any, **keys: Any) -> str:
    with pytest.raises(SpecError) as caught:
        spec_of(inputs, **keys)
    return str(caught.value)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ([], ": a list where an object is expected"),
        ({"a b": {"value": 1}}, ".a b: 'a b' cannot be the name of an input; use letters, digits and '_'"),
        ({"if": {"value": 1}}, ".if: 'if' cannot be the name of an input; use letters, digits and '_'"),
        (
            {"x": "fit"},
            '.x: a string where an object is expected; write {"task": …} for a result, {"value": …} for a value',
        ),
        ({"x": {}}, ".x: neither of 'task' and 'value' given; give exactly one"),
        ({"x": {"task": "fit", "value": 1}}, ".x: both of 'task' and 'value' given; give exactly one"),
        ({"x": {"value": 1, "key": "n"}}, ".x.key: 'key' beside a value; it belongs to the result of a task"),
        ({"x": {"tsak": "fit", "value": 1}}, ".x.tsak: unknown key 'tsak'; did you mean 'task'?"),
        ({"x": {"value": "\0"}}, ".x.value: '\\x00' holds a NUL character"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_its_place_and_its_mend(inputs: Any, message: str) -> None:
    assert problem(inputs) == f"tasks.take.inputs{message}"


def test_a_default_input_is_refused() -> None:
    raw = {"defaults": {"inputs": {}}, "tasks": {"a": {"details": {"command": ["a"]}}}}
    with pytest.raises(SpecError, match="a default 'inputs'; each task names its own"):
        parse(json.dumps(raw).encode(), directory="/")


def test_a_text_names_inputs_that_there_are() -> None:
    details = {"command": ["{{ inputs.fti }}"]}
    told = "tasks.take.details.command[0]: no input named 'fti'; did you mean 'fit'?"
    assert problem({"fit": {"task": "fit"}}, details=details) == told
    assert "'inputs' is no text" in problem({"fit": {"task": "fit"}}, details={"command": ["{{ inputs }}"]})


@pytest.mark.parametrize(
    ("inputs", "parents", "found"),
    [
        ({"x": {"task": "fit"}}, [], [Dependency("fit")]),
        ({"x": {"task": "fit", "match": ["N"]}}, [], [Dependency("fit", ("N",))]),
        ({"x": {"task": "fit"}, "y": {"task": "fit", "key": "n"}}, [], [Dependency("fit")]),
        (
            {"x": {"task": "fit"}},
            [{"task": "fit", "match": ["N"], "on": "ended"}],
            [Dependency("fit", ("N",), On.ENDED)],
        ),
        ({"x": {"value": 1}}, ["fit"], [Dependency("fit")]),
    ],
)
def test_a_task_waits_for_those_whose_results_it_takes(inputs: Any, parents: Any, found: Any) -> None:
    fit, take = spec_of(inputs, parents=parents).tasks
    assert list(take.parents) == found
    assert fit.policy.result == any("task" in one for one in inputs.values())


def test_an_input_is_matched_as_its_task_is_elsewhere() -> None:
    (_, take) = spec_of({"x": {"task": "fit"}}, parents=[{"task": "fit", "match": True}]).tasks
    assert take.inputs["x"] == Input("fit", None)
    told = problem({"x": {"task": "fit", "match": ["N"]}}, parents=["fit"])
    assert told == (
        "tasks.take.inputs.x.match: 'fit' is matched differently elsewhere in this task; "
        "match it alike in 'parents' and in all inputs"
    )


def test_what_a_generator_answers_may_take_results_too() -> None:
    run = parse(b'{"tasks": {"g": {"details": {"command": ["g"]}, "is_generator": true}}}', directory="/")
    answer = {
        "a": {"details": {"command": ["a"]}},
        "b": {"details": {"command": ["b"]}, "inputs": {"x": {"task": "a"}}},
    }
    a, b = parse_fragment(json.dumps({"tasks": answer}).encode(), run).tasks
    assert a.policy.result
    assert b.parents == (Dependency("a"),)
