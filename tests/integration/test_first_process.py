"""Daggy as the first process of a container: it reaps orphans, passes signals on, and exits as the command does."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

DAGGY = [sys.executable, "-c", "import sys; from daggy.cli import main; sys.exit(main())"]
ADOPTING = """
import ctypes, os, signal, subprocess, sys, time
from daggy.cli.init import go_on_in_child
assert ctypes.CDLL(None).prctl(36, 1, 0, 0, 0) == 0  # what is orphaned below comes to this process, as to a first one
go_on_in_child()
signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
"""


def test_orphans_are_reaped_while_a_run_goes_on(tmp_path: Path) -> None:
    orphan = "sleep 0.01 & echo $! > orphan"
    watch = "while test -d /proc/$(cat orphan); do sleep 0.01; done"
    tasks = {
        "orphan": {"details": {"shell": orphan}},
        "watch": {"details": {"shell": watch, "timeout": "20s"}, "parents": ["orphan"]},
    }
    (tmp_path / "spec.json").write_text(json.dumps({"tasks": tasks}))
    container = ["unshare", "--map-root-user", "--pid", "--fork", "--mount-proc"]
    if subprocess.run([*container, "true"], capture_output=True, check=False).returncode:
        pytest.skip("needs the right to make process namespaces")
    done = subprocess.run(
        [*container, *DAGGY, "run", "spec.json"], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("body", "code"), [("sys.exit(3)", 3), ("os.kill(os.getpid(), signal.SIGKILL)", 137)])
def test_it_exits_as_the_command_does(body: str, code: int) -> None:
    assert subprocess.run([sys.executable, "-c", ADOPTING + body], timeout=60, check=False).returncode == code


def test_signals_of_other_processes_are_passed_on() -> None:
    body = "print('ready', flush=True)\nwhile True: signal.pause()"
    with subprocess.Popen([sys.executable, "-c", ADOPTING + body], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 7


def test_a_signal_of_the_terminal_arrives_once() -> None:
    """Both processes belong to the terminal's group: passed on, its signal would count as a second one."""
    body = (
        "came = []\n"
        "signal.signal(signal.SIGINT, lambda *_: came.append(1))\n"
        "signal.signal(signal.SIGTERM, lambda *_: (print(len(came), flush=True), sys.exit(0)))\n"
        "print('ready', flush=True)\n"
        "while True: signal.pause()"
    )
    take_terminal = "import fcntl, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0)\n"
    mine, terminal = os.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", take_terminal + ADOPTING + body],
        stdin=terminal, stdout=terminal, stderr=terminal, start_new_session=True,
    )  # fmt: skip
    os.close(terminal)
    try:
        assert _line(mine) == "ready"
        os.write(mine, b"\x03")
        assert _line(mine) == "^C"
        process.send_signal(signal.SIGTERM)
        assert _line(mine) == "1"
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()
        os.close(mine)


def _line(terminal: int) -> str:
    """Return the next line that a terminal shows, or the echo of an interrupt."""
    shown = b""
    while not shown.endswith((b"\n", b"^C")):
        shown += os.read(terminal, 1)
    return shown.decode().strip()
