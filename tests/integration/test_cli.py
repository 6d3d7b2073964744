"""The commands that read specs, and what users see of mistakes: lines and exit codes, never a traceback."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from daggy.attempt import RunState, State
from daggy.cli.complete import RUN_STATES, TASK_STATES

Daggy = Callable[..., subprocess.CompletedProcess[str]]

NIGHTLY = {
    "name": "nightly",
    "parameters": {"DATE": ["2022-01-01", "2022-01-02"], "REGION": ["n", "s", "e"]},
    "tasks": {
        "pull": {"details": {"command": ["echo", "{{ DATE }}"]}},
        "clean": {
            "details": {"command": ["echo", "{{ DATE }}", "{{ REGION }}"]},
            "parents": [{"task": "pull", "match": ["DATE"]}],
        },
        "report": {"details": {"command": ["echo"]}, "parents": ["clean"]},
        "mail": {"details": {"command": ["echo"]}, "parents": [{"task": "report", "on": "ended"}]},
    },
}


@pytest.fixture
def nightly(tmp_path: Path) -> str:
    (tmp_path / "nightly.json").write_text(json.dumps(NIGHTLY))
    return "nightly.json"


def test_help_names_every_command(daggy: Daggy) -> None:
    ended = daggy("--help")
    assert ended.returncode == 0
    for command in ("run", "check", "schema", "graph", "ls", "show", "tasks", "logs", "explain", "completion"):
        assert f"\n  {command} " in ended.stdout
        assert daggy(command, "--help").returncode == 0


def test_no_command_is_a_question_for_help(daggy: Daggy) -> None:
    ended = daggy()
    assert ended.returncode == 2
    assert "Usage: daggy" in ended.stdout + ended.stderr


def test_help_imports_nothing_heavy(tmp_path: Path) -> None:
    said = "import sys; from daggy.cli import main; main(['--help']); print([m for m in sys.modules if '.' not in m])"
    ended = subprocess.run([sys.executable, "-c", said], capture_output=True, text=True, check=True, cwd=tmp_path)
    imported = set(json.loads(ended.stdout.splitlines()[-1].replace("'", '"')))
    assert imported.isdisjoint({"numpy", "trio", "rich", "jinja2", "msgspec", "cattrs", "attr", "sqlite3"})


def test_a_command_that_does_not_exist_is_answered_with_the_one_meant(daggy: Daggy) -> None:
    ended = daggy("chekc")
    assert ended.returncode == 2
    assert "no command named 'chekc'; did you mean 'check'?" in ended.stderr


def test_an_unknown_option_is_bad_usage(daggy: Daggy, nightly: str) -> None:
    ended = daggy("check", "--frob", nightly)
    assert ended.returncode == 2
    assert "--frob" in ended.stderr


def test_version_is_said_in_both_ways(daggy: Daggy) -> None:
    said = daggy("version")
    assert said.returncode == 0
    assert said.stdout.startswith("daggy ")
    assert daggy("--version").stdout == said.stdout


def test_check_shows_templates_counts_edges_and_what_they_wait_for(daggy: Daggy, nightly: str) -> None:
    ended = daggy("check", nightly)
    assert (ended.returncode, ended.stderr) == (0, "")
    lines = [line.split() for line in ended.stdout.splitlines()]
    assert ended.stdout.startswith("nightly.json: 10 tasks, 13 edges\n")
    assert ["pull", "2", "DATE", "-"] in lines
    assert ["clean", "6", "DATE,REGION", "pull", "(match", "DATE,", "6", "edges)"] in lines
    assert ["report", "1", "-", "clean", "(6", "edges)"] in lines
    assert ["mail", "1", "-", "report", "(on", "ended,", "1", "edge)"] in lines


def test_check_answers_in_json(daggy: Daggy, nightly: str) -> None:
    shown = json.loads(daggy("check", "--json", nightly).stdout)
    assert (shown["name"], shown["tasks"], shown["edges"], shown["warnings"]) == ("nightly", 10, 13, [])
    (clean,) = [row for row in shown["templates"] if row["name"] == "clean"]
    assert clean["parents"] == [{"task": "pull", "match": ["DATE"], "on": "completed", "edges": 6}]


def test_check_reads_standard_input_and_takes_parameters(daggy: Daggy) -> None:
    ended = daggy("check", "-", "-p", "REGION=a,b", "-p", "DATE=2022-01-01", stdin=json.dumps(NIGHTLY))
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith("standard input: 5 tasks")


def test_check_warns_of_parameters_that_nothing_uses(daggy: Daggy, nightly: str) -> None:
    ended = daggy("check", nightly, "-p", "UNUSED=1")
    assert ended.returncode == 0
    assert "nightly.json: warning: " in ended.stderr
    assert "UNUSED" in ended.stderr


def test_all_problems_are_told_at_once_with_place_and_mend(daggy: Daggy, tmp_path: Path) -> None:
    spec: dict[str, Any] = json.loads(json.dumps(NIGHTLY))
    spec["tasks"]["report"]["parents"] = ["claen"]
    spec["tasks"]["mail"]["parents"] = ["reprot"]
    (tmp_path / "bad.json").write_text(json.dumps(spec))
    for command in (["check"], ["run"], ["run", "-n"], ["graph"]):
        ended = daggy(*command, "bad.json")
        assert ended.returncode == 2
        assert "bad.json: tasks.report.parents[0]: no task named 'claen'; did you mean 'clean'?\n" in ended.stderr
        assert "bad.json: tasks.mail.parents[0]: no task named 'reprot'; did you mean 'report'?\n" in ended.stderr
        assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("data", ["", "{", "[]", '{"tasks": {}}', '{"tasks": 1}', "\x00", '{"a": 1, "a": 2}'])
def test_what_is_no_spec_is_refused_in_lines(daggy: Daggy, data: str) -> None:
    ended = daggy("check", "-", stdin=data)
    assert ended.returncode == 2
    assert ended.stderr.startswith("standard input: ")
    assert "Traceback" not in ended.stderr


def test_a_file_that_is_missing_is_named(daggy: Daggy) -> None:
    ended = daggy("run", "missing.json")
    assert ended.returncode == 2
    assert ended.stderr.startswith("missing.json: cannot be read: ")


@pytest.mark.parametrize("given", [["-p", "DATE"], ["--tag", "=x"]])
def test_pairs_without_their_half_are_bad_usage(daggy: Daggy, nightly: str, given: list[str]) -> None:
    ended = daggy("check", nightly, *given)
    assert ended.returncode == 2
    assert "is not of the form" in ended.stderr


def test_graph_in_every_format(daggy: Daggy, nightly: str) -> None:
    mermaid = daggy("graph", nightly).stdout.splitlines()
    assert mermaid[0] == "flowchart TD"
    assert any(line.endswith('["clean<br/>6 tasks"]') for line in mermaid)
    assert sum("-->" in line for line in mermaid) == 2
    assert sum("-.->" in line for line in mermaid) == 1
    dot = daggy("graph", nightly, "--format", "dot").stdout
    assert '"pull" -> "clean" [label="match DATE"];' in dot
    assert '"report" -> "mail" [label="ended", style=dashed];' in dot
    assert json.loads(daggy("graph", nightly, "--format", "json").stdout)["tasks"] == 10


def test_graph_survives_names_that_its_languages_use(daggy: Daggy, tmp_path: Path) -> None:
    name = 'a"b\\c&d'
    (tmp_path / "odd.json").write_text(json.dumps({"tasks": {name: {"details": {"command": ["true"]}}}}))
    assert '"a\\"b\\\\c&d"' in daggy("graph", "odd.json", "--format", "dot").stdout
    assert '["a&quot;b\\c&amp;d"]' in daggy("graph", "odd.json").stdout


def test_schema_is_a_json_schema(daggy: Daggy) -> None:
    assert json.loads(daggy("schema").stdout)["$schema"].startswith("https://json-schema.org/")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script(daggy: Daggy, shell: str) -> None:
    ended = daggy("completion", shell)
    assert ended.returncode == 0
    assert "_DAGGY_COMPLETE" in ended.stdout


def completed(words: str, **variables: str) -> list[str]:
    """Return what bash is offered for the last word: each as `type,value`."""
    said = "import sys; from daggy.cli import main; sys.exit(main())"
    environment = {**os.environ, "_DAGGY_COMPLETE": "bash_complete", "COMP_WORDS": words, **variables}
    environment["COMP_CWORD"] = str(words.count(" "))
    ended = subprocess.run([sys.executable, "-c", said], env=environment, capture_output=True, text=True, check=False)
    assert ended.stderr == ""
    return ended.stdout.split()


def test_completion_offers_commands_files_runs_and_states() -> None:
    assert completed("daggy ch") == ["plain,check"]
    assert completed("daggy run sp") == ["file,sp"]
    assert completed("daggy run --dir sta") == ["dir,sta"]
    assert completed("daggy show la") == ["plain,last"]
    assert completed("daggy tasks last --state er") == ["plain,errored"]
    assert completed("daggy ls --state upstream") == []
    assert tuple(state.name.lower() for state in RunState) == RUN_STATES
    assert set(TASK_STATES) == {state.name.lower() for state in State}


def test_completion_offers_the_templates_of_a_run(daggy: Daggy, nightly: str, tmp_path: Path) -> None:
    assert daggy("run", "-q", "--dir", "state", nightly).returncode == 0
    place = {"DAGGY_DIR": str(tmp_path / "state")}
    assert completed("daggy logs last pu", **place) == ["plain,pull"]
    assert completed("daggy tasks last --template re", **place) == ["plain,report"]
    assert completed("daggy logs last pu", DAGGY_DIR=str(tmp_path / "nowhere")) == []


def test_a_reader_that_has_had_enough_is_no_error(tmp_path: Path) -> None:
    said = "import sys; from daggy.cli import main; sys.exit(main(['schema']))"
    piped = subprocess.Popen([sys.executable, "-c", said], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert piped.stdout is not None
    assert piped.stderr is not None
    piped.stdout.close()  # before anything was written: every write fails
    assert piped.stderr.read() == b""
    piped.stderr.close()
    assert piped.wait(timeout=60) == 141


def test_a_bug_is_one_line_that_names_the_file_with_the_traceback(tmp_path: Path) -> None:
    said = (
        "import sys; import daggy.cli.version as v; from daggy.cli import main\n"
        "def broken(): raise RuntimeError('impossible')\n"
        "v.version.callback = broken\n"
        "sys.exit(main(['version']))"
    )
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    ended = subprocess.run([sys.executable, "-c", said], env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    (line,) = ended.stderr.splitlines()
    assert line.startswith("daggy: this is a bug in Daggy: RuntimeError: impossible; the traceback is in '")
    (kept,) = tmp_path.glob("daggy-bug-*.txt")
    assert "RuntimeError: impossible" in kept.read_text()


def test_errors_that_come_together_are_told_one_by_one(tmp_path: Path) -> None:
    said = (
        "import sys; import daggy.cli.version as v; from daggy.cli import main\n"
        "from daggy.errors import DirectoryError, UsageError\n"
        "def broken(): raise ExceptionGroup('', [UsageError('one'), ExceptionGroup('', [DirectoryError('two')])])\n"
        "v.version.callback = broken\n"
        "sys.exit(main(['version']))"
    )
    ended = subprocess.run([sys.executable, "-c", said], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (3, "one\ntwo\n")


@pytest.mark.parametrize("command", [["ls"], ["show", "last"], ["tasks", "last"], ["logs", "last", "x"]])
def test_a_directory_with_nothing_in_it_is_refused_with_the_mend(
    daggy: Daggy, tmp_path: Path, command: list[str]
) -> None:
    ended = daggy(*command, "--dir", str(tmp_path / "nowhere"))
    assert ended.returncode == 3
    assert "--dir" in ended.stderr
    assert "Traceback" not in ended.stderr
