"""Who may ask, and how: the token, the name that was asked for, sizes and patience, in front of every route."""

from __future__ import annotations

import hmac
import ipaddress
import json
import socket
from collections.abc import Awaitable, Callable, MutableMapping
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs

import trio
from attrs import define

from daggy.server.problems import body

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

OPEN = ("/ready", "/api/v1/ready")
"""What needs no token."""

SAFE = ("GET", "HEAD")

LONGEST_QUERY = 8192
"""Bytes of a query string."""

PATIENCE = 30.0
"""Seconds between two pieces of a body."""

MOST = 1000
"""Requests at once."""

POLICY = (
    b"default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    b"connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
"""What pages of this server may load: nothing from elsewhere."""

HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"content-security-policy", POLICY),
]


class _Slow(Exception):  # noqa: N818 - it leads to an answer, not to a fault
    """A body does not come."""


@define(eq=False)
class Gate:
    """An application behind its checks.

    Args:
        app: The application.
        token: What has to be shown.
        ip: Where the server listens.
        port: The same; it names the cookie, for cookies know no ports.
    """

    app: App
    token: str
    ip: str
    port: int
    _open: int = 0

    @property
    def cookie(self) -> str:
        """The name of the cookie."""
        return f"daggy_{self.port}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check a request, and pass it on."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return
        headers = {name.lower(): value for name, value in scope["headers"]}
        refusal = self._refusal(scope, headers)
        if refusal is not None:
            await _answer(send, *refusal)
            return
        if self._is_entrance(scope):
            await self._enter(scope, send)
            return
        self._open += 1
        try:
            await self._pass(scope, receive, send)
        finally:
            self._open -= 1

    def _refusal(self, scope: Scope, headers: dict[bytes, bytes]) -> tuple[int, str, list[tuple[bytes, bytes]]] | None:
        """Return why a request is not passed on: status, text, headers."""
        if not self._is_host(headers.get(b"host", b"")):
            return 421, "the Host header names another server; ask for the address that the server printed", []
        if len(scope.get("query_string", b"")) > LONGEST_QUERY:
            return 414, f"the query is longer than {LONGEST_QUERY} bytes", []
        if scope["path"] in OPEN:
            return None
        if self._open >= MOST:
            return 503, f"{MOST} requests are being answered; try again", [(b"retry-after", b"1")]
        if self._is_entrance(scope):
            return None
        if self._is_shown(headers.get(b"authorization", b"")):
            return None
        if not self._is_known(headers.get(b"cookie", b"")):
            message = "a token is needed: 'daggy token' prints it; send it as 'Authorization: Bearer TOKEN'"
            return 401, message, [(b"www-authenticate", b'Bearer realm="daggy"')]
        if scope["method"] not in SAFE and not _is_same_origin(headers):
            return 403, "the cookie counts only for requests of this server's own pages; send the token instead", []
        return None

    def _is_host(self, header: bytes) -> bool:
        """Return whether a Host header names this server: another name may be somebody's who has it lead here."""
        text = header.decode("latin-1")
        name, colon, port = (text, "", "") if text.endswith("]") else text.rpartition(":")
        if not colon:
            name, port = text, ""
        if port and not port.isdigit():
            return False
        name = name.strip("[]").lower().rstrip(".")
        if name == "localhost":
            return True
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return not _is_loopback(self.ip) and name in (socket.gethostname().lower(), socket.getfqdn().lower())
        return address.is_loopback or not _is_loopback(self.ip)

    def _is_shown(self, header: bytes) -> bool:
        kind, _, shown = header.partition(b" ")
        return kind.lower() == b"bearer" and hmac.compare_digest(shown.strip(), self.token.encode())

    def _is_known(self, header: bytes) -> bool:
        try:
            morsel = SimpleCookie(header.decode("latin-1")).get(self.cookie)
        except CookieError:
            return False
        return morsel is not None and hmac.compare_digest(morsel.value.encode(), self.token.encode())

    @staticmethod
    def _is_entrance(scope: Scope) -> bool:
        """Return whether somebody follows the address that the server printed, with the token in it."""
        return scope["method"] in SAFE and scope["path"] in ("/", "/docs") and b"token=" in scope["query_string"]

    async def _enter(self, scope: Scope, send: Send) -> None:
        """Give a browser the token as a cookie, and lead it to the same page without it."""
        shown = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
        if not hmac.compare_digest(shown.encode(), self.token.encode()):
            await _answer(send, 401, "this token is not, or no longer, the server's; 'daggy token' prints it", [])
            return
        cookie = f"{self.cookie}={self.token}; Path=/; HttpOnly; SameSite=Strict; Max-Age=2592000"
        location = [(b"location", scope["path"].encode()), (b"set-cookie", cookie.encode())]
        await send({"type": "http.response.start", "status": 303, "headers": [*location, *HEADERS]})
        await send({"type": "http.response.body", "body": b""})

    async def _pass(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def patient() -> Message:
            with trio.move_on_after(PATIENCE) as scope_:
                return await receive()
            assert scope_.cancelled_caught
            raise _Slow

        async def guarded(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                known = {name.lower() for name, _ in message["headers"]}
                extra = [(name, value) for name, value in HEADERS if name not in known]
                if b"cache-control" not in known:
                    extra.append((b"cache-control", b"no-store"))
                message["headers"] = [*message["headers"], *extra]
            await send(message)

        has_body = scope["method"] not in SAFE
        try:
            await self.app(scope, patient if has_body else receive, guarded)
        except _Slow:
            if not started:
                await _answer(send, 408, f"the body did not come for {PATIENCE:g} s", [(b"connection", b"close")])


def _is_loopback(ip: str) -> bool:
    return ipaddress.ip_address(ip).is_loopback


def _is_same_origin(headers: dict[bytes, bytes]) -> bool:
    origin = headers.get(b"origin", b"")
    if not origin:
        return headers.get(b"sec-fetch-site", b"") == b"same-origin"
    return origin.partition(b"://")[2] == headers.get(b"host", b"")


async def _answer(send: Send, status: int, message: str, headers: list[tuple[bytes, bytes]]) -> None:
    content = json.dumps(body(status, message)).encode()
    told = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": [*told, *headers, *HEADERS]})
    await send({"type": "http.response.body", "body": content})
