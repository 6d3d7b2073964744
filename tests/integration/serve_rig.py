"""A real `daggy serve`, for tests: on a free port, ended by its process id."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

DAGGY = [sys.executable, "-c", "import sys; from daggy.cli import main; sys.exit(main())"]

PATIENCE = 60.0
"""Seconds that anything may take here before it counts as broken."""

Json = Any


def environment(**more: str) -> dict[str, str]:
    """What a server and its commands run with: nothing of Daggy's from outside."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("DAGGY_")}
    return clean | more


class Server:
    """One server process and a client of it."""

    def __init__(
        self, directory: Path, *arguments: str, keep: bool = True, trusted: Path | None = None, **variables: str
    ) -> None:
        self.directory = directory
        self.trust: ssl.SSLContext | bool = True if trusted is None else ssl.create_default_context(cafile=trusted)
        place = {"XDG_STATE_HOME": str(directory.parent)} | variables
        named = ["--dir", str(directory)] if keep else []
        self.errors = directory.parent / f"{directory.name}.err"
        self.home = directory if keep else directory.parent / "daggy"
        (self.home / "address").unlink(missing_ok=True)  # of one that was killed
        with self.errors.open("ab") as errors:
            self.process = subprocess.Popen(
                [*DAGGY, "serve", "--port", "0", *named, *arguments], stderr=errors, env=environment(**place)
            )
        try:
            self._meet()
        except BaseException:
            self.process.kill()
            self.process.wait()
            raise

    def _meet(self) -> None:
        """Wait until it is ready."""
        self.address = self._address()
        self.token = (self.home / "token").read_text().strip()
        self.http = httpx.Client(
            base_url=self.address,
            headers={"Authorization": f"Bearer {self.token}"},
            timeout=PATIENCE,
            trust_env=False,
            verify=self.trust,
        )
        self.until(lambda: self.http.get("/ready").status_code == 200)

    def _address(self) -> str:
        path = self.home / "address"
        self.until(lambda: path.exists() and path.read_text().endswith("\n"))
        return path.read_text().strip()

    def until(self, condition: Callable[[], Any]) -> None:
        """Look again until it holds, or this server has ended, or patience has."""
        deadline = time.monotonic() + PATIENCE
        while not _holds(condition):
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"the server does not: {self.errors.read_text()[-3000:]}")
            time.sleep(0.02)  # there is no event of another process to wait for

    def api(self, method: str, path: str, **more: Any) -> httpx.Response:
        """Ask the API."""
        return self.http.request(method, f"/api/v1{path}", **more)

    def get(self, path: str, **query: Any) -> Json:
        """Return what a route answers."""
        response = self.api("GET", path, params=query)
        assert response.status_code == 200, response.text
        return response.json()

    def submit(self, tasks: Json, **keys: Any) -> int:
        """Submit a spec; return the run's id."""
        response = self.api("POST", "/runs", json={"directory": str(self.directory.parent), "tasks": tasks, **keys})
        assert response.status_code == 201, response.text
        return int(response.json()["run_id"])

    def ended(self, run: int) -> Json:
        """Return a run once it has ended."""
        self.until(lambda: self.get(f"/runs/{run}")["ended"] is not None)
        return self.get(f"/runs/{run}")

    def stop(self, number: int = signal.SIGTERM) -> int:
        """End it; return its exit code."""
        self.http.close()
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(PATIENCE)


def until(condition: Callable[[], Any]) -> None:
    """Look again until something holds that no server tells, or patience has ended."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it does not come to that"
        time.sleep(0.02)  # there is no event of another process to wait for


def _holds(condition: Callable[[], Any]) -> bool:
    try:
        return bool(condition())
    except httpx.TransportError:
        return False  # it does not listen yet


@contextmanager
def serving(
    directory: Path, *arguments: str, keep: bool = True, trusted: Path | None = None, **variables: str
) -> Iterator[Server]:
    """Serve, and end it whatever happens; `trusted` is the certificate of a server that has one."""
    server = Server(directory, *arguments, keep=keep, trusted=trusted, **variables)
    try:
        yield server
    finally:
        server.http.close()
        if server.process.poll() is None:
            server.stop()
        with contextlib.suppress(ProcessLookupError):
            server.process.kill()
        server.process.wait()


def command(*arguments: str, cwd: Path, stdin: str | None = None, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command line to its end."""
    return subprocess.run(
        [*DAGGY, *arguments], cwd=cwd, input=stdin, capture_output=True, text=True, timeout=PATIENCE,
        env=environment(**variables), check=False,
    )  # fmt: skip


def task(*words: str, parents: Sequence[Any] = (), **keys: Any) -> Json:
    """A template that runs a command."""
    return {"details": {"command": list(words)}, "parents": list(parents), **keys}


def shell(script: str, parents: Sequence[Any] = (), **keys: Any) -> Json:
    """A template that runs a script."""
    return {"details": {"shell": script}, "parents": list(parents), **keys}


def events_of(text: str) -> list[dict[str, Any]]:
    """Server-sent events as dicts with `id`, `event`, `data`."""
    found = []
    for block in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line and not line.startswith(":"))
        if "data" in fields:
            found.append({**fields, "data": json.loads(fields["data"])})
    return found
