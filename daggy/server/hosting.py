"""An engine behind HTTP: access control in front of an application that is loaded beside the running engine."""

from __future__ import annotations

import gc
import ipaddress
import socket
from collections.abc import Sequence
from typing import Any

import trio
from attrs import define, field

from daggy.engine.configuration import Configuration
from daggy.engine.engine import Engine
from daggy.engine.intake.reading import Intake
from daggy.server.access import Access, Identity, names_of
from daggy.server.agent_tokens import IsToken
from daggy.server.agents import Agents
from daggy.server.listening import Listening
from daggy.server.loading import Loading
from daggy.server.tls import Tls


@define(eq=False)
class Hosting:
    """An engine that can be asked on a socket.

    Args:
        engine: The engine.
        configuration: The operator's.
        token: Required of every request.
        listener: The socket.
        tls: Encrypts connections; None: they are not encrypted.
        takes_runs: Whether runs can be submitted and edited; else there is one, and it can only be read and killed.
        listening: Answers on the socket.
        is_token: Returns whether a text is the token.
    """

    engine: Engine
    configuration: Configuration
    token: str
    listener: socket.socket
    tls: Tls | None = None
    takes_runs: bool = True
    listening: Listening = field(init=False)
    is_token: IsToken = field(init=False)
    _loading: Loading = field(init=False)
    _access: Access = field(init=False)
    _agents: Agents = field(init=False)

    def __attrs_post_init__(self) -> None:
        """Put access control in front of what stands in for the application."""
        ip, port = self.listener.getsockname()[:2]
        self._loading = Loading(self.engine.readiness, takes_runs=self.takes_runs)
        identity = _identity(self.token, ip, port, self.configuration.server.names, is_secure=self.tls is not None)
        nodes, self.is_token = self.engine.nodes, identity.is_token
        self._agents = Agents(self.engine.directory.path, self.is_token, nodes.agent_pools, nodes.join)
        self._access = Access(self._loading, identity, self._agents)
        self.listening = Listening(self._access, self.listener, self.tls)

    async def load(self) -> None:
        """Load the application beside the running engine; then measure the lateness of the loop, and watch tokens."""
        app, meter = await trio.to_thread.run_sync(self._make)
        self._access.count = meter.count
        self._loading.finish(app)
        gc.freeze()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(meter.watch)
            nursery.start_soon(self._agents.watch)

    def _make(self) -> tuple[Any, Any]:
        from daggy.server.app import make_app  # its dependencies take as long to load as everything else
        from daggy.server.metrics import Meter
        from daggy.server.newest import Newest
        from daggy.server.service import Service

        intake = Intake(self.configuration.limits)
        app: Any = make_app(Service(self.engine, self.configuration, intake, self.token, takes_runs=self.takes_runs))
        meter = app.state["meter"] = Meter(self.engine)
        return Newest(app, self.engine), meter


def _identity(token: str, ip: str, port: int, names: Sequence[str], *, is_secure: bool) -> Identity:
    is_remote = not ipaddress.ip_address(ip).is_loopback
    own = [socket.gethostname(), socket.getfqdn()] if is_remote else []
    return Identity(token, port, names_of([*own, *names]), is_remote, is_secure)
