from __future__ import annotations

import json
from typing import Any

import pytest

from daggy.errors import SpecError
from daggy.spec import Dependency, Details, ListValues, On, Policy, RunSpec, Templating, parse, parse_fragment

RUN = {"command": ["x"]}


def read(document: object) -> RunSpec:
    return parse(json.dumps(document).encode(), source="s.json", directory="/base", name="file")


def only(**keys: Any) -> Any:
    return read({"parameters": {"P": ["1"]}, "tasks": {"a": {"details": RUN, **keys}}}).tasks[0]


EVERYTHING = {
    "$schema": "x",
    "x-anything": [1],
    "version": 1,
    "name": "n",
    "description": "d",
    "tags": {"a": "b"},
    "parameters": {"A": ["1", "2"], "{{ B }}": [1, 2], "C": {"range": [0, 3]}, "D": ["z"]},
    "zip": [["{{B}}", "A"]],
    "limits": {"l": 2},
    "max_failures": 3,
    "pool": "p",
    "directory": "sub",
    "tasks": {
        "t": {
            "details": {
                "command": ["{{ A }}"],
                "environment": {"E": None, "F": "{{ C }}"},
                "directory": "d",
                "timeout": "1.5m",
                "grace": 0,
                "stdin": "s",
                "options": {"x": {"y": [1.5, {"z": None}]}},
            },
            "description": "td",
            "parents": ["u", {"task": "v", "match": ["A"], "on": "ended"}],
            "children": [{"task": "w", "match": True}],
            "expand": ["D"],
            "is_generator": True,
            "max_retries": 2,
            "retry_delay": "2s",
            "retry_backoff": 1.5,
            "retry_on": ["exit", 7],
            "crash_limit": 1,
            "priority": -5,
            "max_parallel": 4,
            "resources": {"gpus": 0.5, "l": 2},
            "x-mine": 1,
        },
        "u": {"details": {"shell": "true"}},
    },
}


def test_everything_that_a_spec_can_say() -> None:
    spec = read(EVERYTHING)
    assert (spec.name, spec.description, spec.tags, spec.max_failures) == ("n", "d", {"a": "b"}, 3)
    assert (spec.zip, spec.limits, spec.directory, spec.warnings) == ((("A", "B"),), {"l": 2.0}, "/base/sub", ())
    template = spec.tasks[0]
    assert template.details == Details(
        command=("{{ A }}",),
        environment={"E": None, "F": "{{ C }}"},
        directory="d",
        timeout=90.0,
        grace=0.0,
        stdin="s",
        options={"x": {"y": [1.5, {"z": None}]}},
    )
    assert template.policy == Policy(
        pool="p",
        resources=(("cores", 1.0), ("gpus", 0.5), ("l", 2.0)),
        priority=-5,
        max_parallel=4,
        max_retries=2,
        retry_delay=2.0,
        retry_backoff=1.5,
        retry_on=frozenset({"exit", 7}),
        crash_limit=1,
        is_generator=True,
        timeout=90.0,
    )
    assert template.parents == (Dependency("u"), Dependency("v", ("A",), On.ENDED))
    assert template.children == (Dependency("w", None),)
    assert template.uses == ("A", "B", "C", "D")
    assert [task.name for task in spec] == ["t", "u"]


def test_the_file_names_a_run_that_has_no_name() -> None:
    assert read({"tasks": {"a": {"details": RUN}}}).name == "file"


def test_tasks_may_be_a_list_with_names_or_classes() -> None:
    spec = read({"tasks": [{"name": "a", "details": RUN}, {"class": "b", "details": RUN, "parents": ["a"]}]})
    assert [(task.name, task.parents) for task in spec] == [("a", ()), ("b", (Dependency("a"),))]


def test_equal_policies_are_one_value() -> None:
    tasks = {name: {"details": RUN, "max_retries": 2} for name in "abc"}
    first, second, third = read({"tasks": tasks}).tasks
    assert first.policy is second.policy is third.policy


def test_defaults_are_merged_by_key() -> None:
    spec = read(
        {
            "pool": "p",
            "templating": "none",
            "defaults": {
                "details": {"environment": {"A": "1", "B": "1"}, "timeout": 5, "options": {"x": {"a": 1}}},
                "resources": {"gpus": 1, "cores": 2},
                "max_retries": 1,
                "description": "all",
            },
            "tasks": {
                "a": {"details": RUN},
                "b": {
                    "details": {**RUN, "environment": {"B": "2", "C": None}, "options": {"y": {}}, "timeout": 6},
                    "resources": {"gpus": 0},
                    "pool": "q",
                    "max_retries": 0,
                    "description": "",
                },
            },
        }
    )
    a, b = spec.tasks
    assert a.details == Details(("x",), environment={"A": "1", "B": "1"}, timeout=5.0, options={"x": {"a": 1}})
    assert b.details.environment == {"A": "1", "B": "2", "C": None}
    assert (b.details.timeout, b.details.options) == (6.0, {"x": {"a": 1}, "y": {}})
    assert (a.policy.timeout, b.policy.timeout) == (5.0, 6.0)
    assert (a.policy.resources, b.policy.resources) == (
        (("cores", 2.0), ("gpus", 1.0)),
        (("cores", 2.0), ("gpus", 0.0)),
    )
    assert (a.policy.pool, b.policy.pool, a.policy.max_retries, b.policy.max_retries) == ("p", "q", 1, 0)
    assert (a.description, b.description, a.templating) == ("all", "", Templating.NONE)


def test_a_task_needs_one_core_by_default() -> None:
    assert only().policy.resources == (("cores", 1.0),)
    assert only(resources={"memory_mb": 5}).policy.resources == (("cores", 1.0), ("memory_mb", 5.0))
    assert only(resources={"cores": 0}).policy.resources == (("cores", 0.0),)
    inside = read({"tasks": {"a": {"details": {**RUN, "resources": {"cores": 3}}, "resources": {"gpus": 1}}}})
    assert inside.tasks[0].policy.resources == (("cores", 3.0), ("gpus", 1.0))


@pytest.mark.parametrize(("given", "seconds"), [(5, 5.0), (0.5, 0.5), ("90s", 90.0), ("10m", 600.0), ("1.5h", 5400.0)])
def test_lengths_of_time(given: object, seconds: float) -> None:
    assert only(retry_delay=given).policy.retry_delay == seconds


def test_parameters_of_a_task_overlay_those_of_the_run() -> None:
    task = only(parameters={"P": ["2", "3"], "Q": [1]}, details={"command": ["{{ P }}", "{{ Q }}"]})
    assert task.parameters == {"P": ListValues(("2", "3")), "Q": ListValues((1,))}
    assert task.uses == ("P", "Q")


def test_parameters_of_a_task_apply_without_any_of_the_run() -> None:  # task params ignored without run params
    spec = read({"tasks": {"a": {"details": {"command": ["{{ Q }}"]}, "parameters": {"Q": ["1", "2"]}}}})
    assert spec.tasks[0].uses == ("Q",)
    assert len(spec.values(spec.tasks[0], "Q")) == 2


def test_a_parameter_in_braces_and_out_of_them_in_one_string() -> None:  # format + plain placeholder in one string
    spec = read(
        {
            "parameters": {"A": ["1"], "{{B}}": ["2"]},
            "tasks": {"a": {"details": {"command": ["{{A}}-{{ B | upper }}-{{ B }}"]}}},
        }
    )
    assert spec.tasks[0].uses == ("A", "B")


def test_expansion_follows_uses_in_every_string() -> None:
    for key, value in [
        ("shell", "{{ P }}"),
        ("stdin", "{{ P }}"),
        ("directory", "{{ P }}"),
        ("environment", {"{{ P }}": ""}),
        ("environment", {"A": "{{ P * 2 }}"}),
    ]:
        details = {"command": ["x"], key: value}
        if key == "shell":
            del details["command"]
        assert only(details=details).uses == ("P",)


def test_unused_parameters_are_warned_of() -> None:
    spec = read({"parameters": {"P": ["1"]}, "tasks": {"a": {"details": RUN, "parameters": {"Q": ["1"]}}}})
    assert spec.warnings == (
        "tasks.a.parameters.Q: nothing uses the parameter 'Q'",
        "parameters.P: nothing uses the parameter 'P'",
    )


def test_a_variable_that_will_not_be_set_is_warned_of() -> None:
    spec = read(
        {
            "parameters": {"P": ["1"]},
            "tasks": {"a": {"details": {"shell": "echo $DAGGY_PARAM_P"}}, "b": {"details": RUN, "expand": ["P"]}},
        }
    )
    assert spec.warnings == ('tasks.a.details.shell: DAGGY_PARAM_P is not set for this task; add "expand": ["P"]',)


def test_specs_of_earlier_shape_run_in_literal_mode() -> None:
    details = {"command": ["echo", "{{DATE}}"], "environment": {"E": "{{DATE}}"}}
    braces = {"tags": {"abc": "def"}, "parameters": {"{{DATE}}": ["1", "2"]}, "tasks": {"a": {"details": details}}}
    bare = {
        "tags": {"user": "me"},
        "parameters": {"DATE": ["1", "2"]},
        "tasks": {"a": {"details": {"command": ["echo", "DATE"], "resources": {"cores": 1, "memory_mb": 100}}}},
    }
    for document in (braces, bare):
        spec = read({**document, "templating": "literal"})
        assert spec.tasks[0].uses == ("DATE",)
        assert spec.tasks[0].templating is Templating.LITERAL
    assert read(braces).tasks[0].uses == ("DATE",)


def test_specs_of_earlier_shape_that_are_wrong_are_refused_with_the_mend() -> None:
    tasks = {"a": {"details": {"command": ["echo", "D"], "children": ["b"]}}, "b": {"details": RUN}}
    with pytest.raises(
        SpecError, match=r"tasks\.a\.details\.children: unknown key 'children'; it belongs beside `details`"
    ):
        read({"templating": "literal", "parameters": {"D": ["1"]}, "tasks": tasks})
    with pytest.raises(SpecError, match="tags are names with texts"):
        read({"tags": ["abc"], "tasks": [{"class": "a", "details": RUN}]})


def test_any_text_is_a_parameter_in_literal_mode() -> None:
    document = {
        "templating": "literal",
        "parameters": {"%DATE%": ["1"], "run": ["2"]},
        "tasks": {"a": {"details": {"command": ["run %DATE%"]}}},
    }
    assert read(document).tasks[0].uses == ("%DATE%", "run")


RUNNING = read(
    {
        "parameters": {"P": ["1", "2"]},
        "pool": "p",
        "defaults": {"max_retries": 2},
        "tasks": {"g": {"details": {"command": ["{{ P }}"]}, "is_generator": True}},
    }
)


def test_a_fragment_is_read_with_what_the_run_says() -> None:
    answer = {"tasks": {"x": {"details": {"command": ["{{ P }}", "{{ Q }}"]}}}, "parameters": {"Q": [1]}, "zip": []}
    spec = parse_fragment(json.dumps(answer).encode(), RUNNING)
    (task,) = spec.tasks
    assert task.uses == ("P", "Q")
    assert (task.policy.pool, task.policy.max_retries) == ("p", 2)
    assert set(spec.parameters) == {"P", "Q"}
    assert (spec.directory, spec.name) == (RUNNING.directory, RUNNING.name)


@pytest.mark.parametrize("answer", [b"", b" \n", b"{}", b'{"tasks": {}}', b'{"tasks": []}'])
def test_an_empty_fragment_is_fine(answer: bytes) -> None:
    assert parse_fragment(answer, RUNNING).tasks == ()


def test_a_fragment_may_be_the_tasks_alone() -> None:
    spec = parse_fragment(json.dumps({"x": {"details": RUN}, "parameters": {"details": RUN}}).encode(), RUNNING)
    assert [task.name for task in spec] == ["x", "parameters"]


@pytest.mark.parametrize(
    ("answer", "line"),
    [
        (b"[]", "answer: a list where an object with 'tasks' is expected"),
        (b"oops", "answer: line 1, column 1: expecting value"),
        (b'{"tasks": {}, "name": "x"}', "answer: name: unknown key 'name'; put it in the run's spec"),
        (
            b'{"tasks": {}, "foo": 1}',
            "answer: foo: unknown key 'foo'; a generator answers with 'tasks', 'parameters', 'zip'",
        ),
        (
            b'{"x": {"details": {"command": ["{{ Z }}"]}}}',
            "answer: tasks.x.details.command[0]: no parameter named 'Z'; give it in `parameters`",
        ),
        (b'{"x": 1, "x": 2}', "answer: x: the key 'x' is given twice; keep one"),
    ],
)
def test_a_bad_fragment_says_why(answer: bytes, line: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse_fragment(answer, RUNNING, source="answer")
    assert str(caught.value) == line
