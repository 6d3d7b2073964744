"""Standard streams that are closed, full, abandoned or not read: messages are dropped, lost answers are errors."""

import fcntl
import json
import os
import pty
import signal
import subprocess
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.command_rig import DEADLINE, Start, starting, wait_for

HOLD = "trap 'sleep 0.3; touch termed; exit 0' TERM; touch ready; sleep 60 & wait"
"""A task that uses its grace."""


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    with starting(tmp_path) as begin:
        yield begin


def write(tmp_path: Path, *shells: str) -> str:
    tasks = {f"t{number}": {"details": {"shell": shell}} for number, shell in enumerate(shells)}
    (tmp_path / "spec.json").write_text(json.dumps({"tasks": tasks}))
    return "spec.json"


def ended(process: subprocess.Popen[bytes]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=DEADLINE)
    return process.returncode, (out or b"").decode(), (err or b"").decode()


REDIRECTS = ["<&-", ">&-", "2>&-", "<&- >&- 2>&-", ">/dev/full", "2>/dev/full"]


@pytest.mark.parametrize("redirect", REDIRECTS)
@pytest.mark.parametrize(("shell", "code"), [("echo hello > hello", 0), ("exit 7", 1)])
def test_a_run_goes_on_whatever_became_of_its_streams(
    start: Start, tmp_path: Path, redirect: str, shell: str, code: int
) -> None:
    process = start("run", write(tmp_path, shell), redirect=redirect, stderr=subprocess.PIPE)
    found, _, said = ended(process)
    assert found == code
    assert "Traceback" not in said
    assert "bug" not in said
    assert (tmp_path / "hello").exists() == (code == 0)


@pytest.mark.parametrize(
    ("redirect", "reason"), [(">&-", "bad file descriptor"), (">/dev/full", "no space left on device")]
)
@pytest.mark.parametrize("command", [["check", "spec.json"], ["schema"], ["--help"], ["run", "--json", "-q"]])
def test_an_answer_that_cannot_be_written_is_an_error_in_one_line(
    start: Start, tmp_path: Path, redirect: str, reason: str, command: list[str]
) -> None:
    spec = write(tmp_path, "true")
    process = start(*command, *([spec] if command[0] == "run" else []), redirect=redirect, stderr=subprocess.PIPE)
    assert ended(process) == (3, "", f"standard output cannot be written: {reason}\n")


def test_outputs_that_cannot_be_written_are_reported_once_and_the_run_goes_on(start: Start, tmp_path: Path) -> None:
    spec = write(tmp_path, *(f"echo hello; touch ran{n}" for n in range(5)))
    process = start("run", "--output", "all", spec, redirect=">/dev/full", stderr=subprocess.PIPE)
    code, _, said = ended(process)
    assert code == 3
    assert said.count("standard output cannot be written: no space left on device; the run goes on\n") == 1
    assert "5 completed" in said
    assert len(list(tmp_path.glob("ran*"))) == 5


def test_what_tasks_did_counts_before_lost_outputs(start: Start, tmp_path: Path) -> None:
    spec = write(tmp_path, "echo hello; exit 7")
    process = start("run", "--output", "all", spec, redirect=">/dev/full", stderr=subprocess.PIPE)
    assert ended(process)[0] == 1


def test_a_run_survives_the_reader_of_its_outputs(start: Start, tmp_path: Path) -> None:
    ours, theirs = os.pipe()
    os.close(ours)
    spec = write(tmp_path, "echo hello; touch ran")
    process = start("run", "--output", "all", spec, stdout=theirs, stderr=subprocess.PIPE)
    os.close(theirs)
    code, _, said = ended(process)
    assert code == 141
    assert "its reader has gone; the run goes on" in said
    assert (tmp_path / "ran").exists()


def test_outputs_that_nobody_reads_hold_up_neither_tasks_nor_ctrl_c(start: Start, tmp_path: Path) -> None:
    tasks = {
        "talk": {"details": {"shell": "seq 1 200000"}},
        "hold": {"details": {"shell": HOLD}, "parents": ["talk"]},
    }
    (tmp_path / "spec.json").write_text(json.dumps({"tasks": tasks}))
    process = start("run", "--output", "all", "spec.json", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    wait_for((tmp_path / "ready").exists, process)
    process.send_signal(signal.SIGINT)
    assert process.wait(DEADLINE) == 130
    assert (tmp_path / "termed").exists()


def test_ctrl_c_ends_in_order_when_the_reader_of_messages_has_died(start: Start, tmp_path: Path) -> None:
    ours, theirs = os.pipe()
    os.close(ours)
    process = start("run", write(tmp_path, HOLD), stdout=theirs, stderr=theirs)
    os.close(theirs)
    wait_for((tmp_path / "ready").exists, process)
    process.send_signal(signal.SIGINT)
    assert process.wait(DEADLINE) == 130
    assert (tmp_path / "termed").exists()


def test_a_run_ends_in_order_when_its_terminal_closes(start: Start, tmp_path: Path) -> None:
    master, terminal = pty.openpty()

    def take_terminal() -> None:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # under nohup the tests inherit it as ignored, and so does Daggy
        os.setsid()
        fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)

    process = start(
        "run", write(tmp_path, HOLD), stdin=terminal, stdout=terminal, stderr=terminal, preexec_fn=take_terminal
    )
    os.close(terminal)
    wait_for((tmp_path / "ready").exists, process)
    os.close(master)  # the kernel hangs up
    assert process.wait(DEADLINE) == 130
    assert (tmp_path / "termed").exists()


def test_a_server_without_streams_serves_and_stops(start: Start, tmp_path: Path) -> None:
    process = start("serve", "--dir", "state", "--port", "0", redirect="<&- >&- 2>&-")
    wait_for((tmp_path / "state/address").exists, process)
    submitted = start("submit", "--wait", write(tmp_path, "touch ran"), "--dir", "state", stdout=subprocess.PIPE)
    assert ended(submitted)[:2] == (0, "1\n")
    assert (tmp_path / "ran").exists()
    process.send_signal(signal.SIGTERM)
    assert process.wait(DEADLINE) == 0


def test_streams_in_non_blocking_mode_are_waited_for(start: Start, tmp_path: Path) -> None:
    ours, theirs = os.pipe()
    os.set_blocking(theirs, False)
    process = start("run", "-q", "--output", "all", write(tmp_path, "seq 1 100000"), stdout=theirs)
    os.close(theirs)
    with os.fdopen(ours, "rb") as reader:
        assert reader.read() == b"".join(b"%d\n" % number for number in range(1, 100001))
    assert process.wait(DEADLINE) == 0


def test_a_spec_from_an_input_that_cannot_be_read_is_bad_usage(start: Start) -> None:
    code, _, said = ended(start("check", "-", redirect="<&-", stderr=subprocess.PIPE))
    assert code == 2
    assert said.startswith("standard input: cannot be read: ")
    assert said.count("\n") == 1
