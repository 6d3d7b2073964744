"""Plain tasks are read a short way: whatever it accepts or refuses, the long way would have."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given, strategies as st

from daggy.errors import SpecError
from daggy.spec import Dependency, RunSpec, Templating, parse, source
from daggy.spec.fast import Written
from daggy.spec.packed import LARGE

TEXTS = st.sampled_from(
    [
        "x",
        "echo",
        "",
        "{{ A }}",
        "{{ B }}",
        "a\nb",
        'quote " :',
        '":',
        "é",
        "\0",
        "\ud800",
        "DAGGY_PARAM_A",
        "t0",
        "A",
        "\t",
        "{",
        "\x7f",
    ]
)
NUMBERS = st.sampled_from([0, 1, 5, -1, 2.5, 0.1, 1e9, 1e400, 70_000, True, None, "5s", 10**30, 3.0, -0.0])
DETAILS = st.fixed_dictionaries(
    {},
    optional={
        "command": st.lists(TEXTS, max_size=3) | TEXTS,
        "shell": TEXTS,
        "environment": st.dictionaries(TEXTS | st.sampled_from(["DAGGY_X", "A=B"]), TEXTS | st.none(), max_size=2),
        "directory": TEXTS,
        "timeout": NUMBERS,
        "grace": NUMBERS,
        "stdin": TEXTS,
        "options": st.just({"slurm": {"a": 1}}),
        "x-mine": st.just(1),
        "children": st.just(["b"]),
    },
)
GOOD = st.fixed_dictionaries(
    {"command": st.lists(st.sampled_from(["x", "echo", 'a":b', "\n", "é", "A"]), min_size=1, max_size=3)},
    optional={
        "environment": st.dictionaries(st.sampled_from(["A", "B"]), st.sampled_from(["1", None]), max_size=2),
        "timeout": st.sampled_from([1, 2.5]),
        "stdin": st.sampled_from(["", "in"]),
        "directory": st.sampled_from(["", "d"]),
    },
)
REST = st.fixed_dictionaries(
    {},
    optional={
        "parents": st.lists(TEXTS, max_size=2) | st.just([{"task": "t0"}]),
        "children": st.lists(st.sampled_from(["t0", "t1"]), max_size=2),
        "description": TEXTS,
        "resources": st.dictionaries(st.sampled_from(["cores", "gpus", "", "a\n"]), NUMBERS, max_size=2),
        **dict.fromkeys(
            ["max_retries", "retry_delay", "retry_backoff", "crash_limit", "priority", "max_parallel"], NUMBERS
        ),
        "pool": TEXTS,
        "is_generator": st.booleans() | NUMBERS,
        "expand": st.just(["A"]),
        "parameters": st.just({"B": ["1"]}),
        "retry_on": st.just(["exit"]),
    },
)
TASKS = st.tuples(DETAILS, REST).map(lambda pair: {"details": pair[0], **pair[1]})
PLAIN = st.tuples(GOOD, REST.filter(lambda rest: len(rest) < 3)).map(lambda pair: {"details": pair[0], **pair[1]})
DOCUMENTS = st.fixed_dictionaries(
    {"tasks": st.dictionaries(st.sampled_from(["t0", "t1", "7", "a b", "", "é", "t:"]), TASKS | PLAIN, max_size=4)},
    optional={
        "parameters": st.just({"A": ["1", "2"]}),
        "templating": st.sampled_from(["literal", "none"]),
        "limits": st.just({"gpus": 2}),
        "pool": st.just("p"),
        "defaults": st.sampled_from(
            [
                {"details": {"environment": {"A": "0", "C": "1"}, "timeout": 7}, "max_retries": 3, "description": "d"},
                {"details": {"stdin": "{{ A }}"}},
                {"expand": ["A"]},
                {"resources": {"gpus": 1}, "templating": "literal"},
            ]
        ),
    },
)


def outcome(data: bytes, monkeypatch: pytest.MonkeyPatch, small: int) -> tuple[object, ...]:
    monkeypatch.setattr(source, "SMALL", small)
    try:
        spec = parse(data, directory="/base")
    except SpecError as error:
        return tuple(map(str, error.problems))
    return (spec, spec.tasks)


@given(
    DOCUMENTS, st.booleans(), st.sampled_from([None, 1]), st.sampled_from([(", ", ": "), (",", ":"), (" , ", " : ")])
)
@example({"tasks": {"t0": {"details": {"shell": "x"}, "resources": {"a\n": 0}}}}, False, None, (", ", ": "))
@example({"tasks": {"t0": {"details": {"command": ["a"]}, "description": '\\u0022: "'}}}, False, None, (",", ":"))
def test_both_ways_read_the_same(
    document: Any, ascii_only: bool, indent: int | None, separators: tuple[str, str]
) -> None:
    text = json.dumps(document, ensure_ascii=ascii_only, indent=indent, separators=separators)
    data = text.encode("utf-8", "surrogatepass")
    with pytest.MonkeyPatch.context() as monkeypatch:
        assert outcome(data, monkeypatch, 0) == outcome(data, monkeypatch, 1 << 30)


ENTRY = '{"details": {"command": ["x"]}}'


@pytest.mark.parametrize(
    "text",
    [
        f'{{"tasks": {{"a": {ENTRY}, "a": {ENTRY}}}}}',
        f'{{"tasks": {{}}, "tasks": {{"a": {ENTRY}}}}}',
        f'{{"name": "a", "tasks": {{"a": {ENTRY}}}, "name": "b"}}',
        '{"tasks": {"a": {"details": {"command": ["x"], "command" : ["x"]}}}}',
        '{"tasks": {"a": {"details": {"command": ["x"]}, "details": {"command": ["x"]}}}}',
        '{"tasks": {"a": {"details": {"command": ["\\u0022: "], "shell": "x", "command": ["x"]}}}}',
        '{"tasks": {"a": {"details": {"command": ["\\" : "], "environment": {"A": "1", "A": "2"}}}}}',
        '{"tasks": {"a": {"details": {"command": ["\\u0022\\u003a"], "environment": {"A": "1", "A": "2"}}}}}',
        '{"tasks": {"a": {"details": {"command": ["{{ attempt }}"], "environment": {"A": "1", "A": "2"}}}}}',
    ],
)
def test_a_key_given_twice_is_seen_both_ways(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    short = outcome(text.encode(), monkeypatch, 0)
    assert short == outcome(text.encode(), monkeypatch, 1 << 30)
    assert any("given twice" in str(line) for line in short)


def many(count: int, **more: Any) -> RunSpec:
    tasks = {
        f"t{n}": {"details": {"command": ["echo", str(n)]}, "parents": [f"t{n - 1}"] if n else []} for n in range(count)
    }
    return parse(json.dumps({**more, "tasks": tasks}).encode(), directory="/base")


def test_plain_tasks_stay_bytes_until_they_are_used() -> None:
    spec = many(LARGE - 1)
    assert all(isinstance(task._details, Written) for task in spec)
    assert spec.tasks[4_000].details.command == ("echo", "4000")
    assert spec.tasks[5].parents == (Dependency("t4"),)
    assert len({id(task.policy) for task in spec}) == 1


def test_what_the_spec_says_for_all_holds_for_plain_tasks() -> None:
    spec = many(2_000, pool="p", templating="none", defaults={"max_retries": 2, "details": {"timeout": "2s"}})
    assert {(task.policy.pool, task.policy.max_retries, task.details.timeout) for task in spec} == {("p", 2, 2.0)}
    assert spec.tasks[7].templating is Templating.NONE


def test_an_unused_parameter_is_looked_for_in_plain_tasks() -> None:
    with pytest.raises(SpecError, match=r"nothing uses 'echo', but it appears in tasks.t0.details.command\[0\]"):
        many(2_000, parameters={"echo": ["1"]})
