"""The spool: a log on disk of what was accepted, started and finished, which survives this launcher and its engine."""

from __future__ import annotations

import fcntl
import os
import struct
import zlib

from daggy.launcher.program.light import TYPE_CHECKING, dumps
from daggy.launcher.program.task import WAITING, Queue, Task
from daggy.launcher.program.wire import STARTED

if TYPE_CHECKING:
    from typing import Any, Callable, Iterable, Sequence


RECORD = struct.Struct("<II")  # length and crc32 of a record
ACCEPTED = struct.Struct("<IIIII")  # run, version, epoch, lane, width; then pairs of index and attempt
PAIR = struct.Struct("<II")
PROCESS = struct.Struct("<Id")  # pid, and CLOCK_BOOTTIME just after its start
TICKET = struct.Struct("<IIIII")
SEGMENT = 4 << 20
START_AT_ONCE = 8  # most starts between two writes: those that a death leaves unrecorded


def write_whole(descriptor: int, data: bytes, size: int) -> None:
    """Append all of `data` to a file of this size, or nothing."""
    try:
        done = os.write(descriptor, data)
        while done < len(data):
            done += os.write(descriptor, data[done:])
    except OSError:
        os.ftruncate(descriptor, size)
        raise


def accepted(run: int, version: int, epoch: int, queue: Queue, tasks: Sequence[Task]) -> bytes:
    """Return the record that tasks were accepted into a queue, or only that its width was set."""
    pairs = [number for task in tasks for number in (task.key[2], task.key[4])]
    return b"A" + ACCEPTED.pack(run, version, epoch, queue.lane, queue.width) + struct.pack("<%dI" % len(pairs), *pairs)


def started(task: Task, launcher: int) -> bytes:
    """Return the record that a task was started."""
    return b"S" + task.row(STARTED, 0, launcher) + PROCESS.pack(task.pid, task.boot)


def noted(task: Task) -> bytes:
    """Return the record of what a task tells of itself."""
    return b"N" + TICKET.pack(*task.key) + task.note.encode()


def recalled(task: Task) -> bytes:
    """Return the record that a task was given back."""
    return b"R" + TICKET.pack(*task.key)


def restated(tasks: Iterable[Task], launcher: int) -> list[bytes]:
    """Return records of tasks that were accepted, some of them started."""
    records = []
    for task in tasks:
        run, version, _, epoch, _ = task.key
        records.append(accepted(run, version, epoch, task.queue, [task]))
        if task.state != WAITING:
            records.append(started(task, launcher))
        if task.note:
            records.append(noted(task))
    return records


def framed(payloads: Iterable[bytes]) -> bytes:
    """Return records as they are written."""
    return b"".join([RECORD.pack(len(one), zlib.crc32(one)) + one for one in payloads])


class Spool:
    """Appends records, to segments of which old ones are deleted once all in them is acknowledged.

    Args:
        folder: The launcher's.
        header: First record of each segment.
        restate: Gives the records that each segment begins with: all that was accepted and has not finished.
    """

    def __init__(self, folder: str, header: dict[str, Any], restate: Callable[[], list[bytes]]) -> None:
        """Lock the folder for as long as this process lives; OSError if another process holds the lock.

        The lock file is made with the folder. An engine that finds it unlocked removes it, and from then on this
        launcher counts as dead, however late it starts.
        """
        self.lock = os.open(folder + "/lock", os.O_RDWR)
        fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not os.fstat(self.lock).st_nlink:
            raise FileNotFoundError("'%s/lock' was removed: this launcher was taken for dead" % folder)
        os.makedirs(folder + "/spool", mode=0o700, exist_ok=True)
        self.folder, self.restate = folder, restate
        self.header = b"H" + dumps(header)
        self.segments: list[tuple[str, int]] = []  # closed ones, and the last sequence number of each
        self.path, self.number, self.descriptor, self.size, self.last, self.acked = "", 0, -1, 0, 0, 0
        self.begun = 0  # size of the segment after its beginning: what is restated may be large, as notes are
        self.note(0.0)

    def note(self, leave_by: float) -> None:
        """Write who holds the lock to the lock file and, when shutting down, the wall-clock time by which it exits."""
        os.pwrite(self.lock, b"%-12d%-20.3f\n" % (os.getpid(), leave_by), 0)

    def write(self, payloads: Iterable[bytes], last: int) -> None:
        """Append records with one write; `last` is their last sequence number. OSError: nothing was appended."""
        if self.descriptor < 0 or self.size >= self.begun + SEGMENT:
            self.roll([*payloads])
        else:
            data = framed(payloads)
            write_whole(self.descriptor, data, self.size)
            self.size += len(data)
        self.last = last

    def roll(self, payloads: list[bytes]) -> None:
        """Begin a segment that restates what runs and waits, so that older ones can be deleted; add these records."""
        path = "%s/spool/%08d" % (self.folder, self.number + 1)
        beginning = framed([self.header, *self.restate(), b"E"])
        data = beginning + framed(payloads)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
        try:
            write_whole(descriptor, data, 0)
        except OSError:
            os.close(descriptor)
            os.unlink(path)
            raise
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.segments.append((self.path, self.last))
        self.path, self.number, self.descriptor, self.size = path, self.number + 1, descriptor, len(data)
        self.begun = len(beginning)
        self.forget(self.acked)

    def forget(self, acknowledged: int) -> None:
        """Delete the segments of which every sequence number is acknowledged."""
        self.acked = max(acknowledged, self.acked)
        while self.segments and self.segments[0][1] <= self.acked:
            os.unlink(self.segments.pop(0)[0])

    def leave(self) -> None:
        """Delete the last segment too if everything in it is acknowledged."""
        if self.path and self.acked >= self.last and not self.segments:
            os.unlink(self.path)
