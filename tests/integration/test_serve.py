"""`daggy serve` from its start to its end: what it prints, what stops it, what goes on without it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.integration.serve_rig import DAGGY, PATIENCE, command, environment, serving, shell, task


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def until(condition: Callable[[], Any]) -> None:
    """Look until it is so: other processes tell nobody."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "never happened"
        time.sleep(0.01)


def number_in(path: Path) -> int:
    """Wait for a file that a task writes a process id into."""
    until(lambda: path.exists() and path.read_text().endswith("\n"))
    return int(path.read_text())


def lines(process: subprocess.Popen[str], count: int) -> list[str]:
    assert process.stderr is not None
    return [process.stderr.readline() for _ in range(count)]


def whole(connection: socket.socket) -> bytes:
    return b"".join(iter(lambda: connection.recv(1 << 16), b""))


def launch(directory: Path, *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*DAGGY, "serve", "--port", "0", *options],
        cwd=directory,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(XDG_STATE_HOME=str(directory)),
    )


def test_it_says_where_it_listens_how_to_submit_and_where_the_api_is_described(tmp_path: Path) -> None:
    with serving(tmp_path / "kept") as server:
        first, second, third = server.errors.read_text().splitlines()
        assert first == f"daggy listens on {server.address}; runs are kept in '{tmp_path / 'kept'}'"
        assert f"daggy submit SPEC --dir {tmp_path / 'kept'}" in second
        assert f"{server.address}/api/v1/runs" in second
        assert third.endswith(f"{server.address}/docs?token={server.token}")
        assert (tmp_path / "kept" / "daggy.db").exists()
        assert server.stop() == 0
    assert not (tmp_path / "kept" / "address").exists()
    assert (tmp_path / "kept" / "token").read_text().strip() == server.token
    assert len(server.errors.read_text().splitlines()) == 3, "an end in order needs no words"


def test_without_a_directory_it_says_that_nothing_is_kept(tmp_path: Path) -> None:
    for _ in range(2):
        with serving(tmp_path / "home", keep=False) as server:
            assert "runs are kept in memory and end with this process" in server.errors.read_text()
            assert server.get("/runs")["items"] == []
            run = server.submit({"a": task("echo", "hello")})
            assert (run, server.ended(run)["state"]) == (1, "completed")
            assert server.api("GET", "/runs/1/tasks/0/logs/stdout").text == "hello\n"
        home = sorted(path.name for path in (tmp_path / "daggy").iterdir())
        assert not {"daggy.db", "address"} & set(home)


def test_what_is_kept_is_not_cleared_by_a_server_without_memory(tmp_path: Path) -> None:
    with serving(tmp_path / "daggy") as server:
        server.ended(server.submit({"a": task("echo", "hello")}))
    refused = command("serve", "--port", "0", cwd=tmp_path, XDG_STATE_HOME=str(tmp_path))
    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1
    assert f"serve them with --dir {tmp_path / 'daggy'}" in refused.stderr
    with serving(tmp_path / "daggy") as server:
        assert server.api("GET", "/runs/1/tasks/0/logs/stdout").text == "hello\n"


def test_a_directory_of_passing_runs_can_be_kept_from_then_on(tmp_path: Path) -> None:
    with serving(tmp_path / "daggy", keep=False) as server:
        server.ended(server.submit({"a": task("echo", "passing")}))
    with serving(tmp_path / "daggy") as server:
        assert server.get("/runs")["items"] == []
        server.ended(server.submit({"a": task("echo", "kept")}))
        assert server.api("GET", "/runs/1/tasks/0/logs/stdout").text == "kept\n"


REFUSED = [
    (["--ip", "nowhere"], 2, "'nowhere' is not an IP address"),
    (["--ip", "203.0.113.7", "--allow-remote"], 3, "cannot listen on 203.0.113.7"),
    (["--config", "missing.json"], 2, "missing.json"),
    (["--leave-running"], 2, "--leave-running needs runs that are kept"),
    (["--dir", "/dev/null/x"], 3, "/dev/null"),
    (["--port", "70000"], 2, "70000"),
]


@pytest.mark.parametrize(("options", "code", "told"), REFUSED)
def test_what_cannot_be_is_said_in_a_line(tmp_path: Path, options: list[str], code: int, told: str) -> None:
    refused = command("serve", *options, cwd=tmp_path, XDG_STATE_HOME=str(tmp_path))
    assert refused.returncode == code
    assert told in refused.stderr.splitlines()[-1]
    assert "bug" not in refused.stderr


def test_one_port_and_one_directory_have_one_server(tmp_path: Path) -> None:
    with serving(tmp_path / "state") as server:
        port = server.address.rpartition(":")[2]
        taken = command("serve", "--port", port, "--dir", "other", cwd=tmp_path)
        assert (taken.returncode, taken.stderr.count("\n")) == (3, 1)
        assert f"cannot listen on 127.0.0.1:{port}: address already in use" in taken.stderr
        second = command("serve", "--port", "0", "--dir", "state", cwd=tmp_path)
        assert (second.returncode, second.stderr.count("\n")) == (3, 1)
        assert f"in use by process {server.process.pid}" in second.stderr
        assert server.address == (tmp_path / "state" / "address").read_text().strip()
        with socket.create_server(("127.0.0.1", 0)) as other:
            busy = command("serve", "--port", str(other.getsockname()[1]), "--dir", "other", cwd=tmp_path)
        assert busy.returncode == 3


def test_configuration_comes_from_a_file_the_environment_and_flags(tmp_path: Path) -> None:
    (tmp_path / "daggy.toml").write_text(
        '[server]\nip = "127.0.0.2"\nport = 1\nnames = ["box.example"]\n[pools.small]\nexecutor = "fork"\nworkers = 1\n'
        '[pools.big]\nworkers = 3\n[tracker]\ntype = "memory"\n'
    )
    options = ("--config", str(tmp_path / "daggy.toml"))
    with serving(
        tmp_path / "s", *options, keep=False, DAGGY_DEFAULT_POOL="small", DAGGY_POOLS__BIG__WORKERS="2"
    ) as one:
        assert one.address.startswith("http://127.0.0.2:")
        pools = {pool["name"]: pool["machines"][0]["totals"]["cores"] for pool in one.get("/pools")["items"]}
        assert pools == {"small": 1, "big": 2}
        assert one.http.get("/api/v1/runs", headers={"Host": "box.example:80"}).status_code == 200
        assert one.http.get("/api/v1/runs", headers={"Host": "other.example"}).status_code == 421


def test_the_token_and_its_address_can_be_asked_for(tmp_path: Path) -> None:
    none = command("token", "--dir", "state", cwd=tmp_path)
    assert (none.returncode, "no token yet" in none.stderr) == (3, True)
    with serving(tmp_path / "state") as server:
        assert command("token", "--dir", "state", cwd=tmp_path).stdout == server.token + "\n"
        url = command("token", "--url", "--dir", "state", cwd=tmp_path).stdout
        assert url == f"{server.address}/docs?token={server.token}\n"
    gone = command("token", "--url", "--dir", "state", cwd=tmp_path)
    assert (gone.returncode, gone.stdout) == (3, "")
    assert "no server uses" in gone.stderr


# The end.

TRAPPING = "trap 'echo ended > {0}; exit 0' TERM; echo $$ > {1}; while :; do sleep 0.05; done"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_signal_ends_what_runs_and_the_next_server_goes_on(tmp_path: Path, number: int, code: int) -> None:
    mended = f"if [ -e {tmp_path}/ended ]; then exit 0; fi; "
    with serving(tmp_path / "state") as server:
        script = mended + TRAPPING.format(tmp_path / "ended", tmp_path / "pid")
        run = server.submit({"a": shell(script), "b": task("true", parents=["a"])})
        pid = number_in(tmp_path / "pid")
        assert server.stop(number) == code
        assert (tmp_path / "ended").exists(), "it was asked to end, and had its grace"
        assert not alive(pid)
    with serving(tmp_path / "state") as server:
        assert server.ended(run)["counts"]["completed"] == 2
        first, last = server.get(f"/runs/{run}/tasks/0")["attempts"]
        assert (first["reason"], first["message"], last["reason"]) == ("killed", "daggy stopped", "ok")


def test_a_second_signal_does_not_wait(tmp_path: Path) -> None:
    with serving(tmp_path / "state") as server:
        script = f"trap '' TERM; echo $$ > {tmp_path}/pid; while :; do sleep 0.05; done"
        server.submit({"a": {"details": {"shell": script, "grace": 600}}})
        pid = number_in(tmp_path / "pid")
        until(lambda: server.get("/runs/1")["counts"]["running"] == 1)
        server.process.send_signal(signal.SIGTERM)
        until(lambda: server.http.get("/ready").json()["reason"] == "stopping")
        refused = server.api("POST", "/runs", json={"directory": "/", "tasks": {"a": task("true")}})
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "unavailable")
        until(lambda: server.get("/runs/1")["counts"]["running"] == 1)  # it can be asked while it stops
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(PATIENCE) == 0
        assert not alive(pid)


def test_what_runs_can_be_left_to_the_next_server(tmp_path: Path) -> None:
    go = tmp_path / "go"
    with serving(tmp_path / "state", "--leave-running") as server:
        script = f"echo $$ > {tmp_path}/pid; until [ -e {go} ]; do sleep 0.02; done; echo done"
        run = server.submit({"a": shell(script), "b": task("true", parents=["a"])})
        pid = number_in(tmp_path / "pid")
        assert server.stop() == 0
    assert alive(pid)
    with serving(tmp_path / "state") as server:
        until(lambda: server.get(f"/runs/{run}")["counts"]["running"] == 1)
        go.touch()
        assert server.ended(run)["counts"]["completed"] == 2
        assert [one["attempt"] for one in server.get(f"/runs/{run}/tasks/0")["attempts"]] == [1]
        assert server.api("GET", f"/runs/{run}/tasks/0/logs/stdout").text == "done\n"


@pytest.mark.parametrize("kept", [True, False])
def test_a_signal_at_any_moment_of_the_start_ends_it_without_a_word(tmp_path: Path, kept: bool) -> None:
    options = ["--dir", "state"] if kept else []
    for step in range(12):
        process = launch(tmp_path, *options)
        time.sleep(0.25 + step * 0.05)
        process.send_signal(signal.SIGTERM)
        with process:
            assert process.wait(PATIENCE) in (0, -signal.SIGTERM)
            assert process.stderr is not None
            said = process.stderr.read()
        assert not [line for line in said.splitlines() if "bug" in line or "Traceback" in line]
    assert not (tmp_path / ("state" if kept else "daggy") / "address").exists()


def test_whoever_reads_nothing_does_not_hold_up_the_end(tmp_path: Path) -> None:
    with serving(tmp_path / "state") as server, socket.socket() as stuck:
        stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        host, _, port = server.address.removeprefix("http://").partition(":")
        stuck.connect((host, int(port)))
        shown = f"HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {server.token}\r\n\r\n"
        stuck.sendall(f"GET /docs/swagger-ui-bundle.js {shown}".encode())
        assert stuck.recv(1) == b"H"
        with socket.create_connection((host, int(port)), PATIENCE) as follower:
            follower.sendall(f"GET /api/v1/events {shown}".encode())
            assert follower.recv(1) == b"H"
            began = time.monotonic()
            assert server.stop() == 0
            assert time.monotonic() - began < PATIENCE / 2
            assert b": now" in whole(follower)


def test_a_server_that_died_is_followed_by_another(tmp_path: Path) -> None:
    with serving(tmp_path / "state") as server:
        run = server.submit({"a": shell(f"echo $$ >> {tmp_path}/pid; sleep 0.2"), "b": task("true", parents=["a"])})
        number_in(tmp_path / "pid")
        assert server.stop(signal.SIGKILL) == -signal.SIGKILL
    assert (tmp_path / "state" / "address").exists(), "nobody was left to remove it"
    with serving(tmp_path / "state") as server:
        assert server.ended(run)["counts"]["completed"] == 2
        assert len((tmp_path / "pid").read_text().splitlines()) == 1, "it went on, and was not run again"


def test_tasks_get_the_umask_that_the_server_was_started_with(tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        with serving(tmp_path / "state") as server:
            run = server.submit({"a": shell("umask; env")})
            assert server.ended(run)["state"] == "completed"
            told = server.api("GET", f"/runs/{run}/tasks/0/logs/stdout").text
    finally:
        os.umask(old)
    assert told.startswith("0027\n")
    assert server.token not in told


def test_several_requests_at_once_find_one_application(tmp_path: Path) -> None:
    process = launch(tmp_path, "--dir", "state")
    with process:
        first = lines(process, 1)[0]
        host, port = first.split()[3].rstrip(";").removeprefix("http://").split(":")
        token = (tmp_path / "state" / "token").read_text().strip()
        asked = (
            f"GET /api/v1/runs HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n\r\n"
        )
        connections = [socket.create_connection((host, int(port)), PATIENCE) for _ in range(20)]
        for connection in connections:
            connection.sendall(asked.encode())
        for connection in connections:
            with connection:
                answer = whole(connection)
                assert json.loads(answer.partition(b"\r\n\r\n")[2]) == {"items": [], "next": None}
        process.terminate()
        assert process.wait(PATIENCE) == 0
