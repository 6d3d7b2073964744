"""What outlives every engine: time, launchers with their processes and spools, and a log of what really happened."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from functools import partial
from random import Random
from typing import Any

import numpy as np
import trio
from attrs import define, field, frozen

from daggy.attempt import REPORT, STOPPED, Kind, Reason, Reports, Rows, Ticket
from daggy.executor import Launch
from tests.simulation import specs

Act = Callable[[], None]


@frozen
class Happened:
    """One thing that really happened: a process began, ended (`reason`), or died unseen with its launcher ("died")."""

    at: float
    what: str
    ticket: Ticket
    name: str
    reason: Reason = Reason.OK


@define(eq=False)
class Process:
    """One task's process. `is_over`: it has ended, whether or not its launcher knows."""

    ticket: Ticket
    launch: Launch
    lane: int
    reason: Reason = Reason.OK
    began: float = 0.0
    is_over: bool = False
    is_doomed: bool = False


def report(kind: Kind, ticket: Ticket, reason: Reason = Reason.OK, *, seq: int = 0, **columns: float) -> Rows:
    """Return one row of REPORT."""
    rows = np.zeros(1, REPORT)
    rows["seq"], rows["kind"], rows["run"], rows["version"] = seq, kind, ticket.run, ticket.version
    rows["epoch"] = ticket.epoch
    row = rows["row"]
    row["index"], row["attempt"], row["reason"] = ticket.index, ticket.attempt, reason
    for name, value in columns.items():
        row[name] = value
    return rows


@define(eq=False)
class World:
    """Everything but engines.

    Args:
        rng: Where all chance comes from.
        log: What happened, in order.
        launchers: Those that live, or have left something to be read.
        answers: What a generator's attempt said.
        used: By pool and resource, what runs at this moment.
        broken: What was seen to be wrong while it happened.
        held: How many tasks an engine found in the queue of a place.
    """

    rng: Random
    log: list[Happened] = field(factory=list)
    launchers: dict[int, SimLauncher] = field(factory=dict)
    answers: dict[Ticket, bytes] = field(factory=dict)
    broken: list[str] = field(factory=list)
    shift: float = 0.0
    last_number: int = 0
    kills: int = 0
    held: int = 0
    parameters: dict[tuple[int, int], Any] = field(factory=dict)
    _agenda: list[tuple[float, int, Act]] = field(factory=list)
    _count: int = 0
    _bell: trio.Event = field(factory=trio.Event)

    def wall(self) -> float:
        """Return the wall clock: it may have been set to another time."""
        return 1e9 + trio.current_time() + self.shift

    def later(self, seconds: float, act: Act) -> None:
        """Do something in so many seconds."""
        self.at(trio.current_time() + seconds, act)

    def at(self, when: float, act: Act) -> None:
        """Do something at a moment."""
        self._count += 1
        heapq.heappush(self._agenda, (when, self._count, act))
        self._bell.set()

    async def run(self) -> None:
        """Let time pass, until cancelled."""
        while True:
            with trio.move_on_at(self._agenda[0][0] if self._agenda else float("inf")):
                await self._bell.wait()
            self._bell = trio.Event()
            while self._agenda and self._agenda[0][0] <= trio.current_time():
                heapq.heappop(self._agenda)[2]()

    def note(self, what: str, process: Process, reason: Reason = Reason.OK) -> None:
        """Write down what happened."""
        name = process.launch.environment["DAGGY_TASK"] or ""
        self.log.append(Happened(trio.current_time(), what, process.ticket, name, reason))

    def running(self) -> list[tuple[SimLauncher, Process]]:
        """Return every process that is really there."""
        return [
            (one, process) for one in self.launchers.values() for process in one.running.values() if not process.is_over
        ]


@define(eq=False)
class SimLauncher:
    """One launcher: lanes, processes, a spool of what nobody has acknowledged, and perhaps somebody who listens.

    Args:
        lingers: Whether it goes on when its engine hangs up.
        hear: Where reports go; None while nobody listens.
        spool: Finishes that were not acknowledged.
        lost: What was found to be lost when it was dead.
    """

    world: World
    number: int
    pool: str
    epoch: int
    lingers: bool
    hear: Callable[[Reports], None] | None = None
    is_alive: bool = True
    seq: int = 0
    waiting: dict[int, list[tuple[Ticket, Launch]]] = field(factory=dict)
    width: dict[int, int] = field(factory=dict)
    running: dict[Ticket, Process] = field(factory=dict)
    spool: list[Rows] = field(factory=list)
    withdrawn: set[Ticket] = field(factory=set)
    _last: float = 0.0
    died: Callable[[], None] | None = None
    ended: Callable[[], None] | None = None

    # What it is told.

    def launch(self, lane: int, width: int, tickets: list[tuple[Ticket, Launch]]) -> None:
        """Take tasks, and the number of them that may run at once."""
        self.width[lane] = width
        self.waiting.setdefault(lane, []).extend(tickets)
        self.start()

    def start(self) -> None:
        """Start what there is room for."""
        for lane, queue in self.waiting.items() if self.is_alive else ():
            while queue and sum(one.lane == lane for one in self.running.values()) < self.width[lane]:
                ticket, launch = queue.pop(0)
                process = self.running[ticket] = Process(ticket, launch, lane, began=self.world.wall())
                self.world.note("start", process)
                check_room(self.world)
                self.say(report(Kind.STARTED, ticket, started=process.began, launcher=self.number))
                pace = float(launch.argv[1]) * self.world.rng.uniform(0.5, 1.5)
                self.world.later(pace, partial(self._end, process, launch.argv[0]))

    def recall(self, tickets: set[Ticket] | None) -> list[Ticket]:
        """Give back what has not started; None: all of it."""
        given: list[Ticket] = []
        if not self.is_alive:  # whoever buries it sees to that
            self.withdrawn |= (
                {one[0] for queue in self.waiting.values() for one in queue} if tickets is None else tickets
            )
            return given
        for queue in self.waiting.values():
            for one in [one for one in queue if tickets is None or one[0] in tickets]:
                queue.remove(one)
                given.append(one[0])
        for ticket in given:
            self.say(report(Kind.RECALLED, ticket, launcher=self.number))
        return given

    def kill(self, tickets: set[Ticket], flags: int = 0) -> None:
        """End what runs of these, after some of its grace."""
        self.recall(tickets)
        for ticket in tickets:
            process = self.running.get(ticket)
            if process is not None and not process.is_doomed:
                process.is_doomed = True
                grace = self.world.rng.choice([0.0, 0.001, 0.3])
                self.world.later(grace, partial(self._over, process, Reason.KILLED, flags))

    def ack(self, seq: int) -> None:
        """Forget what was reported up to a number."""
        self.spool = [rows for rows in self.spool if int(rows["seq"][0]) > seq]

    def hang_up(self) -> None:
        """Nobody listens any more: go on, or end what runs and leave."""
        self.hear = self.died = self.ended = None
        self.waiting.clear()
        if not self.is_alive or self.lingers:
            return
        for process in list(self.running.values()):
            if process.is_over:
                self._reap(process, 0)
            else:
                self._over(process, Reason.KILLED, STOPPED, delay=0.0)
        self.is_alive = False

    # What becomes of its processes.

    def _end(self, process: Process, how: str) -> None:
        if process.is_over or not self.is_alive:
            return None
        ticket, name = process.ticket, process.launch.environment["DAGGY_TASK"] or ""
        reason = Reason.OK
        if how == "bad" or (how == "flaky" and Random(f"{name}{ticket.attempt}").random() < 0.4):
            reason = Reason.EXIT
        elif how == "crash" and Random(f"{name}{ticket.attempt}").random() < 0.5:
            return self.die()
        elif process.launch.generator:
            known = self.world.parameters[ticket.run, ticket.version]
            self.world.answers[ticket] = specs.answer(process.launch.argv, name, known, ticket.attempt)
        return self._over(process, reason)

    def _over(self, process: Process, reason: Reason, flags: int = 0, delay: float | None = None) -> None:
        """A process ends now; its launcher wakes up and writes that down a moment later."""
        if process.is_over:
            return
        process.is_over, process.reason = True, reason
        self.world.note("end", process, reason)
        wake = self.world.rng.choice([0.0, 0.0005, 0.002]) if delay is None else delay
        if wake:
            self.world.later(wake, lambda: self._reap(process, flags))
        else:
            self._reap(process, flags)

    def _reap(self, process: Process, flags: int) -> None:
        if not self.is_alive or process.ticket not in self.running:
            return
        del self.running[process.ticket]
        self.seq += 1
        row = report(
            Kind.FINISHED, process.ticket, process.reason, seq=self.seq, launcher=self.number,
            started=process.began, ended=self.world.wall(), flags=flags, code=int(process.reason is Reason.EXIT),
        )  # fmt: skip
        self.spool.append(row)
        self.say(row)
        if self.ended is not None:
            self._deliver(self.ended)
        self.start()

    def die(self) -> None:
        """Die, with all that runs: what ended unnoticed, or began unnoticed, nobody will know."""
        if not self.is_alive:
            return
        self.is_alive = False
        self.world.kills += 1
        suspects = []
        for lane, queue in self.waiting.items():
            free = self.width[lane]  # as many as it had slots may have begun after the last start that is known
            for ticket, launch in queue[:free]:
                suspects.append(ticket)
                if self.world.rng.random() < 0.3 and sum(one.lane == lane for one in self.running.values()) < free:
                    process = self.running[ticket] = Process(ticket, launch, lane)
                    self.world.note("start", process)
            del queue[:free]
        for process in self.running.values():
            if not process.is_over:
                process.is_over = True
                self.world.note("died", process, Reason.LOST)
        for ticket in [*(ticket for ticket in self.running if ticket not in suspects), *suspects]:
            self.seq += 1
            began = self.running[ticket].began if ticket in self.running else 0.0
            lost = report(
                Kind.FINISHED, ticket, Reason.LOST, seq=self.seq, launcher=self.number,
                started=began, ended=self.world.wall(),
            )  # fmt: skip
            self.spool.append(lost)
        self.running.clear()
        if self.died is not None:
            self._deliver(self.died)

    # What it says.

    def say(self, rows: Rows) -> None:
        """Report to whoever listens, in order, a moment later."""
        hear = self.hear
        if hear is not None:
            self._deliver(lambda: hear(Reports(rows)))

    def _deliver(self, act: Act) -> None:
        owner = self.hear

        def carry() -> None:
            if self.hear is owner:  # else the connection has gone, and what was on its way with it
                act()

        self._last = max(self._last, trio.current_time() + self.world.rng.choice([0.0, 0.0002, 0.003]))
        self.world.at(self._last, carry)


def check_room(world: World) -> None:
    """Note it if more runs than a pool has cores, but for what an engine ends that its predecessor left: of a run that
    has ended nobody knows what it needs.
    """
    used: dict[str, float] = {}
    latest = max(launcher.epoch for launcher, _ in world.running())
    for launcher, process in world.running():
        if launcher.pool not in specs.POOLS or (process.is_doomed and launcher.epoch < latest):
            continue
        cores = float(process.launch.environment.get("CORES") or 1)
        used[launcher.pool] = used.get(launcher.pool, 0.0) + cores
    for pool, cores in used.items():
        if cores > specs.POOLS[pool] + 1e-6:
            there = ", ".join(
                f"{process.ticket} at {launcher.number}"
                for launcher, process in world.running()
                if launcher.pool == pool
            )
            world.broken.append(
                f"room: {cores} cores of '{pool}' in use of {specs.POOLS[pool]} at {trio.current_time():.4f}: {there}"
            )
