"""Kinds of tasks in specs: plug-ins that turn their settings into a command."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings as with_settings, strategies as st

from daggy.errors import SpecError, TemplateError
from daggy.plan.definition import definition, differences
from daggy.spec import RunSpec, parse, recipe
from daggy.spec.kinds import leaves, with_leaves
from daggy.spec.schema import schema
from daggy.spec.templating.recipe import Rendered

EXAMPLE = Path(__file__).parents[2] / "integration" / "plugin_example"

POINTS = """
[daggy.kinds]
sql = daggy_sql:SqlKind
broken = daggy_nowhere:Kind
"""

SQL = {"database": "x.db", "query": "select 1"}


@pytest.fixture(autouse=True)
def _installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Install the example's kind, and one that cannot be imported, beside what is there."""
    info = tmp_path / "daggy_sql-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: daggy-sql\nVersion: 1\n")
    (info / "entry_points.txt").write_text(POINTS)
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path), str(EXAMPLE)])


def read(details: Mapping[str, Any], task: Mapping[str, Any] | None = None, **top: Any) -> RunSpec:
    spec = {"tasks": {"a": {"details": details, **(task or {})}}, **top}
    return parse(json.dumps(spec).encode(), directory="/work")


def problems(details: Mapping[str, Any], **top: Any) -> list[str]:
    with pytest.raises(SpecError) as error:
        read(details, **top)
    return str(error.value).splitlines()


def rendered(spec: RunSpec, **values: object) -> Rendered:
    return recipe(spec.tasks[0], spec).render(values)


def test_a_kind_says_what_is_executed() -> None:
    spec = read({"sql": SQL, "directory": "sub", "environment": {"A": "1"}})
    argv, environment, directory, stdin = rendered(spec)
    assert argv[0] == "python3"
    assert argv[-2:] == ["x.db", ","]
    assert (environment, directory, stdin) == ({"A": "1"}, "/work/sub", "select 1")


def test_substitutions_are_rendered_before_settings_are_made() -> None:
    query = {**SQL, "query": "select '{{ NAME }}'", "separator": "{{ NAME | length }}"}
    spec = read({"sql": query}, parameters={"NAME": ['a "b" \\ c', "d"]})
    assert spec.tasks[0].uses == ("NAME",)
    found = rendered(spec, NAME='a "b" \\ c')
    assert (found.argv[-1], found.stdin) == ("9", "select 'a \"b\" \\ c'")


def test_literal_templating_replaces_in_settings() -> None:
    spec = read({"sql": {**SQL, "query": "select NAME"}}, parameters={"NAME": ["x"]}, templating="literal")
    assert rendered(spec, NAME="x").stdin == "select x"


@pytest.mark.parametrize(
    ("details", "said"),
    [
        ({"sql": 3}, "tasks.a.details.sql: a number where an object is expected"),
        ({"sql": {"database": "x"}}, "tasks.a.details.sql.query: is missing; give it a value"),
        (
            {"sql": {**SQL, "sep": ";"}},
            "tasks.a.details.sql: no setting named 'sep'; there are: database",
        ),
        ({"sql": {**SQL, "query": 3}}, "tasks.a.details.sql.query: must be a string, not 3"),
        ({"sql": {**SQL, "query": " "}}, "tasks.a.details.sql.query: there is none; write one statement"),
        ({"sql": {**SQL, "query": "\0"}}, "tasks.a.details.sql.query: '\\x00' holds a NUL character"),
        ({"sql": {**SQL, "query": "{{ X }}"}}, "tasks.a.details.sql.query: no parameter named 'X'"),
        ({"sql": SQL, "command": ["x"]}, "tasks.a.details: both of 'command' and 'sql' given; give exactly one"),
        ({"sql": SQL, "stdin": "x"}, "tasks.a.details.stdin: 'stdin' beside 'sql'; remove it"),
        ({"sqll": SQL}, "tasks.a.details.sqll: unknown key 'sqll'; did you mean 'sql'?"),
        ({"broken": {}}, "tasks.a.details.broken: kind 'broken': 'daggy_nowhere:Kind' cannot be imported"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(details: Mapping[str, Any], said: str) -> None:
    assert any(line.startswith(said) for line in problems(details)), problems(details)


def test_no_kind_is_a_default() -> None:
    said = problems({"command": ["x"]}, defaults={"details": {"sql": SQL}})
    assert said == ["defaults.details.sql: a default 'sql'; each task says what it runs"]


def test_a_default_standard_input_is_not_for_kinds() -> None:
    spec = read({"sql": SQL}, defaults={"details": {"stdin": "x", "grace": 9}})
    assert rendered(spec).stdin == "select 1"
    assert spec.tasks[0].details.grace == 9


def test_settings_that_make_no_sense_for_one_task_are_its_own_failure() -> None:
    spec = read({"sql": {**SQL, "query": "select {{ N }}"}}, parameters={"N": ["1", "1; select 2"]})
    assert rendered(spec, N="1").stdin == "select 1"
    with pytest.raises(TemplateError, match=r"^details\.sql: several statements"):
        rendered(spec, N="1; select 2")


def test_settings_are_part_of_what_a_task_is() -> None:
    old, new = read({"sql": SQL}), read({"sql": {**SQL, "query": "select 2"}})
    assert differences(definition(old.tasks[0], old), definition(new.tasks[0], new)) == "setting 'sql.query' changed"
    spaced = read({"sql": {**SQL, "query": "{{ A }}"}}, parameters={"A": [1]})
    other = read({"sql": {**SQL, "query": "{{A}}"}}, parameters={"A": [1]})
    assert definition(spaced.tasks[0], spaced) == definition(other.tasks[0], other)


def test_the_schema_knows_kinds() -> None:
    assert "sql" in json.dumps(schema())


LEAVES = st.none() | st.booleans() | st.floats(allow_nan=False) | st.text()
JSON = st.recursive(LEAVES, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner))


@given(st.dictionaries(st.text(), JSON))
@with_settings(max_examples=50)
def test_strings_are_put_back_where_they_stood(settings: dict[str, Any]) -> None:
    found = [text for _, text in leaves(settings)]
    assert with_leaves(settings, iter(found)) == settings
    marked = with_leaves(settings, (f"<{text}>" for text in found))
    assert [text for _, text in leaves(marked)] == [f"<{text}>" for text in found]
