"""HTTP on a listening socket: hypercorn's protocol with limits on connections, waiting, and shutdown."""

from __future__ import annotations

import logging
import resource
import socket
from typing import Any, cast

import trio
from attrs import define, field
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.events import Closed, Event, RawData
from hypercorn.protocol.h11 import H11Protocol
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState

from daggy.seldom import Seldom
from daggy.server.exchange import App
from daggy.server.tls import Tls

LOG = logging.getLogger("daggy.server")

MOST = 1000
"""Connections at once; further ones wait until one is closed."""

IDLE = 20.0
"""Seconds for the first request of a connection to come whole, but for its body, and between two requests."""

UNREAD = 30.0
"""Seconds for which a client may read nothing of an answer."""

GRACE = 1.0
"""Seconds that open requests are given at the end."""

LONGEST_HEAD = 32_768
"""Bytes of a request without its body."""


class Http1(H11Protocol):
    """HTTP/1.1 only: no upgrades."""

    async def _check_protocol(self, event: Any) -> None:
        """Stay with it."""


class Connection(TCPServer):
    """One connection."""

    async def _read_data(self) -> None:
        known = cast("Any", self.protocol).protocol
        shared = (known.app, known.config, known.context, known.task_group, known.connection_state)
        self.protocol = cast("Any", Http1(*shared, known.ssl, known.client, known.server, known.send))
        await super()._read_data()
        await self.idle_task.stop()  # a client that has gone is not waited for

    async def protocol_send(self, event: Event) -> None:
        """Send; close if the client reads nothing."""
        if not isinstance(event, RawData):
            await super().protocol_send(event)
            return
        async with self.send_lock:
            try:
                with trio.fail_after(UNREAD) as scope:
                    scope.shield = True  # what is cut short in the middle cannot be gone on with
                    await self.stream.send_all(event.data)
            except trio.TooSlowError:
                self.cut()
                await self.protocol.handle(Closed())
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                await self.protocol.handle(Closed())

    def cut(self) -> None:
        """Close it at once."""
        stream: Any = self.stream
        getattr(stream, "transport_stream", stream).socket.close()


@define(eq=False)
class Bounded(trio.abc.Listener[trio.SocketStream]):
    """A listener that takes a connection only while there is room."""

    inner: trio.SocketListener
    room: trio.Semaphore

    async def accept(self) -> trio.SocketStream:
        """Return the next connection."""
        await self.room.acquire()
        try:
            return await self.inner.accept()
        except BaseException:
            self.room.release()
            raise

    async def aclose(self) -> None:
        """Listen no more."""
        await self.inner.aclose()


@define(eq=False)
class Place:
    """A connection's place among those that there may be at once; one that stays for long gives it back early."""

    room: trio.Semaphore
    is_taken: bool = True

    def give_back(self) -> None:
        """Let another connection have it."""
        if self.is_taken:
            self.is_taken = False
            self.room.release()


def _most() -> int:
    """Return how many connections there may be: files are needed for other things, too."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MOST if files == resource.RLIM_INFINITY else min(MOST, max(10, files // 2))


def _settings() -> Config:
    config = Config()
    config.keep_alive_timeout = IDLE
    config.read_timeout = None  # an answer may take long, and its client sends nothing meanwhile
    config.h11_max_incomplete_size = LONGEST_HEAD
    config.errorlog = LOG
    config.accesslog = None
    config.include_server_header = False
    return config


@define(eq=False)
class Listening:
    """An application on a socket that listens.

    Args:
        app: The application.
        listener: The socket; it is closed at the end.
        tls: Encrypts connections; None: they are not encrypted.
        over: Set from outside when it is to end.
    """

    app: App
    listener: socket.socket
    tls: Tls | None = None
    over: trio.Event = field(factory=trio.Event)
    _config: Config = field(factory=_settings)
    _context: WorkerContext = field(factory=lambda: WorkerContext(None))
    _room: trio.Semaphore = field(factory=lambda: trio.Semaphore(_most()))
    _open: set[Connection] = field(factory=set)
    _failed: Seldom = field(factory=Seldom)
    _left: trio.Event = field(factory=trio.Event)

    async def vacated(self) -> None:
        """Return when nobody is connected."""
        while self._open:
            await self._left.wait()

    async def run(self) -> None:
        """Serve until it is over: idle connections are closed then, others have a moment."""
        inner = trio.SocketListener(trio.socket.from_stdlib_socket(self.listener))
        async with trio.open_nursery() as nursery:
            async with trio.open_nursery() as connections:
                async with trio.open_nursery() as accepting:
                    accepting.start_soon(self._accept, Bounded(inner, self._room), connections)
                    await self.over.wait()
                    accepting.cancel_scope.cancel()
                await self._context.terminated.set()
                connections.cancel_scope.deadline = trio.current_time() + GRACE
                nursery.start_soon(self._cut)
            nursery.cancel_scope.cancel()

    async def _accept(self, listener: Bounded, connections: trio.Nursery) -> None:
        await trio.serve_listeners(self._serve, [listener], handler_nursery=connections)

    async def _serve(self, stream: trio.SocketStream) -> None:
        place = Place(self._room)
        app, state = ASGIWrapper(cast("Any", self.app)), ConnectionState(cast("Any", {"stay": place.give_back}))
        whole: Any = stream
        if self.tls is not None:
            context = self.tls.current(trio.current_time())
            whole = trio.SSLStream(stream, context, server_side=True, https_compatible=True)
        connection = Connection(app, self._config, self._context, cast("Any", state), whole)
        self._open.add(connection)
        try:
            await connection.run()
        except Exception as error:  # an error of one connection must not affect others
            if said := self._failed.of(f"a connection failed: {type(error).__name__}", trio.current_time()):
                LOG.exception(said)
        finally:
            self._open.discard(connection)
            place.give_back()
            self._left.set()
            self._left = trio.Event()

    async def _cut(self) -> None:
        """Close connections that are still sending after the deadline: their clients do not read."""
        await trio.sleep(GRACE)
        for connection in self._open:
            connection.cut()
