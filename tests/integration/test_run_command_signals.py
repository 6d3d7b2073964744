"""Ctrl-C in `daggy run`, once and twice; what is drawn on a terminal; a killed engine."""

import json
import os
import pty
import re
import select
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.command_rig import DEADLINE, Start, starting, wait_for

Daggy = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    with starting(tmp_path, TERM="xterm", COLUMNS="100") as begin:
        yield begin


def is_alive(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def spec(tmp_path: Path, shell: str, **details: Any) -> str:
    tasks = {
        "hold": {"details": {"shell": shell, **details}},
        "next": {"details": {"shell": "touch next-ran"}, "parents": ["hold"]},
    }
    (tmp_path / "hold.json").write_text(json.dumps({"tasks": tasks}))
    return "hold.json"


def states(daggy: Daggy, *wanted: str) -> list[str]:
    """The states in which `ls` shows runs, of those in some."""
    chosen = [word for state in wanted for word in ("--state", state)]
    listed = json.loads(daggy("ls", *chosen, "--json", "--dir", "state").stdout)
    return [run["state"] for run in listed["items"]]


def test_ctrl_c_once_ends_in_order_and_the_same_command_goes_on(daggy: Daggy, start: Start, tmp_path: Path) -> None:
    held = spec(
        tmp_path, "test -e go || { trap 'touch termed; exit 0' TERM; echo $$ > pid; mv pid ready; sleep 60 & wait; }"
    )
    process = start("run", "--dir", "state", held, stderr=subprocess.PIPE)
    wait_for((tmp_path / "ready").exists, process)
    assert states(daggy) == ["running"], "its process holds the directory"
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=DEADLINE)
    assert process.returncode == 130
    assert b"interrupted: shutting down gracefully" in said
    assert states(daggy) == states(daggy, "interrupted") == ["interrupted"]
    assert states(daggy, "running") == []
    assert json.loads(daggy("show", "last", "--json", "--dir", "state").stdout)["state"] == "interrupted"
    assert "the run was interrupted" in daggy("explain", "last", "hold", "--dir", "state").stdout
    assert said.endswith(b"the same command continues the run\n")
    assert (tmp_path / "termed").exists()
    assert not is_alive(int((tmp_path / "ready").read_text()))
    tasks = json.loads(daggy("tasks", "last", "--json", "--dir", "state").stdout)["items"]
    assert [task["state"] for task in tasks] == ["queued", "waiting"]
    (tmp_path / "go").touch()
    again = daggy("run", "--dir", "state", held)
    assert again.returncode == 0, again.stderr
    assert "hold: resumed, 2 of 2 tasks to do" in again.stderr
    assert (tmp_path / "next-ran").exists()


def test_ctrl_c_twice_kills_what_ignores_the_first(start: Start, tmp_path: Path) -> None:
    held = spec(tmp_path, "trap '' TERM; echo $$ > pid; mv pid ready; while :; do sleep 1; done", grace=600)
    process = start("run", held, stderr=subprocess.PIPE)
    wait_for((tmp_path / "ready").exists, process)
    assert process.stderr is not None
    process.send_signal(signal.SIGINT)
    said = b""
    while b"Ctrl-C again" not in said:
        piece = os.read(process.stderr.fileno(), 4096)
        assert piece, said
        said += piece
    process.send_signal(signal.SIGINT)
    _, rest = process.communicate(timeout=DEADLINE)
    assert process.returncode == 130
    assert b"killing running tasks" in rest
    assert b"the run was not kept" in rest
    assert not is_alive(int((tmp_path / "ready").read_text()))


def test_a_signal_before_anything_runs_ends_quietly(start: Start, tmp_path: Path) -> None:
    process = start("run", "-", stdin=subprocess.PIPE, stderr=subprocess.PIPE)
    wait_for(lambda: "daggy" in Path(f"/proc/{process.pid}/cmdline").read_text(), process)
    assert process.stdin is not None
    maps = Path(f"/proc/{process.pid}/maps")
    wait_for(lambda: "numpy" in maps.read_text(), process)  # it has come to reading the spec
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=DEADLINE)
    assert process.returncode in (130, -signal.SIGINT)
    assert b"bug" not in said


def test_a_killed_engine_leaves_nothing_running_and_nothing_lost(daggy: Daggy, start: Start, tmp_path: Path) -> None:
    held = spec(tmp_path, "echo $$ > pid; mv pid ready$(ls | grep -c ready); test -e go || sleep 60")
    process = start("run", "--dir", "state", held, stderr=subprocess.PIPE)
    wait_for((tmp_path / "ready0").exists, process)
    process.kill()
    process.communicate()
    (tmp_path / "go").touch()
    again = daggy("run", "--json", "--dir", "state", held)
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["counts"]["completed"] == 2
    assert not is_alive(int((tmp_path / "ready0").read_text()))


def test_progress_is_drawn_on_a_terminal_and_taken_away(start: Start, tmp_path: Path) -> None:
    held = spec(tmp_path, "echo $$ > pid; mv pid ready; until test -e go; do sleep 0.05; done")
    master, terminal = pty.openpty()
    process = start("run", held, stderr=terminal, stdout=terminal, stdin=terminal)
    os.close(terminal)
    drawn = b""
    try:
        while process.poll() is None or select.select([master], [], [], 0)[0]:
            if select.select([master], [], [], 0.05)[0]:
                try:
                    drawn += os.read(master, 65536)
                except OSError:  # nobody has the other end any more
                    break
            if re.search(rb"0 of 2 tasks.*queued|0 of 2 tasks.*running", drawn, re.DOTALL):
                (tmp_path / "go").touch()
    finally:
        os.close(master)
    assert process.wait(timeout=DEADLINE) == 0
    assert re.search(rb"all +1 +1", re.sub(rb"\x1b\[[0-9;]*m", b"", drawn))
    assert drawn.count(b"\x1b[?25l") == drawn.count(b"\x1b[?25h") == 1, "the cursor comes back"
    assert b": \x1b[32mcompleted\x1b[0m after " in drawn[drawn.index(b"\x1b[?25h") :]


def test_a_pipe_gets_no_control_sequences(daggy: Daggy, tmp_path: Path) -> None:
    (tmp_path / "go").touch()
    ended = daggy("run", spec(tmp_path, "test -e go"))
    assert ended.returncode == 0
    assert "\x1b" not in ended.stderr
