"""What `details.beam` may say, and what travels to the machine that runs it."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import pytest

from daggy.errors import SpecError
from daggy.spec import parse
from daggy_beam import BeamKind, BeamSettings
from daggy_beam.kind import texts


def problems(**beam: Any) -> list[str]:
    """Return what is wrong with a task whose `details.beam` is this."""
    spec = {"parameters": {"DAY": ["1"]}, "tasks": {"a": {"details": {"beam": beam}}}}
    try:
        parse(json.dumps(spec).encode(), directory="/work")
    except SpecError as error:
        return [line.removeprefix("tasks.a.details.") for line in str(error).splitlines()]
    return []


@pytest.mark.parametrize(
    "beam",
    [
        {"module": "jobs.wordcount"},
        {"file": "jobs/{{ DAY }}.py", "arguments": ["--day", "{{ DAY }}"]},
        {"module": "{{ 'jobs.day' ~ DAY }}"},
        {"module": "m", "runner": "PortableRunner", "options": {"job_endpoint": "h:1", "experiments": ["a", "b"]}},
        {"module": "m", "runner": "mine.Runner", "on_kill": "drain", "options": {"streaming": True, "workers": 3}},
        {"module": "m", "python": "/opt/beam/bin/python", "on_kill": "{{ DAY }}"},
    ],
)
def test_what_can_work_is_accepted(beam: Mapping[str, Any]) -> None:
    assert problems(**beam) == []


@pytest.mark.parametrize(
    ("beam", "said"),
    [
        ({}, "beam: neither 'module' nor 'file' given; give exactly one"),
        ({"module": "m", "file": "m.py"}, "beam: both of 'module' and 'file' given; give exactly one"),
        (
            {"module": "jobs/m.py"},
            "beam.module: 'jobs/m.py' is not the name of a module; write a path under `file`",
        ),
        (
            {"module": "m", "runner": "DirectRunner"},
            "beam.runner: 'DirectRunner' tries to download another runner; name FnApiRunner",
        ),
        (
            {"module": "m", "runner": "direct"},
            "beam.runner: 'direct' tries to download another runner; name FnApiRunner",
        ),
        (
            {"module": "m", "options": {"runner": "x"}},
            "beam.options.runner: 'runner' is Daggy's; write `runner` beside `options`",
        ),
        (
            {"module": "m", "options": {"job_name": "x"}},
            "beam.options.job_name: 'job_name' is Daggy's; remove it: each attempt's job has its own, in DAGGY_SESSION",
        ),
        ({"module": "m", "options": {"--a": 1}}, "beam.options.--a: begins with a dash; write 'a'"),
        ({"module": "m", "options": {"a": None}}, "beam.options.a: is null; leave it out"),
        (
            {"module": "m", "options": {"a": [{}]}},
            "beam.options.a: is a list of something else than strings and numbers; give one value an item",
        ),
        (
            {"module": "m", "runner": "FnApiRunner", "on_kill": "drain"},
            'beam.on_kill: FnApiRunner cannot drain a pipeline; write "cancel", or leave it out',
        ),
        ({"module": "m", "on_kill": "x"}, 'beam.on_kill: \'x\' is no way to end a job; write "cancel" or "drain"'),
        ({"module": "m", "python": ""}, "beam.python: is empty; name an interpreter that has Apache Beam"),
        (
            {"module": "m", "argument": []},
            "beam: no setting named 'argument'; did you mean 'arguments'?",
        ),
    ],
)
def test_what_cannot_work_is_told_with_its_place_and_its_mend(beam: Mapping[str, Any], said: str) -> None:
    assert problems(**beam) == [said]


def test_a_pipeline_has_a_minute_to_be_cancelled() -> None:
    spec = parse(b'{"tasks": {"a": {"details": {"beam": {"module": "m"}}}}}', directory="/work")
    assert spec.tasks[0].details.grace == 60


def test_values_are_not_in_the_command_line() -> None:
    settings = BeamSettings(module="m", arguments=("secret",), options={"key": "secret"})
    command = BeamKind().command(settings)
    assert "secret" not in " ".join(command.argv)
    assert command.argv[0] == "python3"
    order = json.loads(command.stdin or "")["order"]
    assert (order["arguments"], order["options"]) == (["secret"], {"key": "secret"})


def test_what_makes_no_sense_once_rendered_fails_the_task() -> None:
    with pytest.raises(ValueError, match="exactly one of 'module' and 'file'"):
        BeamKind().command(BeamSettings())
    with pytest.raises(ValueError, match="'x' is neither cancel nor drain"):
        BeamKind().command(BeamSettings(module="m", on_kill="x"))


def test_what_travels_needs_a_python_3_8_and_beam() -> None:
    imported: set[str] = set()
    for text in texts().values():
        for node in ast.walk(ast.parse(text, feature_version=(3, 8))):
            if isinstance(node, ast.Import):
                imported.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                imported.add(node.module or "")
    foreign = {name for name in imported if name.partition(".")[0] not in sys.stdlib_module_names}
    assert {name for name in foreign if name.partition(".")[0] not in ("apache_beam", "grpc")} <= set(texts())


def test_daggy_never_imports_beam() -> None:
    check = "import sys, daggy.cli, daggy.kind; daggy.kind.kind_of('beam'); print('apache_beam' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "False\n"
