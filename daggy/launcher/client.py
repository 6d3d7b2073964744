"""A launcher as its engine sees it: a process at the other end of two pipes, batches out, answers in."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO

import trio
from attrs import field, frozen

from daggy.launcher import frames

PYTHON = ("-I", "-S", "-E", "-X", "utf8")
"""Flags that have the interpreter up in milliseconds, whatever its site and environment hold."""
BOOT = "import sys; sys.path.append(sys.argv[1]); from daggy.launcher.program.main import main; main()"
"""Runs the launcher as a module, so that its compiled form is found again."""
OWNER = "pool"
"""File in a launcher's folder: the name of its pool."""
LOCK = "lock"
"""File in a launcher's folder that it keeps locked while it lives; once it is removed nobody can."""
LEFT: list[trio.Process] = []
"""Launchers that this process started and left alone: to be waited for, some time after they have ended."""
PIPE = 1 << 16
"""Bytes that a pipe holds."""
HEAR_OUT = 5.0
"""Seconds that a launcher whose answers make no sense has to die of its own."""


def local_command() -> list[str]:
    """Return the argv that starts a launcher on this machine."""
    return [sys.executable, *PYTHON, "-c", BOOT, str(Path(__file__).absolute().parents[2])]


@frozen(eq=False)
class Client:
    """One launcher process. `start` makes it; `serve` must run while it is used.

    Args:
        number: The launcher's number, unique in its state directory.
        process: The process, in a session of its own.
    """

    number: int
    process: trio.Process
    _outbox: bytearray = field(factory=bytearray)
    _bell: list[trio.Event] = field(factory=lambda: [trio.Event()])
    _closing: list[bool] = field(factory=lambda: [False])
    _leaving: list[bool] = field(factory=lambda: [False])

    @classmethod
    async def start(cls, number: int, command: Sequence[str], hello: bytes, log: IO[bytes] | int) -> Client:
        """Start a launcher and greet it; `log` takes what it says on standard error.

        Raises:
            OSError: it cannot be started.
        """
        LEFT[:] = [left for left in LEFT if left.poll() is None]
        process = await trio.lowlevel.open_process(
            list(command), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, start_new_session=True, cwd="/"
        )
        client = cls(number, process)
        client.send(hello)
        return client

    @property
    def closing(self) -> bool:
        """Whether `close` was called: its end is no surprise."""
        return self._closing[0]

    def send(self, frame: bytes) -> None:
        """Send a frame, in order: at once if the launcher has room for it; to one that has gone it goes nowhere."""
        waiting = bool(self._outbox)
        self._outbox.extend(frame)
        if not waiting:
            self._push()
            if self._outbox:
                self._bell[0].set()

    def _push(self) -> None:
        """Write what the pipe takes now."""
        assert isinstance(self.process.stdin, trio.lowlevel.FdStream)
        try:
            del self._outbox[: os.write(self.process.stdin.fileno(), self._outbox)]
        except BlockingIOError:
            pass
        except OSError:  # it has gone, or we have let it go: reading tells
            self._outbox.clear()

    @property
    def is_left(self) -> bool:
        """Whether it was let alone: it goes on, and another engine meets it."""
        return self._leaving[0]

    def close(self, *, leave: bool = False) -> None:
        """Let the launcher go once everything is sent: it ends what it still runs, unless it is left alone."""
        self._closing[0] = True
        self._leaving[0] = leave
        self._bell[0].set()

    async def serve(self, hear: Callable[[list[frames.Answer]], None]) -> None:
        """Carry frames both ways until the launcher has ended and been waited for, or is left alone.

        Args:
            hear: Takes what each wake-up brought; never blocks.
        """
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._write, nursery.cancel_scope)
                await self._read(hear)
                nursery.cancel_scope.cancel()
            if not self.is_left:
                await self.process.wait()
        finally:
            self._drop()
            if self.process.returncode is None:
                LEFT.append(self.process)

    async def _read(self, hear: Callable[[list[frames.Answer]], None]) -> None:
        assert isinstance(self.process.stdout, trio.lowlevel.FdStream)
        source = self.process.stdout.fileno()
        cutter = frames.Frames()
        try:
            while True:
                await trio.lowlevel.wait_readable(
                    source
                )  # a stream would go once more around trio's loop for each read
                data = os.read(source, PIPE)
                if not data:
                    return
                hear(cutter.feed(data))
        except frames.WireError:  # nothing that it says from here on can be understood: let it end its tasks
            self._drop()
            with trio.move_on_after(HEAR_OUT):
                await self.process.wait()
            self.process.kill()

    async def _write(self, scope: trio.CancelScope) -> None:
        """Write what did not go at once, and close our end when all is written."""
        assert isinstance(self.process.stdin, trio.lowlevel.FdStream)
        try:
            while self._outbox or not self.closing:
                await self._bell[0].wait()
                self._bell[0] = trio.Event()
                while self._outbox:
                    await trio.lowlevel.wait_writable(self.process.stdin.fileno())
                    self._push()
            await self.process.stdin.aclose()
            if self.is_left:
                scope.cancel()
        except (OSError, trio.ClosedResourceError):
            pass  # we have let it go

    def _drop(self) -> None:
        """Close our ends at once: the launcher, should it live, ends its tasks and leaves."""
        for stream in (self.process.stdin, self.process.stdout):
            if isinstance(stream, trio.lowlevel.FdStream):
                stream.close()


def claim(directory: Path, pool: str = "") -> int:
    """Claim a launcher's number, new in this state directory, and make `launchers/<number>/`, which says whose it is.

    Raises:
        OSError: the directory cannot be written to.
        ValueError: all numbers are used up.
    """
    home = directory / "launchers"
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    taken = sorted(int(entry.name) for entry in home.iterdir() if entry.name.isdigit())
    number = taken[-1] + 1 if taken else 1
    while number < 1 << 16:
        try:
            (home / str(number)).mkdir(mode=0o700)
            (home / str(number) / LOCK).touch(mode=0o600)
        except FileExistsError:
            number += 1
            continue
        if pool:
            owner = home / str(number) / OWNER
            owner.touch(0o600)
            owner.write_text(pool)
        _sweep(home, taken)
        return number
    raise ValueError(f"all launcher numbers of '{directory}' are used up; begin a new state directory")


def _sweep(home: Path, numbers: Sequence[int]) -> None:
    """Remove the empty folders of earlier launchers: a higher number keeps theirs from being given again."""
    for number in numbers:
        try:
            (home / str(number)).rmdir()
        except OSError:
            continue
