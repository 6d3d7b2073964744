"""`daggy serve` as a process of its own: started, asked over HTTP, ended by its process id."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

DEADLINE = 60.0
PROGRAM = [sys.executable, "-c", "import sys; from daggy.cli import main; sys.exit(main())"]
API = "/api/v1"
ENDED = ("completed", "errored", "killed")


class ServeDesk:
    """A state directory, and one server after another in it.

    `url` and `token` are the present server's; `http` a client that shows the token, with `/api/v1` in front of paths.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.state = path / "state"
        kept = {key: value for key, value in os.environ.items() if not key.startswith("DAGGY_")}
        self.environment = {**kept, "XDG_STATE_HOME": str(path / "home"), "NO_COLOR": "1", "COLUMNS": "120"}
        self.url = self.token = ""
        self._processes: list[subprocess.Popen[str]] = []
        self._clients: list[httpx.Client] = []
        self._said: list[str] = []

    # The process.

    def start(self, *options: str, kept: bool = True, umask: int = -1, ready: bool = True) -> subprocess.Popen[str]:
        """Start a server on a free port and return once it is ready; `kept`: in SQLite, in `state`."""
        where = ["--dir", str(self.state)] if kept else []
        process = self.launch("--port", "0", *where, *options, umask=umask)
        self.find(process, self.state if kept else self.path / "home" / "daggy")
        if ready:
            self.until(lambda: self.http.get("/ready").is_success, process)
        return process

    def launch(self, *options: str, umask: int = -1, command: str = "serve") -> subprocess.Popen[str]:
        """Start the program and wait for nothing."""
        process = subprocess.Popen(
            [*PROGRAM, command, *options],
            cwd=self.path,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            umask=umask,
        )
        self._processes.append(process)
        self._said = []
        threading.Thread(target=self._hear, args=(process, self._said), daemon=True).start()
        return process

    @staticmethod
    def _hear(process: subprocess.Popen[str], said: list[str]) -> None:
        assert process.stderr is not None
        said.extend(iter(process.stderr.readline, ""))

    @property
    def said(self) -> str:
        """What the last server said so far."""
        return "".join(self._said)

    def find(self, process: subprocess.Popen[str], directory: Path) -> None:
        """Wait until a server has said where it listens."""
        self.until(lambda: "listens on" in self.said, process)
        self.url = (directory / "address").read_text().strip()
        self.token = (directory / "token").read_text().strip()

    def end(self, process: subprocess.Popen[str], number: int = signal.SIGTERM) -> int:
        """Send a signal; return the exit code."""
        process.send_signal(number)
        return process.wait(DEADLINE)

    def close(self) -> None:
        for client in self._clients:
            client.close()
        for process in self._processes:
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(10)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
            assert process.stderr is not None
            process.stderr.close()

    def until(self, condition: Callable[[], Any], process: subprocess.Popen[str] | None = None) -> None:
        """Look until it is so: other processes tell nobody."""
        deadline = time.monotonic() + DEADLINE
        while not condition():
            assert process is None or process.poll() is None, f"ended too early ({process.returncode}): {self.said}"
            assert time.monotonic() < deadline, f"never happened: {self.said}"
            time.sleep(0.01)

    # What it is asked.

    @property
    def http(self) -> httpx.Client:
        """A client of the present server."""
        if not self._clients or str(self._clients[-1].base_url).rstrip("/") != self.url + API:
            self._clients.append(self.client({"Authorization": f"Bearer {self.token}"}))
        return self._clients[-1]

    def client(self, headers: Mapping[str, str]) -> httpx.Client:
        """Another one, that shows no token by itself."""
        return httpx.Client(base_url=self.url + API, headers=dict(headers), timeout=DEADLINE, trust_env=False)

    def submit(self, tasks: Mapping[str, Any], **more: Any) -> int:
        """Submit a run of these tasks; return its id."""
        spec = {"directory": str(self.path), "tasks": tasks, **more}
        answer = self.http.post("/runs", content=json.dumps(spec))
        assert answer.status_code == 201, answer.text
        return int(answer.json()["run_id"])

    def run(self, run: int) -> dict[str, Any]:
        answer = self.http.get(f"/runs/{run}")
        assert answer.status_code == 200, answer.text
        told: dict[str, Any] = answer.json()
        return told

    def ended(self, run: int) -> dict[str, Any]:
        """Wait for the end of a run; return it."""
        told: dict[str, Any] = {}

        def has_ended() -> bool:
            told.update(self.run(run))
            return told["state"] in ENDED

        self.until(has_ended)
        return told

    def events(self, path: str, headers: Mapping[str, str] | None = None, **query: Any) -> Events:
        """Open a stream of events."""
        return Events(self.http, path, headers or {}, query)

    # Beneath HTTP.

    def connect(self, receive_buffer: int = 0) -> socket.socket:
        """Return a connection to the server on which nothing was said."""
        parts = urlsplit(self.url)
        connection = socket.socket()
        if receive_buffer:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        connection.settimeout(DEADLINE)
        connection.connect((parts.hostname, parts.port))
        return connection

    def say(self, *lines: str, body: bytes = b"") -> bytes:
        """Send lines as they are, an empty one at the end, and a body; return all that comes until the server closes."""
        with self.connect() as connection:
            try:
                connection.sendall("".join(f"{line}\r\n" for line in [*lines, ""]).encode("latin-1") + body)
            except (BrokenPipeError, ConnectionResetError):
                pass  # it has answered and gone
            return read_all(connection)


class Events:
    """Server-sent events as they come: `next()` returns (id or None, kind, data)."""

    def __init__(self, http: httpx.Client, path: str, headers: Mapping[str, str], query: Mapping[str, Any]) -> None:
        self._stream = http.stream("GET", path, headers=dict(headers), params=dict(query))
        self.response = self._stream.__enter__()
        self._lines = self.response.iter_lines()

    def __enter__(self) -> Events:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.__exit__(None, None, None)

    def next(self) -> tuple[int | None, str, Any]:
        fields: dict[str, str] = {}
        for line in self._lines:
            name, _, value = line.partition(": ")
            if name in ("id", "event", "data"):
                fields[name] = value
            elif not line and fields:
                number = fields.get("id")
                return (None if number is None else int(number)), fields["event"], json.loads(fields["data"])
        raise EOFError("the stream has ended")

    def until(self, condition: Callable[[Any], bool]) -> list[tuple[int | None, str, Any]]:
        """Return events up to the first whose data is so."""
        found = [self.next()]
        while not condition(found[-1][2]):
            found.append(self.next())
        return found


def read_all(connection: socket.socket) -> bytes:
    """Return what comes until the other side closes, in whatever way."""
    pieces: list[bytes] = []
    try:
        while piece := connection.recv(1 << 16):
            pieces.append(piece)
    except ConnectionResetError:
        pass
    return b"".join(pieces)


def status_of(answer: bytes) -> int:
    """Return the status of an answer as it came over the wire; 0 if none came."""
    return int(answer.split(b" ", 2)[1]) if answer else 0


def modes(directory: Path, ignored: Sequence[str] = ()) -> dict[str, str]:
    """Return the mode of everything beneath a directory, itself included; sockets are as reachable as their folder."""
    found = {}
    for path in [directory, *directory.rglob("*")]:
        mode = path.lstat().st_mode
        if not stat.S_ISSOCK(mode) and path.name not in ignored:
            found[str(path.relative_to(directory))] = oct(stat.S_IMODE(mode))
    return found


@contextmanager
def serve_desk(path: Path) -> Iterator[ServeDesk]:
    made = ServeDesk(path)
    try:
        yield made
    finally:
        made.close()
