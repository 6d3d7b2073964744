"""A channel to a launcher on this machine: two pipes to a child, or a socket to one that outlived its engine."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import trio

from daggy.launcher import frames
from daggy.launcher.host import Channel

LEFT: list[trio.Process] = []
"""Launchers that this process started and left alone: to be waited for, some time after they have ended."""
PIPE = 1 << 16
"""Bytes that a pipe holds."""
HEAR_OUT = 5.0
"""Seconds that a launcher whose answers make no sense has to die of its own."""


class LocalChannel(Channel):
    """Frames over file descriptors, which it owns.

    Args:
        number: The launcher's number.
        source: Where answers come from.
        sink: Where frames go: another descriptor, or the same for a socket.
        process: The launcher, if it is a child of this process.
        log: The file that takes its standard error.
    """

    def __init__(
        self, number: int, source: int, sink: int, process: trio.Process | None = None, log: Path | None = None
    ) -> None:
        """Take over open descriptors."""
        super().__init__(number)
        self.process = process
        self.early: list[frames.Answer] = []
        """Answers that came before `serve`, which passes them on."""
        self._source, self._sink, self._log = source, sink, log
        for descriptor in {source, sink}:
            os.set_blocking(descriptor, False)
        self._cutter = frames.Frames()
        self._outbox = bytearray()
        self._bell = trio.Event()
        self._is_garbled = False

    def send(self, frame: bytes) -> None:
        """Send a frame, in order: at once if there is room for it; a frame to a launcher that has gone is dropped."""
        waiting = bool(self._outbox)
        self._outbox.extend(frame)
        if not waiting:
            self._push()
            if self._outbox:
                self._bell.set()

    def _push(self) -> None:
        """Write what the pipe takes now."""
        try:
            del self._outbox[: os.write(self._sink, self._outbox)]
        except BlockingIOError:
            pass
        except OSError:  # it has gone, or the channel is closed: reading notices
            self._outbox.clear()

    async def flush(self) -> None:
        """Write all that waits."""
        while self._outbox:
            await trio.lowlevel.wait_writable(self._sink)
            self._push()

    def close(self, *, leave: bool = False) -> None:
        """Close once everything is sent: the launcher ends what it still runs, unless it is left alone."""
        self.is_closing, self.is_left = True, leave
        self._bell.set()

    async def receive(self) -> list[frames.Answer]:
        """Return what has come; empty if the launcher has gone, or what it says cannot be understood."""
        while True:
            try:
                await trio.lowlevel.wait_readable(self._source)  # a stream would cost another round of trio's loop
                data = os.read(self._source, PIPE)
                answers = self._cutter.feed(data)
            except BlockingIOError:
                continue
            except (OSError, trio.ClosedResourceError):
                return []
            except frames.WireError:
                self._is_garbled = True
                return []
            if answers or not data:
                return answers

    async def serve(self, hear: Callable[[list[frames.Answer]], None]) -> None:
        """Carry frames both ways until the stream ends and a child has been waited for, or it is left alone."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._write, nursery.cancel_scope)
                if self.early:
                    hear(self.early)
                while answers := await self.receive():
                    hear(answers)
                nursery.cancel_scope.cancel()
            if self.process is not None and not self.is_left:
                await self._until_ended(self.process)
        finally:
            self.drop()
            if self.process is not None and self.process.returncode is None:
                LEFT.append(self.process)

    async def _until_ended(self, process: trio.Process) -> None:
        if self._is_garbled:  # without its streams it ends its tasks and leaves
            self.drop()
            with trio.move_on_after(HEAR_OUT):
                await process.wait()
            process.kill()
        await process.wait()

    async def _write(self, scope: trio.CancelScope) -> None:
        """Write what did not go at once, and close our end when all is written."""
        try:
            while self._outbox or not self.is_closing:
                await self._bell.wait()
                self._bell = trio.Event()
                await self.flush()
        except (OSError, trio.ClosedResourceError):
            return  # reading notices
        if self.is_left:
            scope.cancel()
        else:
            self._close_sink()

    def _close_sink(self) -> None:
        sink, self._sink = self._sink, -1
        if sink not in (-1, self._source):
            trio.lowlevel.notify_closing(sink)
            os.close(sink)

    def drop(self) -> None:
        """Close our ends at once: a launcher that does not linger ends its tasks and leaves."""
        self._close_sink()
        source, self._source = self._source, -1
        if source != -1:
            trio.lowlevel.notify_closing(source)
            os.close(source)

    @property
    def failure(self) -> str:
        """Why a child that ended before it answered cannot run here; empty if it was killed."""
        if self.process is None or self.process.returncode in (None, -signal.SIGKILL):
            return ""
        return self.last_words

    @property
    def last_words(self) -> str:
        """The last line that a child wrote to its log."""
        lines = self._log.read_text(errors="replace").strip().splitlines() if self._log else []
        return lines[-1] if lines else "it said nothing"
