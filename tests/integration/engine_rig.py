"""An engine at work under simulated time, for tests: scripted executors, a tracker that can fail, runs from dicts."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import trio

from daggy.attempt import REPORT, State
from daggy.engine.directory import StateDirectory
from daggy.engine.engine import Engine
from daggy.errors import Problem
from daggy.executor import (
    STOPPED,
    Ack,
    Executor,
    Kill,
    Kind,
    Launches,
    Machine,
    Reason,
    Recall,
    Reports,
    Request,
    Rows,
    Site,
    Stop,
    Ticket,
    Wanted,
    Work,
)
from daggy.run import states
from daggy.run.run import Run
from daggy.spec import parse
from daggy.tracker import Attempts, Entry
from daggy_memory import MemorySettings, MemoryTracker

Json = dict[str, Any]


class KeptTracker(MemoryTracker):
    """Outlives engines, not the test; refuses while `fault` is set; remembers every entry in order."""

    durable: ClassVar[bool] = True

    def __init__(self) -> None:
        super().__init__(MemorySettings(), Path())
        self.fault: Exception | None = None
        self.refused = 0
        self.entries: list[Entry] = []

    def append(self, entries: Sequence[Entry]) -> None:
        if self.fault is not None:
            self.refused += 1
            raise self.fault
        super().append(entries)
        self.entries += entries


def report(kind: Kind, ticket: Ticket, reason: Reason = Reason.OK, *, seq: int = 0, **row: float) -> Rows:
    """One row of REPORT."""
    rows = np.zeros(1, REPORT)
    rows["seq"], rows["kind"], rows["run"], rows["version"] = seq, kind, ticket.run, ticket.version
    rows["epoch"] = ticket.epoch
    rows["row"]["index"], rows["row"]["attempt"], rows["row"]["reason"] = ticket.index, ticket.attempt, reason
    for name, value in row.items():
        rows["row"][name] = value
    return rows


class Scene:
    """What the scripted executors of all pools share with the test.

    `seconds` gives how long a task runs, by its words (infinite: until the test ends it); `ends` its reasons, in turn;
    `answers` what generators say.
    """

    def __init__(self, **pools: float) -> None:
        self.machines: dict[str, list[Machine]] = {
            name: [Machine(f"m-{name}", {"cores": cores})] for name, cores in (pools or {"default": 4.0}).items()
        }
        self.named: list[str] = []  # machines, by place, if not just those that there are
        self.fixed = True
        self.seconds: dict[str, float] = {}
        self.ends: dict[str, list[Reason]] = {}
        self.answers: dict[int, bytes] = {}
        self.answer_seconds = 0.0
        self.recovered: dict[str, list[Reports | Exception]] = {}
        self.lives: list[Scripted] = []
        self.launched: list[tuple[str, str, int]] = []  # pool, argv joined, attempt
        self.needs: dict[int, Mapping[str, float]] = {}  # by lane
        self.checked: list[Work] = []
        self.recalled: list[Ticket] = []
        self.wanted: list[tuple[float, Wanted]] = []
        self.is_full = False  # nothing starts
        self.says: Callable[[Ticket], str] = lambda _: ""  # of what has not begun
        self.forgotten: list[tuple[str, int]] = []  # pool, run
        self.forget: Callable[[], Awaitable[None]] = trio.lowlevel.checkpoint
        self.finished: list[str] = []
        self.at: list[float] = []
        self.most = 0
        self.acks: list[tuple[str, int, int]] = []
        self.bell = trio.Event()

    def make(self) -> Mapping[str, Callable[[Site], Executor]]:
        return {name: partial(Scripted, self) for name in self.machines}

    def ring(self) -> None:
        self.bell.set()
        self.bell = trio.Event()

    async def until(self, condition: Callable[[], Any]) -> None:
        while not condition():
            await self.bell.wait()

    def life(self, pool: str = "default") -> Scripted:
        """The present executor of a pool."""
        return next(one for one in reversed(self.lives) if one.site.pool == pool)

    @property
    def words(self) -> list[str]:
        return [word for _, word, _ in self.launched]


class Scripted(Executor):
    """Starts what it is given, each lane no wider than told, and ends it when the scene says."""

    Settings: ClassVar[type] = dict

    def __init__(self, scene: Scene, site: Site) -> None:
        self.scene, self.site = scene, site
        self.waiting: dict[int, list[tuple[Ticket, str]]] = {}
        self.width: dict[int, int] = {}
        self.running: dict[Ticket, tuple[int, str, trio.CancelScope]] = {}
        self.begun: dict[Ticket, float] = {}
        self.fault: Exception | None = None
        self.broken = trio.Event()
        self.seq = 0
        self.leaves = self.deaf = self.is_stopped = False
        self.stayed: list[Ticket] = []
        self.killed: list[Ticket] = []

    def capacity(self) -> Sequence[Machine]:
        return self.scene.machines[self.site.pool]

    def machines(self) -> Sequence[str]:
        return self.scene.named or super().machines()

    @property
    def fixed(self) -> bool:
        return self.scene.fixed

    def check(self, work: Work) -> Iterable[Problem]:
        self.scene.checked.append(work)
        return ()

    def waits(self, ticket: Ticket) -> str:
        return self.scene.says(ticket)

    async def forget(self, run: int) -> None:
        self.scene.forgotten.append((self.site.pool, run))
        await self.scene.forget()

    async def recover(self, epoch: int) -> Reports:
        await trio.lowlevel.checkpoint()
        said = self.scene.recovered.get(self.site.pool, [])
        known = said.pop(0) if said else Reports(np.zeros(0, REPORT))
        if isinstance(known, Exception):
            raise known
        return known

    def fail(self, error: Exception) -> None:
        self.fault = error
        self.broken.set()

    async def run(
        self,
        requests: trio.MemoryReceiveChannel[Request],
        report: Callable[[Reports], None],
        changed: Callable[[], None],
    ) -> None:
        self.report, self.changed = report, changed
        self.scene.lives.append(self)
        self.scene.ring()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._listen, requests, nursery)
            await self.broken.wait()
            if self.deaf:
                requests.close()
                self.end(next(iter(self.running)))  # which the engine has something to answer to
                await trio.sleep(1)
            if self.fault is not None:
                raise self.fault
            nursery.cancel_scope.cancel()

    async def _listen(self, requests: trio.MemoryReceiveChannel[Request], nursery: trio.Nursery) -> None:
        with contextlib.suppress(trio.ClosedResourceError):
            async for request in requests:
                self._obey(request, nursery)

    def _obey(self, request: Request, nursery: trio.Nursery) -> None:
        match request:
            case Launches():
                self._take(request)
                self._start(nursery)
            case Recall(tickets):
                self.scene.recalled += tickets
                self._recall(set(tickets))
            case Kill(tickets, _):
                self.killed += tickets
                self._recall(set(tickets))
                for ticket in tickets:
                    if ticket in self.running:
                        self.end(ticket, Reason.KILLED)
            case Wanted():
                self.scene.wanted.append((trio.current_time(), request))
            case Ack(launcher, seq):
                self.scene.acks.append((self.site.pool, launcher, seq))
                self.scene.ring()
            case Stop(leave=leave):
                self.is_stopped = True
                self._recall(None)
                self.stayed = list(self.running) if leave else []
                if leave:
                    self.broken.set()
                    return
                for ticket in list(self.running):
                    self.end(ticket, Reason.KILLED, flags=STOPPED)
                self.broken.set()

    def _take(self, batch: Launches) -> None:
        self.width[batch.lane] = batch.width
        assert self.scene.needs.setdefault(batch.lane, batch.needs) == batch.needs
        tickets = [Ticket(batch.run, batch.version, one.index, batch.epoch, one.attempt) for one in batch.launches]
        said = [" ".join(one.argv) for one in batch.launches]
        self.waiting.setdefault(batch.lane, []).extend(zip(tickets, said, strict=True))

    def _start(self, nursery: trio.Nursery) -> None:
        for lane, queue in self.waiting.items() if not self.scene.is_full else ():
            while queue and sum(one == lane for one, _, _ in self.running.values()) < self.width[lane]:
                ticket, words = queue.pop(0)
                self.running[ticket] = lane, words, trio.CancelScope()
                self.begun[ticket] = trio.current_time()
                self.scene.launched.append((self.site.pool, words, ticket.attempt))
                self.scene.at.append(trio.current_time())
                self.scene.most = max(self.scene.most, len(self.running))
                self.report(Reports(report(Kind.STARTED, ticket, started=1.0)))
                nursery.start_soon(self._live, ticket, self.scene.seconds.get(words, 1.0), nursery)
        self.scene.ring()

    async def _live(self, ticket: Ticket, seconds: float, nursery: trio.Nursery) -> None:
        if ticket not in self.running:
            return
        _, words, scope = self.running[ticket]
        with scope:
            await trio.sleep(seconds)
            ends = self.scene.ends.get(words)
            self.end(ticket, ends.pop(0) if ends else Reason.OK)
        self._start(nursery)

    def end(self, ticket: Ticket, reason: Reason = Reason.OK, **row: float) -> None:
        """End a running task."""
        _, words, scope = self.running.pop(ticket)
        self.seq += 1
        self.scene.finished.append(words)
        ended = trio.current_time()
        times = {"started": self.begun.pop(ticket, ended), "ended": ended}
        rows = report(Kind.FINISHED, ticket, reason, seq=self.seq, launcher=1, **times, **row)
        self.report(Reports(rows))
        scope.cancel()

    def ticket(self, words: str) -> Ticket:
        """The ticket of what runs with these words."""
        return next(ticket for ticket, (_, said, _) in self.running.items() if said == words)

    def _recall(self, tickets: set[Ticket] | None) -> None:
        for queue in self.waiting.values():
            for one in [one for one in queue if tickets is None or one[0] in tickets]:
                queue.remove(one)
                self.report(Reports(report(Kind.RECALLED, one[0])))

    async def read_log(self, run: int, version: int, row: Rows, stream: str, offset: int, limit: int) -> bytes:
        await trio.sleep(self.scene.answer_seconds)
        return self.scene.answers[int(row["index"])]


def template(word: str, *parents: Any, **keys: Any) -> Json:
    """A template that says one word."""
    return {"details": {"command": [word]}, "parents": list(parents), **keys}


def document(tasks: Json, **more: Any) -> bytes:
    return json.dumps({"directory": "/", "tasks": tasks, **more}).encode()


async def submit(engine: Engine, tasks: Json, **more: Any) -> Run:
    raw = document(tasks, **more)
    return engine.runs[await engine.commands.submit(parse(raw, directory="/"), raw)]


@asynccontextmanager
async def at_work(
    tmp_path: Path, scene: Scene, tracker: MemoryTracker | None = None, *, threads: bool = False, follow: bool = False
) -> AsyncIterator[Engine]:
    """An engine with this scene's pools; nothing takes longer than ten simulated hours."""
    with StateDirectory.open(tmp_path / "state") as directory, trio.fail_after(36_000):
        engine = Engine(
            tracker or KeptTracker(),
            scene.make(),
            directory,
            default_pool=next(iter(scene.machines)),
            threads=threads,
            linger=follow,
            follow=follow,
        )
        async with engine.open():
            yield engine


def state_of(run: Run, name: str) -> str:
    return State(int(states.PUBLIC[run.frontier.state[run.plan.index(name)]])).name.lower()


def reasons(tracker: KeptTracker) -> list[tuple[int, int, Reason]]:
    """(index, attempt, reason) of all kept attempts, in order."""
    return [
        (int(row["index"]), int(row["attempt"]), Reason(int(row["reason"])))
        for entry in tracker.entries
        if isinstance(entry, Attempts)
        for row in entry.rows
    ]
