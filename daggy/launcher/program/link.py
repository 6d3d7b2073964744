"""The connection to the engine, and the socket through which a later engine connects."""

from __future__ import annotations

import _socket
import os
import select
import time

from daggy.launcher.program.light import TYPE_CHECKING, dumps, loads
from daggy.launcher.program.wire import VERSION, Stream

if TYPE_CHECKING:
    from typing import Any

    Frame = tuple[int, bytes]


HELLO = ord("h")


class Listener:
    """A socket in the launcher's folder."""

    def __init__(self, folder: str) -> None:
        """Listen; the path may be longer than a socket's address can be, so it is reached through its folder."""
        self.path = folder + "/socket"
        if os.path.exists(self.path):
            os.unlink(self.path)
        home = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        self.socket = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_NONBLOCK)
        self.socket.bind("/proc/self/fd/%d/socket" % home)
        os.chmod(self.path, 0o600)
        self.socket.listen(8)
        os.close(home)
        self.descriptor = self.socket.fileno()

    def accept(self) -> Stream | None:
        """Return a new connection, None if it is gone already."""
        try:
            descriptor, _ = self.socket._accept()  # type: ignore[attr-defined] # noqa: SLF001 - importing `socket` is slow
        except OSError:
            return None
        return Stream(descriptor, os.dup(descriptor))


class Link:
    """Everything that this launcher waits for: signals, its engine, and engines that connect.

    Args:
        stream: The connection to the engine.
        wake: A descriptor that becomes readable with every signal.
        epoch: The engine's.
    """

    def __init__(self, stream: Stream, wake: int, epoch: int) -> None:
        """Begin with an engine."""
        self.stream, self.epoch = stream, epoch
        self.listener: Listener | None = None
        self.connecting: dict[int, Stream] = {}  # connections whose first frame has not arrived
        self.lost_at = 0.0  # since when there is no engine; 0: there is one
        self.full = False  # whether the engine accepts no more at the moment
        self.heard_at = time.clock_gettime(time.CLOCK_BOOTTIME)  # it goes on while the machine sleeps
        self.poller = select.poll()
        self.poller.register(wake, select.POLLIN)
        self.poller.register(stream.source, select.POLLIN)

    def listen(self, folder: str) -> None:
        """Let later engines connect."""
        self.listener = Listener(folder)
        self.poller.register(self.listener.descriptor, select.POLLIN)

    def wait(self, milliseconds: int) -> list[tuple[int, int]]:
        """Return the descriptors at which something happened, each with what; -1: wait until something does."""
        if self.stream.sink >= 0 and bool(self.stream.outbox) != self.full:
            self.full = not self.full
            if self.full:
                self.poller.register(self.stream.sink, select.POLLOUT)
            else:
                self.poller.unregister(self.stream.sink)
        return self.poller.poll(milliseconds)

    def receive(self, descriptor: int) -> list[Frame]:
        """Return the commands that arrived at a descriptor; a hello first if they are those of a new engine."""
        if descriptor == self.stream.source:
            self.heard_at = time.clock_gettime(time.CLOCK_BOOTTIME)
            return self.until_hello(self.stream.receive())
        if descriptor == self.stream.sink:
            self.stream.flush()
        elif self.listener and descriptor == self.listener.descriptor:
            stream = self.listener.accept()
            if stream:
                self.connecting[stream.source] = stream
                self.poller.register(stream.source, select.POLLIN)
        elif descriptor in self.connecting:  # else it was the engine's that was replaced a moment ago
            return self._meet(self.connecting[descriptor])
        return []

    def silence(self) -> float:
        """Return the seconds since an engine last said anything."""
        return time.clock_gettime(time.CLOCK_BOOTTIME) - self.heard_at

    def until_hello(self, frames: list[Frame]) -> list[Frame]:
        """Return the frames before a second hello, after which an engine is refused: others use the socket."""
        for at, (kind, _) in enumerate(frames):
            if kind == HELLO:
                self.greet(self.stream)
                self.stream.open = False
                return frames[:at]
        return frames

    def _meet(self, stream: Stream) -> list[Frame]:
        """Read from a new connection; an engine of no older epoch replaces the one that there was."""
        frames = stream.receive()
        if not frames and stream.open:
            return []
        del self.connecting[stream.source]
        self.poller.unregister(stream.source)
        try:
            kind, payload = frames[0]
            order = loads(payload) if kind == HELLO else {}
            version, epoch = order["version"], int(order["epoch"])
        except (IndexError, KeyError, TypeError, ValueError):
            stream.close()
            return []
        if version != VERSION or epoch < self.epoch:
            self.greet(stream)
            stream.close()
            return []
        self.disconnect()
        self.stream, self.epoch, self.lost_at = stream, epoch, 0.0
        self.heard_at = time.clock_gettime(time.CLOCK_BOOTTIME)
        self.poller.register(stream.source, select.POLLIN)
        return frames

    def greet(self, stream: Stream, lanes: tuple[int, ...] = ()) -> None:
        """Say who this is, and in which lanes the tasks run that were reported as running."""
        hello: dict[str, Any] = {"version": VERSION, "pid": os.getpid(), "epoch": self.epoch, "lanes": lanes}
        stream.send(b"H", dumps(hello))

    def ignore(self) -> None:
        """Accept no more commands."""
        if self.stream.source >= 0:
            self.poller.register(self.stream.source, 0)  # it may not be registered
            self.poller.unregister(self.stream.source)

    def disconnect(self) -> None:
        """Go on without an engine; what it sent and was not read is dropped."""
        self.ignore()
        if self.full:
            self.poller.unregister(self.stream.sink)
        self.stream.close()
        self.full = False
        self.lost_at = time.monotonic()
