"""Real agents, for tests: processes on this machine that join a real server on loopback, ended by process id."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil

from tests.integration.linger_rig import launchers
from tests.integration.serve_rig import DAGGY, PATIENCE, Server, command, environment, serving

POOL = "field"


def free_port() -> int:
    """A port on which nobody listens now."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


class Agent:
    """One agent process."""

    def __init__(
        self, place: Path, address: str, token: str, *arguments: str, name: str, inside: Sequence[str] = (), **more: str
    ) -> None:
        """Start it, by the command `inside`; its directory and its files are below `place`, `more` are variables."""
        self.place, self.name = place, name
        self.work, self.directory = place / f"{name}-work", place / f"{name}-agent"
        self.errors = place / f"{name}.err"
        self.work.mkdir(exist_ok=True)
        named = [] if "--name" in arguments else ["--name", name]
        with self.errors.open("wb") as errors:
            self.process = subprocess.Popen(
                [*inside, *DAGGY, "agent", "--server", address, "--directory", str(self.directory), *named, *arguments],
                cwd=self.work, stderr=errors, env=environment(DAGGY_AGENT_TOKEN=token, **more),
            )  # fmt: skip

    @property
    def said(self) -> str:
        return self.errors.read_text()

    def ended(self) -> int:
        """Wait until it has ended; return its exit code."""
        return self.process.wait(PATIENCE)

    def until(self, condition: Callable[[], Any]) -> None:
        """Look again until it holds, or the agent has ended, or patience has."""
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert self.process.poll() is None, self.said
            assert time.monotonic() < deadline, self.said
            time.sleep(0.02)  # there is no event of another process to wait for

    def send(self, number: int = signal.SIGTERM) -> None:
        self.process.send_signal(number)

    def children(self) -> list[int]:
        """The relays that it has started."""
        return [child.pid for child in psutil.Process(self.process.pid).children()]


class Field:
    """A server with a pool of agents, on a port that stays the same, and its agents."""

    def __init__(self, place: Path, **settings: object) -> None:
        self.place, self.state, self.port = place, place / "state", free_port()
        self.config = place / "daggy.json"
        self.config.write_text(json.dumps({"pools": {POOL: {"executor": "agent", **settings}}}))
        self.agents: list[Agent] = []
        self.address = f"http://127.0.0.1:{self.port}"

    @contextlib.contextmanager
    def serving(self, *arguments: str, trusted: Path | None = None) -> Iterator[Server]:
        place = ("--config", str(self.config), "--port", str(self.port))
        with serving(self.state, *place, *arguments, trusted=trusted) as server:
            yield server

    def token(self, *arguments: str) -> str:
        made = command("token", "--agent", "--dir", str(self.state), *arguments, cwd=self.place)
        assert made.returncode == 0, made.stderr
        return made.stdout.strip()

    def agent(self, *arguments: str, name: str = "box", token: str = "", **more: Any) -> Agent:
        agent = Agent(self.place, self.address, token or self.token(), *arguments, name=name, **more)
        self.agents.append(agent)
        return agent

    def joined(self, server: Server, *arguments: str, name: str = "box", token: str = "", **more: Any) -> Agent:
        """Start an agent; return it once it is up."""
        agent = self.agent(*arguments, name=name, token=token, **more)
        server.until(lambda: state(server, agent.name) == "up" or agent.process.poll() is not None)
        assert agent.process.poll() is None, agent.said
        return agent

    def end(self) -> None:
        for agent in self.agents:
            if agent.process.poll() is None:
                agent.process.kill()
            agent.process.wait()
        for pid in launchers(self.place):  # those of agents that a test killed
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@contextlib.contextmanager
def field(place: Path, **settings: object) -> Iterator[Field]:
    """Make a field; what is left of its agents at the end is killed."""
    made = Field(place, **settings)
    try:
        yield made
    finally:
        made.end()


def state(server: Server, name: str) -> str:
    """How the server sees a node; empty: not at all."""
    return next((str(one["state"]) for one in server.get("/nodes")["items"] if one["name"] == name), "")
