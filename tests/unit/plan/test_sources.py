"""Where inputs come from, against dependencies written out task by task."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, strategies as st

from daggy.errors import SpecError
from daggy.plan import Plan, grow, plan
from daggy.plan.inputs import source
from daggy.spec import parse, parse_fragment
from daggy.spec.model import RunSpec

VALUES = {"A": [1, 2, 3], "B": ["x", "y"], "C": [0.5, 1.5]}


def spec_of(fit: list[str], take: list[str], match: list[str]) -> RunSpec:
    entry = {"task": "fit", **({"match": match} if match else {})}
    tasks = {
        "fit": {"details": {"command": ["fit"]}, "expand": fit},
        "take": {"details": {"command": ["take"]}, "expand": take, "inputs": {"x": entry}},
        "other": {"details": {"command": ["other"]}, "parents": ["take", "fit"]},
    }
    used = {name: VALUES[name] for name in {*fit, *take}}
    return parse(json.dumps({"parameters": used, "tasks": tasks}).encode(), directory="/")


@given(st.lists(st.sampled_from("ABC"), unique=True), st.lists(st.sampled_from("ABC"), unique=True), st.data())
def test_a_task_takes_the_results_of_those_with_its_values(fit: list[str], take: list[str], data: Any) -> None:
    shared = sorted({*fit} & {*take})
    match = data.draw(st.lists(st.sampled_from(shared), unique=True)) if shared else []
    made = plan(spec_of(fit, take, match))
    (takers, fits) = (made.select(name, {}).tolist() for name in ("take", "fit"))
    for index in takers:
        own = made.parameters(index)
        expected = [one for one in fits if all(made.parameters(one)[name] == own[name] for name in match)]
        found = source(made, made.block_of(index), index, "fit")
        assert list(found.tasks(found.gate(index))) == expected
        assert found.is_one == (set(match) == set(fit))


def grown(answer: Any, *, result: bool = True, generator: str = "make") -> Plan:
    tasks = {
        "fit": {"details": {"command": ["fit"]}, "result": result},
        "make": {"details": {"command": ["make"]}, "is_generator": True},
    }
    made = plan(parse(json.dumps({"tasks": tasks}).encode(), directory="/"))
    return grow(made, made.index("make"), parse_fragment(json.dumps({"tasks": answer}).encode(), made.spec))


def taking(task: str) -> Any:
    return {"details": {"command": ["take"]}, "inputs": {"x": {"task": task}}}


def test_a_generated_task_takes_results_of_its_siblings_and_of_tasks_around() -> None:
    made = grown({"a": {"details": {"command": ["a"]}}, "near": taking("a"), "far": taking("fit")})
    for name, task, parent in (("make/near", "a", "make/a"), ("make/far", "fit", "fit")):
        index = made.index(name)
        found = source(made, made.block_of(index), index, task)
        assert (list(found.tasks(found.gate(index))), found.is_one) == ([made.index(parent)], True)


def test_a_task_that_leaves_no_result_has_none_to_take() -> None:
    with pytest.raises(SpecError, match=r"tasks.far.inputs.x: 'fit' leaves no result; give it \"result\": true"):
        grown({"far": taking("fit")}, result=False)


def test_the_answer_of_a_generator_is_no_result() -> None:
    tasks = {"make": {"details": {"command": ["make"]}, "is_generator": True}, "take": taking("make")}
    with pytest.raises(SpecError, match=r"tasks.take.inputs.x: 'make' is a generator: its answer is no result"):
        plan(parse(json.dumps({"tasks": tasks}).encode(), directory="/"))
