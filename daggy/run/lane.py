"""A lane: the ready tasks of one block that share a policy, which is what choosing the next launch costs by."""

from __future__ import annotations

from attrs import define, field

from daggy.run.ring import Ring
from daggy.spec.model import Policy


@define(eq=False)
class Lane:
    """Ready tasks of one block and policy.

    Args:
        number: Position among the run's lanes.
        block: The block's number.
        policy: What scheduling needs to know of all of them.
        depth: Longest way of blocks above it: of equal priority the deeper goes first.
        ring: Who is ready, in the order in which they became so; may hold stale entries.
        in_flight: How many of its tasks are handed out or running.
    """

    number: int
    block: int
    policy: Policy
    depth: int
    ring: Ring = field(factory=Ring)
    in_flight: int = 0

    @property
    def room(self) -> int:
        """Return how many more may be handed out under `max_parallel`."""
        most = self.policy.max_parallel
        return 1 << 30 if most is None else max(0, most - self.in_flight)
