"""Keeps as many pilots in a pool as its tasks want: asks for them, cancels them, gives up those that ended."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Protocol

import trio
from attrs import evolve, field, frozen

from daggy.attempt import Reason
from daggy.executor import Wanted
from daggy.launcher.pilots.plan import Pilot, Plan, Size
from daggy.launcher.queues import Complaints, Fate, PollSchedule, QueueError, RefusedError
from daggy.launcher.remote import Remote

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


class Queue(Protocol):
    """A place that starts pilots. All but `noun`, `forget` and `close` raise QueueError."""

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
        """Remove the files of one that has ended as it should."""

    def close(self) -> None:
        """Remove the pool's files, once no job is left."""


class Machines(Protocol):
    """The machines of pilots, once their agents have joined."""

    def remote_of(self, pilot: Pilot) -> Remote | None:
        """Return what serves a pilot, if it has joined and not left."""

    def taken(self) -> list[int]:
        """Return the slots whose machines are there, or may come back."""

    def known(self) -> list[Pilot]:
        """Return the pilots that have ever joined, as far as they are expected."""

    def end(self, remote: Remote) -> None:
        """Have a machine leave whose job has ended, at once."""

    def changed(self) -> None:
        """Take note that nodes have changed."""


@frozen
class Ended:
    """A pilot that the place does not list any more, and what is known of its end."""

    pilot: Pilot
    fate: Fate
    at: float = field(factory=trio.current_time)


class Autoscaler:
    """Asks for the pilots that a pool wants, and cancels the others. `run` must run while it is used."""

    def __init__(self, pool: str, queue: Queue, size: Size, interval: float, machines: Machines) -> None:
        """Keep what is given; nothing is asked for.

        Args:
            pool: The pool's name.
            queue: The place.
            size: What its pilots are.
            interval: Seconds between two polls of the place.
            machines: Those of pilots that have joined.
        """
        self._pool, self._machines = pool, machines
        self.queue = queue
        self.plan = Plan(size)
        self.complaints = Complaints(pool)
        self._polls = PollSchedule(interval)
        self._ended: dict[str, Ended] = {}
        self._has_polled = False
        self._is_failing = False  # the last pilots ended before their agents had joined

    async def open(self) -> None:
        """Find out whether the place can start pilots; PluginError: it never can, as configured."""
        try:
            await self.queue.open()
        except QueueError as error:
            self.complaints.add(str(error))

    def want(self, wanted: Wanted) -> None:
        """Take note of what finds no room."""
        self.plan.want(wanted.demands, trio.current_time())

    def join(self, job: str) -> None:
        """Take note that the agent of a job has joined."""
        now = trio.current_time()
        self.plan.join(job, now)
        if (pilot := self.plan.pilots.get(job)) is None or not pilot.host:
            self._polls.again(now)  # where it runs is not known yet
        self._is_failing = False
        self.complaints.clear()

    async def run(self) -> None:
        """See that there are as many pilots as tasks want, until cancelled."""
        while True:
            try:
                await self._tend()
            except QueueError as error:
                self.complaints.add(str(error))
            await trio.sleep(TICK)

    async def close(self, left: set[str]) -> None:
        """Cancel all pilots but those that leave by themselves, and remove the files of the pool.

        Args:
            left: The jobs of those.
        """
        for pilot in self.plan.pilots.values():
            if pilot.job in left:
                self.queue.forget(pilot)
        others = [job for job in self.plan.pilots if job not in left]
        with trio.move_on_after(END):
            try:
                if not self.plan.is_certain:
                    await self.queue.cancel_all()
                elif others:
                    await self.queue.cancel(others)
            except QueueError as error:
                LOG.warning("pool '%s': its pilots could not be cancelled: %s", self._pool, error)
        self.queue.close()

    async def _tend(self) -> None:
        now = trio.current_time()
        unsettled = self.plan.is_out or any(not one.fate.is_over for one in self._ended.values())
        if self._polls.next <= now and (unsettled or not self._has_polled):
            await self._poll()
        self._bury(now)
        if doomed := self.plan.to_cancel(now):
            await self.queue.cancel([one.job for one in doomed])
            self.plan.cancelled(doomed, now)
            self._machines.changed()
            self._polls.soon(trio.current_time())
        if slots := self.plan.to_ask(self._machines.taken(), now):
            await self._ask(slots)

    async def _ask(self, slots: Sequence[int]) -> None:
        self.plan.asked(slots, trio.current_time())
        try:
            made = await self.queue.submit(slots)
        except RefusedError as error:
            self.plan.refused(slots, trio.current_time())
            raise QueueError(f"{error}; trying again") from None
        finally:
            self._polls.soon(trio.current_time())
        if not self._is_failing:
            self.complaints.clear()
        self.plan.see([*self.plan.pilots.values(), *made], trio.current_time())
        self._machines.changed()

    async def _poll(self) -> None:
        began = trio.current_time()
        before = dict(self.plan.pilots)
        try:
            listed = await self.queue.look()
        except QueueError:
            self._polls.failed(began, trio.current_time())
            raise
        now = trio.current_time()
        self._polls.polled(began, now)
        if listed and all(one.stuck for one in listed):
            one = listed[0]
            self.complaints.add(f"{self.queue.noun} {one.job} does not begin ({one.said}): {one.stuck}")
        elif not self.plan.backoff.failures:
            self.complaints.clear()
        for job, ended in self._ended.items():
            if not ended.fate.is_over:
                self._ended[job] = evolve(ended, fate=await self.queue.fate(ended.pilot))
        for one in [*self.plan.see(listed, now), *self._ended_before(listed)]:
            self._ended[one.job] = Ended(one, await self.queue.fate(one))
        for one in listed:
            self._ended.pop(one.job, None)
            self._correct(one)
        if before != self.plan.pilots:
            self._machines.changed()

    def _ended_before(self, listed: Sequence[Pilot]) -> list[Pilot]:
        """Return the pilots of an earlier engine that the place does not know at the first poll."""
        if self._has_polled:
            return []
        self._has_polled = True
        known = {one.job for one in listed}
        return [one for one in self._machines.known() if one.job not in known]

    def _correct(self, pilot: Pilot) -> None:
        """Take over what the place says of when a pilot ends."""
        remote = self._machines.remote_of(pilot)
        if remote is None or pilot.until is None or remote.host.machine.until is None:
            return
        until = pilot.until - LAST
        if abs(remote.host.machine.until - until) > WRONG:
            remote.host.machine = evolve(remote.host.machine, until=until)
            self._machines.changed()

    def _bury(self, now: float) -> None:
        """Be done with pilots that have ended: those that are not heard are given up."""
        for job, ended in list(self._ended.items()):
            remote = self._machines.remote_of(ended.pilot)
            if remote is None:
                self._note_left(ended)
            elif remote.launchers is not None:
                if not ended.fate.is_over or now - ended.at < LINGERS:
                    continue  # the place may have forgotten it, or it is on its way out
                self._machines.end(remote)
            elif ended.fate.is_ending or (not ended.fate.is_over and now - ended.at < SILENT):
                continue
            else:
                said = ended.fate.said or "its place does not know it any more"
                reason = ended.fate.reason if len(remote.sent.tasks) == 1 else Reason.LOST
                remote.give_up(f"{self.queue.noun} {job}: {said}", reason)
            self.plan.joined.discard(job)
            del self._ended[job]

    def _note_left(self, ended: Ended) -> None:
        """Take note of an end: of a pilot that had left, or of one whose agent never joined."""
        pilot, fate = ended.pilot, ended.fate
        if pilot.job in self.plan.joined:
            self.queue.forget(pilot)
        elif not fate.was_cancelled and (fate.said or fate.words or not pilot.is_queued):
            self.plan.failed(trio.current_time())
            self._is_failing = True
            said = f"{self.queue.noun} {pilot.job} ended before its agent had joined"
            why = "; ".join(one for one in (fate.said, fate.words) if one)
            mend = "see that nodes find the pool's 'python', can run its 'setup', and reach agents.ip"
            self.complaints.add(f"{said}: {why}; {mend}" if why else f"{said}; {mend}")
