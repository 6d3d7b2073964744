"""One request and its answer on the wire: time limits, headers, and bodies that are not read."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any

import trio
from attrs import define

from daggy.errors import UsageError
from daggy.server.refusals import body

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Header = tuple[bytes, bytes]

PATIENCE = 30.0
"""Seconds between two pieces of a body."""

LINGER = 1.0
"""Seconds for which an unwanted body is read: some clients read the answer only after sending all."""

POLICY = (
    b"default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    b"connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
"""What pages of this server may load: nothing from elsewhere."""

HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"content-security-policy", POLICY),
    (b"cache-control", b"no-store"),
)
"""Default headers of every answer."""


@define(eq=False)
class Exchange:
    """The exchange between the wire and the application.

    Args:
        headers: Of the request, names in lower case.
        status: Of the answer; 0 until there is one.
    """

    headers: dict[bytes, bytes]
    _receive: Receive
    _send: Send
    status: int = 0
    _is_whole: bool = False
    _is_slow: bool = False

    def __attrs_post_init__(self) -> None:
        """See whether there is a body."""
        self._is_whole = b"transfer-encoding" not in self.headers and self.headers.get(b"content-length", b"0") == b"0"

    async def receive(self) -> Message:
        """Return what comes next of the request: a piece of its body, or that the client has gone.

        Raises:
            UsageError: the rest of the body does not come.
        """
        if self._is_whole:
            return await self._receive()
        with trio.move_on_after(PATIENCE):
            message = await self._receive()
            if message["type"] == "http.disconnect":
                return self._broken(message)
            self._is_whole = not message.get("more_body", False)
            return message
        self._is_slow = True
        return self._broken({"type": "http.disconnect"})

    def _broken(self, message: Message) -> Message:
        if self.status:
            return message
        raise UsageError("the body broke off")

    async def send(self, message: Message) -> None:
        """Pass a part of the answer on."""
        if self._is_slow:
            return  # `finish` says what there is to say
        if message["type"] == "http.response.start":
            self.status = message["status"]
            told = {name.lower() for name, _ in message["headers"]}
            added = [(name, value) for name, value in HEADERS if name not in told]
            message["headers"] = [*message["headers"], *added]
        if message.get("more_body", False) or message["type"] != "http.response.body" or self._is_whole:
            await self._send(message)
        else:
            await self._send_last(message)

    async def _send_last(self, message: Message) -> None:
        """Send the end of an answer to a client that is still sending: unread data would hold up both sides."""
        with trio.move_on_after(LINGER):
            await self._drain()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._drain)
            await self._send(message)
            nursery.cancel_scope.cancel()

    async def _drain(self) -> None:
        while not self._is_whole:
            message = await self._receive()
            self._is_whole = message["type"] == "http.disconnect" or not message.get("more_body", False)

    async def finish(self) -> None:
        """Answer a client that was too slow."""
        if self._is_slow and not self.status:
            self._is_slow = False
            message = f"no data of the body arrived for {PATIENCE:g} s"
            await self.answer(408, json.dumps(body(408, message)).encode(), [(b"connection", b"close")])

    async def answer(self, status: int, content: bytes, headers: Sequence[Header] = ()) -> None:
        """Answer with JSON."""
        told = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())]
        await self.send({"type": "http.response.start", "status": status, "headers": [*told, *headers]})
        await self.send({"type": "http.response.body", "body": content})
