"""The connection to a server: a WebSocket, opened from here."""

from __future__ import annotations

import contextlib
import json
import ssl
from collections.abc import AsyncIterator, Mapping
from typing import Any
from urllib.parse import urlsplit

import trio
import trio_websocket
from attrs import frozen

from daggy.api import API
from daggy.errors import DaggyError, UsageError, leaves

CONNECT = 20.0
"""Seconds for a connection."""

CHUNK = 1 << 16


class AwayError(DaggyError):
    """The server cannot be reached, or the connection was lost. It is tried again."""


class RefusedError(DaggyError):
    """The server refuses this agent, and goes on to do so until something is mended."""

    exit_code = 2


@frozen
class Address:
    """Where a server is.

    Args:
        host: Its name or address.
        port: Where it listens.
        is_secure: Whether the connection is encrypted.
        path: Of the route of agents.
    """

    host: str
    port: int
    is_secure: bool
    path: str

    @classmethod
    def of(cls, url: str) -> Address:
        """Return the address that a URL names.

        Raises:
            UsageError: it names none.
        """
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            parts, port = urlsplit(""), None
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UsageError(f"'{url}' is not a server address; write one such as https://example.org:2503")
        is_secure = parts.scheme == "https"
        return cls(
            parts.hostname, port or (443 if is_secure else 80), is_secure, parts.path.rstrip("/") + f"{API}/agent"
        )

    @property
    def header(self) -> str:
        """The Host header."""
        name = f"[{self.host}]" if ":" in self.host else self.host
        return f"{name}:{self.port}"


class Connection:
    """A WebSocket to a server."""

    def __init__(self, socket: trio_websocket.WebSocketConnection) -> None:
        """Take over one that is open."""
        self._socket = socket

    async def send(self, message: bytes | str) -> None:
        """Send a message.

        Raises:
            AwayError: the connection was lost.
        """
        try:
            await self._socket.send_message(message)
        except trio_websocket.ConnectionClosed:
            raise AwayError("the connection was lost") from None

    async def say(self, word: Mapping[str, Any]) -> None:
        """Say something; as `send`."""
        await self.send(json.dumps(word))

    async def receive(self, seconds: float) -> bytes | Mapping[str, Any]:
        """Return the next message: bytes, or what is said.

        Raises:
            AwayError: the connection was lost, or nothing came for so many seconds.
        """
        try:
            with trio.fail_after(seconds):
                message = await self._socket.get_message()
        except trio_websocket.ConnectionClosed:
            raise AwayError("the connection was lost") from None
        except trio.TooSlowError:
            raise AwayError(f"nothing was heard from the server for {seconds:.0f} s") from None
        if isinstance(message, bytes):
            return message
        word = json.loads(message)
        return word if isinstance(word, dict) else {}


@contextlib.asynccontextmanager
async def connected(address: Address, token: str, context: ssl.SSLContext | None) -> AsyncIterator[Connection]:
    """Connect; the connection is cut at the end, whatever its state.

    Raises:
        AwayError: the server cannot be reached.
        RefusedError: it does not take the token, or is none.
    """
    stream = await _stream(address, context)
    try:
        async with trio.open_nursery() as nursery:
            yield Connection(await _opened(nursery, stream, address, token))
            nursery.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        for leaf in leaves(group):
            if isinstance(leaf, (trio_websocket.HandshakeError, trio_websocket.ConnectionClosed)):
                raise _explained(leaf, address) from None
        raise
    finally:
        with trio.CancelScope(shield=True):
            await trio.aclose_forcefully(stream)


async def _stream(
    address: Address, context: ssl.SSLContext | None
) -> trio.SocketStream | trio.SSLStream[trio.SocketStream]:
    where = f"{address.host}:{address.port}"
    try:
        with trio.fail_after(CONNECT):
            plain = await trio.open_tcp_stream(address.host, address.port)
            if context is None:
                return plain
            stream = trio.SSLStream(plain, context, server_hostname=address.host)
            try:
                await stream.do_handshake()
            except BaseException:
                await trio.aclose_forcefully(stream)
                raise
            return stream
    except trio.TooSlowError:
        raise AwayError(f"{where} does not answer") from None
    except trio.BrokenResourceError as error:
        cause = error.__cause__
        if isinstance(cause, ssl.SSLCertVerificationError):
            raise AwayError(
                f"the certificate of {where} is not trusted: {cause.verify_message}; name its authority with --ca"
            ) from None
        raise AwayError(f"{where} does not speak TLS; is its address http://…?") from None
    except OSError as error:
        leaf = next(leaves(error.__cause__ or error))  # several addresses may have been tried
        said = getattr(leaf, "strerror", None) or str(leaf)
        raise AwayError(f"cannot connect to {where}: {said.lower()}") from None


async def _opened(
    nursery: trio.Nursery,
    stream: trio.SocketStream | trio.SSLStream[trio.SocketStream],
    address: Address,
    token: str,
) -> trio_websocket.WebSocketConnection:
    headers = [(b"Authorization", f"Bearer {token}".encode())]
    try:
        with trio.fail_after(CONNECT):
            return await trio_websocket.wrap_client_stream(
                nursery, stream, address.header, address.path, extra_headers=headers, receive_buffer_size=CHUNK
            )
    except trio.TooSlowError:
        raise AwayError(f"{address.header} does not answer") from None


def _explained(error: Exception, address: Address) -> DaggyError:
    """Return what it means that a connection was not opened."""
    if not isinstance(error, trio_websocket.ConnectionRejected):
        return AwayError(f"{address.header} hangs up; is it a server of Daggy, and is its address https://…?")
    if error.status_code in (401, 403):
        return RefusedError(_message(error.body))
    return AwayError(f"{address.header} answers with {error.status_code}; is it a server of Daggy?")


def _message(content: bytes | None) -> str:
    try:
        return str(json.loads(content or b"")["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return "the server refuses this token; 'daggy token --agent' on the server makes one"
