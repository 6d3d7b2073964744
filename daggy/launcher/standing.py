"""How it stands with a machine elsewhere: whether it is up, since when, why not; and what its clock shows."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection

import numpy as np
from attrs import define, field

from daggy.attempt import Rows
from daggy.executor import NodeState

LOG = logging.getLogger("daggy.launcher")

NOT_YET = "not connected yet"
"""Why a machine is silent that has not been tried."""
TWICE = 2
LEAST_OFFSET = 0.05
"""Seconds by which clocks may differ unnoticed."""
WRONG = 5.0
"""Seconds by which a clock may differ without anybody being told."""


@define(eq=False)
class Standing:
    """Whether a machine is up.

    Args:
        name: The machine's.
        changed: Called when anything of this changes.
        state: What it is now.
        since: When it came into this state, seconds since 1970.
        why: Why it is silent or refused.
    """

    name: str
    changed: Callable[[], None]
    state: NodeState = NodeState.SILENT
    since: float = field(factory=time.time)
    why: str = NOT_YET

    @property
    def is_tried(self) -> bool:
        """Whether it has been connected to, or could not be."""
        return self.why != NOT_YET

    def become(self, state: NodeState, why: str = "") -> None:
        """Change to a state."""
        if (state, why) == (self.state, self.why):
            return
        if state != self.state:
            self.since = time.time()
            level = logging.INFO if state in (NodeState.UP, NodeState.DRAINING) else logging.WARNING
            LOG.log(level, "%s is %s%s", self.name, state.value, f": {why}" if why else "")
        self.state, self.why = state, why
        self.changed()


@define(eq=False)
class Endings:
    """Whether launchers end with their connection, as where the end of a login ends all that it has started.

    Args:
        had: Launchers that had anything to run when the last connection was lost: they were to stay.
    """

    had: set[int] = field(factory=set)
    _times: int = 0

    def compare(self, ended: Collection[int]) -> None:
        """Take note of a meeting at which these launchers had ended."""
        self._times = self._times + 1 if self.had and self.had <= set(ended) else 0
        self.had = set()

    @property
    def is_usual(self) -> bool:
        """Whether it was so twice in a row."""
        return self._times >= TWICE


@define(eq=False)
class Clock:
    """A machine's clock; `offset` seconds ahead of ours, 0 if no difference is certain."""

    offset: float = 0.0

    def measure(self, wall: float, took: float) -> None:
        """Take note of the time there, told in the middle of the seconds that the question took."""
        offset = wall - (time.time() - took / 2)
        self.offset = offset if abs(offset) > max(LEAST_OFFSET, took) else 0.0

    @property
    def complaint(self) -> str:
        """What people are told of it; empty: nothing."""
        if abs(self.offset) < WRONG:
            return ""
        return f"its clock is {abs(self.offset):.0f} s {'ahead' if self.offset > 0 else 'behind'}"

    def correct(self, rows: Rows) -> None:
        """Turn the times of these REPORTs into times of our clock, in place."""
        if self.offset:
            for column in ("started", "ended"):
                times = rows["row"][column]
                rows["row"][column] = np.where(times > 0, times - self.offset, times)
