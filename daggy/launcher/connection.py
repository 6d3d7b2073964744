"""A launcher that outlived its engine, as the next engine meets it: a connection to the socket in its folder."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable
from pathlib import Path

import trio
from attrs import frozen

from daggy.attempt import Kind, Reports
from daggy.errors import DirectoryError
from daggy.launcher import frames
from daggy.launcher.frames import Key
from daggy.launcher.program.wire import VERSION

SOCKET = "socket"
"""Its name in a launcher's folder."""
PIECE = 1 << 16


class Connection:
    """One launcher at the other end of a socket. `serve` must run while it is used."""

    def __init__(self, number: int, end: socket.socket) -> None:
        """Take over an open socket; `meet` makes one."""
        self.number = number
        self.closing = False
        self.early: list[frames.Answer] = []
        """What was heard and is for whoever serves."""
        self._stream = trio.SocketStream(trio.socket.from_stdlib_socket(end))
        self._cutter = frames.Frames()
        self._outbox = bytearray()
        self._bell = trio.Event()

    def send(self, frame: bytes) -> None:
        """Send a frame, in order; to one that has gone it goes nowhere."""
        self._outbox.extend(frame)
        self._bell.set()

    async def flush(self) -> None:
        """Send at once what waits; BrokenResourceError if the launcher has gone."""
        data, self._outbox = self._outbox, bytearray()
        await self._stream.send_all(data)

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
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._write, nursery.cancel_scope)
                if self.early:
                    hear(self.early)
                while answers := await self.receive():
                    hear(answers)
                nursery.cancel_scope.cancel()
        finally:
            self.drop()

    async def _write(self, scope: trio.CancelScope) -> None:
        with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            while self._outbox or not self.closing:
                await self._bell.wait()
                self._bell = trio.Event()
                while self._outbox:
                    await self.flush()
        if self.closing:
            scope.cancel()

    def drop(self) -> None:
        """Close the socket at once."""
        self._stream.socket.close()


@frozen(eq=False)
class Met:
    """A launcher that was found alive, and all that it knows.

    Args:
        connection: The way to it.
        reports: Finishes that nobody has acknowledged, then a start for each task that runs.
        lanes: In which lane each of those runs, -1 if its slot is free already.
    """

    connection: Connection
    reports: Reports
    lanes: dict[Key, int]


async def meet(home: Path, hello: bytes, epoch: int) -> Met | None:
    """Return a living launcher and what it says; None if there is none, or it hangs up.

    Args:
        home: Its folder; its name is the launcher's number.
        hello: The first frame for it.
        epoch: The engine's, as in `hello`.

    Raises:
        DirectoryError: it lives, and does not work for this engine.
    """
    connection = await _connect(home)
    if connection is None:
        return None
    met = None
    try:
        connection.send(hello)
        met = await _ask(connection, home, epoch)
    finally:
        if met is None:
            connection.drop()
    return met


async def _ask(connection: Connection, home: Path, epoch: int) -> Met | None:
    """Say hello and return what it answers; it greets at the end of it."""
    try:
        await connection.flush()
    except trio.BrokenResourceError:
        return None
    told: list[frames.Told] = []
    greeting: frames.Hello | None = None
    while greeting is None:
        answers = await connection.receive()
        if not answers:
            return None
        for answer in answers:
            if greeting is None and isinstance(answer, frames.Told):
                told.append(answer)
            elif isinstance(answer, frames.Hello):
                greeting = answer
            else:  # trouble, or what came right behind
                connection.early.append(answer)
    _check(greeting, home, epoch)
    started = [tuple(key) for one in told for kind, *key in one.keys if kind == Kind.STARTED]
    return Met(connection, frames.joined(told), dict(zip(started, greeting.lanes, strict=True)))  # type: ignore[arg-type]


def _check(greeting: frames.Hello, home: Path, epoch: int) -> None:
    if greeting.version != VERSION:
        raise DirectoryError(
            f"'{home}': process {greeting.pid} was started by another version of Daggy and may still run tasks; "
            f"let that version take them up, or end it (kill {greeting.pid}), then start again"
        )
    if greeting.epoch != epoch:
        raise DirectoryError(
            f"'{home}': process {greeting.pid} works for a later engine ({greeting.epoch}; this one: {epoch}): is the "
            f"database an older copy? End it (kill {greeting.pid}), then start again"
        )


async def _connect(home: Path) -> Connection | None:
    """Connect through the folder's descriptor: the path may be longer than a socket's address can be."""
    try:
        descriptor = os.open(home, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    end = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    end.setblocking(False)
    try:
        end.connect(f"/proc/self/fd/{descriptor}/{SOCKET}")  # of this family, it is there at once or not at all
    except OSError:
        end.close()
        return None
    finally:
        os.close(descriptor)
    return Connection(int(home.name), end)
