"""Use of a machine: resources reserved by tasks that run there or may start there by themselves."""

from __future__ import annotations

import math
from collections.abc import Mapping

from attrs import define, field

Needs = tuple[tuple[str, float], ...]
"""Resources that one task needs, sorted by name."""

UNBOUNDED = 256
"""The most tasks at once on one machine that need nothing of it."""

ADOPTED = -1
"""Lane of what an earlier engine launched: no launcher has a width for it."""

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
        return max(self.width, self.running) if self.waiting else self.running


@define(eq=False)
class MachineUse:
    """One machine of a pool and the shares on it.

    Args:
        name: Unique in its pool.
        totals: The resources that it has in all.
        shares: By needs.
        held: Whether it is kept free for a task that was passed over too long.
        adopted: What an earlier engine launched and still runs: it counts as in use, and in no width.
        is_open: Whether it takes tasks. One that the executor no longer names stays until nothing of it is in flight.
        position: Where it stands in its pool's order.
    """

    name: str
    totals: Mapping[str, float]
    shares: dict[Needs, Share] = field(factory=dict)
    held: bool = False
    adopted: dict[Needs, Share] = field(factory=dict)
    is_open: bool = True
    position: int = 0

    @property
    def is_empty(self) -> bool:
        """Return whether nothing is in flight here."""
        return not any(share.waiting or share.running for share in (*self.shares.values(), *self.adopted.values()))

    def used(self) -> dict[str, float]:
        """Return the resources that are reserved, by name."""
        used: dict[str, float] = {}
        for share in (*self.shares.values(), *self.adopted.values()):
            if count := share.reserved:
                for name, amount in share.needs:
                    used[name] = used.get(name, 0.0) + amount * count
        return used

    def fits(self, needs: Needs) -> int:
        """Return how many more tasks with these needs may run here at this moment."""
        if not self.is_open:
            return 0
        wanted = [(name, amount) for name, amount in needs if amount > 0]
        if not wanted:
            return max(0, UNBOUNDED - (self.shares[needs].reserved if needs in self.shares else 0))
        used = self.used()
        free = ((self.totals.get(name, 0.0) - used.get(name, 0.0)) / amount for name, amount in wanted)
        return max(0, math.floor(min(free) + SLACK))

    def could_fit(self, needs: Needs) -> bool:
        """Return whether one such task would fit on the machine if it were empty."""
        return self.is_open and all(
            self.totals.get(name, 0.0) + SLACK >= amount for name, amount in needs if amount > 0
        )
