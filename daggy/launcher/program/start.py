"""Start an attempt as a process in a session of its own, or give the reason why it cannot start."""

from __future__ import annotations

import errno
import os
import resource
import sys
import time

from daggy.launcher.program.gpus import Gpus, visible
from daggy.launcher.program.light import signal
from daggy.launcher.program.notes import Notes
from daggy.launcher.program.outputs import Outputs
from daggy.launcher.program.spool import write_whole
from daggy.launcher.program.task import Task
from daggy.launcher.program.wire import SPAWN

NO_ROOM = {
    errno.EAGAIN, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOSPC,
    errno.EROFS,
}  # fmt: skip


class UnstartableError(Exception):
    """A task cannot be started; the text is for its author."""


def encoded(environment: dict[str, str]) -> dict[bytes, bytes]:
    """Return an environment as the system has it."""
    code = sys.getfilesystemencoding()
    return {
        name.encode(code, "surrogateescape"): value.encode(code, "surrogateescape")
        for name, value in environment.items()
    }


def find(name: str, environment: dict[bytes, bytes]) -> str:
    """Find a program in a task's own PATH; relative folders count from the current directory."""
    if "/" in name:
        return name
    places = os.fsdecode(environment.get(b"PATH", os.defpath))
    for folder in places.split(":"):
        path = (folder or ".") + "/" + name
        if os.access(path, os.X_OK) and not os.path.isdir(path):
            return path
    if not name:
        raise UnstartableError("empty command: its first word is the program to run")
    raise UnstartableError("no such file: '%s' (PATH=%s)" % (name, places))


def reason(error: Exception, path: str, task: Task) -> str:
    """Return why a program could not be started."""
    code = error.errno if isinstance(error, OSError) else 0
    if code == errno.ENOENT and os.path.exists(path):
        return "cannot run '%s': the interpreter that its first line names does not exist" % path
    if code == errno.ENOENT:
        return "no such file: '%s' (directory %s)" % (path, task.directory)
    if code == errno.EACCES:
        return "not executable: '%s'" % path
    if code == errno.ENOEXEC:
        return "cannot run '%s': not a program; a script needs a #! line" % path
    if code == errno.E2BIG:
        size = sum(len(str(word)) for pair in task.environment.items() for word in pair) + sum(map(len, task.argv))
        return "arguments and environment too long: %d characters; put them in a file or in stdin" % size
    return "cannot run '%s': %s" % (path, error)


def base_environment(settings: dict[str, str], inherit: bool) -> dict[str, str]:
    """Return the variables that every task has: the settings', and below them those of this process if it inherits.

    Those are read as they were given to this process: an interpreter that finds no locale sets LC_CTYPE in its own.
    """
    with open("/proc/self/environ", "rb") as file:
        pairs = [pair.partition("=") for pair in os.fsdecode(file.read()).split("\0") if "=" in pair]
    own = {name: value for name, _, value in pairs if inherit and not name.startswith("DAGGY_")}
    return {**own, **settings}


class Starter:
    """Starts tasks.

    Args:
        outputs: Gives each task its pair of files.
        notes: Where each task may tell of itself.
        instance: First part of every ticket.
        base: Variables of every task's environment, which the task's own override.
        gpus: Hands out the machine's GPUs.
    """

    def __init__(self, outputs: Outputs, notes: Notes, instance: str, base: dict[str, str], gpus: Gpus) -> None:
        """Set all signals of children to their defaults: libc looks up how each one that is left out is handled."""
        self.outputs, self.notes, self.instance, self.base, self.gpus = outputs, notes, instance, encoded(base), gpus
        self.signals = tuple(signal.valid_signals())

    def environment(self, task: Task) -> dict[bytes, bytes]:
        """Return the whole environment of a task, as bytes: that of all tasks is encoded once."""
        run, _, index, _, attempt = task.key
        own = {
            **task.environment, "DAGGY_RUN_ID": "%d" % run, "DAGGY_TASK_INDEX": "%d" % index,
            "DAGGY_ATTEMPT": "%d" % attempt, "DAGGY_TICKET": "%s:%d.%d.%d.%d.%d" % (self.instance, *task.key),
            "DAGGY_NOTE": self.notes.path(task.key),
        }  # fmt: skip
        if task.generator:
            own["DAGGY_GENERATE"] = self.outputs.answer(task)
        if task.result:
            own["DAGGY_RESULT"] = self.outputs.result(task)
        if task.before:
            own["DAGGY_NOTE_BEFORE"] = self.notes.lay(task.key, task.before)
        if task.gpus:
            own.update(visible(task.gpus))
        base = self.base if not task.queue.environment else {**self.base, **task.queue.environment}
        if None in own.values():
            unset = encoded({name: "" for name, value in own.items() if value is None})
            own = {name: value for name, value in own.items() if value is not None}
            return {**{name: value for name, value in base.items() if name not in unset}, **encoded(own)}
        return {**base, **encoded(own)}

    def start(self, task: Task) -> None:
        """Start a task, or set its reason to SPAWN. OSError: the machine has no room for it at the moment."""
        self.outputs.open(task)
        files: list[tuple[int, int, int]] = []
        path = ""
        try:
            if task.generator:
                self.outputs.clear_answer(task)
            if task.queue.gpus:
                task.gpus = self.gpus.take(task.queue.gpus)
                for lock in task.gpus.values():  # the task holds them too, should this launcher die
                    os.set_inheritable(lock, True)
            environment = self.environment(task)
            if task.stdin:  # else it inherits ours, which is empty
                files.append((os.POSIX_SPAWN_DUP2, self.source(task, task.stdin), 0))
            files.append((os.POSIX_SPAWN_DUP2, self.outputs.reopened(task.out), 1))
            files.append((os.POSIX_SPAWN_DUP2, self.outputs.reopened(task.err), 2))
            enter(task.directory)
            path = find(task.argv[0] if task.argv else "", environment)
            task.started = time.time()
            task.pid = os.posix_spawn(
                path, task.argv, environment, file_actions=files, setsid=True, setsigmask=(), setsigdef=self.signals
            )
        except (UnstartableError, ValueError, OSError) as error:
            if getattr(error, "errno", 0) in NO_ROOM:
                self.outputs.close(task)
                raise
            task.reason, task.started = SPAWN, 0.0
            task.message = str(error) if isinstance(error, UnstartableError) else reason(error, path, task)
        finally:
            for _, descriptor, _ in files:
                os.close(descriptor)
            for lock in task.gpus.values():
                os.set_inheritable(lock, False)

    def source(self, task: Task, text: str) -> int:
        """Open a file with what a task reads as standard input."""
        source = self.outputs.unnamed(task.key[0])
        try:
            write_whole(source, text.encode("utf-8", "surrogateescape"), 0)
        except (OSError, ValueError):
            os.close(source)
            raise
        os.lseek(source, 0, os.SEEK_SET)
        return source


def enter(directory: str) -> None:
    """Change to a task's working directory."""
    try:
        os.chdir(directory)
    except OSError as error:
        words = {errno.ENOENT: "no such directory", errno.ENOTDIR: "not a directory"}
        raise UnstartableError("%s: '%s'" % (words.get(error.errno or 0, error.strerror), directory)) from None


def make_room(needed: int) -> None:
    """Raise the limit of open descriptors to what is needed, as far as it can be raised."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if needed > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed if hard < 0 else min(needed, hard), hard))
