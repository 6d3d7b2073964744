"""An element of a parcel: it claims a task, runs it as a launcher does, and writes what became of it to one file.

A parcel is a folder that the engine and this program see: `m`, the manifest; `kill`, what is to be ended; and for each
task that has begun, a file named by its number. Creating that file claims the task: this program does so to run it, the
engine to take it back. Nothing else decides, so a parcel that was removed or taken back does nothing.

The manifest has the number of tasks n, n + 2 offsets, and n + 1 slices of JSON between them: slice 0 is what all tasks
have in common, slice k is task k - 1. The file of a task has records as a spool has: `H`, who claimed it and when;
`O`, its output, all of standard output and then of standard error; `N`, what it tells of itself; `V`, its result; `F`,
its REPORT and the message.
"""

from __future__ import annotations

import os
import select
import struct
import sys
import time

from daggy.launcher.program.burial import boot_id
from daggy.launcher.program.launcher import Launcher
from daggy.launcher.program.light import TYPE_CHECKING, dumps, loads, signal
from daggy.launcher.program.main import take_signals
from daggy.launcher.program.spool import framed
from daggy.launcher.program.wire import (
    ANSWER,
    EXIT,
    FINISHED,
    KILLED,
    LINKED,
    RECALLED,
    REPORT,
    SIGNAL,
    STOPPED,
    VERSION,
)

if TYPE_CHECKING:
    from typing import Any

    Frame = tuple[int, bytes]


COUNT = struct.Struct("<Q")
KIND = 8  # position of a REPORT's kind, behind its sequence number
PATIENCE = 600.0  # seconds for which a folder that cannot be written to is tried again
AGAIN = 5.0
OLD = 300.0  # seconds after which an engine that touches `alive`, but keeps nothing, has gone
PIECE = 1 << 20
NOTED = 10.0  # seconds from one note to the next
WHILE = 1.0  # seconds after which others are to see that a task runs: on a network filesystem, only what is synced
MEANWHILE = 0.2  # seconds from one process of a job to the next, for a signal to all
ENDED, CODE, REASON, FLAGS = 8, 11, 12, 17  # positions of fields of a REPORT


class Folder:
    """A parcel's folder; it may be renamed meanwhile.

    Args:
        path: Where it is.
    """

    def __init__(self, path: str) -> None:
        """Open it. FileNotFoundError: it was taken back."""
        self.home = os.open(path, os.O_RDONLY | os.O_DIRECTORY)

    def open(self, name: str, flags: int) -> int:
        """Open a file in it."""
        return os.open(name, flags, 0o600, dir_fd=self.home)

    def slice(self, number: int) -> dict[str, Any]:
        """Return a slice of the manifest."""
        file = self.open("m", os.O_RDONLY)
        try:
            first, last = struct.unpack("<QQ", os.pread(file, 16, COUNT.size + 8 * number))
            data = b""
            while len(data) < last - first:
                part = os.pread(file, last - first - len(data), first + len(data))
                if not part:
                    raise ValueError("the manifest is cut off")
                data += part
        finally:
            os.close(file)
        order: dict[str, Any] = loads(data)
        return order

    def count(self) -> int:
        """Return how many tasks there are."""
        file = self.open("m", os.O_RDONLY)
        try:
            return int(COUNT.unpack(os.pread(file, COUNT.size, 0))[0])
        finally:
            os.close(file)

    def claim(self, number: int) -> int:
        """Return the file of a task, which is this program's now; -1: it is not."""
        until = time.monotonic() + PATIENCE
        while True:
            try:
                return self.open("%d" % number, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND)
            except (FileExistsError, FileNotFoundError):
                return -1
            except OSError:
                if time.monotonic() > until:
                    raise
                time.sleep(AGAIN)

    def write(self, file: int, records: list[bytes], is_last: bool = True) -> None:
        """Append records; where there is no room it is tried again for a while.

        Only the last ones of a file are on the disk on return.
        """
        data = framed(records)
        size = os.fstat(file).st_size
        until = time.monotonic() + PATIENCE
        while True:
            try:
                done = 0
                while done < len(data):
                    done += os.write(file, data[done:])
                if is_last:
                    os.fsync(file)
            except OSError:
                if time.monotonic() > until:
                    raise
                try:
                    os.ftruncate(file, size)
                except OSError:
                    pass
                time.sleep(AGAIN)
            else:
                return

    def move(self, source: str, name: str) -> None:
        """Move a file of this machine to it."""
        there = os.open(source, os.O_RDONLY)
        file = self.open(name, os.O_CREAT | os.O_TRUNC | os.O_WRONLY)
        try:
            while True:
                part = os.read(there, PIECE)
                if not part:
                    break
                while part:
                    part = part[os.write(file, part) :]
            os.fsync(file)
        finally:
            os.close(file)
            os.close(there)
        os.unlink(source)

    def doomed(self) -> dict[int, str]:
        """Return the tasks that are to be ended, each with the message."""
        try:
            file = self.open("kill", os.O_RDONLY)
        except OSError:
            return {}
        try:
            return {int(number): message for number, message in loads(os.pread(file, 1 << 24, 0))}
        except ValueError:
            return {}
        finally:
            os.close(file)


class Record:
    """What a launcher would send an engine, as records of a task's file.

    Args:
        folder: The parcel's.
        file: The task's.
        number: The task.
        root: Where the launcher keeps outputs.
        signals: Fills with the signals that ask this program to exit.
    """

    source = -1
    sink = 0  # nothing is written to it
    outbox = b""
    doom: str | None = None  # why the task is to be ended

    def __init__(self, folder: Folder, file: int, number: int, root: str, signals: list[int]) -> None:
        """Begin with a task that was just claimed."""
        self.signals = signals
        self.folder, self.file, self.number, self.root, self.open = folder, file, number, root, True
        self.is_shown = False  # whether others see that it runs
        self.note, self.told = "", 0.0  # what the task told last of itself, as it was written down, and when
        header = {
            "version": VERSION, "boot": boot_id(), "host": os.uname().nodename, "began": "%.6f" % time.time(),
            "pid": os.getpid(),
        }  # fmt: skip
        folder.write(file, [b"H" + dumps(header)], is_last=False)

    def show(self) -> None:
        """Let others see that it runs."""
        self.is_shown = True
        try:
            os.fsync(self.file)
        except OSError:
            pass  # its end is written again and again

    def send(self, kind: bytes, payload: bytes) -> None:
        """Keep the end of the task; nothing else is needed."""
        if kind != b"R":
            return
        (count,) = struct.unpack_from("<I", payload)
        for at in range(count):
            row = payload[4 + at * REPORT.size : 4 + (at + 1) * REPORT.size]
            rest = payload[4 + count * REPORT.size :]
            texts = [found.get("%d" % at, "") for found in loads(rest)] if rest else ["", "", ""]
            if texts[2] and self.open:
                self.tell(texts[2], row[KIND] == FINISHED)
            if row[KIND] == FINISHED and self.open:
                self.keep(row, *texts[:2])
                self.open = False
            elif row[KIND] == RECALLED and self.open:  # it was ended before it had started; it is claimed already
                fields = [*REPORT.unpack(row)]
                fields[1], fields[ENDED], fields[REASON] = FINISHED, time.time(), KILLED
                fields[FLAGS] = 0 if self.doom is not None else STOPPED
                self.keep(REPORT.pack(*fields), self.doom or "", "")
                self.open = False

    def tell(self, note: str, is_last: bool) -> None:
        """Write down what the task tells of itself: now and then, as the file keeps all that was written."""
        now = time.monotonic()
        if note != self.note and (is_last or now >= self.told + NOTED):
            self.note, self.told = note, now
            self.folder.write(self.file, [b"N" + note.encode()], is_last=False)

    def is_ended(self, reason: int, code: int) -> bool:
        """Return whether a task was ended by the signal that ends all of its job: this program gets it, too."""
        if (reason, code) not in ((SIGNAL, -signal.SIGTERM), (EXIT, 128 + signal.SIGTERM)):
            return False
        until = time.monotonic() + MEANWHILE
        while not self.signals and time.monotonic() < until:
            time.sleep(MEANWHILE / 10)
        return bool(self.signals)

    def keep(self, row: bytes, message: str, result: str) -> None:
        """Write how the task has ended, after what it has written and what it came to."""
        fields = [*REPORT.unpack(row)]
        if self.is_ended(fields[REASON], fields[CODE]):
            fields[FLAGS] |= STOPPED
            row = REPORT.pack(*fields)
        run, version, index, attempt = fields[2], fields[3], fields[5], fields[6]
        flags, launcher, pack, offset, stdout, stderr = fields[FLAGS], *fields[18:23]
        packs = "%s/runs/%d/packs" % (self.root, run)
        records = []
        if flags & LINKED:
            for name, stream in (("out", "stdout"), ("err", "stderr")):
                path = "%s/%d.%d.%s" % (packs, launcher, pack, stream)
                self.folder.move(path, "%d.%s" % (self.number, name))
        elif stdout or stderr:
            file = os.open("%s/%d.%d" % (packs, launcher, pack), os.O_RDONLY)
            records.append(b"O" + os.pread(file, stdout + stderr, offset))
            os.close(file)
        if result:
            records.append(b"V" + result.encode())
        if flags & ANSWER:
            self.folder.move("%s/%d.%d.%d.answer" % (packs, version, index, attempt), "%d.answer" % self.number)
        self.folder.write(self.file, [*records, b"F" + row + message.encode("utf-8", "replace")])

    def flush(self) -> None:
        """Do nothing: each record is written at once."""


class Link:
    """What a launcher waits for here: signals, and word that its task is to be ended.

    Args:
        wake: A descriptor that becomes readable with every signal.
        asked: Fills with signals that say that `kill` has changed.
    """

    listener = None
    lost_at = 0.0
    full = False
    epoch = 0

    def __init__(self, wake: int, asked: list[int]) -> None:
        """Begin with nothing to end."""
        self.asked = asked
        self.stream: Any = None  # takes what happens to the task that runs
        self.launcher: Any = None
        self.poller = select.poll()
        self.poller.register(wake, select.POLLIN)

    def wait(self, milliseconds: int) -> list[tuple[int, int]]:
        """Return the descriptors at which something happened."""
        if self.asked:
            self.asked.clear()
            self.end()
        if self.stream.is_shown:
            return self.poller.poll(milliseconds)
        found = self.poller.poll(min(milliseconds, WHILE * 1000) if milliseconds >= 0 else WHILE * 1000)
        if not found:
            self.stream.show()
        return found

    def end(self) -> None:
        """End the task, if that is wanted."""
        message = self.stream.doom = self.stream.folder.doomed().get(self.stream.number)
        if message is not None:
            self.launcher.ending.end(self.launcher.tasks.not_ended(), KILLED, message)

    def receive(self, descriptor: int) -> list[Frame]:
        """Return nothing: no engine is connected."""
        del descriptor
        return []

    def silence(self) -> float:
        """Return 0: no engine is connected, and none is missed."""
        return 0.0

    def greet(self, stream: Any, lanes: tuple[int, ...] = ()) -> None:
        """Do nothing: no engine is connected."""

    def ignore(self) -> None:
        """Do nothing: no engine is connected."""

    def disconnect(self) -> None:
        """Do nothing: no engine is connected."""


class Element:
    """Runs tasks of a parcel, one after the other, by one launcher.

    Args:
        folder: The parcel's.
        name: Tells the element from all others.
        signals: Fills with the signals that ask this program to exit.
        asked: Fills with signals that say that `kill` has changed.
        wake: A descriptor that becomes readable with every signal.
    """

    def __init__(self, folder: Folder, name: str, signals: list[int], asked: list[int], wake: int) -> None:
        """Make a directory for what tasks write; nodes may share the place for it."""
        self.folder, self.signals, self.asked, self.wake = folder, signals, asked, wake
        common = folder.slice(0)
        place = os.environ.get("TMPDIR") or "/tmp"  # noqa: S108 - made by us alone, or not at all
        self.root = "%s/daggy-%s-%s-%d" % (place, common["instance"], name, os.getpid())
        os.mkdir(self.root, 0o700)
        link: Any = Link(wake, asked)
        hello = {**common, "launcher": 0, "directory": self.root, "durable": False}
        self.link, self.launcher = link, Launcher(link, hello, signals)
        link.launcher = self.launcher

    def run(self, number: int) -> None:
        """Run a task, if it is still there to be run."""
        order = self.folder.slice(number + 1)
        file = self.folder.claim(number)
        if file < 0:
            return
        try:
            record = self.link.stream = Record(self.folder, file, number, self.root, self.signals)
            self.launcher.launch(lane=0, width=1, **order)
            self.link.end()  # it may have been doomed before it was claimed
            self.launcher.turn(time.monotonic())
            while record.open and not self.launcher.is_over():
                self.launcher.step(self.wake)
        finally:
            os.close(file)


def remove(root: str) -> None:
    """Remove a directory of this program's own."""
    for place, folders, files in os.walk(root, topdown=False):
        for name in files:
            os.unlink(place + "/" + name)
        for name in folders:
            os.rmdir(place + "/" + name)
    os.rmdir(root)


def is_abandoned(path: str) -> bool:
    """Return whether the engine, of which nothing is kept, has gone."""
    try:
        return time.time() - os.stat(os.path.dirname(path) + "/alive").st_mtime > OLD
    except OSError:
        return False


def main() -> None:
    """Run the tasks of an element: the folder, its number, and how many tasks an element has are the arguments."""
    path, element, each = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    signals: list[int] = []
    asked: list[int] = []
    wake = take_signals(signals)
    signal.signal(signal.SIGUSR1, lambda number, _: asked.append(number))
    try:
        folder = Folder(path)
        name = "%s-%d" % (os.path.basename(path), element)
        count, tasks = folder.count(), Element(folder, name, signals, asked, wake)
    except FileNotFoundError:
        return
    try:
        for number in range(element * each, min(count, (element + 1) * each)):
            if signals or is_abandoned(path):
                return
            tasks.run(number)
    except FileNotFoundError:
        return  # it was taken back
    finally:
        remove(tasks.root)
