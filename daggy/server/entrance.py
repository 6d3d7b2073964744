"""Where agents alone call in: a socket of their own, encrypted with a certificate that the server makes itself."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import trio
from attrs import define, frozen

from daggy.engine.configuration import AgentsSettings, TlsSettings
from daggy.engine.engine import Engine
from daggy.errors import DirectoryError
from daggy.executor import Entrance
from daggy.server import agent_tokens
from daggy.server.address import listen
from daggy.server.agents import AGENT, Agents
from daggy.server.exchange import App, Exchange, Receive, Scope, Send
from daggy.server.listening import Listening
from daggy.server.refusals import body
from daggy.server.tls import Tls

PORT = 2504
"""Where a server listens for agents, if nothing else is said: those that outlive it find the next one there."""

CERTIFICATE, KEY = "agents-certificate.pem", "agents-key.pem"
"""Files in the state directory. They stay: agents that outlive a server know the next one by them."""

DAYS = 3650


@frozen
class Door:
    """A socket for agents.

    Args:
        listener: It.
        tls: Encrypts its connections.
        entrance: What executors are told of it.
    """

    listener: socket.socket
    tls: Tls
    entrance: Entrance

    async def serve(self, engine: Engine, is_server_token: agent_tokens.IsToken) -> None:
        """Take agents for an engine until cancelled."""
        agents = Agents(engine.directory.path, is_server_token, engine.nodes.agent_pools, engine.nodes.join)
        listening = Listening(AgentsOnly(agents), self.listener, self.tls)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(agents.watch)
            await listening.run()


@define(eq=False)
class AgentsOnly:
    """An application that answers agents, and nobody else."""

    agents: App

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "websocket" and scope["path"] == AGENT:
            await self.agents(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close"})
        elif scope["type"] == "http":
            exchange = Exchange(dict(scope["headers"]), receive, send)
            content = json.dumps(body(404, "only agents are answered here; the API has another port")).encode()
            await exchange.answer(404, content)
            await exchange.finish()


@contextlib.contextmanager
def door(settings: AgentsSettings, directory: Path, port: int) -> Iterator[Door]:
    """Listen for agents.

    Args:
        settings: The configuration, which says where.
        directory: The state directory.
        port: Where to listen if the configuration does not say.

    Raises:
        DirectoryError: the address cannot be used, or there is no certificate to be had.
    """
    host = host_of(settings.ip)
    files = TlsSettings(directory / CERTIFICATE, directory / KEY)
    if not _is_for(host, files.certificate) or not files.key.exists():
        make_certificate(files, host)
    with listen(settings.ip, settings.port or port) as listener:
        name = f"[{host}]" if ":" in host else host
        url = f"https://{name}:{listener.getsockname()[1]}"
        yield Door(listener, Tls(files), Entrance(url, files.certificate, lambda *of: _token(directory, *of)))


def host_of(ip: str) -> str:
    """Return how other machines call an address on which this one listens.

    Raises:
        DirectoryError: it is none.
    """
    try:
        is_any = ipaddress.ip_address(ip).is_unspecified
    except ValueError:
        raise DirectoryError(f"agents.ip: '{ip}' is no IP address; give one of this machine that agents see") from None
    return socket.gethostname() if is_any else ip


def make_certificate(files: TlsSettings, host: str) -> None:
    """Make a certificate that signs itself, and its key.

    Raises:
        DirectoryError: it cannot be made.
    """
    kind = "IP" if host[:1].isdigit() or ":" in host else "DNS"
    files.key.touch(mode=0o600)
    order = [
        "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
        "-days", str(DAYS), "-subj", "/CN=daggy", "-addext", f"subjectAltName={kind}:{host}", "-keyout", str(files.key),
        "-out", str(files.certificate),
    ]  # fmt: skip
    try:
        made = subprocess.run(order, capture_output=True, stdin=subprocess.DEVNULL, timeout=60, check=False)
    except FileNotFoundError:
        raise DirectoryError("agents.ip: connections of agents are encrypted by openssl; install it") from None
    if made.returncode:
        said = made.stderr.decode(errors="replace").strip().splitlines()
        raise DirectoryError(f"agents.ip: openssl cannot make a certificate: {said[-1] if said else 'it says nothing'}")
    _mark(files.certificate).write_text(host)


def _is_for(host: str, certificate: Path) -> bool:
    """Return whether a certificate is there for a host."""
    try:
        return certificate.exists() and _mark(certificate).read_text() == host
    except OSError:
        return False


def _mark(certificate: Path) -> Path:
    return certificate.with_suffix(".host")


def _token(directory: Path, pool: str, before: str) -> str:
    found = agent_tokens.find(agent_tokens.tokens(directory), before) if before else None
    return before if found is not None and found.pool == pool else agent_tokens.make(directory, pool)
