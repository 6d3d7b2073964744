"""Carriers: processes on this machine that have a runner run parcels. They outlive the engine that has started them."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attrs import define, field

from daggy import files
from daggy.launcher.queues import RefusedError
from daggy_beam.kind import BOOT, texts
from daggy_beam.note import noted_before

DETACH = """\
import os, sys
if os.fork():
    os._exit(0)
os.setsid()
os.pwrite(int(sys.argv[1]), b"%d" % os.getpid(), 0)
"""
"""Leaves the rest of a program to a process that is nobody's child, and writes its id to a file."""

START = 60.0
"""Seconds for an interpreter to start."""

TRIES = 5
"""How often the job of a parcel is given a carrier."""

LAST_WORDS = 1 << 16
"""Bytes at the end of a log in which last words are looked for."""

ENDED = ("DONE", "UPDATED", "DRAINED", "FAILED", "CANCELLED", "GONE")
"""States in which a runner is done with a job."""


@define(eq=False)
class Carrier:
    """The process that has a parcel's job run, and the folder by which it is known.

    The folder is on this machine: `carrier` has the process id, and is locked as long as the process lives; `elements`
    is locked by what runs of the parcel on this machine; `order` is what the worker reads; `note` is what it tells of
    its job; `log` is what it has written.

    Args:
        folder: Where that is.
        batch: The parcel's number.
        elements: How many elements the parcel has.
        tries: How often it was started.
    """

    folder: Path
    batch: int
    elements: int
    tries: int = field(default=0)

    @classmethod
    def make(cls, folder: Path, batch: int, elements: int, order: Mapping[str, Any]) -> Carrier:
        """Write the folder of a carrier.

        Raises:
            OSError: it cannot be written.
        """
        folder.mkdir(mode=0o700, parents=True)
        (folder / "carrier").touch(0o600)
        (folder / "elements").touch(0o600)
        files.replace(folder / "order", json.dumps({"modules": texts(), "order": order}).encode(), sync=False)
        files.replace(folder / "size", b"%d" % elements, sync=False)
        return cls(folder, batch, elements)

    @classmethod
    def found(cls, home: Path) -> dict[int, Carrier]:
        """Return those whose folders are in a directory, by batch."""
        carriers = {}
        for folder in home.iterdir() if home.is_dir() else ():
            with contextlib.suppress(OSError, ValueError):
                batch = int(folder.name)
                carriers[batch] = cls(folder, batch, int((folder / "size").read_text()))
        return carriers

    def start(self, python: str, session: str) -> None:
        """Start the process; if it was started before, it takes up the job that was left.

        Args:
            python: An interpreter that has Beam.
            session: What the job is called.

        Raises:
            RefusedError: it cannot be started.
        """
        self.tries += 1
        before = self.folder / "before"
        with contextlib.suppress(OSError):
            shutil.copyfile(self.folder / "note", before)
        given = {"DAGGY_SESSION": session, "DAGGY_NOTE": str(self.folder / "note"), "DAGGY_NOTE_BEFORE": str(before)}
        try:
            with (self.folder / "log").open("ab") as log, (self.folder / "carrier").open("r+b") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                lock.truncate()
                started = run(python, [DETACH + BOOT, str(lock.fileno())], self.folder, given, log, (lock.fileno(),))
        except BlockingIOError:
            return  # it is alive
        except OSError as error:
            raise RefusedError(f"python: '{python}' cannot be started: {error.strerror or error}") from None
        if started:
            raise RefusedError(f"python: '{python}' cannot be started: {self.last_words()}")

    @property
    def is_out(self) -> bool:
        """Whether the process lives."""
        return _is_locked(self.folder / "carrier")

    @property
    def is_running(self) -> bool:
        """Whether something of the parcel runs on this machine."""
        return _is_locked(self.folder / "elements")

    @property
    def note(self) -> dict[str, Any]:
        """What it has told of its job."""
        return noted_before(str(self.folder / "note"))

    @property
    def has_submitted(self) -> bool:
        """Whether a runner has, or had, its job; what has failed without an id never came so far."""
        note = self.note
        return bool(note.get("job_id")) or note.get("state", "STARTING") not in ("STARTING", "unreachable", "FAILED")

    @property
    def has_left(self) -> bool:
        """Whether its job goes on without it, as far as it has told, and may be given another one."""
        note = self.note
        jobs = [one for one in note.get("jobs", ()) if one.get("endpoint") and not one.get("loopback")]
        return bool(jobs) and note.get("state") not in ENDED and self.tries < TRIES

    def said(self) -> str:
        """Return the state of its job, for people."""
        try:
            return str(json.loads((self.folder / "note").read_bytes())["message"]) or "STARTING"
        except (OSError, ValueError, KeyError, TypeError):
            return "STARTING"

    def last_words(self) -> str:
        """Return the last line that it has written."""
        try:
            with (self.folder / "log").open("rb") as file:
                file.seek(max(0, os.fstat(file.fileno()).st_size - LAST_WORDS))
                lines = file.read().decode(errors="replace").strip().splitlines()
        except OSError:
            return ""
        return lines[-1].strip().removeprefix("daggy: ") if lines else ""

    def end(self) -> None:
        """Ask the process to cancel its job and to end; nobody else has its id while the lock is held."""
        try:
            number = int((self.folder / "carrier").read_bytes())
            process = os.pidfd_open(number)
        except (OSError, ValueError):
            return
        try:
            if self.is_out:
                signal.pidfd_send_signal(process, signal.SIGTERM)
        except ProcessLookupError:
            pass
        finally:
            os.close(process)

    def remove(self) -> None:
        """Remove its folder."""
        shutil.rmtree(self.folder, ignore_errors=True)


def run(
    python: str, program: list[str], folder: Path, given: Mapping[str, str], output: Any, kept: tuple[int, ...] = ()
) -> int:
    """Run a Python that reads `order` of a folder from standard input; return its exit code.

    Raises:
        OSError: it cannot be started, or does not end.
    """
    clean = {name: value for name, value in os.environ.items() if not name.startswith("DAGGY_")}
    try:
        with (folder / "order").open("rb") as order:
            return subprocess.run(
                [python, "-c", *program], stdin=order, stdout=output, stderr=output, cwd=folder,
                env={**clean, **given}, pass_fds=kept, timeout=START, check=False, start_new_session=True,
            ).returncode  # fmt: skip
    except subprocess.TimeoutExpired:
        raise TimeoutError(0, f"it has not ended after {START:.0f} s") from None


def _is_locked(path: Path) -> bool:
    """Return whether somebody holds a lock on a file."""
    try:
        file = os.open(path, os.O_RDWR)
    except OSError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(file)
    return False
