"""Rows of agents: any number of them on loopback, in one process of their own, in turn with tasks that run here."""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
from collections.abc import Iterator
from datetime import datetime
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import median

import trio

from daggy.agent.agent import Agent, Options
from daggy.agent.home import locked
from daggy.agent.socket import Address, connected
from daggy.server.agent_tokens import make
from tests.bench.asking import PATIENCE, Asker, quantile
from tests.bench.fresh import BenchError, Figures, cpu, fresh_command, resident
from tests.bench.goals import Measured
from tests.bench.service import Service, started
from tests.bench.sizes import Sizes
from tests.integration.agent_rig import free_port
from tests.integration.serve_rig import DAGGY

COUNTS = (1, 4, 16, 64)
LOOK = 0.1


def crowd(server: str, token: str, count: int, cores: int, directory: str) -> Figures:
    """Be so many agents, `a0` to `aN`, until the process is killed. Each has a label of its own name, too."""
    options = [
        Options(
            server, token, "", f"a{number}", Path(directory) / str(number), Path(directory), {"cores": cores},
            frozenset({f"a{number}"}), None, None, None, 0.0,
        )
        for number in range(count)
    ]  # fmt: skip
    with contextlib.ExitStack() as stack:
        agents = [Agent(one, stack.enter_context(locked(one.directory)), lambda _: None) for one in options]
        trio.run(_be, agents, Address.of(server), token)
    return {}


async def _be(agents: list[Agent], address: Address, token: str) -> None:
    async with trio.open_nursery() as nursery:
        for agent in agents:
            nursery.start_soon(agent._stay_connected, partial(connected, address, token, None))


class Field:
    """A directory for a server with a pool `here` of two processes and one of agents, `field`; and a port."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir()
        self.directory, self.state, self.port = directory, directory / "state", free_port()
        pools = {"here": {"executor": "fork", "workers": 2}, "field": {"executor": "agent"}}
        config = directory / "daggy.json"
        config.write_text(json.dumps({"pools": pools, "default_pool": "field", "server": {"port": self.port}}))
        self.command = [*DAGGY, "serve", "--config", str(config), "--dir", str(self.state)]

    @contextlib.contextmanager
    def serving(self) -> Iterator[tuple[Service, Asker]]:
        with started(self.command, self.state) as server, server.asking() as asker:
            yield server, asker

    @contextlib.contextmanager
    def crowded(self, asker: Asker, count: int, cores: int) -> Iterator[subprocess.Popen[bytes]]:
        """Have so many agents join; they end with the block, what they run before."""
        arguments = {"server": f"http://127.0.0.1:{self.port}", "token": make(self.state), "count": count,
                     "cores": cores, "directory": str(self.directory / f"agents-{time.time_ns()}")}  # fmt: skip
        process = subprocess.Popen(fresh_command("agents.crowd", arguments), stdout=subprocess.DEVNULL)
        try:
            until_up(asker, count)
            yield process
        finally:
            process.kill()
            process.wait()


def until_up(asker: Asker, count: int) -> float:
    """Return the seconds until so many agents are up.

    Raises:
        BenchError: they do not get so.
    """
    began = time.perf_counter()
    while time.perf_counter() - began < PATIENCE:
        up = sum(one["state"] == "up" for one in asker.get("/nodes?pool=field")["items"])
        if up == count:
            return time.perf_counter() - began
        time.sleep(LOOK)
    raise BenchError(f"{count} agents do not come up")


def run(asker: Asker, tasks: dict[str, object]) -> tuple[int, float]:
    """Return a run's id, and the seconds from its submission to its end.

    Raises:
        BenchError: it ends otherwise than completed, or not within `PATIENCE`.
    """
    began = time.perf_counter()
    number = asker.submit(json.dumps({"directory": "/tmp", "tasks": tasks}).encode())
    while (state := asker.get(f"/runs/{number}")["state"]) not in ("completed", "errored", "killed"):
        if time.perf_counter() - began > PATIENCE:
            raise BenchError(f"the run is {state} after {PATIENCE:.0f} s")
        time.sleep(LOOK)
    if state != "completed":
        raise BenchError(f"the run ended {state}")
    return number, time.perf_counter() - began


def flat(count: int, pool: str) -> dict[str, object]:
    details = {"command": ["/bin/echo", "{{ N }}"]}
    return {"many": {"details": details, "parameters": {"N": {"range": [0, count]}}, "pool": pool}}


def agents(sizes: Sizes, directory: Path) -> Iterator[tuple[str, Measured]]:
    """Measure `echo`, captured, over some agents and, in turn, in processes of the server itself."""
    is_full, costs = sizes.rounds > 1, {}
    for count in COUNTS:
        there = count if is_full else min(count, 2)
        field = Field(directory / f"field-{count}")
        with field.serving() as (server, asker), field.crowded(asker, there, max(1, 4 // there)):
            found, local, spent = [], [], []
            for _ in range(sizes.rounds):
                before = cpu(server.process.pid)
                found.append(sizes.processes / run(asker, flat(sizes.processes, "field"))[1])
                spent.append((cpu(server.process.pid) - before) / sizes.processes)
                local.append(sizes.processes / run(asker, flat(sizes.processes, "here"))[1])
        costs[count] = median(spent)
        ratio = median(far / near for far, near in zip(found, local, strict=True))
        yield f"agents.{count}", Measured(ratio, f"{median(found):,.0f} tasks/s, {costs[count] * 1e6:.0f} µs")
    yield "agents.cpu", Measured(costs[16], "with all that the server does, SQLite included")


def across(sizes: Sizes, directory: Path) -> Iterator[tuple[str, Measured]]:
    """Measure a chain whose tasks run on two machines in turn, idle and while a large output is read."""
    field = Field(directory / "across")
    size = sizes.large // 3
    with field.serving() as (server, asker), field.crowded(asker, 2, 2):
        gaps = _gaps(asker, sizes.naps)
        yield "agents.gap", Measured(quantile(gaps, 0.99), f"p50 {median(gaps) * 1e3:.2f} ms; {len(gaps)} links")
        write = {"details": {"shell": f"head -c {size} /dev/zero"}, "resources": {"a0": 1}}
        large, _ = run(asker, {"write": write})
        reader = subprocess.Popen(
            ["curl", "-sfo", "/dev/null", "-H", f"Authorization: Bearer {server.token}",
             f"{server.address}/api/v1/runs/{large}/tasks/0/logs/stdout"],
        )  # fmt: skip
        began = time.perf_counter()
        gaps = _gaps(asker, sizes.naps)
        still = "" if reader.poll() is None else "; it was read before the end"
        code = reader.wait(PATIENCE)
        seconds = time.perf_counter() - began
    if code:
        raise BenchError(f"the output could not be read: curl ended with {code}")
    shown = f"p50 {median(gaps) * 1e3:.2f} ms; {size / 1e6:,.0f} MB at {size / 1e6 / seconds:.0f} MB/s{still}"
    yield "agents.large", Measured(quantile(gaps, 0.99), shown)


def _gaps(asker: Asker, links: int) -> list[float]:
    """Return the seconds from each link's end to the start of the next one, which runs on the other machine."""
    tasks: dict[str, object] = {
        f"t{number}": {
            "details": {"command": ["/bin/sleep", "0.02"]},
            "resources": {f"a{number % 2}": 1},
            "parents": [f"t{number - 1}"] if number else [],
        }
        for number in range(links)
    }
    number, _ = run(asker, tasks)
    attempts = [asker.get(f"/runs/{number}/tasks/{index}")["attempts"][-1] for index in range(links)]
    times = sorted((_seconds(one["started"]), _seconds(one["ended"])) for one in attempts)
    return [later[0] - earlier[1] for earlier, later in pairwise(times)]


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def idle(sizes: Sizes, directory: Path) -> Iterator[tuple[str, Measured]]:
    """Measure a server with many agents that have nothing to do, and until all are back after a restart of it."""
    count = 256 if sizes.rounds > 1 else 4
    field = Field(directory / "idle")
    with contextlib.ExitStack() as stack:
        with field.serving() as (server, asker):
            before = resident(process=str(server.process.pid))
            stack.enter_context(field.crowded(asker, count, 1))
            memory = (resident(process=str(server.process.pid)) - before) / count
            spent, began = cpu(server.process.pid), time.perf_counter()
            time.sleep(30 if sizes.rounds > 1 else 1)  # this is what is measured
            part = (cpu(server.process.pid) - spent) / (time.perf_counter() - began)
            server.process.kill()
            server.process.wait()
            server.process.returncode = 0  # it was to end so
        yield "agents.idle", Measured(part, f"{count} agents; {memory / 1e3:.0f} kB of the server's memory each")
        with field.serving() as (_, asker):
            seconds = until_up(asker, count)
        yield "agents.back", Measured(seconds, f"{count} agents, from the server's being ready")
