"""What the command line refuses before it does anything: what is empty, what no task has, what no machine can run."""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.command_rig import PROGRAM

Daggy = Callable[..., subprocess.CompletedProcess[str]]

LARGE = {"tasks": {"t": {"resources": {"cores": 4096}, "details": {"command": ["true"]}}}}


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "--dir", "", "spec.json"],
        ["run", ""],
        ["ls", "--server", ""],
        ["ls", "--token", ""],
        ["ls", "--state", ""],
        ["ls", "--config", ""],
        ["logs", "last", ""],
    ],
    ids=" ".join,
)
def test_an_empty_option_or_argument_is_bad_usage(daggy: Daggy, tmp_path: Path, arguments: list[str]) -> None:
    ended = daggy(*arguments)
    assert ended.returncode == 2
    assert "it is empty" in ended.stderr
    assert list(tmp_path.iterdir()) == []


def test_an_empty_variable_for_the_directory_is_bad_usage(tmp_path: Path) -> None:
    ended = subprocess.run(
        [*PROGRAM, "run", "spec.json"], cwd=tmp_path, env=os.environ | {"DAGGY_DIR": ""},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ended.returncode == 2
    assert "DAGGY_DIR is empty" in ended.stderr


def test_a_dry_run_is_refused_for_what_the_run_is_refused_for(daggy: Daggy, tmp_path: Path) -> None:
    (tmp_path / "spec.json").write_text(json.dumps(LARGE))
    refused = daggy("run", "spec.json")
    dry = daggy("run", "-n", "spec.json")
    assert (dry.returncode, dry.stderr) == (refused.returncode, refused.stderr)
    assert dry.returncode == 2
    assert "tasks.t.resources.cores: needs 4096" in dry.stderr
    assert daggy("run", "-n", "-j", "4096", "spec.json").returncode == 0


def test_values_of_parameters_that_no_task_has_are_refused(daggy: Daggy, tmp_path: Path) -> None:
    spec = {"parameters": {"N": [1, 2]}, "tasks": {"t": {"details": {"command": ["echo", "{{ N }}"]}}}}
    (tmp_path / "spec.json").write_text(json.dumps(spec))
    assert daggy("run", "-q", "--dir", "state", "spec.json").returncode == 0
    for chosen, said in (
        (["logs", "last", "--param", "N=9"], "no task has N '9'; there are: '1', '2'"),
        (["logs", "last", "t", "--param", "N=9"], "no task of 't' has N '9'"),
        (["logs", "last", "t.N:1", "--param", "N=2"], "none of the tasks has N '2'"),
        (["tasks", "last", "--param", "N=9"], "no task has N '9'"),
    ):
        ended = daggy(*chosen, "--dir", "state")
        assert ended.returncode == 2, chosen
        assert said in ended.stderr
    assert daggy("logs", "last", "t.N:1", "t.N:2", "--param", "N=2", "--dir", "state").stdout == "2\n"
