# ruff: noqa: E501  # one refusal a line
from __future__ import annotations

import json
from typing import Any

import pytest

from daggy.errors import SpecError
from daggy.spec import RunSpec, parse

RUN = {"command": ["x"]}


def read(document: object, **more: Any) -> RunSpec:
    data = document if isinstance(document, bytes) else json.dumps(document).encode()
    return parse(data, **{"source": "nightly.json", "directory": "/base", **more})


def refusal(document: object, **more: Any) -> list[str]:
    with pytest.raises(SpecError) as caught:
        read(document, **more)
    lines = str(caught.value).split("\n")
    assert all(line.startswith("nightly.json: ") for line in lines)
    return [line.removeprefix("nightly.json: ") for line in lines]


def task(**keys: Any) -> dict[str, Any]:
    return {"tasks": {"a": {"details": RUN, **keys}}}


def details(**keys: Any) -> dict[str, Any]:
    return {"tasks": {"a": {"details": {**RUN, **keys}}}}


def parameter(values: object, **keys: Any) -> dict[str, Any]:
    return {"parameters": {"X": values}, "tasks": {"a": {"details": {"command": ["echo", "{{ X }}"]}}}, **keys}


CASES: list[tuple[object, str]] = [
    ({}, "no 'tasks'; name at least one"),
    ({"tasks": {}}, "tasks: there are no tasks; name at least one"),
    ({"tasks": "a"}, "tasks: a string where a map of tasks is expected"),
    ([], "a list where an object with 'tasks' is expected"),
    (b"", "is empty"),
    (b"nothing", "line 1, column 1: expecting value"),
    (b'{"tasks": {]', "line 1, column 12: expecting property name enclosed in double quotes"),
    (b"\xff", "byte 0: not UTF-8"),
    (b"[" * 100_000, "nested too deep"),
    (b'{"version": 1e999999}', "a number with more than 400 digits"),
    (b'{"version": NaN}', "NaN is not a JSON number"),
    (b'{"name": "a", "tasks": {}, "name": "b"}', "name: the key 'name' is given twice; keep one"),
    (
        b'{"tasks": {"a": {"details": {"command": ["x"], "command": ["y"]}}}}',
        "tasks.a.details.command: the key 'command' is given twice; keep one",
    ),
    ({**task(), "version": 2}, "version: version 2 is newer than this version of Daggy reads; the newest it reads is 1"),
    ({**task(), "version": "1"}, "version: a string where the format version is expected; write 1"),
    ({**task(), "tags": ["abc"]}, 'tags: a list where an object is expected; tags are names with texts: {"abc": ""}'),
    ({**task(), "tags": {"n": 1}}, 'tags.n: a number where a string is expected; write "1"'),
    ({**task(), "max_paralel": 1}, "max_paralel: unknown key 'max_paralel'; did you mean 'max_parallel'? it belongs beside `details`"),
    ({**task(), "command": 1}, "command: unknown key 'command'; it belongs inside `details`"),
    ({**task(), "max_failures": 0}, "max_failures: 0 is out of bounds; it is from 1 to 4294967295"),
    ({**task(), "limits": {"l": -1}}, "limits.l: -1 is out of bounds; it is from 0 to 1e15"),
    ({**task(resources={"l": 3}), "limits": {"l": 2}}, "tasks.a.resources.l: 3 of 'l' can never be available; `limits` allows 2 in all"),
    ({**task(), "templating": "jinja2"}, "templating: 'jinja2' is not a templating mode; there are jinja, literal, none"),
    ({**task(), "directory": "{{ X }}"}, "directory: the spec's directory is no template; put it in `details` of `defaults`"),
    ({"tasks": {"a": {}}}, "tasks.a: no 'details'; they say how the task is run"),
    ({"tasks": {"a": 1}}, 'tasks.a: a number where a task is expected; a task is {"details": {…}}'),
    ({"tasks": {"a b": task()["tasks"]["a"]}}, "tasks.a b: 'a b' holds ' '; names have no white space, ':', '/' or '%'"),
    ({"tasks": {"7": task()["tasks"]["a"]}}, "tasks.7: '7' is all digits; that would be a task's index"),
    ({"tasks": {"": task()["tasks"]["a"]}}, "tasks: a task's name is empty"),
    ({"tasks": [{"details": RUN}]}, "tasks[0]: no 'name'; each task of a list has one name"),
    ({"tasks": [{"name": "a", "class": "a", "details": RUN}]}, "tasks[0]: both 'name' and 'class'; each task of a list has one name"),
    ({"tasks": [{"name": "a", "details": RUN}] * 2}, "tasks[1]: the task 'a' is given twice; names are unique"),
    (task(children="b"), 'tasks.a.children: a string where a list is expected; write ["b"]'),
    (task(parents=[{"on": "ended"}]), "tasks.a.parents[0]: no 'task'; name the task that is meant"),
    (task(parents=[{"task": "b", "on": "skipped"}]), "tasks.a.parents[0].on: 'skipped' is not a condition to wait for; waiting for skipped tasks is not supported yet"),
    (task(parents=[{"task": "b", "match": []}]), "tasks.a.parents[0].match: nothing to match; leave `match` out to wait for all"),
    (task(parents=[{"task": "b", "match": ["X", "X"]}]), "tasks.a.parents[0].match: 'X' is given twice"),
    (task(parents=[{"job": "b", "task": "b"}]), "tasks.a.parents[0].job: unknown key 'job'; did you mean 'task'?"),
    (task(depends_on=["b"]), "tasks.a.depends_on: unknown key 'depends_on'; did you mean 'parents'?"),
    (task(timeout=1), "tasks.a.timeout: unknown key 'timeout'; it belongs inside `details`"),
    (task(env={}), "tasks.a.env: unknown key 'env'; did you mean 'environment'? it belongs inside `details`"),
    (task(max_retries=-1), "tasks.a.max_retries: -1 is out of bounds; it is from 0 to 60000"),
    (task(max_retries=True), "tasks.a.max_retries: true where an integer is expected"),
    (task(max_retries=2.0), "tasks.a.max_retries: a number where an integer is expected"),
    (task(retry_backoff=0.5), "tasks.a.retry_backoff: 0.5 is out of bounds; it is from 1 to 1000"),
    (task(retry_delay="5x"), "tasks.a.retry_delay: '5x' is not a duration; write seconds, or \"90s\", \"10m\", \"2h\""),
    (task(retry_on=[]), "tasks.a.retry_on: no reason to retry; set `max_retries` to 0"),
    (task(retry_on=["lost"]), "tasks.a.retry_on[0]: 'lost' is never retried; exit codes from 1 to 255, or exit, signal, timeout, spawn, generator, memory, result"),
    (task(retry_on=[0]), "tasks.a.retry_on[0]: 0 is not the exit code of a failure; exit codes from 1 to 255, or exit, signal, timeout, spawn, generator, memory, result"),
    (task(is_generator="yes"), "tasks.a.is_generator: a string where true or false is expected"),
    (task(expand=["DATE"]), "tasks.a.expand[0]: no parameter named 'DATE'; give it in `parameters`"),
    (task(resources={"cores": None}), "tasks.a.resources.cores: null where a number is expected"),
    ({"tasks": {"a": {"details": {**RUN, "resources": {"cores": 2}}, "resources": {"cores": 1}}}}, "tasks.a.resources: 'cores' is given twice with different values; give it once"),
    (details(children=["b"]), "tasks.a.details.children: unknown key 'children'; it belongs beside `details`"),
    (details(env={}), "tasks.a.details.env: unknown key 'env'; did you mean 'environment'?"),
    (details(script="x"), "tasks.a.details: both of 'command' and 'script' given; give exactly one"),
    (details(arguments={}), "tasks.a.details.arguments: 'arguments' beside 'command'; remove it, or put it into 'command'; it goes with eval, function, module, script"),
    ({"tasks": {"a": {"details": {"function": "f"}}}}, "tasks.a.details.function: 'f' is no function's place; write package.module:name"),
    ({"tasks": {"a": {"details": {"function": "m:f", "arguments": []}}}}, "tasks.a.details.arguments: must be an object, not []"),
    ({"tasks": {"a": {"details": {"function": "m:f", "arguments": {"a-b": 1}}}}}, "tasks.a.details.arguments.a-b: 'a-b' cannot be the name of a parameter; use an identifier"),
    ({"tasks": {"a": {"details": {"function": "m:f", "arguments": {"x": "{{ N }}"}}}}}, "tasks.a.details.arguments.x: no parameter named 'N'; give it in `parameters`"),
    ({"tasks": {"a": {"details": {"function": "m:f", "stdin": "x"}}}}, "tasks.a.details.stdin: 'stdin' beside 'function'; remove it: tasks of a kind say what they read"),
    ({"tasks": {"a": {"details": {"function": "m:f"}, "result": False}}}, "tasks.a.result: false for a task of the kind 'function'; remove it: it always has a result"),
    ({"tasks": {"a": {"details": {"eval": "{{ N }} + 1"}}}}, "tasks.a.details.eval: nothing is substituted in a source, and it holds '{{'; give the value in `arguments`: it is a variable of the source"),
    ({"tasks": {"a": {"details": {"module": "a/b.py"}}}}, "tasks.a.details.module: 'a/b.py' is not the name of a module; write a path under `script`"),
    ({**task(), "defaults": {"details": {"function": "m:f"}}}, "defaults.details.function: a default 'function'; each task says what it runs"),
    (details(shell="y"), "tasks.a.details: both of 'command' and 'shell' given; give exactly one"),
    ({"tasks": {"a": {"details": {}}}}, "tasks.a.details: nothing to run; give one of command, shell, eval, function, module, script"),
    (details(command="x"), "tasks.a.details.command: a string where a list of strings is expected; use `shell` for one string"),
    (details(command=[]), "tasks.a.details.command: the command is empty; name at least a program"),
    (details(command=["sleep", 5]), 'tasks.a.details.command[1]: a number where a string is expected; write "5"'),
    (details(command=["a\0b"]), "tasks.a.details.command[0]: 'a\\x00b' holds a NUL character"),
    (b'{"tasks": {"a": {"details": {"command": ["\\ud800"]}}}}', "tasks.a.details.command[0]: '\\ud800' holds half a surrogate pair"),
    (details(environment={"A=B": "x"}), "tasks.a.details.environment.A=B: 'A=B' is not a valid name of an environment variable; it must not be empty or contain `=`"),
    (details(environment={"DAGGY_X": "x"}), "tasks.a.details.environment.DAGGY_X: 'DAGGY_X' is reserved; Daggy sets the variables that start with DAGGY_"),
    (details(environment={"A": {"secret": "S"}}), "tasks.a.details.environment.A: secrets are not supported yet; let the command read it from a file"),
    (details(timeout=0), "tasks.a.details.timeout: a timeout of 0; leave it out for none"),
    (details(options={"slurm": 1}), "tasks.a.details.options.slurm: a number where an object is expected; options are those of one executor"),
    (details(options={"slurm": {"name": "{{ X }}"}}), "tasks.a.details.options: a substitution in options; nothing is substituted there: give the value in `environment`"),
    ({**task(), "defaults": {"parents": ["b"]}}, "defaults.parents: a default 'parents'; each task names its own"),
    ({**task(), "defaults": {"details": {"shell": "x"}}}, "defaults.details.shell: a default 'shell'; each task says what it runs"),
    (parameter([]), "parameters.X: the list of values is empty; give at least one"),
    (parameter("a"), 'parameters.X: a string where a list of values is expected; write ["a"]'),
    (parameter([1, "1"]), "parameters.X: the value '1' is given twice; values are compared by their text"),
    (parameter([True]), "parameters.X[0]: true as a value; values are strings and numbers"),
    (parameter({"range": [0, 10, 0]}), "parameters.X.range: the step of a range is not 0"),
    (parameter({"range": [0]}), "parameters.X.range: 1 numbers in a range; write [start, stop] or [start, stop, step]"),
    (parameter({"range": [0, "5"]}), "parameters.X.range[1]: a string where a number is expected"),
    (parameter({"lines": "f"}), "parameters.X: only the command line reads files of lines; send the values as a list"),
    (parameter(["a"], zip=[["X", "Y"]]), "zip[0][1]: no parameter named 'Y'"),
    (parameter(["a"], zip=[["X"]]), "zip[0]: a group with fewer than two parameters; give two or more"),
    ({"parameters": {"1x": ["a"]}, **task()}, "parameters.1x: '1x' is not an identifier; use letters, digits and '_'"),
    ({"parameters": {"run": ["a"]}, **task()}, "parameters.run: 'run' is reserved; give the parameter another name"),
    ({"parameters": {"X": ["a"], "{{ X }}": ["a"]}, **task()}, "parameters.{{ X }}: the parameter 'X' is given twice; with and without braces mean the same"),
    (
        {"parameters": {"A": ["1"], "B": ["1", "2"]}, "zip": [["A", "B"]], **task(expand=["A"])},
        "zip[0]: unequal numbers of values: A has 1, B has 2; parameters that step together need the same number of values",
    ),
    (
        {"parameters": {"A": ["1"], "B": ["1"]}, "zip": [["A", "B"]], **task(expand=["A"], parameters={"A": ["1", "2"]})},
        "tasks.a.parameters: unequal numbers of values: A has 2, B has 1; parameters that step together need the same number of values",
    ),
    (details(command=["{{ DAET }}"]) | {"parameters": {"DATE": ["a"]}}, "tasks.a.details.command[0]: no parameter named 'DAET'; did you mean 'DATE'?"),
    (details(command=["{{ run.tags.x }}"]), "tasks.a.details.command[0]: no tag named 'x'; give it in `tags`"),
    ({"tasks": {"a": {"details": {"shell": "echo '{{ attempt }}'"}}}}, "tasks.a.details.shell: 'attempt' is substituted inside quotes; remove the quotes: Daggy quotes it"),
    (
        {"parameters": {"DATE": ["a"]}, **details(command=["echo", "DATE"])},
        "parameters.DATE: nothing uses 'DATE', but it appears in tasks.a.details.command[1]; write {{ DATE }}, or set templating to 'literal'",
    ),
    (
        details(command=["echo", "DATE"]) | {"parameters": {"{{DATE}}": ["a"]}, "templating": "literal"},
        "parameters.{{DATE}}: nothing uses 'DATE', but it appears in tasks.a.details.command[1]; literal templating replaces '{{DATE}}' exactly as written",
    ),
    (
        task(parameters={"D": ["a"]}) | {"tasks": {"a": {"details": {"command": ["D"]}, "parameters": {"D": ["a"]}}}},
        "tasks.a.parameters.D: nothing uses 'D', but it appears in tasks.a.details.command[0]; write {{ D }}, or set templating to 'literal'",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("document", "line"), CASES, ids=[line[:60] for _, line in CASES])
def test_a_fault_is_reported_with_its_place_and_the_mend(document: object, line: str) -> None:
    assert line in refusal(document)


# What one fault brings with it; every other document above has exactly one problem.
@pytest.mark.parametrize(("document", "line"), CASES, ids=[line[:60] for _, line in CASES])
def test_one_fault_is_reported_once(document: object, line: str) -> None:
    assert len(refusal(document)) == 1


def test_all_faults_are_reported_at_once_in_the_order_of_the_document() -> None:
    lines = refusal(
        {
            "nmae": "x",
            "parameters": {"D": [1, 1], "E": []},
            "tasks": {"a b": {"details": {"shell": "{{ F }}", "timeout": "x"}}, "c": {"parents": [1]}},
        }
    )
    assert [line.split(": ")[0] for line in lines] == [
        "nmae", "parameters.D", "parameters.E", "tasks.a b", "tasks.a b.details.timeout", "tasks.a b.details.shell",
        "tasks.c", "tasks.c.parents[0]",
    ]  # fmt: skip


def test_a_thousand_problems_are_enough() -> None:
    lines = refusal({"tasks": {f"a{position}": {} for position in range(1500)}})
    assert len(lines) == 1001
    assert lines[-1] == "500 more problems; fix these first"


def test_a_default_is_wrong_once() -> None:
    tasks = {name: {"details": RUN} for name in "abc"}
    document = {"defaults": {"details": {"environment": {"A": "{{ NOPE }}", "B": "{{"}}}, "tasks": tasks}
    assert [line.split(": ")[0] for line in refusal(document)] == [
        "defaults.details.environment.A",
        "defaults.details.environment.B",
    ]


def test_without_a_directory_the_spec_must_say_one() -> None:
    line = "directory: no absolute directory; give the directory in which tasks run"
    assert refusal(task(), directory=None) == [line]
    assert refusal({**task(), "directory": "x"}, directory=None) == [line]
    assert read({**task(), "directory": "/x"}, directory=None).directory == "/x"
    assert read({**task(), "directory": "x"}).directory == "/base/x"
    assert read(task()).directory == "/base"
    assert read({**task(), "directory": "/"}).directory == "/"
