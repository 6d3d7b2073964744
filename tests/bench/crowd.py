"""Rows of many at once: many small runs, a small run behind a large one, many who follow."""

from __future__ import annotations

import datetime as dt
import json
import shutil
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path
from statistics import median
from urllib.parse import urlsplit

from tests.bench import specs
from tests.bench.asking import API, PATIENCE, Asker, quantile
from tests.bench.fresh import BenchError, Figures, cpu, fresh
from tests.bench.goals import Measured
from tests.bench.machine import load
from tests.bench.service import Service, service
from tests.bench.sizes import Sizes
from tests.bench.waits import require_completed

CLIENTS = 20
"""Who submits at once."""

FOLLOWERS = 100
"""Who follows at once."""

LOOK = 0.005
"""Seconds between two looks at whether something has happened."""


def small(sizes: Sizes, directory: Path) -> Iterator[tuple[str, Measured]]:
    """Measure many runs of three processes each, submitted by several clients at once; runs are kept in SQLite."""
    spec = specs.placed(specs.small(3))
    rounds = []
    for _ in range(sizes.repeats):
        with service(directory / "state", kept=True, executor="fork") as server:
            rounds.append(_small_runs(server, spec, sizes.small))
        shutil.rmtree(directory / "state")
    told = f"{sizes.small:,} runs of 3 by {CLIENTS} clients; best of {len(rounds)}; load {load():.1f}"
    for key in ("submitted", "ended", "p99"):
        figures = [one[key] for one in rounds]
        yield f"small.{key}", Measured(min(figures), f"{told}; worst {max(figures):.3g} s")


def _small_runs(server: Service, spec: bytes, count: int) -> Figures:
    waited: list[float] = []
    left = iter(range(count))

    def submit() -> None:
        with server.asking() as asker:
            for _ in left:
                began = time.perf_counter()
                asker.submit(spec)
                waited.append(time.perf_counter() - began)

    began = time.perf_counter()
    with ThreadPoolExecutor(CLIENTS) as clients:
        for done in [clients.submit(submit) for _ in range(CLIENTS)]:
            done.result()
    submitted = time.perf_counter() - began
    with server.asking() as asker:
        while asker.get("/runs?state=queued&state=running&limit=1")["items"]:
            time.sleep(LOOK)
    return {"submitted": submitted, "ended": time.perf_counter() - began, "p99": quantile(waited, 0.99)}


def behind(sizes: Sizes, directory: Path) -> Iterator[tuple[str, Measured]]:
    """Measure how long the first of three tasks waits that are submitted behind a million that take a second each."""
    with service(directory / "state", kept=True, executor="fork") as server, server.asking() as asker:
        large = asker.submit(specs.placed(specs.naps(sizes.unit)))
        while not asker.get(f"/runs/{large}")["counts"]["running"]:
            time.sleep(LOOK)
        figures = [_first_task(asker) for _ in range(sizes.repeats)]
        began = time.perf_counter()
        asker.ask("DELETE", f"/runs/{large}")
        killed = time.perf_counter() - began
    shutil.rmtree(directory / "state")
    told = f"{min(figures):.2f}…{max(figures):.2f} s; median of {len(figures)}; to kill the large one {killed:.2f} s"
    yield "behind", Measured(median(figures), told)


def _first_task(asker: Asker) -> float:
    """Return the seconds from the submission of three tasks to the start of the first."""
    began = time.time()
    run = asker.submit(specs.placed(specs.small(3)))
    require_completed(asker, run)
    return moment(asker.get(f"/runs/{run}/tasks/0")["started"]) - began


def moment(text: str) -> float:
    """Return the wall-clock seconds that a time in an answer names."""
    return dt.datetime.fromisoformat(text).timestamp()


def follow(sizes: Sizes, directory: Path) -> Iterator[tuple[str, Measured]]:
    """Measure what a hundred who follow cost while tasks drain, 20,000 a second, and how soon they hear."""
    with service(directory / "state", kept=True, executor="paced") as server:
        where = {"address": server.address, "token": server.token, "process": server.process.pid}
        rounds = [
            [fresh("crowd.followed", **where, tasks=sizes.followed, count=many) for many in (0, FOLLOWERS)]
            for _ in range(sizes.repeats)
        ]
    shutil.rmtree(directory / "state")
    costs = [watched["cpu"] / alone["cpu"] for alone, watched in rounds]
    cpu = median(watched["cpu"] for _, watched in rounds)
    told = f"{cpu:.2f} s for {sizes.followed:,} tasks; {min(costs):.2f}…{max(costs):.2f}"
    yield "follow.cpu", Measured(median(costs), told)
    best = min((watched for _, watched in rounds), key=lambda one: one["p99"])
    told = f"p50 {best['p50'] * 1e3:.1f} ms; {best['events']:.0f} events; best of {len(rounds)}; load {load():.1f}"
    yield "follow.delay", Measured(best["p99"], told)


def followed(address: str, token: str, process: int, tasks: int, count: int) -> Figures:
    """Follow all runs `count` times while a run of so many tasks drains.

    Args:
        address: Of the server.
        token: With what to ask it.
        process: Its process id.
        tasks: Of the run.
        count: Who follows.

    Returns:
        `cpu`: seconds of the server from submission to end. `p50`, `p99`: seconds from the moment that an event tells
        of to its receipt. `events`: how many each one got.
    """
    asker = Asker(address, token)
    followers = [Follower(address, token) for _ in range(count)]
    for one in followers:
        one.begin()
    began = cpu(process)
    require_completed(asker, asker.submit(specs.placed(specs.flat(tasks))))
    used = cpu(process) - began
    for one in followers:
        one.thread.join()
    asker.close()
    delays = [delay for one in followers for delay in one.delays] or [0.0]
    return {
        "cpu": used,
        "p50": quantile(delays, 0.5),
        "p99": quantile(delays, 0.99),
        "events": len(delays) / max(1, count),
    }


class Follower:
    """One who follows all runs, until one of them has completed; `delays` is how late each event came."""

    def __init__(self, address: str, token: str) -> None:
        """Keep where and with what; nothing is sent yet."""
        parts = urlsplit(address)
        self._connection = HTTPConnection(parts.hostname or "", parts.port, timeout=PATIENCE)
        self._headers = {"Authorization": f"Bearer {token}"}
        self.delays: list[float] = []
        self.thread = threading.Thread(target=self._follow, daemon=True)

    def begin(self) -> None:
        """Ask, and follow in a thread once the answer has begun.

        Raises:
            BenchError: the server refuses.
        """
        self._connection.request("GET", f"{API}/events", headers=self._headers)
        self._answer = self._connection.getresponse()
        if self._answer.status != 200:
            raise BenchError(f"events: {self._answer.status}")
        self._answer.readline()  # that these are all who have not ended
        self.thread.start()

    def _follow(self) -> None:
        for line in self._answer:
            came = time.time()
            if line.startswith(b"data: ") and "at" in (told := json.loads(line[6:])):
                self.delays.append(came - moment(told["at"]))
                if told["state"] == "completed":
                    break
        self._connection.close()
