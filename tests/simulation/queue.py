"""A place with a queue of its own, whose machines come and go: what waits there outlives engines."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import trio
from attrs import define, field

from daggy.attempt import REPORT
from daggy.executor import Kind, Launch, Launches, Machine, Reason, Reports, Request, Rows, Site, Stop, Ticket, Wanted
from tests.simulation.executor import SimExecutor
from tests.simulation.specs import QUEUE, TIMEOUT
from tests.simulation.world import Process, SimLauncher, World, report

AT_ONCE = 1
"""Tasks that the place runs at once, whatever its machines promise."""

SLOTS = 3
"""Tasks that a machine takes, running or not."""

MACHINES = 2
"""Machines that there are at once, at most."""


@define(eq=False)
class Node:
    """A machine for a while: until when (wall clock), and whether nobody hears from it at this moment."""

    until: float | None
    is_silent: bool = False


@define(eq=False)
class Place(SimLauncher):
    """Runs what it is given in order. It keeps what waits when nobody listens, and does not die: its nodes do.

    Args:
        nodes: Those that are there, by name.
        names: All that ever were.
        node_of: Where each ticket was launched to.
    """

    nodes: dict[str, Node] = field(factory=dict)
    names: list[str] = field(factory=list)
    node_of: dict[Ticket, str] = field(factory=dict)

    def hang_up(self) -> None:
        """Nobody listens any more: all goes on."""
        self.hear = self.died = self.ended = None

    def die(self) -> None:
        """A node fails, with all that runs: that is lost; what waits goes on waiting."""
        for process in [one for one in self.running.values() if not one.is_over]:
            process.is_over = True
            self.world.note("died", process, Reason.LOST)
            del self.running[process.ticket]
            self._lose(process)
        self.start()

    def _lose(self, process: Process) -> None:
        self.seq += 1
        row = report(
            Kind.FINISHED, process.ticket, Reason.LOST, seq=self.seq, launcher=self.number,
            started=process.began, ended=self.world.wall(),
        )  # fmt: skip
        self.spool.append(row)
        self.say(row)

    def taken(self, node: str) -> int:
        """Return how many tasks a node has that nobody has had ended."""
        waiting = [ticket for queue in self.waiting.values() for ticket, _ in queue]
        running = [ticket for ticket, process in self.running.items() if not process.is_doomed]
        return sum(self.node_of[ticket] == node for ticket in (*waiting, *running))

    def turn(self, *, is_wanted: bool) -> bool:
        """Let nodes come, go, fall silent and be heard again; return whether anything changed."""
        rng, before = self.world.rng, [(name, node.is_silent) for name, node in self.nodes.items()]
        for name, node in list(self.nodes.items()):
            node.is_silent = rng.random() < (0.5 if node.is_silent else 0.1)
            is_over = node.until is not None and node.until <= self.world.wall()
            if is_over or (not is_wanted and not self.taken(name) and rng.random() < 0.3):
                del self.nodes[name]
        if is_wanted and len(self.nodes) < MACHINES:
            self.names.append(f"n{len(self.names)}")
            lasts = rng.choice([None, TIMEOUT + 2, TIMEOUT + 30])
            self.nodes[self.names[-1]] = Node(lasts and self.world.wall() + lasts)
        return before != [(name, node.is_silent) for name, node in self.nodes.items()]


def place_of(world: World) -> Place:
    """Return the one place of a world."""
    found = next((one for one in world.launchers.values() if isinstance(one, Place)), None)
    if found is None:
        world.last_number += 1
        found = world.launchers[world.last_number] = Place(world, world.last_number, QUEUE, 0, lingers=True)
    return found


class QueueExecutor(SimExecutor):
    """Hands what is launched to the place, which has machines while more is wanted."""

    def __init__(self, world: World, site: Site) -> None:
        """Keep what is given; start nothing."""
        super().__init__(world, site)
        self.place = place_of(world)
        self.is_wanted = False
        self._changed: Callable[[], None] = lambda: None

    def capacity(self) -> Sequence[Machine]:
        """Return the machines that are there."""
        return [
            Machine(name, None, slots=SLOTS, until=node.until, open=not node.is_silent, ahead=0)
            for name, node in self.place.nodes.items()
        ]

    def machines(self) -> Sequence[str]:
        """Return all that ever were."""
        return self.place.names

    @property
    def fixed(self) -> bool:
        """Return False."""
        return False

    def waits(self, ticket: Ticket) -> str:
        """Say where it is."""
        return f"in the queue of '{self.place.node_of[ticket]}'"

    async def recover(self, epoch: int) -> Reports:
        """Return what ended since, what runs and what waits."""
        self.epoch = epoch
        await trio.sleep(self.world.rng.choice([0.0, 0.01]))
        place = self.place
        self._listen_to(place)
        known: list[Rows] = [np.zeros(0, REPORT), *place.spool]
        for ticket, process in place.running.items():
            known.append(report(Kind.STARTED, ticket, started=process.began, launcher=place.number))
        for ticket, _ in [one for queue in place.waiting.values() for one in queue]:
            known.append(report(Kind.HELD, ticket))
            self.world.held += 1
        return Reports(self._placed(np.concatenate(known)))

    def _placed(self, rows: Rows) -> Rows:
        for row in rows:
            about = row["row"]
            ticket = Ticket(
                *(int(n) for n in (row["run"], row["version"], about["index"], row["epoch"], about["attempt"]))
            )
            about["place"] = self.place.names.index(self.place.node_of[ticket])
        return rows

    def _others(self) -> list[SimLauncher]:
        return []

    def _start_own(self) -> None:
        self.own = self.place

    def _hear(self, reports: Reports) -> None:
        super()._hear(Reports(self._placed(reports.rows)))

    async def run(
        self,
        requests: trio.MemoryReceiveChannel[Request],
        report: Callable[[Reports], None],
        changed: Callable[[], None],
    ) -> None:
        """Carry out requests, and let machines come and go meanwhile."""
        self._changed = changed
        self._turn()
        try:
            await super().run(requests, report, changed)
        finally:
            self._changed = lambda: None

    def leave(self) -> None:
        """Hang up."""
        self.is_gone = True
        super().leave()

    def _turn(self) -> None:
        if self.is_gone:
            return
        if self.place.turn(is_wanted=self.is_wanted):
            self._changed()
        self.world.later(self.world.rng.uniform(0.5, 3), self._turn)

    def _obey(self, request: Request) -> None:
        match request:
            case Wanted(demands):
                self.is_wanted = bool(demands)
            case Stop(leave=True):
                self.is_stopping = True
            case _:
                super()._obey(request)

    def _launch(self, batch: Launches) -> None:
        place, node = self.place, self.place.nodes.get(batch.machine)
        tickets: list[tuple[Ticket, Launch]] = [
            (Ticket(batch.run, batch.version, one.index, batch.epoch, one.attempt), one) for one in batch.launches
        ]
        place.node_of.update({ticket: batch.machine for ticket, _ in tickets})
        place.launch(0, AT_ONCE, tickets)
        if place.taken(batch.machine) > SLOTS:
            self.world.broken.append(f"room: {place.taken(batch.machine)} tasks on '{batch.machine}' of {SLOTS}")
        if node is not None and node.until is not None and self.world.wall() + TIMEOUT > node.until + 1e-6:
            self.world.broken.append(f"until: {tickets[0][0]} may outlast '{batch.machine}'")
        if node is not None and node.is_silent:
            self.world.broken.append(f"silent: {tickets[0][0]} was launched on '{batch.machine}', which is closed")
