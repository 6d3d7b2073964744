"""Who may ask a server, and what nobody can make it do: one test a promise."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import stat
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from daggy.errors import UsageError
from daggy.server import access, exchange
from tests.integration.serve_rig import DAGGY, Server, command, environment, serving, task


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    place = tmp_path_factory.mktemp("security")
    limits: dict[str, Any] = {"DAGGY_LIMITS__SPEC_BYTES": "100000", "DAGGY_LIMITS__TASKS": "5000"}
    old = os.umask(0)
    try:
        with serving(place / "state", **limits) as one:
            os.umask(old)
            yield one
    finally:
        os.umask(old)


def bare(server: Server, method: str = "GET", path: str = "/api/v1/runs", **more: Any) -> httpx.Response:
    """A request without the token."""
    return httpx.request(method, server.address + path, trust_env=False, timeout=30, **more)


@pytest.mark.parametrize("path", ["/api/v1/runs", "/openapi.json", "/metrics", "/docs", "/docs/docs.js", "/", "/x"])
@pytest.mark.parametrize("header", [None, "Bearer wrong", "Bearer", "Basic dG9rZW4=", "Bearer \xe9"])
def test_nothing_but_readiness_is_told_without_the_token(server: Server, path: str, header: str | None) -> None:
    headers = [] if header is None else [(b"Authorization", header.encode("latin-1"))]
    answer = bare(server, path=path, headers=headers)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert answer.json()["error"]["code"] == "unauthorized"
    assert server.token not in answer.text
    assert bare(server, path="/ready").status_code == 200


def test_the_token_is_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[bytes, bytes]] = []

    def compare(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return one == other

    monkeypatch.setattr("daggy.server.access.hmac.compare_digest", compare)
    identity = access.Identity("secret", 1)
    assert identity.is_token(b"secret")
    assert identity.is_token("secret")
    assert not identity.is_token(b"s")
    assert not identity.is_token("s\xe9")
    assert compared == [(b"secret", b"secret")] * 2 + [(b"s", b"secret"), ("s\xe9".encode(), b"secret")]


def test_the_printed_address_gives_a_cookie_that_pages_may_use_and_others_not(server: Server) -> None:
    entered = bare(server, path=f"/docs?token={server.token}")
    assert entered.status_code == 303
    assert "token" not in entered.headers["location"]
    said = entered.headers["set-cookie"]
    assert "HttpOnly" in said
    assert "SameSite=Strict" in said
    cookie = {"Cookie": said.partition(";")[0]}
    assert bare(server, path="/docs", headers=cookie).status_code == 200
    assert bare(server, headers=cookie).status_code == 200
    assert bare(server, "POST", "/api/v1/runs/1/kill", headers=cookie).status_code == 403
    foreign = cookie | {"Origin": "http://evil.example"}
    assert bare(server, "POST", "/api/v1/runs/1/kill", headers=foreign).status_code == 403
    own = cookie | {"Origin": server.address}
    assert bare(server, "POST", "/api/v1/runs/1/kill", headers=own).status_code == 404
    assert bare(server, path="/docs?token=wrong").status_code == 401


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "10.0.0.7", "localhost:x", "[::2]", ""])
def test_a_name_that_is_somebody_elses_is_refused(server: Server, host: str) -> None:
    answer = server.http.get("/api/v1/runs", headers={"Host": host})
    assert answer.status_code in (400, 421)
    assert server.http.get("/api/v1/runs", headers={"Host": "localhost:80"}).status_code == 200


def test_other_origins_are_told_nothing(server: Server) -> None:
    asked = {"Origin": "http://evil.example", "Access-Control-Request-Method": "POST"}
    preflight = server.http.request("OPTIONS", "/api/v1/runs", headers=asked)
    answer = server.http.get("/api/v1/runs", headers=asked)
    for one in (preflight, answer):
        assert not [name for name in one.headers if name.startswith("access-control")]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]


@pytest.mark.parametrize("ip", ["0.0.0.0", "::", "192.0.2.1"])
def test_others_can_reach_it_only_if_somebody_says_so(tmp_path: Path, ip: str) -> None:
    refused = command("serve", "--ip", ip, "--port", "0", "--dir", str(tmp_path / "state"), cwd=tmp_path)
    assert refused.returncode == 2
    assert "--allow-remote" in refused.stderr
    config = tmp_path / "daggyr.json"
    config.write_text('{"server": {"ip": "0.0.0.0", "port": 2504}, "tracker": {"tracker": "Memory"}}')
    theirs = command("serve", "--config", str(config), cwd=tmp_path, XDG_STATE_HOME=str(tmp_path))
    assert theirs.returncode == 2
    assert "--allow-remote" in theirs.stderr
    with serving(tmp_path / "open", "--ip", "0.0.0.0", "--allow-remote") as server:
        assert server.get("/runs")["items"] == []


def test_bodies_and_expansions_beyond_the_limits_are_refused(server: Server) -> None:
    large = {"directory": "/", "description": "x" * 200_000, "tasks": {"a": task("true")}}
    assert server.api("POST", "/runs", json=large).status_code == 413

    def endless() -> Iterator[bytes]:
        yield b'{"directory": "/", "x-pad": "'
        for _ in range(100):
            yield b"x" * 10_000

    assert server.api("POST", "/runs", content=endless()).status_code == 413
    many = {"directory": "/", "parameters": {"N": {"range": [0, 6000]}}, "tasks": {"a": task("{{ N }}")}}
    answer = server.api("POST", "/runs", json=many)
    assert answer.status_code == 413
    assert "limits.tasks" in answer.json()["error"]["message"]
    assert server.api("POST", "/runs/1/kill", json={"selector": "x" * 2_000_000}).status_code == 413
    assert list(server.directory.glob("body-*")) == []


PATHS = [
    "/api/v1/runs/1/tasks/0/logs/../../../../token",
    "/api/v1/runs/1/tasks/0/logs/..%2f..%2ftoken",
    "/api/v1/runs/..%2f..%2ftoken",
    "/api/v1/runs/1/tasks/%2e%2e/logs/stdout",
    "/docs/..%2f..%2fapp.py",
    "/docs/%2e%2e%2fapp.py",
    "/docs/../serving.py",
    "//etc/passwd",
    "/api/v1/runs/1%00",
]


@pytest.mark.parametrize("path", PATHS)
def test_no_path_leads_out_of_what_there_is(server: Server, path: str) -> None:
    run = server.submit({"a": task("echo", "hello")})
    server.ended(run)
    host, port = server.address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), 10) as raw:
        asked = (
            f"GET {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {server.token}\r\nConnection: close\r\n\r\n"
        )
        raw.sendall(asked.encode())
        answer = b"".join(iter(lambda: raw.recv(65536), b""))
    status = int(answer.split()[1])
    assert status in (400, 404)
    assert server.token.encode() not in answer
    assert b"root:" not in answer


ESCAPES = [
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ run.__init__.__globals__ }}",
    "{{ N.__class__ }}",
    "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
    "{{ lipsum.__globals__['os'] }}",
    "{{ self._TemplateReference__context }}",
    "{{ ('%s' % N).format.__globals__ }}",
    "{{ '{0.__class__}'.format(N) }}",
    "{{ 'x' * 1000000000000 }}",
]


@pytest.mark.parametrize("text", ESCAPES)
def test_templates_cannot_leave_their_sandbox(server: Server, text: str) -> None:
    spec = {"directory": "/", "parameters": {"N": ["1"]}, "tasks": {"a": task("echo", text + "{{ N }}")}}
    answer = server.api("POST", "/runs", json=spec)
    if answer.status_code == 201:
        run = answer.json()["run_id"]
        assert server.ended(run)["state"] == "errored"
        (attempt,) = server.get(f"/runs/{run}/tasks/0")["attempts"]
        assert attempt["reason"] == "template"
    else:
        assert answer.status_code == 422
    assert server.http.get("/ready").status_code == 200


def test_headers_and_queries_without_measure_are_refused(server: Server) -> None:
    assert server.http.get("/api/v1/runs?tag=" + "a:" * 10_000).status_code == 400
    with pytest.raises(httpx.RemoteProtocolError):
        _refused(server.http.get("/api/v1/runs", headers={"X-Pad": "x" * 100_000}))
    assert server.http.get("/api/v1/runs?" + "&".join(f"tag=a:{n}" for n in range(500))).status_code == 200
    assert server.http.get("/api/v1/runs?%00=%ff&limit=%C3").status_code == 400
    assert server.http.get("/ready").status_code == 200


def _refused(answer: httpx.Response) -> None:
    """Raise as for a connection that was closed, if the answer is a refusal."""
    if answer.status_code in (400, 431):
        raise httpx.RemoteProtocolError("refused")


def test_slow_clients_hold_nobody_up(server: Server) -> None:
    host, port = server.address.removeprefix("http://").split(":")
    slow = [socket.create_connection((host, int(port)), 10) for _ in range(200)]
    for one in slow[:100]:
        one.sendall(b"GET /api/v1/runs HTTP/1.1\r\nHost: local")
    started = f"POST /api/v1/runs HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {server.token}\r\n"
    for one in slow[100:]:
        one.sendall(f"{started}Content-Length: 1000\r\n\r\n{{".encode())
    answers: list[int] = []
    threads = [
        threading.Thread(target=lambda: answers.append(server.api("GET", "/runs").status_code)) for _ in range(5)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [200] * 5
    for one in slow:
        one.close()
    run = server.submit({"a": task("true")})
    assert server.ended(run)["state"] == "completed"


@pytest.mark.trio
async def test_a_body_that_does_not_come_is_given_up(monkeypatch: pytest.MonkeyPatch, autojump_clock: Any) -> None:
    import trio

    del autojump_clock
    sent: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        del scope, send
        with contextlib.suppress(UsageError):
            await receive()

    async def silent() -> Any:
        await trio.sleep_forever()

    async def send(message: Any) -> None:
        sent.append(message)

    identity = access.Access(app, access.Identity("secret", 1))
    headers = [(b"host", b"localhost"), (b"authorization", b"Bearer secret"), (b"content-length", b"9")]
    scope = {"type": "http", "method": "POST", "path": "/x", "query_string": b"", "headers": headers}
    began = trio.current_time()
    await identity(scope, silent, send)
    assert sent[0]["status"] == 408
    assert exchange.PATIENCE <= trio.current_time() - began <= exchange.PATIENCE + exchange.LINGER


def test_all_files_are_the_owners_alone(server: Server) -> None:
    run = server.submit({"a": task("sh", "-c", "echo hello; head -c 2000000 /dev/zero")})
    server.ended(run)
    paths = [server.directory, *server.directory.rglob("*")]
    assert len(paths) > 8
    for path in paths:
        mode = stat.S_IMODE(path.lstat().st_mode)
        assert mode == (0o700 if path.is_dir() else 0o600), f"{path} {oct(mode)}"


def test_a_token_that_others_can_read_is_not_used(tmp_path: Path) -> None:
    with serving(tmp_path / "state") as server:
        first = server.token
    (tmp_path / "state" / "token").chmod(0o644)
    refused = command("serve", "--port", "0", "--dir", "state", cwd=tmp_path)
    assert refused.returncode == 3
    assert "can be read by others" in refused.stderr
    assert first not in refused.stderr
    (tmp_path / "state" / "token").unlink()
    with serving(tmp_path / "state") as server:
        assert server.token != first


def test_no_secret_is_in_the_process_list_or_a_tasks_environment(server: Server) -> None:
    run = server.submit({"a": task("env")})
    server.ended(run)
    told = server.api("GET", f"/runs/{run}/tasks/0/logs/stdout").text
    assert server.token not in told
    assert "DAGGY_LIMITS" not in told
    listed = subprocess.run(["ps", "axww", "-o", "args"], capture_output=True, text=True, check=True).stdout
    assert server.token not in listed


def test_an_interrupted_server_says_goodbye(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [*DAGGY, "serve", "--port", "0", "--dir", str(tmp_path / "s")], stderr=subprocess.PIPE, text=True,
        env=environment(),
    )  # fmt: skip
    with process:
        assert process.stderr is not None
        first = process.stderr.readline()
        assert "daggy listens on http://127.0.0.1:" in first
        process.send_signal(signal.SIGINT)
        rest = process.stderr.read()
        assert process.wait(30) == 130
    assert "Traceback" not in rest
