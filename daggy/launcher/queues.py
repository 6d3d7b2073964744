"""Places with a queue of their own: what they refuse, how what they ran ended, and when they are looked at."""

from __future__ import annotations

from attrs import frozen

from daggy.attempt import Reason
from daggy.errors import DaggyError

SOON, SOON_FOR = 2.0, 20.0
"""Seconds between two looks at a place in the first seconds after something was asked of it."""

DEAR = 50
"""So many times what a look took are left between it and the next, if the one before took as long."""


class QueueError(DaggyError):
    """The place refuses something, or cannot be asked at this moment. The text has its own words."""


class RefusedError(QueueError):
    """The place refuses to start what was submitted: nothing of it was started."""


@frozen
class Fate:
    """How something ended that its place does not list any more.

    Args:
        said: For people; empty: the place says nothing.
        is_over: Whether it is certain that nothing of it runs any more.
        reason: Why what it ran ended, if it ran one task.
        words: What it said last.
        was_cancelled: Whether somebody has cancelled it.
    """

    said: str = ""
    is_over: bool = False
    reason: Reason = Reason.LOST
    words: str = ""
    was_cancelled: bool = False


class Looking:
    """When a place is to be looked at next.

    Args:
        interval: Seconds between two looks.
    """

    def __init__(self, interval: float) -> None:
        """Begin with a look that is due."""
        self._interval, self._eager_until, self._took = interval, 0.0, 0.0
        self.next = 0.0
        """When, steady seconds."""
        self._last = 0.0

    def soon(self, now: float) -> None:
        """Take note that something was asked of the place."""
        self._eager_until = now + SOON_FOR
        self.next = min(self.next, now + SOON)

    def again(self, now: float) -> None:
        """Take note that there is something to see, at once if the last look was not just now."""
        self.next = min(self.next, max(now, self._last + SOON / 2))

    def looked(self, began: float, now: float) -> None:
        """Take note of a look."""
        before, self._took, self._last = self._took, now - began, now
        pause = min(SOON, self._interval) if now < self._eager_until else self._interval
        self.next = now + max(pause, DEAR * min(before, self._took))
