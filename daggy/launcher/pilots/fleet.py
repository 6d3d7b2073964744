"""A fleet whose machines are pilots: agents that a place with a queue of its own starts when tasks want them."""

from __future__ import annotations

import abc
from collections.abc import Callable, Sequence
from typing import Literal

import trio
from attrs import evolve

from daggy.executor import Arrival, JoinError, Node, NodeState, Reports, Request, Site, Stop, Visit, Wanted
from daggy.launcher.homecoming import FETCH_BYTES
from daggy.launcher.host import Terms
from daggy.launcher.leaving import leave
from daggy.launcher.open_fleet import SECONDS, OpenFleet
from daggy.launcher.pilots.autoscaler import Autoscaler, Queue
from daggy.launcher.pilots.plan import Pilot, Size
from daggy.launcher.remote import Remote

PREFIX = "pilot-"
"""Names of pilots begin with it; their slots follow."""


class PilotFleet(OpenFleet, abc.ABC):
    """Runs tasks at pilots. A subclass has the settings and the queue."""

    def __init__(
        self, site: Site, terms: Terms, lease: float, size: Size, queue: Queue, interval: float, untimed: float,
        fetch_bytes: int = FETCH_BYTES,
    ) -> None:  # fmt: skip
        """Keep what is given; nothing is asked for.

        Args:
            site: Whose pilots.
            terms: What their tasks have in common.
            lease: Seconds without a word after which launchers there end what they run.
            size: What they are.
            queue: The place.
            interval: Seconds between two polls of it.
            untimed: Seconds that a task is taken to need of which nothing is known.
            fetch_bytes: The most that an attempt may have written for its output to be copied here.
        """
        super().__init__(site, terms, lease, fetch_bytes)
        self._untimed = untimed
        self._autoscaler = Autoscaler(site.pool, queue, size, interval, self)
        self._is_leaving = False
        self._visits, self._left, self._visit_ended = 0, set[str](), trio.Event()

    @property
    def placement(self) -> Literal["pack", "spread"]:
        """Return that tasks are packed: pilots without any are given back."""
        return "pack"

    @property
    def trouble(self) -> str:
        """Why nothing can be had of the place, or a launcher cannot go on; empty if all is well."""
        return self._autoscaler.complaints.trouble or super().trouble

    @property
    def absence(self) -> str:
        """What is being done about there being no machine."""
        plan, noun = self._autoscaler.plan, self._autoscaler.queue.noun
        waiting = [one for one in plan.pilots.values() if one.job not in plan.joined]
        if not waiting:
            return "it has no machine at this moment; one is asked for when tasks have found no room for two seconds"
        said = "; ".join(f"{noun} {one.job}: {one.said}" for one in waiting[:3])
        more = f"; and {len(waiting) - 3} more" if len(waiting) > 3 else ""
        return f"it waits for a machine: {said}{more}"

    def nodes(self) -> Sequence[Node]:
        """Return the pilots as people see them, those that wait in the queue among them."""
        plan, noun = self._autoscaler.plan, self._autoscaler.queue.noun
        jobs = {name_of(one): one for one in plan.pilots.values() if one.job in plan.joined}
        there = [self._described(node, jobs.get(node.name)) for node in super().nodes()]
        names = {node.name for node in there}
        waiting = [one for one in plan.pilots.values() if name_of(one) not in names]
        return there + [Node(name_of(one), NodeState.PENDING, why=f"{noun} {one.job}: {one.said}") for one in waiting]

    def _described(self, node: Node, pilot: Pilot | None) -> Node:
        if pilot is None:
            return node
        job = f"{self._autoscaler.queue.noun} {pilot.job}" + (f" on {pilot.host}" if pilot.host else "")
        return evolve(node, why=f"{job}; {node.why}" if node.why else job)

    async def recover(self, epoch: int) -> Reports:
        """Return what pilots had when they were last heard; refuse what the place can never do."""
        await self._autoscaler.open()
        return await super().recover(epoch)

    async def run(
        self,
        requests: trio.MemoryReceiveChannel[Request],
        report: Callable[[Reports], None],
        changed: Callable[[], None],
    ) -> None:
        """Carry out requests; pilots that are not to go on are cancelled at the end."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._autoscaler.run)
            await super().run(requests, report, changed)
            nursery.cancel_scope.cancel()
        if self._stopped.is_set() and not self._is_leaving:
            with trio.move_on_after(SECONDS):  # those that are there leave by themselves
                while self._visits:
                    self._visit_ended = trio.Event()
                    await self._visit_ended.wait()
            await self._autoscaler.close(self._left)

    def _obey(self, request: Request) -> None:
        match request:
            case Wanted():
                self._autoscaler.want(request)
            case Stop(leave=True) if self._site.linger:
                self._is_leaving = True
            case Stop():
                for remote in self._remotes.values():
                    remote.is_leaving = True  # so that its agent is told to end once its launchers have
        super()._obey(request)

    async def join(self, arrival: Arrival, visit: Visit) -> None:
        """Take a pilot: directories of tasks have the same names there."""
        slot = slot_of(arrival.name)
        if slot is None or slot >= self._autoscaler.plan.size.most:
            raise JoinError(f"{arrival.name} is no pilot of pool '{self._site.pool}'", is_final=True)
        self._visits += 1
        try:
            await super().join(evolve(arrival, work=""), visit)
            if self._remotes[self._places[arrival.name]].is_leaving:
                self._left.add(arrival.job)
        finally:
            self._visits -= 1
            self._visit_ended.set()

    def _admit(self, arrival: Arrival) -> Remote:
        remote = super()._admit(arrival)
        remote.host.machine = evolve(remote.host.machine, untimed=self._untimed)
        remote.preemption.is_possible = True
        self._autoscaler.join(arrival.job)
        return remote

    def _on_leaving(self, remote: Remote) -> None:
        job = self._arrivals[remote.host.machine.name].job
        pilot = self._autoscaler.plan.pilots.get(job)
        where = f" on {pilot.host}" if pilot is not None and pilot.host else ""
        said = f"its {self._autoscaler.queue.noun} {job}{where} ended" if job else "its machine went away"
        remote.preemption.begin(said)

    # What the autoscaler asks for.

    def remote_of(self, pilot: Pilot) -> Remote | None:
        """Return what serves a pilot, if it has joined and not left."""
        place = self._places.get(name_of(pilot))
        arrival = self._arrivals.get(name_of(pilot))
        if place is None or arrival is None or arrival.job != pilot.job or self._is_gone(place):
            return None
        return self._remotes.get(place)

    def taken(self) -> list[int]:
        """Return the slots whose machines are there, or may come back."""
        names = [self._hosts[place].machine.name for place in self._remotes if not self._is_gone(place)]
        return [slot for name in names if (slot := slot_of(name)) is not None]

    def known(self) -> list[Pilot]:
        """Return the pilots that have joined, in this engine's life or before."""
        return [
            Pilot(one.job, slot, is_queued=False, said="")
            for one in self._arrivals.values()
            if one.job and (slot := slot_of(one.name)) is not None
        ]

    def end(self, remote: Remote) -> None:
        """Have a machine leave at once: nothing may run where its allocation is over."""
        if self._nursery is not None:
            self._on_leaving(remote)
            self._nursery.start_soon(leave, remote, 0.0)

    def changed(self) -> None:
        """Take note that nodes have changed."""
        self._changed()


def name_of(pilot: Pilot) -> str:
    """Return the name by which a pilot joins."""
    return f"{PREFIX}{pilot.slot}"


def slot_of(name: str) -> int | None:
    """Return the slot of a pilot that joins by a name."""
    rest = name.removeprefix(PREFIX)
    return int(rest) if rest != name and rest.isascii() and rest.isdigit() else None
