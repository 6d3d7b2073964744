"""The command line as a process that a test starts, looks at, and ends."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

DEADLINE = 60.0
PROGRAM = [sys.executable, "-c", "import sys; from daggy.cli import main; sys.exit(main())"]

Start = Callable[..., subprocess.Popen[bytes]]


def clean_environment(**more: str) -> dict[str, str]:
    """This process's environment without Daggy's own variables."""
    return {key: value for key, value in os.environ.items() if not key.startswith("DAGGY_")} | more


@contextmanager
def starting(directory: Path, **variables: str) -> Iterator[Start]:
    """A function that starts `daggy` there, through bash if `redirect` is given; what is left at the end is killed."""
    started: list[subprocess.Popen[bytes]] = []
    environment = clean_environment(**variables)

    def start(*arguments: str, redirect: str = "", variables: dict[str, str] | None = None, **more: Any) -> Any:
        command = [*PROGRAM, *arguments]
        if redirect:
            command = ["bash", "-c", f'exec "$@" {redirect}', "bash", *command]
        started.append(subprocess.Popen(command, cwd=directory, env=environment | (variables or {}), **more))
        return started[-1]

    try:
        yield start
    finally:
        for process in started:
            if process.poll() is None:
                process.kill()
                process.wait()
            for stream in (process.stdin, process.stdout, process.stderr):
                if stream is not None:
                    stream.close()


def wait_for(there: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    """Look until it is there: a process sends no event of it."""
    deadline = time.monotonic() + DEADLINE
    while not there():
        assert process.poll() is None, "ended too early"
        assert time.monotonic() < deadline, "never happened"
        time.sleep(0.01)
