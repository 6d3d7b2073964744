"""A line through a command whose standard input and output lead to a Python on another machine, or in a container."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Callable, Sequence

import trio

from daggy.launcher.line import AwayError, Line, UnfitError

KEPT = 1 << 14
"""Bytes of what a command writes to its standard error that are kept."""
LEAVE = 2.0
"""Seconds that a command has to end when its standard input is closed."""

Explain = Callable[[int, str, bytes], AwayError | UnfitError]
"""Turns the exit code of a command, the end of its standard error, and what came instead of a relay into an error."""


def explained(code: int, words: str, heard: bytes) -> AwayError | UnfitError:
    """Return what is to be said of a command of which nothing else is known."""
    said = words or heard.decode("utf-8", "replace").strip()
    last = said.splitlines()[-1] if said else f"exit code {code}"
    if code == 127:
        return UnfitError(f'no Python was found there ({last}); set "python"')
    return UnfitError(last)


class CommandLine(Line):
    """The standard streams of a process."""

    def __init__(self, process: trio.Process, explain: Explain) -> None:
        """Take over a process that was started by `start`."""
        self._process, self._explain = process, explain
        self._words = bytearray()

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send bytes."""
        assert self._process.stdin is not None
        await self._process.stdin.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until there is room."""
        assert self._process.stdin is not None
        await self._process.stdin.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """Receive bytes; empty: it has ended."""
        assert self._process.stdout is not None
        return await self._process.stdout.receive_some(max_bytes)

    async def failure(self, heard: bytes) -> AwayError | UnfitError:
        """Return why the command ended."""
        assert self._process.stderr is not None
        with trio.move_on_after(LEAVE):
            with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                while data := await self._process.stderr.receive_some():
                    self._words += data
                    del self._words[:-KEPT]
            await self._process.wait()
        if self._process.returncode is None:
            return AwayError("nothing comes from there")
        words = self._words.decode("utf-8", "replace").strip()
        return self._explain(self._process.returncode, words, heard)

    async def aclose(self) -> None:
        """End the command."""
        process = self._process
        try:
            for stream in (process.stdin, process.stdout, process.stderr):
                if stream is not None:
                    await trio.aclose_forcefully(stream)
            with trio.move_on_after(LEAVE):
                await process.wait()
        finally:
            if process.returncode is None:
                process.kill()
                with trio.CancelScope(shield=True):
                    await process.wait()


async def start(command: Sequence[str], program: bytes, explain: Explain = explained) -> CommandLine:
    """Start a command that runs `bundle.boot` somewhere, and send it the program.

    Raises:
        UnfitError: there is no such command here.
    """
    try:
        process = await trio.lowlevel.open_process(
            list(command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except OSError as error:
        raise UnfitError(f"'{command[0]}' cannot be run here: {error.strerror}") from None
    line = CommandLine(process, explain)
    try:
        with contextlib.suppress(trio.BrokenResourceError):  # reading says why
            await line.send_all(program)
    except BaseException:
        with trio.CancelScope(shield=True):
            await line.aclose()
        raise
    return line
