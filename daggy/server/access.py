"""Access control in front of all routes: the token, the requested host name, and the origin of a browser's request."""

from __future__ import annotations

import hmac
import ipaddress
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from urllib.parse import parse_qs

from attrs import define, field, frozen

from daggy.server.agents import AGENT
from daggy.server.exchange import App, Exchange, Header, Receive, Scope, Send
from daggy.server.loading import OPEN
from daggy.server.refusals import body

ENTRANCES = ("/", "/docs")
"""Paths where a browser may give the token in the address."""
SAFE = ("GET", "HEAD")

LONGEST_QUERY = 8192
"""Bytes of a query string."""

MOST = 900
"""Requests at once."""

MONTH = 2_592_000
"""Seconds for which a browser keeps the token."""


@frozen
class Refusal:
    """Why a request is not passed on."""

    status: int
    message: str
    headers: Sequence[Header] = ()


@frozen
class Identity:
    """A server's token and names.

    Args:
        token: Required of every request.
        port: Where it listens; it names the cookie, for cookies know no ports.
        names: Names of this server besides localhost, lower case.
        is_remote: Whether it listens where other machines can reach it: then any address may be its own.
        is_secure: Whether connections are encrypted: then the cookie is for such ones only.
    """

    token: str
    port: int
    names: frozenset[str] = frozenset()
    is_remote: bool = False
    is_secure: bool = False

    @property
    def cookie(self) -> str:
        """The name of the cookie."""
        return f"daggy_{self.port}"

    def is_token(self, shown: str | bytes) -> bool:
        """Return whether this is the token, in constant time."""
        given = shown.encode(errors="replace") if isinstance(shown, str) else shown
        return hmac.compare_digest(given, self.token.encode())

    def answers_to(self, host: str) -> bool:
        """Return whether a Host header names this server.

        Any other name may be an attacker's that resolves to this server (DNS rebinding).
        """
        name, _, port = host.rpartition(":") if ":" in host and not host.endswith("]") else (host, "", "")
        if port and not (port.isascii() and port.isdigit()):
            return False
        name = name.lower().rstrip(".")
        if name == "localhost" or name in self.names:
            return True
        try:
            address = ipaddress.ip_address(name[1:-1] if name.startswith("[") and name.endswith("]") else name)
        except ValueError:
            return False
        return address.is_loopback or self.is_remote


def names_of(names: Iterable[str]) -> frozenset[str]:
    """Return names normalised for comparison."""
    return frozenset(name.lower().rstrip(".") for name in names if name)


@define(eq=False)
class Access:
    """An application behind its checks.

    Args:
        app: The application.
        identity: What the server answers to.
        agents: Takes agents, which have tokens of their own.
        count: Takes method, route and status of every request that was answered.
    """

    app: App
    identity: Identity
    agents: App | None = None
    count: Callable[[str, str, int], None] = field(default=lambda *_: None)
    _asking: int = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check a request, and pass it on."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        elif scope["type"] == "websocket" and scope["path"] == AGENT and self.agents is not None:
            await self.agents(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close"})
        else:
            headers = {name.lower(): value for name, value in scope["headers"]}
            await self._answer(scope, Exchange(headers, receive, send))

    async def _answer(self, scope: Scope, exchange: Exchange) -> None:
        self._asking += 1
        try:
            refusal = self._refusal(scope, exchange.headers)
            if refusal is None and _is_entrance(scope):
                refusal = self._enter(scope)
            if refusal is None:
                await self.app(scope, exchange.receive, exchange.send)
            else:
                content = json.dumps(body(refusal.status, refusal.message)).encode() if refusal.message else b""
                await exchange.answer(refusal.status, content, refusal.headers)
            await exchange.finish()
        finally:
            self._asking -= 1
            self.count(scope["method"], scope.get("path_template", ""), exchange.status)

    def _refusal(self, scope: Scope, headers: dict[bytes, bytes]) -> Refusal | None:
        """Return why a request is not passed on; None if it is."""
        if not self.identity.answers_to(headers.get(b"host", b"").decode("latin-1")):
            return Refusal(421, "the Host header names another server; use the address that this one printed")
        if len(scope["query_string"]) > LONGEST_QUERY:
            return Refusal(400, f"the query is longer than {LONGEST_QUERY} bytes")
        if scope["path"] in OPEN:
            return None
        if self._asking > MOST:
            return Refusal(503, f"{MOST} requests are being answered; try again", [(b"retry-after", b"1")])
        if _is_entrance(scope):
            return None
        kind, _, shown = headers.get(b"authorization", b"").partition(b" ")
        if kind.lower() == b"bearer" and self.identity.is_token(shown.strip()):
            return None
        if not any(
            self.identity.is_token(value) for value in _cookies(headers.get(b"cookie", b""), self.identity.cookie)
        ):
            message = "a token is needed: 'daggy token' prints it; send it as 'Authorization: Bearer TOKEN'"
            return Refusal(401, message, [(b"www-authenticate", b'Bearer realm="daggy"')])
        if scope["method"] not in SAFE and not _is_same_origin(headers):
            message = "the cookie counts only for requests of this server's own pages; send the token instead"
            return Refusal(403, message)
        return None

    def _enter(self, scope: Scope) -> Refusal:
        """Give a browser the token as a cookie, and lead it to the same page without it."""
        shown = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
        if not self.identity.is_token(shown):
            return Refusal(401, "this token is not, or no longer, the server's; 'daggy token' prints it")
        cookie = f"{self.identity.cookie}={self.identity.token}; Path=/; HttpOnly; SameSite=Strict; Max-Age={MONTH}"
        cookie += "; Secure" if self.identity.is_secure else ""
        return Refusal(303, "", [(b"location", scope["path"].encode()), (b"set-cookie", cookie.encode())])


def _is_entrance(scope: Scope) -> bool:
    """Return whether a browser follows the address that the server printed, with the token in it."""
    return scope["method"] in SAFE and scope["path"] in ENTRANCES and b"token=" in scope["query_string"]


def _cookies(header: bytes, name: str) -> Iterator[bytes]:
    """Yield the cookies of a name; other servers on this machine may have set others."""
    for pair in header.split(b";"):
        key, _, value = pair.strip().partition(b"=")
        if key == name.encode():
            yield value.strip(b'"')


def _is_same_origin(headers: dict[bytes, bytes]) -> bool:
    """Return whether a browser's request comes from one of this server's own pages."""
    site = headers.get(b"sec-fetch-site")
    if site is not None:
        return site == b"same-origin"
    return headers.get(b"origin", b"").partition(b"://")[2] == headers[b"host"]
