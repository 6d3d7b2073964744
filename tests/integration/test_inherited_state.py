"""Signals and masks that a caller left as it liked: Daggy sets its own."""

import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.integration.command_rig import DEADLINE, PROGRAM, Start, starting, wait_for

HOLD = "trap 'touch termed; exit 0' TERM; touch ready; sleep 60 & wait"


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    with starting(tmp_path) as begin:
        yield partial(begin, stderr=subprocess.PIPE)


def write(tmp_path: Path, shell: str) -> str:
    (tmp_path / "spec.json").write_text(json.dumps({"tasks": {"hold": {"details": {"shell": shell}}}}))
    return "spec.json"


def block_all() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())


def ignore_all() -> None:
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        if number < signal.SIGRTMIN:
            signal.signal(number, signal.SIG_IGN)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("prepare", [block_all, ignore_all])
def test_signals_stop_a_run_whatever_the_caller_did_to_them(
    start: Start, tmp_path: Path, number: int, prepare: Callable[[], None]
) -> None:
    process = start("run", write(tmp_path, HOLD), preexec_fn=prepare)
    wait_for((tmp_path / "ready").exists, process)
    process.send_signal(number)
    _, said = process.communicate(timeout=DEADLINE)
    assert process.returncode == 130
    assert b"interrupted after" in said


@pytest.mark.parametrize("prepare", [block_all, ignore_all])
def test_signals_stop_a_server_whatever_the_caller_did_to_them(
    start: Start, tmp_path: Path, prepare: Callable[[], None]
) -> None:
    process = start("serve", "--dir", "state", "--port", "0", preexec_fn=prepare)
    wait_for((tmp_path / "state/address").exists, process)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=DEADLINE)
    assert process.returncode == 0


def test_exit_codes_are_right_when_the_caller_ignored_the_end_of_children(start: Start, tmp_path: Path) -> None:
    process = start("run", write(tmp_path, "exit 7"), preexec_fn=ignore_all)
    _, said = process.communicate(timeout=DEADLINE)
    assert process.returncode == 1
    assert b"hold errored: exit 7" in said


def test_nohup_keeps_a_run_going_when_its_terminal_hangs_up(start: Start, tmp_path: Path) -> None:
    process = start(
        "run",
        write(tmp_path, "touch ready; until test -e go; do sleep 0.05; done"),
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),
    )
    wait_for((tmp_path / "ready").exists, process)
    process.send_signal(signal.SIGHUP)
    (tmp_path / "go").touch()
    process.communicate(timeout=DEADLINE)
    assert process.returncode == 0


@pytest.mark.parametrize(("module", "command"), [("click", "version"), ("trio", "run"), ("numpy", "run")])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, -signal.SIGTERM)])
def test_a_signal_while_modules_are_imported_ends_without_a_word(
    start: Start, tmp_path: Path, module: str, command: str, number: int, code: int
) -> None:
    folder = tmp_path / "modules"
    folder.mkdir()
    (folder / f"{module}.py").write_text(f"import os\nos.kill(os.getpid(), {int(number)})\n")
    arguments = [command, write(tmp_path, "true")] if command == "run" else [command]
    process = start(*arguments, variables={"PYTHONPATH": str(folder)})
    _, said = process.communicate(timeout=DEADLINE)
    assert (process.returncode, said.strip()) == (code, b"")


def test_a_mask_that_locks_the_owner_out_does_not(start: Start, tmp_path: Path) -> None:
    process = start("run", "--dir", "state", write(tmp_path, "true"), preexec_fn=lambda: os.umask(0o777))
    _, said = process.communicate(timeout=DEADLINE)
    assert process.returncode == 0, said
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "state/daggy.db").stat().st_mode & 0o777 == 0o600


def test_too_few_open_files_are_no_bug(start: Start, tmp_path: Path) -> None:
    process = start(
        "run",
        "--dir",
        "state",
        write(tmp_path, "true"),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (8, 8)),
    )
    _, said = process.communicate(timeout=DEADLINE)
    assert process.returncode == 3
    assert b"too many open files" in said.lower()
    assert b"bug" not in said


def test_ctrl_c_ends_a_command_even_where_an_exception_is_swallowed(start: Start, tmp_path: Path) -> None:
    folder = tmp_path / "modules"
    folder.mkdir()
    (folder / "trio.py").write_text(
        "import os\nclass Last:\n    def __del__(self): os.kill(os.getpid(), 2)\nLast()\nraise SystemExit(0)\n"
    )
    process = start("run", write(tmp_path, "true"), variables={"PYTHONPATH": str(folder)})
    _, said = process.communicate(timeout=DEADLINE)
    assert (process.returncode, said) == (130, b"")


def test_nothing_is_loaded_before_ctrl_c_ends_a_command_quietly() -> None:
    """What the interpreter loads by itself is its own; `main` says what Ctrl-C does before it loads anything."""
    code = "import sys; before = {*sys.modules}; from daggy.cli import main; print(*sorted({*sys.modules} - before))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert {*loaded} - {"gc"} == {"daggy", "daggy.cli", "daggy.cli.start"}


def test_a_signal_while_the_directory_is_opened_leaves_no_temporary_one(start: Start, tmp_path: Path) -> None:
    folder, place = tmp_path / "modules", tmp_path / "tmp"
    folder.mkdir()
    place.mkdir()
    (folder / "sitecustomize.py").write_text(
        "import os, tempfile\nmake = tempfile.mkdtemp\n"
        "def mkdtemp(*a, **k):\n    path = make(*a, **k)\n    os.kill(os.getpid(), 15)\n    return path\n"
        "tempfile.mkdtemp = mkdtemp\n"
    )
    process = start("run", write(tmp_path, "true"), variables={"PYTHONPATH": str(folder), "TMPDIR": str(place)})
    process.communicate(timeout=DEADLINE)
    assert process.returncode == 130
    assert list(place.iterdir()) == []


@pytest.mark.parametrize("given", [{}, {"LC_CTYPE": "C.UTF-8"}, {"LANG": "C", "MARK": "1"}])
def test_tasks_get_no_variable_that_nobody_set(tmp_path: Path, given: dict[str, str]) -> None:
    details = {"command": ["/bin/cp", "/proc/self/environ", "given"]}
    (tmp_path / "spec.json").write_text(json.dumps({"tasks": {"one": {"details": details}}}))
    done = subprocess.run([*PROGRAM, "run", "spec.json"], cwd=tmp_path, env=given, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    variables = dict(pair.split("=", 1) for pair in (tmp_path / "given").read_text().split("\0") if pair)
    assert {name: value for name, value in variables.items() if not name.startswith("DAGGY_")} == given
