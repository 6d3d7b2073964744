"""A fleet whose machines are pilots: agents that a place with a queue of its own starts when tasks want them."""

from __future__ import annotations

import abc
import logging
from collections.abc import Callable, Sequence
from typing import Literal, Protocol

import trio
from attrs import evolve, field, frozen

from daggy.attempt import Reason
from daggy.executor import Arrival, JoinError, Node, NodeState, Reports, Request, Site, Stop, Visit, Wanted
from daggy.launcher.homecoming import FETCH_BYTES
from daggy.launcher.host import Terms
from daggy.launcher.leaving import leave
from daggy.launcher.open_fleet import SECONDS, OpenFleet
from daggy.launcher.pilots.plan import Pilot, Plan, Size
from daggy.launcher.queues import Fate, Looking, QueueError, RefusedError
from daggy.launcher.remote import Remote
from daggy.seldom import Seldom

LOG = logging.getLogger("daggy.launcher")

TICK = 0.5
"""Seconds between two looks at what is to be done."""

SILENT = 60.0
"""Seconds for which a pilot says nothing that its place does not know, before it is taken to have ended."""

LAST = 60.0
"""Seconds before its end at which a pilot takes its leave."""

WRONG = 5.0
"""Seconds by which an end may differ from what was known."""

LINGERS = 5.0
"""Seconds for which a pilot may be heard that has ended."""

END = 20.0
"""Seconds for cancelling all at the end."""

PREFIX = "pilot-"


class Queue(Protocol):
    """A place that starts pilots. All but `noun` raise QueueError."""

    noun: str
    """What the place calls a pilot, such as "Slurm job"."""

    async def open(self) -> None:
        """Find out whether it can start any.

        Raises:
            PluginError: it never can, as configured.
        """

    async def submit(self, slots: Sequence[int]) -> list[Pilot]:
        """Ask for pilots."""

    async def look(self) -> list[Pilot]:
        """Return those of this pool that wait or run."""

    async def cancel(self, jobs: Sequence[str]) -> None:
        """Cancel some of this pool."""

    async def cancel_all(self) -> None:
        """Cancel all of this pool."""

    async def fate(self, pilot: Pilot) -> Fate:
        """Return how one ended."""

    def forget(self, pilot: Pilot) -> None:
        """Remove what is left of one that has ended as it should."""

    def close(self) -> None:
        """Remove what nobody needs once there is no pilot any more."""


@frozen
class Ended:
    """A pilot that the place does not list any more, and what is known of its end."""

    pilot: Pilot
    fate: Fate
    at: float = field(factory=trio.current_time)


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
            interval: Seconds between two looks at it.
            untimed: Seconds that a task is taken to need of which nothing is known.
            fetch_bytes: The most that an attempt may have written for its output to be copied here.
        """
        super().__init__(site, terms, lease, fetch_bytes)
        self._queue, self._untimed = queue, untimed
        self._looking = Looking(interval)
        self._plan = Plan(size)
        self._ended: dict[str, Ended] = {}
        self._trouble = ""
        self._seldom = Seldom()
        self._is_leaving = False
        self._visits, self._left, self._visit_ended = 0, set[str](), trio.Event()
        self._has_looked = False

    @property
    def placement(self) -> Literal["pack", "spread"]:
        """Return that tasks are packed: pilots without any are given back."""
        return "pack"

    @property
    def trouble(self) -> str:
        """Why nothing can be had of the place, or a launcher cannot go on; empty if all is well."""
        return self._trouble or super().trouble

    @property
    def absence(self) -> str:
        """What is being done about there being no machine."""
        waiting = [one for one in self._plan.pilots.values() if one.job not in self._plan.joined]
        if not waiting:
            return "it has no machine at this moment; one is asked for when tasks have found no room for two seconds"
        said = "; ".join(f"{self._queue.noun} {one.job}: {one.said}" for one in waiting[:3])
        more = f"; and {len(waiting) - 3} more" if len(waiting) > 3 else ""
        return f"it waits for a machine: {said}{more}"

    def nodes(self) -> Sequence[Node]:
        """Return the pilots as people see them, those that wait in the queue among them."""
        jobs = {name_of(one): one for one in self._plan.pilots.values() if one.job in self._plan.joined}
        there = [self._described(node, jobs.get(node.name)) for node in super().nodes()]
        names = {node.name for node in there}
        waiting = [one for one in self._plan.pilots.values() if name_of(one) not in names]
        return there + [
            Node(name_of(one), NodeState.PENDING, why=f"{self._queue.noun} {one.job}: {one.said}") for one in waiting
        ]

    def _described(self, node: Node, pilot: Pilot | None) -> Node:
        if pilot is None:
            return node
        job = f"{self._queue.noun} {pilot.job}" + (f" on {pilot.host}" if pilot.host else "")
        return evolve(node, why=f"{job}; {node.why}" if node.why else job)

    async def recover(self, epoch: int) -> Reports:
        """Return what pilots had when they were last heard; refuse what the place can never do."""
        try:
            await self._queue.open()
        except QueueError as error:
            self._trouble = str(error)
        return await super().recover(epoch)

    async def run(
        self,
        requests: trio.MemoryReceiveChannel[Request],
        report: Callable[[Reports], None],
        changed: Callable[[], None],
    ) -> None:
        """Carry out requests; pilots that are not to go on are cancelled at the end."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._tend)
            await super().run(requests, report, changed)
            nursery.cancel_scope.cancel()
        if self._stopped.is_set() and not self._is_leaving:
            if self._plan.is_out:
                await self._give_back()
            self._queue.close()

    async def _give_back(self) -> None:
        """Let pilots end: those that are there by themselves, others are cancelled."""
        with trio.move_on_after(SECONDS):
            while self._visits:
                self._visit_ended = trio.Event()
                await self._visit_ended.wait()
        for pilot in self._plan.pilots.values():
            if pilot.job in self._left:
                self._queue.forget(pilot)
        others = [job for job in self._plan.pilots if job not in self._left]
        with trio.move_on_after(END):
            try:
                await (self._queue.cancel(others) if self._plan.is_certain else self._queue.cancel_all())
            except QueueError as error:
                LOG.warning("pool '%s': its pilots could not be cancelled: %s", self._site.pool, error)

    def _obey(self, request: Request) -> None:
        match request:
            case Wanted(demands):
                self._plan.want(demands, trio.current_time())
            case Stop(leave=True) if self._site.linger:
                self._is_leaving = True
            case Stop():
                for remote in self._remotes.values():
                    remote.is_leaving = True
        super()._obey(request)

    async def join(self, arrival: Arrival, visit: Visit) -> None:
        """Take a pilot: directories of tasks have the same names there."""
        slot = slot_of(arrival.name)
        if slot is None or not 0 <= slot < self._plan.size.most:
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
        remote.passing.is_possible = True
        now = trio.current_time()
        self._plan.join(arrival.job, now)
        if (pilot := self._plan.pilots.get(arrival.job)) is None or not pilot.host:
            self._looking.again(now)  # where it runs is not known yet
        self._trouble = ""
        return remote

    def _on_leaving(self, remote: Remote) -> None:
        job = self._arrivals[remote.host.machine.name].job
        remote.passing.ends(f"its {self._queue.noun} {job} ended" if job else "its machine went away")

    async def _tend(self) -> None:
        """See that there are as many pilots as tasks want."""
        while not self._stopped.is_set():
            try:
                await self._tend_once()
            except QueueError as error:
                self._complain(str(error))
            await trio.sleep(TICK)

    async def _tend_once(self) -> None:
        now = trio.current_time()
        if self._looking.next <= now and (self._plan.is_out or not self._has_looked):
            await self._look()
        self._bury(now)
        if doomed := self._plan.to_cancel(now):
            await self._queue.cancel([one.job for one in doomed])
            self._plan.cancelled(doomed, now)
            self._changed()
            self._looking.soon(trio.current_time())
        if slots := self._plan.to_ask(self._taken(), now):
            await self._ask(slots)

    async def _ask(self, slots: Sequence[int]) -> None:
        self._plan.asked(slots, trio.current_time())
        try:
            made = await self._queue.submit(slots)
        except RefusedError as error:
            self._plan.refused(slots, trio.current_time())
            raise QueueError(f"{error}; trying again") from None
        finally:
            self._looking.soon(trio.current_time())
        self._trouble = ""
        self._plan.see([*self._plan.pilots.values(), *made], trio.current_time())
        self._changed()

    async def _look(self) -> None:
        began = trio.current_time()
        before = dict(self._plan.pilots)
        try:
            listed = await self._queue.look()
        finally:
            now = trio.current_time()
            self._looking.looked(began, now)
        if not self._plan.failures:
            self._trouble = ""
        for job, ended in self._ended.items():
            if not ended.fate.is_over:
                self._ended[job] = evolve(ended, fate=await self._queue.fate(ended.pilot))
        gone = [*self._plan.see(listed, now), *self._ended_before(listed)]
        for one in gone:
            self._ended[one.job] = Ended(one, await self._queue.fate(one))
        for one in listed:
            self._ended.pop(one.job, None)
            self._correct(one)
        if before != self._plan.pilots:
            self._changed()

    def _ended_before(self, listed: Sequence[Pilot]) -> list[Pilot]:
        """Return the pilots of an earlier engine that the place does not know at the first look."""
        if self._has_looked:
            return []
        self._has_looked = True
        known = {one.job for one in listed}
        return [
            Pilot(one.job, slot, is_queued=False, said="")
            for one in self._arrivals.values()
            if one.job and one.job not in known and (slot := slot_of(one.name)) is not None
        ]

    def _correct(self, pilot: Pilot) -> None:
        """Take over what the place says of when a pilot ends."""
        remote = self._remote_of(pilot)
        if remote is None or pilot.until is None or remote.host.machine.until is None:
            return
        until = pilot.until - LAST
        if abs(remote.host.machine.until - until) > WRONG:
            remote.host.machine = evolve(remote.host.machine, until=until)
            self._changed()

    def _remote_of(self, pilot: Pilot) -> Remote | None:
        """Return what serves a pilot, if it has joined and not left."""
        place = self._places.get(name_of(pilot))
        arrival = self._arrivals.get(name_of(pilot))
        if place is None or arrival is None or arrival.job != pilot.job or self._is_gone(place):
            return None
        return self._remotes.get(place)

    def _bury(self, now: float) -> None:
        """Give up pilots that have ended and are not heard."""
        for job, ended in list(self._ended.items()):
            remote = self._remote_of(ended.pilot)
            if remote is None:
                if job not in self._plan.joined:
                    self._note_stillborn(ended)
                else:
                    self._queue.forget(ended.pilot)
            elif remote.launchers is not None and not ended.fate.is_over:
                continue  # it is heard: the place may have forgotten it
            elif remote.launchers is not None and now - ended.at < LINGERS:
                continue  # it is on its way out
            elif remote.launchers is not None and self._nursery is not None:
                self._on_leaving(remote)
                self._nursery.start_soon(leave, remote, 0.0)  # nothing may run where its allocation is over
            elif not ended.fate.is_over and now - ended.at < SILENT:
                continue
            else:
                said = ended.fate.said or "its place does not know it any more"
                is_one = len(remote.sent.tasks) == 1
                remote.give_up(f"{self._queue.noun} {job}: {said}", ended.fate.reason if is_one else Reason.LOST)
            self._plan.joined.discard(job)
            del self._ended[job]

    def _note_stillborn(self, ended: Ended) -> None:
        """A pilot ended before it joined."""
        pilot = ended.pilot
        is_known = ended.fate.said or ended.fate.words or not pilot.is_queued
        if ended.fate.was_cancelled or not is_known:
            return
        self._plan.failed(trio.current_time())
        said = f"{self._queue.noun} {pilot.job} ended before its agent had joined"
        why = "; ".join(one for one in (ended.fate.said, ended.fate.words) if one)
        mend = "see that nodes find the pool's 'python', can run its 'setup', and reach agents.ip"
        self._complain(f"{said}: {why}; {mend}" if why else f"{said}; {mend}")

    def _taken(self) -> list[int]:
        """Return the slots whose machines are there, or may come back."""
        names = [self._hosts[place].machine.name for place in self._remotes if not self._is_gone(place)]
        return [slot for name in names if (slot := slot_of(name)) is not None]

    def _complain(self, trouble: str) -> None:
        self._trouble = trouble
        if said := self._seldom.of(trouble, trio.current_time()):
            LOG.warning("pool '%s': %s", self._site.pool, said)


def name_of(pilot: Pilot) -> str:
    """Return the name by which a pilot joins."""
    return f"{PREFIX}{pilot.slot}"


def slot_of(name: str) -> int | None:
    """Return the slot of a pilot that joins by a name."""
    rest = name.removeprefix(PREFIX)
    return int(rest) if rest != name and rest.isascii() and rest.isdigit() else None
