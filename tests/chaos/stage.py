"""A state directory that engines come and go in: started, killed, cut off, one after the other."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from daggy.client import Client
from tests.chaos import processes
from tests.chaos.engine import Engine
from tests.chaos.faults import Board
from tests.integration.serve_rig import environment

PATIENCE = 60.0
"""Seconds that anything may take before it counts as broken."""


class BrokenError(Exception):
    """An invariant does not hold.

    Args:
        name: The invariant.
        told: What was seen instead.
        task: Run and name of the task concerned, if it is about one.
    """

    def __init__(self, name: str, told: str, task: tuple[int, str] | None = None) -> None:
        super().__init__(f"{name}: {told}")
        self.name, self.told, self.task = name, told, task


class Stage:
    """One story's directory and its processes."""

    def __init__(self, home: Path, library: Path, workers: int, *, leaves: bool) -> None:
        """Make the directory; nothing is started. `leaves`: a server that ends leaves what runs."""
        self._leaves = ["--leave-running"] if leaves else []
        self.home, self.state, self.oracle = home, home / "state", home / "oracle"
        self.errors = home / "errors"
        self.oracle.touch()
        self.errors.touch()
        self.board = Board(home / "board", library)
        self.engine: Engine | None = None
        self.client: Client | None = None
        self.http: httpx.Client | None = None
        self.config = home / "daggy.json"
        self.config.write_text(json.dumps({"pools": {"default": {"workers": workers}}}))

    # Engines.

    def start(self, *arguments: str) -> None:
        """Start a server or a command; return without waiting for it."""
        (self.state / "address").unlink(missing_ok=True)
        given = environment(**self.board.environment(), NO_COLOR="1", XDG_STATE_HOME=str(self.home))
        self.engine = Engine.start(arguments, given, self.home, self.board.path)

    def serve(self) -> bool:
        """Start a server; return whether it came to listen before it ended."""
        self.start("serve", "--port", "0", "--dir", "state", "--config", str(self.config), *self._leaves)
        address = self.state / "address"
        self.until(lambda: self.is_dead() or (address.exists() and address.read_text().endswith("\n")), "it starts")
        if self.is_dead():
            return False
        try:
            url, token = address.read_text().strip(), (self.state / "token").read_text().strip()
        except FileNotFoundError:
            return False  # it has gone again
        self.client = Client(url, token, "chaos")
        self.http = httpx.Client(
            base_url=f"{url}/api/v1", headers={"Authorization": f"Bearer {token}"}, timeout=PATIENCE, trust_env=False
        )
        return True

    def is_dead(self) -> bool:
        """Return whether there is no engine that runs."""
        return self.engine is None or self.engine.poll() is not None

    def is_ready(self) -> bool:
        """Return whether the server says that work goes on."""
        try:
            return self.client is not None and bool(self.client.ready()["ready"])
        except Exception:  # noqa: BLE001 - not listening, or ended in the middle of the answer
            return False

    def until(self, condition: Callable[[], Any], told: str, patience: float = PATIENCE) -> None:
        """Look again until it holds: other processes tell nobody.

        Raises:
            BrokenError: it does not.
        """
        deadline = time.monotonic() + patience
        while not condition():
            if time.monotonic() > deadline:
                raise BrokenError("it goes on", f"waited {patience:g} s in vain: {told}; {self.said()[-1500:]}")
            time.sleep(0.01)

    def said(self) -> str:
        """Return what engines said on standard error, and launchers in their logs."""
        logs = [path.read_text(errors="replace") for path in sorted(self.state.glob("launchers/*/log"))]
        return "".join([self.errors.read_text(errors="replace"), *logs])

    # Deaths.

    def launchers(self) -> list[int]:
        """Return the launchers that live."""
        return processes.launchers_of(self.board.path)

    def reap(self) -> None:
        """Take the dead engine away."""
        assert self.engine is not None
        self.engine.wait(PATIENCE)
        for one in (self.client, self.http):
            if one is not None:
                one.close()
        self.client = self.http = None

    def kill_engine(self) -> None:
        """Kill the engine, if it has not gone."""
        if self.engine is not None:
            self.engine.signal(signal.SIGKILL)
            self.reap()

    def kill_launchers(self, count: int = 1000) -> int:
        """Kill launchers; return how many."""
        found = self.launchers()[:count]
        processes.kill(found)
        return len(found)

    def cut_power(self) -> None:
        """End everything of the machine."""
        assert self.engine is not None
        processes.kill([self.engine.pid, *self.launchers()], signal.SIGSTOP)  # all at one moment
        self.kill_launchers()
        self.kill_engine()
        while left := [*self.launchers(), *self.tasks()]:
            processes.kill(left)

    def tasks(self) -> list[int]:
        """Return the tasks that live."""
        instance = self.state / "instance"
        name = instance.read_text().split()[0] if instance.exists() else ""
        return processes.tasks_of(name) if name else []

    def leave(self) -> int:
        """End the engine in order; return its exit code."""
        assert self.engine is not None
        self.engine.signal(signal.SIGTERM)
        self.reap()
        return self.engine.wait(0)

    def close(self) -> None:
        """End whatever is left."""
        if not self.is_dead():
            self.kill_engine()
        while left := [*self.launchers(), *self.tasks()]:
            processes.kill(left)
        self.board.close()
