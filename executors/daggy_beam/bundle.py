"""A parcel as a Beam pipeline: each element runs a shard of its tasks. It needs Python 3.8 and Beam."""

from __future__ import annotations

import sys
from typing import Any, Iterator, Tuple

import apache_beam as beam

ELEMENT = """\
import ctypes, os, signal, sys
parent, program = int(sys.argv.pop(1)), sys.argv.pop(1)
ctypes.CDLL(None).prctl(1, signal.SIGTERM)
if os.getppid() == parent:
    sys.path.insert(0, program)
    from daggy.launcher.program.parcel import main
    main()
"""
"""Runs an element, which is asked to end when its parent has died: the parent's process id, the program's folder, the
parcel's, the element's number and its size are the arguments."""


class RunShard(beam.DoFn):  # type: ignore[misc]  # Beam has no types here
    """Runs the tasks of an element, whose files say what became of them.

    All is imported where it is used: older Beams pickle this class without the globals of its module.

    Args:
        boot: The text that a Python runs.
        folder: The parcel's.
        each: How many tasks an element has.
        program: The folder of what runs an element.
        lock: A file that elements hold a lock on, on the machine of the engine.
    """

    def __init__(self, boot: str, folder: str, each: str, program: str, lock: str) -> None:
        self.boot, self.folder, self.each, self.program, self.lock = boot, folder, each, program, lock

    def process(self, element: int) -> Iterator[int]:
        """Run them; whoever has claimed one of them has it.

        Raises:
            RuntimeError: this worker does not see the parcels.
        """
        import os
        import socket

        home = os.path.dirname(self.folder)
        if not os.path.isdir(home):
            raise RuntimeError(
                "worker %s does not see '%s'; let `staging` of the pool be a directory that the server and all "
                "workers see" % (socket.gethostname(), home)
            )
        for _ in range(int(self.each)):  # one that is killed takes the task with it that it runs, and no other
            if not self.is_killed(element):
                break
        yield element

    def is_killed(self, element: int) -> bool:
        """Run what is unclaimed of an element; return whether its process was ended by a signal."""
        import os
        import subprocess
        import sys

        command = [sys.executable, "-I", "-S", "-E", "-X", "utf8", "-c", self.boot]
        rest = [str(os.getpid()), self.program, self.folder, str(element), self.each]
        held = self.hold()
        try:
            child = subprocess.Popen(command + rest, pass_fds=held)
        except OSError as error:  # a bundle that fails is run again, and others with it
            sys.stderr.write("daggy: no process can be started: %s\n" % error)
            return False
        finally:
            for lock in held:
                os.close(lock)
        self.follow(child)
        return child.returncode < 0

    def hold(self) -> Tuple[int, ...]:
        """Return what an element and its tasks are to hold, if they run on the machine of the engine."""
        import fcntl
        import os

        try:
            lock = os.open(self.lock, os.O_RDONLY)
        except OSError:
            return ()
        fcntl.flock(lock, fcntl.LOCK_SH)
        return (lock,)

    def follow(self, child: Any) -> None:
        """Wait until an element has ended, and let it know when something is to be ended."""
        import os
        import signal

        known = None
        while not self.has_ended(child):
            try:
                found = os.stat(self.folder + "/kill")
            except OSError:
                continue
            if (found.st_ino, found.st_mtime_ns) != known and self.listens(child.pid):
                known = (found.st_ino, found.st_mtime_ns)
                child.send_signal(signal.SIGUSR1)

    def has_ended(self, child: Any) -> bool:
        """Return whether a process has ended, after a second if it has not."""
        import os
        import select
        import subprocess

        if not hasattr(os, "pidfd_open"):  # before Python 3.9
            try:
                child.wait(1.0)
            except subprocess.TimeoutExpired:
                return False
            return True
        watched, poller = os.pidfd_open(child.pid), select.poll()
        try:
            poller.register(watched, select.POLLIN)
            poller.poll(1000)
        finally:
            os.close(watched)
        return child.poll() is not None

    def listens(self, pid: int) -> bool:
        """Return whether a process has come so far that the signal does not end it."""
        import signal

        try:
            with open("/proc/%d/status" % pid) as file:
                caught = next(line for line in file if line.startswith("SigCgt:"))
        except (OSError, StopIteration):
            return False
        return bool(int(caught.split()[1], 16) >> (signal.SIGUSR1 - 1) & 1)


def main(folder: str, elements: str, *rest: str) -> None:
    """Run the elements of a parcel."""
    with beam.Pipeline() as pipeline:
        shards = pipeline | "Shards" >> beam.Create(range(int(elements))) | beam.Reshuffle()
        shards | "Tasks" >> beam.ParDo(RunShard(ELEMENT, folder, *rest))


if __name__ == "__main__":
    if sys.argv[1:]:
        main(*sys.argv[1:])
    else:
        beam.Pipeline()  # only to see whether the runner is there, and knows the options
