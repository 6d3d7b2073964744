"""What goes over the wire: slow senders, slow readers, bodies that nobody takes, other protocols, the end."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
import trio

from daggy.server import exchange, listening
from daggy.server.exchange import App, Exchange, Receive, Scope, Send
from daggy.server.listening import Listening

DEADLINE = 20.0
HUGE = 32 << 20

pytestmark = pytest.mark.trio


class Wire:
    """A server in this process, and connections to it."""

    def __init__(self, server: Listening, port: int) -> None:
        self.server = server
        self._port = port

    async def connect(self, receive_buffer: int = 0) -> trio.SocketStream:
        raw = trio.socket.socket()
        if receive_buffer:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        await raw.connect(("127.0.0.1", self._port))
        return trio.SocketStream(raw)

    async def ask(self, said: bytes) -> bytes:
        """Send, and return all that comes until the other side closes."""
        async with await self.connect() as stream:
            with suppress(trio.BrokenResourceError):
                await stream.send_all(said)
            return await rest(stream)


async def rest(stream: trio.SocketStream) -> bytes:
    pieces = []
    try:
        while piece := await stream.receive_some(1 << 16):
            pieces.append(piece)
    except trio.BrokenResourceError:
        pass
    return b"".join(pieces)


@asynccontextmanager
async def serving(app: App) -> AsyncIterator[Wire]:
    """Serve an application behind nothing but its exchanges."""

    async def exchanging(scope: Scope, receive: Receive, send: Send) -> None:
        headers = {name.lower(): value for name, value in scope["headers"]}
        passing = Exchange(headers, receive, send)
        await app(scope, passing.receive, passing.send)
        await passing.finish()

    listener = socket.create_server(("127.0.0.1", 0))
    server = Listening(exchanging, listener)
    with trio.fail_after(DEADLINE):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.run)
            yield Wire(server, listener.getsockname()[1])
            server.over.set()


async def until(condition: Callable[[], Any]) -> None:
    """Look until it is so."""
    with trio.fail_after(DEADLINE):
        while not condition():  # noqa: ASYNC110 - the kernel tells nobody what it has closed
            await trio.sleep(0.005)


async def yes(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer without having read anything."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"3")]})
    await send({"type": "http.response.body", "body": b"yes"})


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with the length of the body."""
    size, more = 0, True
    while more:
        message = await receive()
        size += len(message.get("body", b""))
        more = message.get("more_body", False)
    content = str(size).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(content))]})
    await send({"type": "http.response.body", "body": content})


async def flood(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with more than any buffer holds."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": bytes(HUGE)})


POST = b"POST /x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
GET = b"GET /x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


async def test_requests_are_answered_one_after_another_on_one_connection() -> None:
    async with serving(echo) as wire:
        keep = POST.replace(b"Connection: close\r\n", b"")
        answer = await wire.ask((keep % 3 + b"abc") * 5 + POST % 1 + b"x")
    assert answer.count(b"HTTP/1.1 200") == 6
    assert answer.endswith(b"\r\n\r\n1")


@pytest.mark.parametrize("size", [1, 100_000, 5_000_000])
async def test_a_body_that_nobody_reads_ends_with_its_answer(size: int) -> None:
    async with serving(yes) as wire:
        for _ in range(3):
            assert (await wire.ask(POST % size + bytes(size))).endswith(b"yes")
        await until(lambda: not wire.server._open)


async def test_a_body_without_end_is_answered_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "LINGER", 0.05)
    async with serving(yes) as wire, await wire.connect() as stream:
        await stream.send_all(POST % 10_000_000 + b"only the beginning")
        assert (await rest(stream)).endswith(b"yes")
        await until(lambda: not wire.server._open)


async def test_a_body_that_does_not_come_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "PATIENCE", 0.05)
    monkeypatch.setattr(exchange, "LINGER", 0.05)

    async def shy(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await echo(scope, receive, send)
        except Exception:  # noqa: BLE001 - as an application answers whatever is raised in it
            await yes(scope, receive, send)

    async with serving(shy) as wire, await wire.connect() as stream:
        await stream.send_all(POST % 10 + b"abc")
        answer = await rest(stream)
        await until(lambda: not wire.server._open)
    assert answer.startswith(b"HTTP/1.1 408")
    assert b'"code": "request_timeout"' in answer
    assert not answer.endswith(b"yes")


async def test_a_head_that_does_not_come_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening, "IDLE", 0.1)
    async with serving(yes) as wire:
        for said in (b"", b"GET /x HT", GET[:-2], GET[:-2] + b"X: " + b"y" * 100):
            async with await wire.connect() as stream:
                if said:
                    await stream.send_all(said)
                assert await rest(stream) == b""
        async with await wire.connect() as stream, trio.open_nursery() as nursery:

            async def drip() -> None:
                for byte in GET[:-2] * 100:
                    try:
                        await stream.send_all(bytes([byte]))
                    except trio.BrokenResourceError:
                        return
                    await trio.sleep(0.01)

            nursery.start_soon(drip)
            assert await rest(stream) == b"", "one byte now and then is not enough"
            nursery.cancel_scope.cancel()
        await until(lambda: not wire.server._open)


async def test_whoever_takes_nothing_of_an_answer_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening, "UNREAD", 0.1)
    async with serving(flood) as wire, await wire.connect(4096) as stream:
        await stream.send_all(GET)
        await until(lambda: wire.server._open)
        await until(lambda: not wire.server._open)
        assert len(await rest(stream)) < HUGE


async def test_an_answer_that_takes_long_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening, "IDLE", 0.05)
    monkeypatch.setattr(listening, "UNREAD", 0.05)
    monkeypatch.setattr(exchange, "PATIENCE", 0.05)

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await trio.sleep(0.5)
        await yes(scope, receive, send)

    async with serving(slow) as wire:
        assert (await wire.ask(GET)).endswith(b"yes")


async def test_whoever_goes_is_noticed() -> None:
    heard = trio.Event()

    async def waiting(scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        heard.set()

    async with serving(waiting) as wire:
        async with await wire.connect() as stream:
            await stream.send_all(GET)
            await until(lambda: wire.server._open)
        await heard.wait()


async def test_heads_are_bounded() -> None:
    async with serving(yes) as wire:
        assert (await wire.ask(GET[:-2] + b"X: " + b"y" * 20_000 + b"\r\n\r\n")).endswith(b"yes")
        assert (await wire.ask(GET[:-2] + b"X: " + b"y" * 40_000)).startswith(b"HTTP/1.1 431")
        assert (await wire.ask(b"GET /" + b"y" * 40_000)).startswith(b"HTTP/1.1 431")
        many = b"".join(b"X-%d: y\r\n" % number for number in range(10_000))
        assert (await wire.ask(GET[:-2] + many)).startswith(b"HTTP/1.1 431")


@pytest.mark.parametrize(
    "said",
    [
        b"nonsense\r\n\r\n",
        b"GET /x HTTP/1.1\r\n\r\n",
        b"GET /x HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET /x HTTP/1.1\r\nHost : a\r\n\r\n",
        b"GET /x HTTP/1.1\r\nHost: a\r\nX: a\r\n b\x00\r\n\r\n",
        b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"GET /\xff\x00 HTTP/1.1\r\nHost: a\r\n\r\n",
    ],
)
async def test_what_is_no_request_is_refused(said: bytes) -> None:
    async with serving(yes) as wire:
        answer = await wire.ask(said)
        assert answer.split(b" ", 2)[1] in (b"400", b"501"), answer
        assert (await wire.ask(GET)).endswith(b"yes")


async def test_nobody_is_talked_into_another_protocol() -> None:
    upgrade = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n"
    async with serving(yes) as wire:
        async with await wire.connect() as stream:
            await stream.send_all(GET[:-2].replace(b"Connection: close\r\n", b"") + upgrade)
            assert (await stream.receive_some(1 << 16)).startswith(b"HTTP/1.1 200")
        assert not (await wire.ask(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")).startswith(b"\x00")


async def test_further_connections_wait_for_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening, "MOST", 3)
    async with serving(yes) as wire:
        held = [await wire.connect() for _ in range(3)]
        await until(lambda: len(wire.server._open) == 3)
        async with await wire.connect() as fourth:
            await fourth.send_all(GET)
            with trio.move_on_after(0.05) as waited:
                await fourth.receive_some(1)
            assert waited.cancelled_caught
            await held.pop().aclose()
            assert (await rest(fourth)).endswith(b"yes")
        for one in held:
            await one.aclose()


async def test_at_the_end_the_idle_go_at_once_and_the_busy_after_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening, "GRACE", 0.1)
    async with serving(flood) as wire, await wire.connect() as idle, await wire.connect(4096) as stuck:
        await stuck.send_all(GET)
        await until(lambda: len(wire.server._open) == 2)
        wire.server.over.set()
        assert await rest(idle) == b""
        await until(lambda: not wire.server._open)
        assert len(await rest(stuck)) < HUGE


async def test_a_connection_that_fails_takes_nobody_with_it(caplog: pytest.LogCaptureFixture) -> None:
    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/bad":
            await send({"type": "http.response.start", "status": 200, "headers": [(b"x", b"a\r\nb")]})
        if scope["path"] == "/raises":
            raise RuntimeError("a fault")
        await yes(scope, receive, send)

    async with serving(broken) as wire:
        for path in (b"/bad", b"/raises"):
            await wire.ask(GET.replace(b"/x", path))
            assert (await wire.ask(GET)).endswith(b"yes")
    assert "a fault" in caplog.text
