"""Use of a machine: resources reserved by tasks that run there or may start there by themselves."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from itertools import chain

from attrs import define, field

from daggy.executor import Machine

Needs = tuple[tuple[str, float], ...]
"""Resources that one task needs, sorted by name."""

UNBOUNDED = 256
"""The most tasks at once on one machine that need nothing of it."""

ADOPTED = -1
"""Lane of what an earlier engine launched: no launcher has a width for it, and all that waits may start."""

SLACK = 1e-9
"""Tolerance for sums of fractions of a core."""


@define(eq=False)
class Share:
    """Tasks of one vector of needs on one machine.

    Args:
        lane: The number that the executor knows these needs by.
        needs: The resources of one task.
        width: How many the launcher may run at once of what it was given; holds while any `waiting`.
        waiting: Handed out, not known to have started.
        running: Known to have started.
        moved: When (steady clock) a task last started or ended here.
        recalling: Whether the waiting ones were asked back.
    """

    lane: int
    needs: Needs
    width: int = 0
    waiting: int = 0
    running: int = 0
    moved: float = 0.0
    recalling: bool = False

    @property
    def reserved(self) -> int:
        """Return for how many tasks resources are set aside: what waits may start at any moment, up to the width."""
        if self.lane == ADOPTED:
            return self.running + self.waiting
        return max(self.running, min(self.width, self.running + self.waiting))

    def widen(self, count: int) -> None:
        """Make room for so many more, which are handed out next. While anything waits the width never shrinks: the
        launcher still goes by it.
        """
        self.width = max(self.width if self.waiting else 0, self.reserved + count)


@define(eq=False)
class MachineUse:
    """One machine of a pool and the shares on it.

    Args:
        machine: What its executor says of it. One that it no longer names is closed, and stays until nothing of it is
            in flight.
        shares: By needs.
        held: Whether it is kept free for a task that was passed over too long.
        adopted: What an earlier engine launched and still runs: it counts as in use, and in no width.
        position: Where it stands in its pool's order.
    """

    machine: Machine
    shares: dict[Needs, Share] = field(factory=dict)
    held: bool = False
    adopted: dict[Needs, Share] = field(factory=dict)
    position: int = 0

    @property
    def name(self) -> str:
        """Return its name, unique in its pool."""
        return self.machine.name

    @property
    def is_open(self) -> bool:
        """Return whether it takes tasks."""
        return self.machine.open

    @property
    def is_empty(self) -> bool:
        """Return whether nothing is in flight here."""
        return not any(share.waiting or share.running for share in self.all_shares())

    def all_shares(self) -> Iterator[Share]:
        """Yield the shares of this engine and of earlier ones."""
        return chain(self.shares.values(), self.adopted.values())

    def used(self) -> dict[str, float]:
        """Return the resources that are reserved, by name; labels are not used up."""
        used: dict[str, float] = {}
        for share in self.all_shares():
            if count := share.reserved:
                for name, amount in share.needs:
                    used[name] = used.get(name, 0.0) + amount * count
        for name in self.machine.labels:
            used.pop(name, None)
        return used

    def reserved(self) -> int:
        """Return for how many tasks there is room set aside."""
        return sum(share.reserved for share in self.all_shares())

    def most(self, name: str) -> float:
        """Return how much of a resource one task may have here; of a label that is one."""
        totals = self.machine.totals
        return math.inf if totals is None else totals.get(name, float(name in self.machine.labels))

    def fits(self, needs: Needs) -> int:
        """Return how many more tasks with these needs may run here at this moment."""
        machine = self.machine
        if not machine.open:
            return 0
        rooms = [] if machine.slots is None else [machine.slots - self.reserved() + SLACK]
        if machine.totals is not None:
            used = self.used()
            for name, amount in needs:
                if amount > 0 and not (amount <= 1 and name in machine.labels):
                    rooms.append((machine.totals.get(name, 0.0) - used.get(name, 0.0)) / amount + SLACK)
        if not rooms:
            rooms.append(UNBOUNDED - (self.shares[needs].reserved if needs in self.shares else 0))
        return max(0, math.floor(min(rooms)))

    def frees(self, needs: Needs, seconds: Mapping[Needs, float]) -> float:
        """Return in how many seconds there may be room for one such task, if nothing else is started here.

        Args:
            needs: The task's.
            seconds: What tasks took of late, by needs: what runs is taken to have just begun. Infinite if that is not
                known.
        """
        used, tasks, last = self.used(), self.reserved(), 0.0
        slots = math.inf if self.machine.slots is None else self.machine.slots
        shares = [share for share in self.all_shares() if share.reserved]
        for share in [None, *sorted(shares, key=lambda share: seconds.get(share.needs, math.inf))]:
            if share is not None:
                last = seconds.get(share.needs, math.inf)
                tasks -= share.reserved
                for name, amount in share.needs:
                    if name in used:
                        used[name] -= amount * share.reserved
            if tasks < slots and all(
                amount <= self.most(name) - used.get(name, 0.0) + SLACK for name, amount in needs if amount > 0
            ):
                return last
        return math.inf

    def could_fit(self, needs: Needs) -> bool:
        """Return whether one such task would fit on the machine if it were empty."""
        return (
            self.machine.open
            and self.machine.slots != 0
            and all(self.most(name) + SLACK >= amount for name, amount in needs if amount > 0)
        )

    def lasts(self, seconds: float, wall: float) -> bool:
        """Return whether a task that takes so long would end while the machine is there.

        Args:
            seconds: How long; 0: nothing is known of it.
            wall: The wall clock.
        """
        until = self.machine.until
        return until is None or wall + (seconds or self.machine.untimed) <= until
