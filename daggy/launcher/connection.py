"""A launcher that outlived its engine, as the next engine meets it: a connection to the socket in its folder."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable
from pathlib import Path

import trio
from attrs import frozen

from daggy.attempt import Reports
from daggy.launcher import frames

SOCKET = "socket"
"""Its name in a launcher's folder."""
PATIENCE = 15.0
"""Seconds that a launcher has to say what it knows."""
PIECE = 1 << 16


class Connection:
    """One launcher at the other end of a socket. `serve` must run while it is used."""

    def __init__(self, number: int, stream: trio.SocketStream) -> None:
        """Take over an open socket; `meet` makes one."""
        self.number = number
        self.closing = False
        self._stream = stream
        self._cutter = frames.Frames()
        self._outbox = bytearray()
        self._bell = trio.Event()

    def send(self, frame: bytes) -> None:
        """Send a frame, in order; to one that has gone it goes nowhere."""
        self._outbox.extend(frame)
        self._bell.set()

    def close(self) -> None:
        """Let the launcher alone once everything is sent: it goes on with what it runs."""
        self.closing = True
        self._bell.set()

    async def receive(self) -> list[frames.Answer]:
        """Return what has come; empty if the launcher has gone."""
        while True:
            try:
                data = await self._stream.receive_some(PIECE)
                answers = self._cutter.feed(data)
            except (trio.BrokenResourceError, trio.ClosedResourceError, frames.WireError):
                return []
            if answers or not data:
                return answers

    async def serve(self, hear: Callable[[list[frames.Answer]], None]) -> None:
        """Carry frames both ways until the launcher has gone, or is let alone."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._write, nursery.cancel_scope)
            while answers := await self.receive():
                hear(answers)
            nursery.cancel_scope.cancel()
        with trio.CancelScope(shield=True):
            await self.drop()

    async def _write(self, scope: trio.CancelScope) -> None:
        with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            while self._outbox or not self.closing:
                await self._bell.wait()
                self._bell = trio.Event()
                while self._outbox:
                    data, self._outbox = self._outbox, bytearray()
                    await self._stream.send_all(data)
        if self.closing:
            scope.cancel()

    async def drop(self) -> None:
        """Close the socket at once."""
        with contextlib.suppress(OSError):
            await trio.aclose_forcefully(self._stream)


@frozen(eq=False)
class Met:
    """A launcher that was found alive, and all that it knows.

    Args:
        connection: The way to it.
        reports: Finishes that nobody has acknowledged, then a start for each task that runs.
    """

    connection: Connection
    reports: Reports


async def meet(home: Path, hello: bytes) -> Met | None:
    """Return a living launcher and what it says; None if there is none, or it does not answer.

    Args:
        home: Its folder; its name is the launcher's number.
        hello: The first frame for it.
    """
    with trio.move_on_after(PATIENCE):
        stream = await _connect(home)
        if stream is None:
            return None
        connection = Connection(int(home.name), stream)
        try:
            await stream.send_all(hello)
            told: list[frames.Told] = []
            while answers := await connection.receive():
                told += [answer for answer in answers if isinstance(answer, frames.Told)]
                if any(isinstance(answer, frames.Hello) for answer in answers):
                    return Met(connection, frames.joined(told))
        except (trio.BrokenResourceError, trio.Cancelled) as error:
            await connection.drop()
            if isinstance(error, trio.Cancelled):
                raise
        await connection.drop()
    return None


async def _connect(home: Path) -> trio.SocketStream | None:
    """Connect through the folder's descriptor: the path may be longer than a socket's address can be."""
    try:
        descriptor = os.open(home, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    end = trio.socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        await end.connect(f"/proc/self/fd/{descriptor}/{SOCKET}")
    except OSError:
        end.close()
        return None
    finally:
        os.close(descriptor)
    return trio.SocketStream(end)
