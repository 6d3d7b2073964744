"""Engines as real processes that are there at once: forked from this one, which has imported all that they need."""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import os
import signal
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path

from attrs import define

WARM = (
    "daggy.cli.group",
    "daggy.cli.session",
    "daggy.cli.document",
    "daggy.server.serving",
    "daggy_fork",
    "daggy_sqlite",
)
"""What engines import."""


def warm_up() -> None:
    """Import it."""
    for name in WARM:
        importlib.import_module(name)


@define(eq=False)
class Engine:
    """A process that runs a command line of Daggy; `code` is its exit code, or minus a signal's number."""

    pid: int
    code: int | None = None

    @classmethod
    def start(cls, arguments: Sequence[str], environment: Mapping[str, str], home: Path, board: Path) -> Engine:
        """Fork one that works in `home`, writes to the file `errors` there, and has a board.

        The library of faults must have been preloaded into this process.
        """
        pid = os.fork()
        if not pid:
            code = 70
            try:
                code = _be(arguments, environment, home, board)
            except BaseException:  # noqa: BLE001 - whatever it is, it must not go on as the test
                traceback.print_exc()
            finally:
                with contextlib.suppress(Exception):
                    sys.stderr.flush()
                os._exit(code)
        return cls(pid)

    def poll(self) -> int | None:
        """Return the exit code if it has ended."""
        if self.code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.code = os.waitstatus_to_exitcode(status) if pid else None
        return self.code

    def wait(self, patience: float) -> int:
        """Return the exit code once it has ended.

        Raises:
            TimeoutError: it does not.
        """
        deadline = time.monotonic() + patience
        while (code := self.poll()) is None:
            if time.monotonic() > deadline:
                raise TimeoutError(f"engine {self.pid} does not end")
            time.sleep(0.002)
        return code

    def signal(self, number: int) -> None:
        """Signal it if it has not ended."""
        if self.poll() is None:
            os.kill(self.pid, number)


def _be(arguments: Sequence[str], environment: Mapping[str, str], home: Path, board: Path) -> int:
    """Become an engine: nothing of the test's is left but what was imported."""
    os.chdir(home)
    null, errors = os.open(os.devnull, os.O_RDONLY), os.open("errors", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    for descriptor, to in ((null, 0), (errors, 1), (errors, 2)):
        os.dup2(descriptor, to)
    os.closerange(3, 1024)
    sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", buffering=1, closefd=False)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["daggy", *arguments]
    ctypes.CDLL(None).chaos_engine(os.fsencode(board))
    main = importlib.import_module("daggy.cli").main
    code = int(main() or 0)
    sys.stdout.flush()
    return code
