"""What becomes of a launcher's tasks after its death: finishes kept, processes killed, the rest proven lost."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from daggy.attempt import LINKED, REPORT, Kind, Reason, Reports, Rows
from daggy.errors import DirectoryError
from daggy.launcher import logs, spool
from daggy.launcher.frames import Key, about
from daggy.launcher.host import Remains
from daggy.launcher.program.processes import carriers, processes, signal_all

BRACKET = 2.0
"""Seconds by which the noted start of a process may be later than the kernel's."""
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")

LOST_MESSAGE = "its launcher died"


def read(directory: Path, instance: str, launcher: int, after: int = 0) -> Remains:
    """Read the spool of a dead launcher, after killing what it ran; the same each time until it is acknowledged.

    What was lost is numbered above `after`, the last sequence number heard: no acknowledgement on its way is for it.

    Raises:
        DirectoryError: another version of Daggy started it, in a way that this one does not know.
    """
    home = directory / "launchers" / str(launcher)
    segments = sorted((home / "spool").glob("*"))
    spooled = spool.read([segment.read_bytes() for segment in segments])
    if spooled.wire not in spool.READABLE:
        raise DirectoryError(
            f"'{home}': what this launcher left is of another version of Daggy (wire {spooled.wire}); "
            "start that version, which takes it up"
        )
    suspects = spooled.suspects()
    if spooled.boot == BOOT_ID.read_text().strip():  # after another start of the machine nothing of it can be alive
        pids = {key: (running.pid, running.boot) for key, running in spooled.running.items()}
        found = end(instance, [*spooled.pending, *spooled.running], pids)
        suspects += [key for key in spooled.pending if key in found and key not in suspects]
    rows = [_lost(directory, running.row) for running in spooled.running.values()]
    rows += [lost(key, launcher) for key in suspects]
    return Remains(launcher, _joined(spooled, rows, after), spooled.hole)


def _joined(spooled: spool.Spooled, lost_rows: list[Rows], after: int) -> Reports:
    first = max(after, int(spooled.finished["seq"].max(initial=0))) + 1
    rows = np.concatenate([spooled.finished, *lost_rows])
    rows["seq"][len(spooled.finished) :] = np.arange(first, first + len(lost_rows))
    messages = dict.fromkeys(range(len(spooled.finished), len(rows)), LOST_MESSAGE)
    return Reports(rows, {**spooled.messages, **messages})


def lost(key: Key, launcher: int) -> Rows:
    """Return the report that a task, of which no start is known, was lost with its launcher."""
    rows = about(Kind.FINISHED, key, launcher)
    rows["row"]["reason"] = Reason.LOST
    rows["row"]["ended"] = time.time()
    return rows


def all_lost(keys: Sequence[Key], launcher: int) -> Reports:
    """Return the reports that these were lost with a launcher which kept no spool."""
    rows = np.concatenate([np.zeros(0, REPORT), *(lost(key, launcher) for key in keys)])
    return Reports(rows, dict.fromkeys(range(len(keys)), LOST_MESSAGE))


def _lost(directory: Path, started: Rows) -> Rows:
    """Return the report that a task which was noted as started was lost; with its output if that had a name."""
    rows = started.copy()
    rows["kind"] = Kind.FINISHED
    row = rows["row"]
    row["reason"] = Reason.LOST
    row["ended"] = time.time()
    stem = f"{int(row['launcher'][0])}.{int(row['pack'][0])}"
    home = logs.folder(directory, int(rows["run"][0]))
    for stream in ("stdout", "stderr"):
        with contextlib.suppress(OSError):
            row[stream] = (home / f"{stem}.{stream}").stat().st_size
            row["flags"] |= LINKED
    return rows


def end(instance: str, keys: Iterable[Key], pids: Mapping[Key, tuple[int, float]]) -> set[Key]:
    """Kill every process of these tasks; return the tasks of which any was found.

    Args:
        instance: The state directory's text, the first part of every ticket.
        keys: The tasks.
        pids: Of those known: process id, and seconds since the machine's start just after that process was started.
    """
    order = list(keys)
    tickets = {f"{instance}:{'.'.join(map(str, key))}".encode(): at for at, key in enumerate(order)}
    found: set[Key] = set()
    if not order:
        return found
    tick = os.sysconf("SC_CLK_TCK")
    alive = processes()
    sessions = {}
    for at, key in enumerate(order):
        pid, boot = pids.get(key, (0, 0.0))
        # a session outlives its leader; where there is a leader it must be the one that was started then
        if pid and (pid not in alive or -BRACKET <= alive[pid][2] / tick - boot <= 1 / tick):
            sessions[pid] = at
    for _ in range(100):  # what is killed may have been forking
        left = carriers(tickets, sessions)
        if not left:
            break
        found.update(order[at] for at in left.values())
        signal_all(left, signal.SIGKILL)
        time.sleep(0.01)
    return found


def remove(directory: Path, launcher: int) -> None:
    """Empty the folder of a launcher that has ended; the folder stays for as long as its number is the highest."""
    for entry in (directory / "launchers" / str(launcher)).glob("*"):
        if entry.is_dir():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink(missing_ok=True)
