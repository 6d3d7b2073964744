"""The route of agents: a WebSocket each, which carries a relay's bytes and, as text, the agent's words beside them."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import trio
from attrs import define, field

from daggy.api import API
from daggy.errors import DirectoryError
from daggy.executor import Arrival, JoinError, Visit
from daggy.launcher.arrivals import checked
from daggy.launcher.program.wire import VERSION
from daggy.server.agent_tokens import FILE, AgentToken, IsToken, find, tokens
from daggy.server.exchange import Receive, Scope, Send
from daggy.server.refusals import body

LOG = logging.getLogger("daggy.server")

AGENT = f"{API}/agent"
"""Where agents connect."""

PATIENCE = 30.0
"""Seconds for an agent to introduce itself."""

LOOK = 1.0
"""Seconds between two looks at whether a token still holds."""

WAITING = 16
"""Messages of an agent that may wait to be read."""

Join = Callable[[str, Arrival, Visit], Any]


class SocketVisit(Visit):
    """A WebSocket that an agent has opened. `run` must run while it is used."""

    def __init__(self, receive: Receive, send: Send) -> None:
        """Begin with one that was accepted."""
        self._receive, self._send = receive, send
        self._data, self._chunks = trio.open_memory_channel[bytes](WAITING)
        self._said, self.words = trio.open_memory_channel[Mapping[str, Any]](WAITING)
        self._rest = b""
        self.is_closed = False

    async def run(self) -> None:
        """Take messages until the connection ends."""
        async with self._data, self._said:
            while not self.is_closed:
                message = await self._receive()
                if message["type"] != "websocket.receive":
                    break
                if message.get("bytes"):
                    await self._data.send(message["bytes"])
                else:
                    await self._said.send(read_word(message.get("text")))
        self.is_closed = True

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Receive bytes; empty: it has ended."""
        if not self._rest:
            try:
                self._rest = await self._chunks.receive()
            except (trio.EndOfChannel, trio.ClosedResourceError):
                return b""
        cut = len(self._rest) if max_bytes is None else max_bytes
        data, self._rest = self._rest[:cut], self._rest[cut:]
        return data

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send bytes."""
        if self.is_closed:
            raise trio.ClosedResourceError
        await self._send({"type": "websocket.send", "bytes": bytes(data)})

    async def wait_send_all_might_not_block(self) -> None:
        """Return at once: it cannot be told."""
        await trio.lowlevel.checkpoint()

    async def say(self, word: Mapping[str, Any]) -> None:
        """Say something to the agent."""
        if not self.is_closed:
            await self._send({"type": "websocket.send", "text": json.dumps(word)})

    async def aclose(self) -> None:
        """Close it."""
        if not self.is_closed:
            self.is_closed = True
            await self._send({"type": "websocket.close", "code": 1000})
        await trio.lowlevel.checkpoint()


def read_word(text: str | None) -> Mapping[str, Any]:
    """Return what a message of text says; one that makes no sense says nothing."""
    try:
        word = json.loads(text or "{}")
    except ValueError:
        return {}
    return word if isinstance(word, dict) else {}


@define(eq=False)
class Agents:
    """Takes agents for the pools of an engine.

    Args:
        directory: The state directory, which has the agents' tokens.
        is_server_token: Returns whether a token is the server's own.
        pools: Returns the pools of the engine.
        join: Serves an agent in a pool until it has gone.
    """

    directory: Path
    is_server_token: IsToken
    pools: Callable[[], list[str]]
    join: Join
    _seen: float = field(default=-1.0, init=False)
    _known: Mapping[str, AgentToken] = field(factory=dict, init=False)
    _connected: dict[trio.CancelScope, str] = field(factory=dict, init=False)  # with the ids of their tokens

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        await receive()  # that it wants to connect
        token = self._token(scope)
        if isinstance(token, str):
            await _refuse(send, token)
            return
        await send({"type": "websocket.accept"})
        stay = scope.get("state", {}).get("stay")
        if stay is not None:
            stay()
        visit = SocketVisit(receive, send)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(visit.run)
            self._connected[nursery.cancel_scope] = token.id
            try:
                await self._serve(token, visit)
            except JoinError as error:
                await visit.say({"refused": str(error), "final": error.is_final})
            finally:
                del self._connected[nursery.cancel_scope]
            await visit.aclose()
            nursery.cancel_scope.cancel()

    def _token(self, scope: Scope) -> AgentToken | str:
        """Return the token that an agent shows, or why it is refused."""
        headers = {name.lower(): value for name, value in scope["headers"]}
        kind, _, shown = headers.get(b"authorization", b"").partition(b" ")
        text = shown.strip().decode("latin-1")
        if kind.lower() != b"bearer" or not text:
            return "an agent token is needed: 'daggy token --agent' on the server makes one"
        if self.is_server_token(text):
            return "this is the server's own token, which may do anything; 'daggy token --agent' makes one for agents"
        try:
            found = find(self._tokens(), text)
        except DirectoryError as error:
            return str(error)
        return found or "this agent token is not known here, or was revoked; 'daggy token --agent' makes another"

    def _tokens(self) -> Mapping[str, AgentToken]:
        """Return the tokens; the file is read when it has changed."""
        try:
            changed = (self.directory / FILE).stat().st_mtime_ns
        except FileNotFoundError:
            changed = 0
        if changed != self._seen:
            self._known, self._seen = tokens(self.directory), changed
        return self._known

    async def watch(self) -> None:
        """End connections whose tokens are revoked, for as long as this runs."""
        while True:
            await trio.sleep(LOOK)
            if not self._connected:
                continue
            try:
                known = self._tokens()
            except DirectoryError:
                continue
            for scope, name in self._connected.items():
                if name not in known:
                    scope.cancel()

    async def _serve(self, token: AgentToken, visit: SocketVisit) -> None:
        told: Mapping[str, Any] = {}
        with trio.move_on_after(PATIENCE):
            try:
                told = await visit.words.receive()
            except trio.EndOfChannel:
                return
        protocol = told.get("protocol")
        if protocol != VERSION:
            older = "agent" if isinstance(protocol, int) and protocol < VERSION else "server"
            raise JoinError(
                f"the agent speaks version {protocol} of the protocol, this server {VERSION}; upgrade the {older}",
                is_final=True,
            )
        await self.join(self._pool(token, told.get("pool")), checked(told), visit)

    def _pool(self, token: AgentToken, asked: Any) -> str:
        """Return the pool in which an agent is to run tasks."""
        asked = asked if isinstance(asked, str) else ""
        if token.pool and asked and asked != token.pool:
            raise JoinError(f"this token is for pool '{token.pool}', not for '{asked}'", is_final=True)
        pool, there = asked or token.pool, self.pools()
        if not pool and len(there) == 1:
            return there[0]
        if pool not in there:
            listed = ", ".join(there) or 'none; configure one, {"executor": "agent"}'
            said = f"no pool '{pool}' takes agents here" if pool else "say with --pool which pool is meant"
            raise JoinError(f"{said}; there are: {listed}", is_final=True)
        return pool


async def _refuse(send: Send, message: str) -> None:
    content = json.dumps(body(401, message)).encode()
    told = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())]
    await send({"type": "websocket.http.response.start", "status": 401, "headers": told})
    await send({"type": "websocket.http.response.body", "body": content})
