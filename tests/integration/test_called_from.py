"""Where and with which words Daggy is called: odd current directories, and text that is not UTF-8."""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.command_rig import PROGRAM, clean_environment

SPEC = {"tasks": {"a": {"details": {"shell": 'pwd > "$OUT"', "environment": {"OUT": "out"}}}}}

Call = Callable[..., subprocess.CompletedProcess[bytes]]


@pytest.fixture
def call(tmp_path: Path) -> Call:
    """Return a function that calls the command line in `cwd` with arguments of bytes and more variables."""
    environment = clean_environment(XDG_STATE_HOME=str(tmp_path / "home"))

    def run(
        *arguments: str | bytes, cwd: bytes = b".", before: str = "", **variables: str | None
    ) -> subprocess.CompletedProcess[bytes]:
        merged = {name: value for name, value in (environment | variables).items() if value is not None}
        command = ["bash", "-c", f'{before} exec "$@"', "bash", *PROGRAM, *arguments]
        return subprocess.run(
            command, cwd=os.fsencode(tmp_path) + b"/" + cwd, env=merged, capture_output=True, check=False, timeout=60
        )

    return run


@pytest.fixture
def spec(tmp_path: Path) -> str:
    path = tmp_path / "spec.json"
    path.write_text(json.dumps(SPEC))
    return str(path)


REMOVED = "mkdir gone; cd gone; rmdir ../gone;"
ODD = b"caf\xe9"


@pytest.mark.parametrize("name", ["{{cookiecutter.slug}}", "{{ x", "a b", "März", "-n"])
def test_tasks_run_in_the_current_directory_whatever_its_name(call: Call, tmp_path: Path, spec: str, name: str) -> None:
    (tmp_path / name).mkdir()
    ended = call("run", spec, cwd=name.encode())
    assert ended.returncode == 0, ended.stderr
    assert (tmp_path / name / "out").read_text() == f"{tmp_path / name}\n"


def test_a_directory_with_braces_that_the_spec_gives_is_still_refused(call: Call, tmp_path: Path) -> None:
    (tmp_path / "spec.json").write_text(json.dumps(SPEC | {"directory": "data/{{ DATE }}"}))
    ended = call("check", "spec.json")
    assert ended.returncode == 2
    assert b"directory: the spec's directory is no template" in ended.stderr


@pytest.mark.parametrize(("cwd", "before", "fault"), [(ODD, "", b"not UTF-8"), (b".", REMOVED, b"has been removed")])
def test_a_current_directory_that_tasks_cannot_run_in_is_named(
    call: Call, tmp_path: Path, spec: str, cwd: bytes, before: str, fault: bytes
) -> None:
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + ODD)).mkdir()
    ended = call("run", spec, cwd=cwd, before=before)
    assert ended.returncode == 2
    (line,) = ended.stderr.splitlines()
    assert fault in line
    assert b"change to another one, or give the spec an absolute 'directory'" in line


@pytest.mark.parametrize(("cwd", "before"), [(ODD, ""), (b".", REMOVED)])
def test_a_current_directory_that_nothing_needs_is_no_fault(
    call: Call, tmp_path: Path, spec: str, cwd: bytes, before: str
) -> None:
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + ODD)).mkdir()
    (tmp_path / "absolute.json").write_text(json.dumps(SPEC | {"directory": str(tmp_path)}))
    assert call("check", spec, cwd=cwd, before=before).returncode == 0
    ended = call("run", "--dir", str(tmp_path / "state"), str(tmp_path / "absolute.json"), cwd=cwd, before=before)
    assert ended.returncode == 0, ended.stderr
    assert (tmp_path / "out").read_text() == f"{tmp_path}\n"
    assert call("ls", "--dir", str(tmp_path / "state"), cwd=cwd, before=before).returncode == 0


def test_a_relative_state_directory_needs_the_current_one(call: Call, spec: str) -> None:
    for command in (["ls"], ["run", spec], ["token"], ["serve", "--port", "0"]):
        ended = call(*command, "--dir", "state", before=REMOVED)
        assert ended.returncode == 2, command
        assert b"current directory" in ended.stderr
        assert ended.stderr.count(b"\n") == 1


def test_state_may_be_kept_in_a_directory_whose_name_is_not_utf8(call: Call, spec: str) -> None:
    assert call("run", "--dir", ODD, spec).returncode == 0
    ended = call("ls", "--json", "--dir", ODD)
    assert json.loads(ended.stdout)["items"][0]["state"] == "completed"


def test_a_file_name_that_is_not_utf8_names_the_run_as_far_as_it_is_text(call: Call, tmp_path: Path, spec: str) -> None:
    Path(spec).rename(os.fsdecode(os.fsencode(tmp_path) + b"/" + ODD + b".json"))
    assert call("run", "--dir", "state", ODD + b".json").returncode == 0
    again = call("run", "--dir", "state", ODD + b".json")
    assert again.returncode == 0, again.stderr
    assert b"nothing to do" in again.stderr


def test_a_home_is_needed_only_for_the_default_directory(call: Call, spec: str) -> None:
    alone = {"HOME": None, "XDG_STATE_HOME": "relative"}
    nobody = 'exec unshare --user --map-user=54321 "$@";' if _has_namespaces() else ""
    assert call("run", spec, before=nobody, **alone).returncode == 0
    assert call("run", "--dir", "state", spec, before=nobody, **alone).returncode == 0
    assert call("ls", "--dir", "state", before=nobody, **alone).returncode == 0
    if nobody:
        ended = call("ls", before=nobody, **alone)
        assert (ended.returncode, ended.stderr) == (
            2, b"HOME is not set; name a state directory with --dir or DAGGY_DIR\n",
        )  # fmt: skip


def _has_namespaces() -> bool:
    tried = subprocess.run(["unshare", "--user", "--map-user=54321", "true"], capture_output=True, check=False)
    return tried.returncode == 0


BAD = b"caf\xe9"
TEXTS = [
    ["ls", "--tag", b"k=" + BAD],
    ["ls", "--name", BAD],
    ["ls", "--state", BAD],
    ["ls", "--since", BAD],
    ["show", BAD],
    ["tasks", "last", "--template", BAD],
    ["tasks", "last", "--param", b"N=" + BAD],
    ["logs", "last", BAD],
    ["explain", "last", BAD],
    ["kill", "last", BAD],
    ["requeue", "last", "--param", b"N=" + BAD],
    ["submit", "spec.json", "--key", BAD],
    ["submit", "spec.json", "--tag", b"k=" + BAD],
    ["submit", "spec.json", "-p", b"N=" + BAD],
    ["run", "spec.json", "--rerun", BAD],
    ["run", "spec.json", "--resource", BAD + b"=1"],
    ["wait", "last", "--server", b"http://" + BAD],
    ["wait", "last", "--token", BAD],
]


@pytest.mark.parametrize("command", TEXTS, ids=lambda command: f"{command[0]} {command[-2]}")
def test_text_that_is_not_utf8_is_bad_usage_wherever_it_is_given(
    call: Call, spec: str, command: list[str | bytes]
) -> None:
    ended = call(*command, "--dir", "state")
    assert ended.returncode == 2, ended.stderr
    assert b"is not UTF-8" in ended.stderr
    assert rb"caf\xe9" in ended.stderr
    assert b"bug" not in ended.stderr


@pytest.mark.parametrize(
    "command",
    [
        ["submit", "spec.json", "--key", "März"],
        ["submit", "spec.json", "--key", "two\nlines"],
        ["ls", "--token", "é"],
        ["ls", "--server", "http://127.0.0.1:port"],
        ["ls", "--server", "http://[::1"],
        ["ls", "--server", "127.0.0.1:2503"],
    ],
    ids=lambda command: f"{command[-2]} {command[-1]!r}",
)
def test_what_no_request_can_carry_is_bad_usage(call: Call, spec: str, command: list[str]) -> None:
    ended = call(*command, DAGGY_SERVER="http://127.0.0.1:1", DAGGY_TOKEN="x" * 20)
    assert ended.returncode == 2, ended.stderr
    assert ended.stderr.count(b"\n") == 1


def test_words_in_utf8_are_read_in_every_locale(call: Call, tmp_path: Path, spec: str) -> None:
    (tmp_path / "spec.json").write_text(json.dumps({"tags": {"month": "März"}, **SPEC}))
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    assert call("run", "--dir", "state", spec, **plain).returncode == 0
    ended = call("ls", "--tag", "month=März", "--dir", "state", **plain)
    assert ended.returncode == 0
    assert "month=März" in ended.stdout.decode()


@pytest.mark.parametrize(
    "command", [["run", "--dir", "", "spec.json"], ["ls", "--dir", ""], ["serve", "--dir", ""], ["check", ""]]
)
def test_an_empty_path_is_bad_usage(call: Call, tmp_path: Path, spec: str, command: list[str]) -> None:
    ended = call(*command)
    assert ended.returncode == 2
    assert b"it is empty; give a path" in ended.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["spec.json"]


def test_an_empty_spec_says_so(call: Call) -> None:
    ended = call("check", "/dev/null")
    assert (ended.returncode, ended.stderr) == (2, b"/dev/null: is empty\n")


@pytest.mark.parametrize("age", ["99999999999d", "9" * 50 + "w", "1d"])
def test_any_age_is_an_age(call: Call, spec: str, age: str) -> None:
    assert call("run", "--dir", "state", spec).returncode == 0
    assert len(json.loads(call("ls", "--json", "--since", age, "--dir", "state").stdout)["items"]) == 1


def test_a_temporary_directory_that_cannot_be_made_is_named(call: Call, spec: str) -> None:
    ended = call("run", spec, before="ulimit -f 0;")
    assert ended.returncode == 3
    assert b"no temporary directory can be used" in ended.stderr
    assert b"bug" not in ended.stderr
