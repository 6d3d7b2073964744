"""Combinations that a template leaves out, as they are read."""

import json
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from daggy.errors import SpecError
from daggy.plan import Plan, plan
from daggy.spec import parse, schema


def planned(exclude: object, **more: Any) -> Plan:
    """A plan of three by three tasks, without some of them."""
    task = {"details": {"command": ["fit", "{{ GAMMA }}", "{{ OMEGA }}"]}, "exclude": exclude}
    spec = {"parameters": {"GAMMA": [0, 1, 2], "OMEGA": {"range": [0, 3]}, "X": ["x"]}, "tasks": {"fit": task}, **more}
    return plan(parse(json.dumps(spec).encode(), directory="/"))


@pytest.mark.parametrize(
    ("exclude", "size"),
    [
        ([], 9),
        ([{"GAMMA": 0, "OMEGA": 2}], 8),
        ([{"{{GAMMA}}": "0", "OMEGA": 2}], 8),
        ([{"GAMMA": 0}], 6),
        ([{"GAMMA": 0}, {"OMEGA": 1}, {"GAMMA": 0, "OMEGA": 1}], 4),
    ],
)
def test_combinations_are_left_out(exclude: object, size: int) -> None:
    made = planned(exclude)
    assert made.size == size
    names = made.names(range(size))
    assert len(set(names)) == size
    assert [made.index(name) for name in names] == list(range(size))
    Draft202012Validator(schema()).validate({"tasks": {"fit": {"details": {"shell": ""}, "exclude": exclude}}})


@pytest.mark.parametrize(
    ("exclude", "problem"),
    [
        ({"GAMMA": 0}, "tasks.fit.exclude: an object where a list is expected"),
        ([{}], "tasks.fit.exclude[0]: a combination without parameters; give the values that are left out together"),
        (
            [{"GAMMA": [0]}],
            "tasks.fit.exclude[0].GAMMA: a list where a value is expected; write a combination for each",
        ),
        (
            [{"GAMMA": None}],
            "tasks.fit.exclude[0].GAMMA: null where a value is expected; values are strings and numbers",
        ),
        ([{"GAMA": 0}], "tasks.fit.exclude[0].GAMA: no parameter named 'GAMA'; did you mean 'GAMMA'?"),
        ([{"X": "x"}], "tasks.fit.exclude[0].X: the task does not use 'X'; mention it, or leave it out here"),
        ([{"OMEGA": 3}], "tasks.fit.exclude[0].OMEGA: 'OMEGA' has no value '3'; it has '0', '1', '2'"),
        (
            [{"GAMMA": 0}, {"GAMMA": 1}, {"GAMMA": 2}],
            "tasks.fit.exclude: every combination is excluded, so that no task is left; leave some out of 'exclude'",
        ),
    ],
)
def test_what_cannot_be_left_out_is_told_with_the_mend(exclude: object, problem: str) -> None:
    with pytest.raises(SpecError) as refused:
        planned(exclude)
    assert str(refused.value) == problem


def test_a_combination_that_a_zip_group_does_not_have_is_refused() -> None:
    with pytest.raises(SpecError, match="no combination has GAMMA '0' with OMEGA '2'; leave it out of 'exclude'"):
        planned([{"GAMMA": 0, "OMEGA": 2}], zip=[["GAMMA", "OMEGA"]])


def test_too_many_combinations_are_not_written_out() -> None:
    with pytest.raises(SpecError, match="'GAMMA', 'OMEGA' have 100,000,000 combinations; 33,554,432 at most"):
        planned(
            [{"GAMMA": 0, "OMEGA": 2}],
            parameters={"GAMMA": {"range": [0, 10_000]}, "OMEGA": {"range": [0, 10_000]}},
        )


def test_defaults_leave_out_what_a_task_could_have() -> None:
    def task(*names: str) -> dict[str, Any]:
        return {"details": {"command": ["run", *(f"{{{{ {name} }}}}" for name in names)]}}

    spec = {
        "parameters": {"A": [0, 1], "B": [0, 1], "C": [0, 1]},
        "defaults": {"exclude": [{"A": 0, "B": 0}, {"A": 5}]},
        "tasks": {
            "both": task("A", "B"),
            "one": task("A"),
            "all": task("A", "B", "C"),
            "every": task("A", "B") | {"exclude": []},
            "own": task("A", "B") | {"parameters": {"A": [1, 2]}},
        },
    }
    read = parse(json.dumps(spec).encode(), directory="/")
    assert [block.size for block in plan(read).blocks] == [3, 2, 6, 4, 4]
    assert read.warnings == ("defaults.exclude[1]: no task could have these values",)
