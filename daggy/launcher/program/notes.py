"""What tasks tell of themselves while they run: each may keep a JSON object in a file of its own."""

from __future__ import annotations

import os
import time

from daggy.launcher.program.light import TYPE_CHECKING
from daggy.launcher.program.values import LARGEST, compact

if TYPE_CHECKING:
    from typing import Iterable, Mapping

    from daggy.launcher.program.task import Key, Task

    Signature = tuple[int, int, int]
    """Of a file: inode, time of its last change in nanoseconds, size."""


EACH = 1.0  # seconds between two looks
SETTLED = 0.1  # seconds after which a change of a file is a change of its times
NEVER = float("inf")


class Notes:
    """The notes of a launcher's tasks. Looking for them costs one call to the system, and one for each task with one.

    Args:
        folder: Where their files are.
    """

    def __init__(self, folder: str) -> None:
        """Make the folder."""
        os.makedirs(folder, 0o700, exist_ok=True)
        self.folder = folder
        self.due = 0.0
        self.listed = 0  # when the folder had last changed as it was last listed, if that is settled
        self.known: dict[Key, Signature | None] = {}  # tasks with a note, and which one was read

    def path(self, key: Key) -> str:
        """Return where a task may keep its note."""
        return "%s/%d.%d.%d.%d.%d" % (self.folder, *key)

    def lay(self, key: Key, text: str) -> str:
        """Lay out the note of the attempt before; return where."""
        path = self.path(key) + ".before"
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        return path

    def say(self, task: Task, word: str) -> None:
        """Tell a task that keeps a note, or got one, why it is about to be ended."""
        path = self.path(task.key)
        if task.before or os.path.exists(path):
            try:
                end = os.open(path + ".end", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NONBLOCK, 0o600)
                try:
                    os.write(end, word.encode())
                finally:
                    os.close(end)
            except OSError:
                pass  # no room, or the task has put a pipe there: it is ended nevertheless

    def look(self, tasks: Mapping[Key, Task]) -> list[Task]:
        """Return the tasks, of all that there are, whose notes have changed since they were looked at."""
        self._find(tasks)
        return [task for task in [tasks[key] for key in self.known if key in tasks] if self._read(task)]

    def look_at(self, some: Iterable[Task], tasks: Mapping[Key, Task]) -> list[Task]:
        """Return those of some tasks whose notes have changed; `tasks` are all that there are."""
        self._find(tasks)
        return [task for task in some if task.key in self.known and self._read(task)]

    def _find(self, tasks: Mapping[Key, Task]) -> None:
        """Look for notes of tasks that had none."""
        try:
            changed = os.stat(self.folder).st_mtime_ns
            if changed == self.listed:
                return
            names = os.listdir(self.folder)
        except OSError:
            return  # the directory was removed
        self.listed = changed if is_settled(changed) else 0
        for name in names:
            key = key_of(name)
            if key is not None and key in tasks:
                self.known.setdefault(key, None)

    def _read(self, task: Task) -> bool:
        """Read the note of a task, if its file is another than it was; return whether it says something else."""
        path = self.path(task.key)
        try:
            status = os.stat(path)
            found = status.st_ino, status.st_mtime_ns, status.st_size
            if found == self.known[task.key]:
                return False
            text = read(path)
        except OSError:
            return False
        self.known[task.key] = found if is_settled(status.st_mtime_ns) else None
        if text in ("", task.note):
            return False
        task.note = text
        return True

    def forget(self, tasks: Iterable[Task]) -> None:
        """Remove the files of tasks that have ended."""
        for task in tasks:
            if self.known.pop(task.key, 0) != 0 or task.before:
                path = self.path(task.key)
                for name in (path, path + ".end", path + ".before", path + ".new"):
                    try:
                        os.unlink(name)
                    except OSError:
                        pass


def is_settled(changed: int) -> bool:
    """Return whether what changes now has another time than this one: clocks of filesystems tick slowly."""
    return abs(time.time() - changed / 1e9) > SETTLED


def key_of(name: str) -> Key | None:
    """Return the task whose note is in a file of this name; None: it is something else."""
    parts = name.split(".")
    if len(parts) != 5 or not name.isascii() or not all(map(str.isdigit, parts)):
        return None
    run, version, index, epoch, attempt = map(int, parts)
    return run, version, index, epoch, attempt


def read(path: str) -> str:
    """Return the note in a file, as `parsed`. OSError: it cannot be read."""
    file = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        return parsed(os.read(file, LARGEST + 1))
    finally:
        os.close(file)


def parsed(data: bytes) -> str:
    """Return a note as it is kept; empty: it is no JSON object, or not yet whole."""
    try:
        text = compact(data)
    except ValueError:
        return ""
    return text if text.startswith("{") else ""
