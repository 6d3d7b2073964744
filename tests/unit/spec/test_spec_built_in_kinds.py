"""Functions, modules, scripts and source in specs: typed arguments, flags, and what makes a task another one."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st
from jsonschema import Draft202012Validator

from daggy.errors import TemplateError
from daggy.plan.definition import definition, differences
from daggy.spec import RunSpec, parse, recipe
from daggy.spec.schema import schema
from daggy.spec.templating.recipe import Rendered
from daggy.testing import check_kind
from daggy.worker.kinds import EvalKind, FunctionKind, ModuleKind, ScriptKind, flags

FIT = {"function": "models.fit:fit", "arguments": {"alpha": 0.1}}


def read(details: Mapping[str, Any], task: Mapping[str, Any] | None = None, **top: Any) -> RunSpec:
    spec = {"tasks": {"a": {"details": details, **(task or {})}}, **top}
    Draft202012Validator(schema()).validate(spec)
    return parse(json.dumps(spec).encode(), directory="/work")


def rendered(spec: RunSpec, **values: object) -> Rendered:
    return recipe(spec.tasks[0], spec).render(values)


def call(spec: RunSpec, **values: object) -> Any:
    stdin = rendered(spec, **values).stdin
    assert stdin is not None
    return json.loads(stdin)["call"]


def test_a_call_is_on_standard_input_and_no_value_of_it_in_argv() -> None:
    spec = read({**FIT, "python": "env/bin/python", "directory": "sub", "environment": {"A": "1"}})
    argv, environment, directory, _ = rendered(spec)
    assert argv[:2] == ["env/bin/python", "-c"]
    assert "alpha" not in " ".join(argv)
    assert "models" not in " ".join(argv)
    assert (environment, directory) == ({"A": "1"}, "/work/sub")
    assert call(spec) == {"function": "models.fit:fit", "arguments": {"alpha": 0.1}, "inputs": {}, "lists": {}}
    assert spec.tasks[0].policy.result


def test_one_substitution_and_nothing_else_keeps_its_type() -> None:
    arguments = {
        "number": "{{ N }}",
        "decimal": "{{ D }}",
        "text": "{{ T }}",
        "within": "n={{ N }}",
        "spaced": " {{ N }}",
        "sum": "{{ N + 1 }}",
        "large": "{{ N > 1 }}",
        "nothing": "{{ none }}",
        "list": "{{ [N, T] }}",
        "inner": {"deep": ["{{ D * 2 }}", True, None, "x"]},
        "attempt": "{{ task.index }}",
    }
    given = {"N": [2], "D": [0.25], "T": ["1"]}
    spec = read({**FIT, "arguments": arguments}, parameters=given)
    assert spec.tasks[0].uses == ("D", "N", "T")
    values = {name: spec.parameters[name].value(0) for name in given}
    assert call(spec, **values, **{"task.index": 7})["arguments"] == {
        "number": 2,
        "decimal": 0.25,
        "text": "1",
        "within": "n=2",
        "spaced": " 2",
        "sum": 3,
        "large": True,
        "nothing": None,
        "list": [2, "1"],
        "inner": {"deep": [0.5, True, None, "x"]},
        "attempt": 7,
    }


def test_what_json_has_not_is_no_argument() -> None:
    spec = read({**FIT, "arguments": {"x": "{{ 1 / N }}"}}, parameters={"N": [0]})
    with pytest.raises(TemplateError, match=r"details\.arguments\.x: \{\{ 1 / N \}\}: division by zero"):
        call(spec, N=0)


TEXTS = st.text(st.characters(exclude_characters="\0{", exclude_categories=["Cs"]))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.just("k"), inner, max_size=2),
    max_leaves=8,
)


@given(JSON)
def test_arguments_without_substitutions_arrive_as_they_are(value: Any) -> None:
    assert call(read({**FIT, "arguments": {"x": value}}))["arguments"] == {"x": value}


def test_literal_templating_keeps_types_too() -> None:
    spec = read({**FIT, "arguments": {"x": "N", "y": "N!"}}, parameters={"N": [3]}, templating="literal")
    assert call(spec, N=3)["arguments"] == {"x": 3, "y": "3!"}


def test_a_source_is_executed_as_it_is_written() -> None:
    spec = read({"eval": "N * x", "arguments": {"x": "N"}}, parameters={"N": [3]}, templating="literal")
    assert call(spec, N=3) == {"eval": "N * x", "arguments": {"x": 3}, "inputs": {}, "lists": {}}


def test_flags() -> None:
    arguments = {"dry_run": True, "quiet": False, "none": None, "n": 3, "x": [1.5, "b c"], "at": "-1", "m": {"a": 1}}
    words = ["--dry-run", "--n", "3", "--x", "1.5", "--x", "b c", "--at=-1", "--m", '{"a":1}']
    assert flags(arguments) == words
    assert rendered(read({"module": "tool.main", "arguments": arguments})).argv == [
        "python3",
        "-m",
        "tool.main",
        *words,
    ]
    assert rendered(read({"script": "fit.R", "arguments": {"n": 1}})).argv == ["./fit.R", "--n", "1"]
    assert rendered(read({"script": "bin/fit.py"})).argv[-2:] == ["python3", "bin/fit.py"]


def test_numbers_in_flags_are_as_written() -> None:
    spec = read({"module": "m", "arguments": {"rate": "{{ R }}"}}, parameters={"R": [0.5]})
    raw = parse(b'{"parameters":{"R":[0.50]},"tasks":{"a":{"details":{"module":"m"}}}}', directory="/").parameters["R"]
    assert rendered(spec, R=raw.value(0)).argv[-2:] == ["--rate", "0.50"]


def test_a_default_interpreter_is_for_those_that_have_one() -> None:
    tasks = {"f": {"details": FIT}, "own": {"details": {**FIT, "python": "p"}}, "c": {"details": {"command": ["x"]}}}
    spec = parse(
        json.dumps({"tasks": tasks, "defaults": {"details": {"python": "env/python", "stdin": "s"}}}).encode(),
        directory="/",
    )
    assert [recipe(task, spec).render({}).argv[0] for task in spec.tasks] == ["env/python", "p", "x"]
    assert recipe(spec.tasks[2], spec).render({}).stdin == "s"


def test_modules_and_scripts_may_read_standard_input() -> None:
    assert rendered(read({"module": "json.tool", "stdin": "{}"})).stdin == "{}"


@pytest.mark.parametrize(
    ("new", "changed"),
    [
        ({**FIT, "arguments": {"alpha": 0.2}}, "setting 'arguments.alpha' changed"),
        ({**FIT, "arguments": {"alpha": 0.1, "folds": 3}}, "setting 'arguments.folds' changed"),
        ({**FIT, "function": "models.fit:other"}, "setting 'function' changed"),
        ({**FIT, "python": "other"}, "setting 'python' changed"),
        ({**FIT, "timeout": 7}, ""),
        ({"arguments": {"alpha": 0.1}, "function": "models.fit:fit"}, ""),
    ],
)
def test_what_is_called_with_what_is_what_a_task_is(new: Mapping[str, Any], changed: str) -> None:
    old_spec, new_spec = read(FIT), read(new)
    old, now = definition(old_spec.tasks[0], old_spec), definition(new_spec.tasks[0], new_spec)
    assert differences(old, now) == changed


def test_the_built_in_kinds_keep_the_rules_of_kinds(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text("print(1)")
    check_kind(FunctionKind, tmp_path, {"function": "time:time", "python": sys.executable})
    check_kind(EvalKind, tmp_path, {"eval": "1 + 1", "python": sys.executable})
    check_kind(ModuleKind, tmp_path, {"module": "this", "python": sys.executable})
    check_kind(ScriptKind, tmp_path, {"script": "script.py", "python": sys.executable})
