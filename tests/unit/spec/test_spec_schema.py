from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st
from jsonschema import Draft202012Validator

from daggy.errors import SpecError
from daggy.spec import load_file, parse, schema

VALIDATOR = Draft202012Validator(schema())
EXAMPLES = sorted(
    path for path in Path(__file__).parents[3].glob("examples/**/*.json") if b'"tasks"' in path.read_bytes()
)


def test_the_schema_is_valid() -> None:
    Draft202012Validator.check_schema(schema())
    assert json.loads(json.dumps(schema())) == schema()


@pytest.mark.parametrize("path", EXAMPLES, ids=[f"{path.parent.name}/{path.name}" for path in EXAMPLES])
def test_the_examples_are_good_specs(path: Path) -> None:
    VALIDATOR.validate(json.loads(path.read_bytes()))
    document = load_file(path)
    assert parse(document.raw, source=document.source, directory="/", name=document.name).tasks


NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_.-]{0,4}", fullmatch=True)
TEXTS = st.text(st.characters(exclude_characters="\0{}", exclude_categories=["Cs"]), max_size=5)
AMOUNTS = st.dictionaries(NAMES, st.integers(0, 9) | st.floats(0, 9), max_size=2)
LENGTHS = st.integers(1, 100) | st.floats(0.1, 100) | st.sampled_from(["90s", "10m", "2h", "1.5h"])
VALUES = st.lists(
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])) | st.integers(),
    min_size=1,
    max_size=4,
    unique_by=str,
) | st.builds(lambda start, size: {"range": [start, start + size]}, st.integers(-9, 9), st.integers(1, 9))
DEPENDENCIES = st.lists(
    NAMES
    | st.fixed_dictionaries(
        {"task": NAMES},
        optional={"on": st.sampled_from(["completed", "ended"]), "match": st.just(True) | st.just(["A"])},
    ),
    max_size=3,
)
REST = {
    "environment": st.dictionaries(
        NAMES.filter(lambda name: not name.startswith("DAGGY_")), TEXTS | st.none(), max_size=2
    ),
    "directory": TEXTS,
    "timeout": LENGTHS,
    "grace": LENGTHS,
    "stdin": TEXTS,
    "options": st.dictionaries(NAMES, st.dictionaries(NAMES, TEXTS | st.integers(0, 9), max_size=2), max_size=2),
}
DETAILS = st.fixed_dictionaries(
    {"command": st.lists(TEXTS | st.just("{{ A }}"), min_size=1, max_size=3)}, optional=REST
) | st.fixed_dictionaries({"shell": TEXTS | st.just("echo {{ A }}")}, optional=REST)
POLICY: dict[str, st.SearchStrategy[Any]] = {
    "is_generator": st.booleans(),
    "max_retries": st.integers(0, 9),
    "retry_delay": LENGTHS,
    "retry_backoff": st.floats(1, 10),
    "retry_on": st.lists(
        st.sampled_from(["exit", "signal", "timeout", "spawn", "generator", "memory", "result"]) | st.integers(1, 255),
        min_size=1,
    ),
    "crash_limit": st.integers(0, 9),
    "priority": st.integers(-9, 9),
    "max_parallel": st.integers(1, 9),
    "pool": NAMES,
    "resources": AMOUNTS,
    "description": TEXTS,
    "x-mine": TEXTS,
    "expand": st.lists(st.just("A"), max_size=1),
}
TASKS = st.fixed_dictionaries(
    {"details": DETAILS},
    optional={
        **POLICY,
        "parents": DEPENDENCIES,
        "children": DEPENDENCIES,
        "parameters": st.fixed_dictionaries({"A": VALUES}),
    },
)
SPECS = st.fixed_dictionaries(
    {
        "tasks": st.dictionaries(NAMES, TASKS, min_size=1, max_size=3),
        "parameters": st.fixed_dictionaries({"A": VALUES}),
    },
    optional={
        "version": st.just(1),
        "name": NAMES,
        "description": TEXTS,
        "tags": st.dictionaries(NAMES, TEXTS, max_size=2),
        "limits": st.just({"l": 100}),
        "max_failures": st.integers(1, 9),
        "pool": NAMES,
        "directory": st.just("/d"),
        "templating": st.sampled_from(["jinja", "none"]),
        "defaults": st.fixed_dictionaries({}, optional={**POLICY, "details": st.fixed_dictionaries({}, optional=REST)}),
        "$schema": TEXTS,
    },
)


@given(SPECS)
def test_good_specs_pass_the_schema_and_daggy(spec: Any) -> None:
    VALIDATOR.validate(json.loads(json.dumps(spec)))
    try:
        parse(json.dumps(spec).encode(), directory="/")
    except SpecError as error:
        # What a schema cannot say: the name of a parameter that happens to stand in some text.
        assert all("but it appears in" in problem.message for problem in error.problems), error  # noqa: PT017


@pytest.mark.parametrize(
    "spec",
    [
        {},
        {"tasks": {}},
        {"tasks": {"7": {"details": {"command": ["x"]}}}},
        {"tasks": {"a": {"details": {}}}},
        {"tasks": {"a": {"details": {"command": ["x"], "shell": "x"}}}},
        {"tasks": {"a": {"details": {"command": []}}}},
        {"tasks": {"a": {"details": {"command": ["x"], "children": []}}}},
        {"tasks": {"a": {"details": {"command": ["x"], "environment": {"DAGGY_X": "1"}}}}},
        {"tasks": {"a": {"details": {"command": ["x"], "timeout": "5x"}}}},
        {"tasks": {"a": {"details": {"command": ["x"]}, "parents": [{"on": "ended"}]}}},
        {"tasks": [{"details": {"command": ["x"]}}]},
        {"tasks": {"a": {"details": {"command": ["x"]}}}, "tags": ["a"]},
        {"tasks": {"a": {"details": {"command": ["x"]}}}, "parameters": {"A": []}},
        {"tasks": {"a": {"details": {"command": ["x"]}}}, "parameters": {"A": [True]}},
        {"tasks": {"a": {"details": {"command": ["x"]}}}, "defaults": {"details": {"command": ["x"]}}},
        {"tasks": {"a": {"details": {"command": ["x"]}}}, "version": 2},
    ],
)
def test_bad_specs_are_refused_by_the_schema_and_by_daggy(spec: Any) -> None:
    assert not VALIDATOR.is_valid(spec)
    with pytest.raises(SpecError):
        parse(json.dumps(spec).encode(), directory="/")
