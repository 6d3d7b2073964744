"""What a pool that is not fixed is told: how many ready tasks find no room there. Pure: `now` is a parameter."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from attrs import define, field

from daggy.engine.pool import Candidate, Pool, pool_needs, run_room
from daggy.engine.shares import Needs
from daggy.executor import Demand, Wanted

PAUSE = 1.0
"""Seconds between two requests to one executor, at least."""

PART = 0.1
"""By what part a number must change to be told."""

Lacking = Mapping[Needs, tuple[int, float]]
"""How many tasks find no room, and the seconds of the longest of them, by needs."""


def without_room(pool: Pool, candidates: Iterable[Candidate]) -> Lacking:
    """Return how many tasks of these candidates are left once all that fits has been handed out."""
    found: dict[Needs, tuple[int, float]] = {}
    for run, queue in candidates:
        needs = pool_needs(run, queue.policy.resources)
        tasks, longest = found.get(needs, (0, 0.0))
        tasks += max(0, min(len(queue.tasks), queue.room, run_room(run, queue.policy.resources)))
        if tasks:
            found[needs] = tasks, max(longest, pool.longest(queue.policy, needs))
    return found


@define(eq=False)
class Demands:
    """What one executor was told last.

    Args:
        due: When (steady clock) there is something to tell it that it could not be told yet; infinity if nothing.
    """

    due: float = math.inf
    _told: Lacking = field(factory=dict)
    _next: float = -math.inf

    def news(self, lacking: Lacking, now: float) -> Wanted | None:
        """Return what is to be told at this moment, if anything; if it is too soon, `due` says when it is not."""
        self.due = math.inf
        if not _differs(self._told, lacking):
            return None
        if now < self._next:
            self.due = self._next
            return None
        self._told, self._next = lacking, now + PAUSE
        return Wanted([Demand(dict(needs), tasks, longest) for needs, (tasks, longest) in lacking.items()])


def _differs(old: Lacking, new: Lacking) -> bool:
    return old.keys() != new.keys() or any(
        abs(after - before) > PART * before
        for needs in new
        for before, after in zip(old[needs], new[needs], strict=True)
    )
