"""What becomes of a launcher's tasks after its death: finishes kept, processes killed, the rest proven lost."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import trio
from attrs import frozen

from daggy.attempt import LINKED, REPORT, Kind, Reason, Reports, Rows
from daggy.errors import DirectoryError
from daggy.executor import Site
from daggy.launcher import logs, spool
from daggy.launcher.client import LOCK, OWNER
from daggy.launcher.connection import Met, meet
from daggy.launcher.frames import Key, about
from daggy.launcher.program.processes import carriers, processes, signal_all

SPARE = 10.0
"""Seconds beyond its tasks' grace that a launcher without an engine is given to leave."""
UNSAID = 15.0
"""Seconds for one that has not said how long it needs."""
LOOK_AGAIN = 0.05
BRACKET = 2.0
"""Seconds by which the noted start of a process may be later than the kernel's."""
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")

LOST_MESSAGE = "its launcher died"


@frozen(eq=False)
class Remains:
    """What a dead launcher of a durable site left, until all of it is acknowledged.

    Args:
        launcher: Its number.
        reports: FINISHED rows: its finishes, then those LOST; by sequence number.
        damage: What of its spool could not be read; empty: nothing.
    """

    launcher: int
    reports: Reports
    damage: str = ""

    @property
    def last(self) -> int:
        """The last sequence number; 0 if there is nothing to acknowledge."""
        rows = self.reports.rows
        return int(rows["seq"][-1]) if len(rows) else 0


async def recover(site: Site, epoch: int, hello: Callable[[int], bytes]) -> tuple[list[Remains], list[Met]]:
    """Return what dead launchers of a site's state directory left, and those that live on and have been met.

    Launchers of pools that are no more are the site's from here on; those of its other pools are left alone: they may
    be at work.

    Args:
        site: Whose launchers.
        epoch: The engine's.
        hello: Gives the first frame for a launcher.

    Raises:
        DirectoryError: a launcher lives on that this engine cannot use, or one does not even end when it is killed.
    """
    homes = [home for home in (site.directory / "launchers").glob("*") if home.name.isdigit() and any(home.iterdir())]
    found: list[Remains] = []
    alive: list[Met] = []
    for home in sorted(homes, key=lambda home: int(home.name)):
        if (owner := _owner(home)) in site.others:
            continue
        if owner != site.pool:
            with contextlib.suppress(OSError):  # no room: then another pool will find it too
                (home / OWNER).write_text(site.pool)
        met = await _meet_or_bury(home, hello(int(home.name)), epoch)
        if met is not None:
            alive.append(met)
            continue
        remains = await trio.to_thread.run_sync(read, site.directory, site.instance, int(home.name))
        if remains.last or remains.damage:
            found.append(remains)
        else:
            remove(site.directory, remains.launcher)
    return found, alive


async def until_gone(directory: Path, launcher: int) -> None:
    """Return when a launcher that has hung up is dead; one that does not end is killed."""
    await _meet_or_bury(directory / "launchers" / str(launcher), None, 0)


def _owner(home: Path) -> str:
    """Return the pool that a launcher works for; empty if that was not written down."""
    try:
        return (home / OWNER).read_text()
    except FileNotFoundError:
        return ""


async def _meet_or_bury(home: Path, hello: bytes | None, epoch: int) -> Met | None:
    """Meet a launcher that lives on; return None when it is dead.

    One that has said by when it leaves is given that time and a little more; one that has not, and does not answer for
    UNSAID seconds, is killed.
    """
    asked = False
    begun = trio.current_time()
    while (keeper := _keeper(home)) is not None:
        pid, leave_by = keeper
        patience = leave_by + SPARE - time.time() if leave_by else begun + UNSAID - trio.current_time()
        if patience > 0 and hello and not leave_by:
            with trio.move_on_after(patience):
                if met := await meet(home, hello, epoch):
                    return met
        elif patience <= 0 and pid and not asked:
            signal_all([pid], signal.SIGKILL)
            asked = True
        elif patience <= -UNSAID:
            raise DirectoryError(f"'{home}' is locked by process {pid}, which does not end; end it, then start again")
        await trio.sleep(LOOK_AGAIN)
    return None


def _keeper(home: Path) -> tuple[int, float] | None:
    """Return the pid that holds a launcher's lock, and when it said to be gone (0: it did not); None: it is dead.

    A lock that nobody holds is removed, so that nobody ever will: its launcher may only just be starting.
    """
    try:
        descriptor = os.open(home / LOCK, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        (home / LOCK).unlink(missing_ok=True)
    except BlockingIOError:
        words = os.pread(descriptor, 100, 0).split()
        return (int(words[0]), float(words[1])) if len(words) == 2 else (0, 0.0)
    finally:
        os.close(descriptor)
    return None


def read(directory: Path, instance: str, launcher: int, after: int = 0) -> Remains:
    """Read the spool of a dead launcher, after killing what it ran; the same each time until it is acknowledged.

    What was lost is numbered above `after`, the last sequence number heard: no acknowledgement on its way is for it.
    """
    home = directory / "launchers" / str(launcher)
    segments = sorted((home / "spool").glob("*"))
    spooled = spool.read([segment.read_bytes() for segment in segments])
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


def acknowledge(directory: Path, remains: Remains, seq: int) -> bool:
    """Remove a dead launcher's spool once all of it is acknowledged; return whether it was."""
    if seq < remains.last:
        return False
    remove(directory, remains.launcher)
    return True


def remove(directory: Path, launcher: int) -> None:
    """Empty the folder of a launcher that has ended; the folder stays for as long as its number is the highest."""
    for entry in (directory / "launchers" / str(launcher)).glob("*"):
        if entry.is_dir():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink(missing_ok=True)
