"""How many pilots a pool asks its place for, and which it lets go. Pure: times are parameters.

A pilot is an agent that a place with a queue of its own starts: it joins, takes tasks, and leaves.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence

from attrs import define, field, frozen

from daggy.executor import Demand
from daggy.launcher.queues import Backoff

PATIENCE = 2.0
"""Seconds for which tasks find no room before a pilot is asked for."""

UNSURE = 20.0
"""Seconds after which a pilot that was asked for, and that the place does not know, is taken to be none."""

UNBOUNDED = 256
"""Tasks at once on one pilot that need nothing of it."""


@frozen
class Pilot:
    """A pilot as its place sees it.

    Args:
        job: Its id there.
        slot: Its number among the pilots of the pool, below `most`: it joins by a name made of it.
        is_queued: Whether it waits there.
        said: What the place says of it: its state, and why it waits.
        host: Where it runs; empty: nowhere yet.
        until: When it ends at the latest, seconds since 1970; None: that is not known.
        stuck: What a person must do before it can begin; empty if nothing.
    """

    job: str
    slot: int
    is_queued: bool
    said: str
    host: str = ""
    until: float | None = None
    stuck: str = ""


@frozen
class Size:
    """What a pool's pilots are.

    Args:
        most: How many there may be.
        totals: What each has for tasks.
        seconds: For how long a task may run there.
        idle: Seconds without a task after which one leaves, or one that waits is cancelled.
    """

    most: int
    totals: Mapping[str, float]
    seconds: float
    idle: float

    def fits(self, needs: Mapping[str, float]) -> int:
        """Return how many such tasks run on one at once; 0: none ever does."""
        rooms = [math.floor(self.totals.get(name, 0.0) / amount + 1e-9) for name, amount in needs.items() if amount > 0]
        return min(rooms, default=UNBOUNDED)

    def needed(self, demands: Iterable[Demand]) -> int:
        """Return how many pilots all that finds no room would fill."""
        filled = 0.0
        for one in demands:
            if one.tasks and one.longest <= self.seconds and (room := self.fits(one.needs)):
                filled += one.tasks / room
        return math.ceil(filled - 1e-9)


@define(eq=False)
class Plan:
    """What a pool has asked for and wants, as time goes by.

    Args:
        size: What its pilots are.
        pilots: By job, those that the place knows.
        joined: The jobs whose agents have joined, until they are done with.
        backoff: Holds back after pilots that could not be had, or ended before they joined.
    """

    size: Size
    pilots: dict[str, Pilot] = field(factory=dict)
    joined: set[str] = field(factory=set)
    backoff: Backoff = field(factory=Backoff)
    _needed: int = 0
    _since: float = math.inf  # since when more is needed than waits
    _spare: float = math.inf  # since when more waits than is needed
    _asked: dict[int, float] = field(factory=dict)  # slots that were asked for and are not known there, and when

    @property
    def is_out(self) -> bool:
        """Whether the place has, or may have, anything of ours."""
        return bool(self.pilots or self._asked)

    @property
    def is_certain(self) -> bool:
        """Whether the place has nothing of ours that is not known."""
        return not self._asked

    def want(self, demands: Sequence[Demand], now: float) -> None:
        """Take note of what finds no room."""
        self._needed = self.size.needed(demands)
        self._weigh(now)

    def see(self, pilots: Iterable[Pilot], now: float) -> list[Pilot]:
        """Take over what the place knows; return the pilots that it does not know any more."""
        known = {one.job: one for one in pilots}
        gone = [one for job, one in self.pilots.items() if job not in known]
        self.pilots = known
        there = {one.slot for one in known.values()}
        self._asked = {slot: at for slot, at in self._asked.items() if slot not in there and now - at < UNSURE}
        self._weigh(now)
        return gone

    def _weigh(self, now: float) -> None:
        """Take note of since when too few wait, or too many."""
        coming = len(self._coming()) + len(self._asked)
        self._since = min(self._since, now) if self._needed > coming else math.inf
        self._spare = min(self._spare, now) if self._needed < coming else math.inf

    def _coming(self) -> list[Pilot]:
        return [one for one in self.pilots.values() if one.job not in self.joined]

    def to_ask(self, taken: Collection[int], now: float) -> list[int]:
        """Return the slots of pilots to ask for now.

        Args:
            taken: Slots that agents use, or that may come back.
            now: Seconds, steady.
        """
        if now < self.backoff.until or now - self._since < PATIENCE:
            return []
        used = {one.slot for one in self.pilots.values()} | self._asked.keys() | set(taken)
        missing = self._needed - len(self._coming()) - len(self._asked)
        return [slot for slot in range(self.size.most) if slot not in used][: max(0, missing)]

    def asked(self, slots: Iterable[int], now: float) -> None:
        """Take note that pilots were asked for, whether that is certain or not."""
        self._asked.update(dict.fromkeys(slots, now))
        self._weigh(now)

    def refused(self, slots: Iterable[int], now: float) -> None:
        """Take note that the place has refused them."""
        for slot in slots:
            self._asked.pop(slot, None)
        self.failed(now)

    def failed(self, now: float) -> None:
        """Take note of a pilot that could not be had, or ended before it joined."""
        self.backoff.failed(now)
        self._weigh(now)

    def join(self, job: str, now: float) -> None:
        """Take note that the agent of a job has joined."""
        self.joined.add(job)
        self.backoff.succeeded()
        self._weigh(now)

    def cancelled(self, pilots: Iterable[Pilot], now: float) -> None:
        """Take note that pilots were cancelled; if the place still lists them, they are cancelled once more."""
        for one in pilots:
            self.pilots.pop(one.job, None)
        self._weigh(now)

    def to_cancel(self, now: float) -> list[Pilot]:
        """Return the pilots to cancel now: that wait and that nothing needs, or whose slot is another's."""
        found: dict[str, Pilot] = {}
        owners: dict[int, Pilot] = {}
        for one in sorted(self.pilots.values(), key=lambda one: (one.job not in self.joined, one.is_queued)):
            if owners.setdefault(one.slot, one) is not one or one.slot >= self.size.most:
                found[one.job] = one
        if now - self._spare >= self.size.idle:
            coming = sorted((one for one in self._coming() if one.job not in found), key=lambda one: one.is_queued)
            found.update((one.job, one) for one in coming[self._needed :] if one.is_queued)
        return list(found.values())
