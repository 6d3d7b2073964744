"""Where the output of attempts goes: unnamed files, packs, or files with a name."""

from __future__ import annotations

import errno
import fcntl
import os
import zlib

from daggy.launcher.program.spool import write_whole
from daggy.launcher.program.task import Task
from daggy.launcher.program.values import LARGEST, compact
from daggy.launcher.program.wire import ANSWER, EXIT, LINKED, OK, RESULT

SMALL = 1 << 20  # output up to this is copied to a pack
PACK = 64 << 20
MOST_PACKS = 64  # open at once
MOST_CLEAN = 64
MOST_REASON = 1000  # bytes


class Outputs:
    """Gives each task a pair of unnamed files, and keeps what is in them: in a pack, or under names if long or large.

    Args:
        root: The state directory: outputs of run N are kept in `root`/runs/N/packs.
        launcher: The number with which the names of its files begin.
        limit: Most bytes that a task may write, and that are kept of it; 0: no limit.
    """

    def __init__(self, root: str, launcher: int, limit: int) -> None:
        """Begin without files."""
        self.root, self.launcher, self.limit, self.number = root, launcher, limit, 0
        self.results = ""  # the folder of results, once there is one
        self.descriptors = os.open("/proc/self/fd", os.O_RDONLY | os.O_DIRECTORY)
        self.clean: list[int] = []  # empty unnamed files that no other process has open
        self.known: set[int] = set()  # runs whose folder is there
        self.named: set[int] = set()  # runs whose filesystem has no unnamed files
        self.packs: dict[int, list[int]] = {}  # run: descriptor, number, size

    def folder(self, run: int) -> str:
        """Return the directory of a run's packs."""
        return "%s/runs/%d/packs" % (self.root, run)

    def make_folder(self, run: int) -> None:
        """Make the directory of a run's packs; not the state directory, which may have been removed."""
        for folder in ("runs", "runs/%d" % run, "runs/%d/packs" % run):
            try:
                os.mkdir("%s/%s" % (self.root, folder), 0o700)
            except FileExistsError:
                pass

    def names(self, task: Task) -> tuple[str, str]:
        """Return the paths of a pair of named outputs."""
        stem = "%s/%d.%d" % (self.folder(task.key[0]), self.launcher, task.pack)
        return stem + ".stdout", stem + ".stderr"

    def answer(self, task: Task) -> str:
        """Return where a generator may write its answer."""
        run, version, index, _, attempt = task.key
        return "%s/%d.%d.%d.answer" % (self.folder(run), version, index, attempt)

    def clear_answer(self, task: Task) -> None:
        """Remove an answer that an earlier start of this attempt left."""
        if os.path.exists(self.answer(task)):
            os.unlink(self.answer(task))

    def sync_answer(self, task: Task) -> None:
        """Write an ended generator's answer to the disk, so that a power cut cannot leave half of it to be acted on.

        OSError: call again with the same task.
        """
        path = "%s/%d.%d" % (self.folder(task.key[0]), self.launcher, task.pack)
        if os.path.exists(self.answer(task)):
            task.flags |= ANSWER
            path = self.answer(task)
        elif task.flags & LINKED:
            path = self.names(task)[0]
        elif not task.stdout:
            return
        try:
            file = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        except OSError:
            return  # the engine, which reads it, reports the fault
        try:
            os.fsync(file)
        except OSError as error:
            if error.errno != errno.EINVAL:  # not a regular file
                raise
        finally:
            os.close(file)

    def unnamed(self, run: int) -> int:
        """Open a file without a name, to be appended to."""
        return os.open(self.folder(run), os.O_TMPFILE | os.O_RDWR | os.O_APPEND, 0o600)

    def open(self, task: Task) -> None:
        """Give a task a pair of empty files that no other task has."""
        run = task.key[0]
        self.number += 1
        task.pack = self.number
        if run not in self.known:
            self.make_folder(run)
            self.known.add(run)
        try:
            if run not in self.named:
                task.out = self.clean.pop() if self.clean else self.unnamed(run)
                task.err = self.clean.pop() if self.clean else self.unnamed(run)
                return
        except OSError as error:
            self.close(task)
            if error.errno not in (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL):
                raise
            self.named.add(run)
        while any(map(os.path.exists, self.names(task))):
            self.number += 1
            task.pack = self.number
        flags = os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_APPEND
        task.out, task.err = (os.open(name, flags, 0o600) for name in self.names(task))
        task.linked = True

    def close(self, task: Task) -> None:
        """Close those of a pair that are open."""
        for descriptor in (task.out, task.err):
            if descriptor >= 0:
                os.close(descriptor)
        task.out = task.err = -1

    def result(self, task: Task) -> str:
        """Return where a task may write its result: a name that no other task has, since it may write late."""
        if not self.results:
            self.results = "%s/launchers/%d/results" % (self.root, self.launcher)
            os.makedirs(self.results, 0o700, exist_ok=True)
        return "%s/%d.%d.%d.%d.%d" % (self.results, *task.key)

    def take_result(self, task: Task) -> None:
        """Take the result that an ended task has left; one that ended well has failed if it left no JSON value.

        After a `!` it says why there is none, for people.
        """
        path = self.result(task)
        try:
            file = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        except OSError:
            return
        try:
            data = os.read(file, LARGEST + 1)
            os.unlink(path)
            if data.startswith(b"!"):
                self.take_reason(task, data)
                return
            text = compact(data) if data.strip() else ""
            task.left = text if text != "null" else ""
        except (OSError, ValueError) as error:
            if task.reason == OK:
                task.reason, task.message = RESULT, "its result is %s" % error
        finally:
            os.close(file)

    def take_reason(self, task: Task, data: bytes) -> None:
        """Take what an ended task says about why it has no result."""
        if task.reason in (OK, EXIT):
            task.reason = task.reason or RESULT
            task.message = " ".join(data[1:MOST_REASON].decode("utf-8", "replace").split())

    def reopened(self, descriptor: int, flags: int = os.O_WRONLY | os.O_APPEND) -> int:
        """Open a file once more, for a child, so that a lease can tell whether any process but this one has it open."""
        return os.open("%d" % descriptor, flags, dir_fd=self.descriptors)

    def renew(self, descriptor: int, written: int) -> None:
        """Keep a file for another task if a lease proves that no process which the last task left behind has it open.

        Creating and deleting files is the most expensive step here: ext4 searches the inodes that were deleted lately.
        """
        try:
            if len(self.clean) >= MOST_CLEAN:
                raise BlockingIOError
            fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_WRLCK)
            fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
            if written:  # filesystems flush a file at its first close after it was emptied
                os.close(self.reopened(descriptor, os.O_WRONLY | os.O_TRUNC))
            self.clean.append(descriptor)
        except OSError:
            os.close(descriptor)

    def link(self, task: Task) -> None:
        """Link a pair to its names."""
        while any(map(is_another_file, self.names(task), (task.out, task.err))):
            self.number += 1
            task.pack = self.number
        for descriptor, name in zip((task.out, task.err), self.names(task)):
            if not os.path.exists(name):  # it does if an earlier call linked the first and had no room for the second
                os.link(str(descriptor), name, src_dir_fd=self.descriptors, follow_symlinks=True)
        task.linked = True

    def size(self, task: Task) -> int:
        """Return the bytes that a task has written so far."""
        return os.fstat(task.out).st_size + os.fstat(task.err).st_size

    def exceeds(self, task: Task) -> bool:
        """Return whether a task has written more than the limit."""
        return task.out >= 0 and self.size(task) > self.limit

    def cut(self, task: Task) -> None:
        """Cut a pair at the limit: each of the two keeps what the other leaves of it, and at least half."""
        if self.exceeds(task):
            out, err = os.fstat(task.out).st_size, os.fstat(task.err).st_size
            kept = min(out, max(self.limit - err, self.limit - self.limit // 2))
            os.ftruncate(task.out, kept)
            os.ftruncate(task.err, min(err, self.limit - kept))

    def excess(self) -> str:
        """Return the message for a task that has written more than it may."""
        return "wrote more than %d bytes; the rest is not kept" % self.limit

    def collect(self, task: Task) -> None:
        """Take what an ended task wrote: read small outputs, which go to a pack next; link others to names."""
        if task.result:
            self.take_result(task)
        if self.limit:
            self.cut(task)
        out, err = os.pread(task.out, 32768, 0), os.pread(task.err, 32768, 0)
        if len(out) == 32768 or len(err) == 32768:
            task.stdout, task.stderr = os.fstat(task.out).st_size, os.fstat(task.err).st_size
            if task.stdout + task.stderr > SMALL:
                if not task.linked:
                    self.link(task)
                task.flags |= LINKED
                self.close(task)
                return
            out, err = os.pread(task.out, task.stdout, 0), os.pread(task.err, task.stderr, 0)
        if task.linked:
            self.close(task)
            for name in self.names(task):
                os.unlink(name)
        else:
            self.renew(task.out, len(out))
            self.renew(task.err, len(err))
            task.out = task.err = -1
        task.stdout, task.stderr, task.pack = len(out), len(err), 0
        if out or err:
            task.data = out, err
            task.crc = zlib.crc32(err, zlib.crc32(out))

    def keep(self, tasks: list[Task]) -> None:
        """Append the outputs of ended tasks to the packs of their runs, with one write a run; sync answers.

        OSError: call again with the same tasks.
        """
        runs: dict[int, list[Task]] = {}
        for task in tasks:
            if task.out >= 0:
                self.collect(task)
            if task.data:
                runs.setdefault(task.key[0], []).append(task)
        for run, members in runs.items():
            pack = self.pack(run)
            write_whole(pack[0], b"".join([part for task in members for part in task.data or ()]), pack[2])
            for task in members:
                task.data, task.pack, task.offset = None, pack[1], pack[2]
                pack[2] += task.stdout + task.stderr
        for task in tasks:
            if task.generator and task.pid:
                self.sync_answer(task)

    def pack(self, run: int) -> list[int]:
        """Return the open pack of a run: its descriptor, number and size."""
        pack = self.packs.get(run)
        if pack is None or pack[2] >= PACK:
            if pack or len(self.packs) >= MOST_PACKS:
                for other in (run,) if pack else tuple(self.packs):
                    os.close(self.packs.pop(other)[0])
            self.number += 1
            while os.path.exists("%s/%d.%d" % (self.folder(run), self.launcher, self.number)):
                self.number += 1
            path = "%s/%d.%d" % (self.folder(run), self.launcher, self.number)
            flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND
            pack = self.packs[run] = [os.open(path, flags, 0o600), self.number, 0]
        return pack


def is_another_file(name: str, descriptor: int) -> bool:
    """Return whether a name belongs to another file than this one.

    It can: numbers of launchers begin anew in a backup that has outputs and no folders of launchers.
    """
    return os.path.exists(name) and not os.path.samestat(os.stat(name), os.fstat(descriptor))
