"""Places with a queue of their own: what they refuse, how what they ran ended, and when they are polled."""

from __future__ import annotations

import logging
import math

import trio
from attrs import define, field, frozen

from daggy.attempt import Reason
from daggy.errors import DaggyError
from daggy.seldom import Seldom

LOG = logging.getLogger("daggy.launcher")

SOON, SOON_FOR = 2.0, 20.0
"""Seconds between two polls, and for how long, after something was asked of a place."""

DEAR = 50
"""After a poll the next one waits at least this many times as long as it took, unless the one before was faster."""

SELDOM = 300.0
"""Seconds until the next poll at most: a place that is always slow is asked all the same."""


FIRST_PAUSE, LONGEST_PAUSE = 5.0, 300.0
"""Seconds without a submission after one that was of no use; doubled each time."""


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
        is_ending: Whether it is on its way out, and something of it may still run: however long that takes.
    """

    said: str = ""
    is_over: bool = False
    reason: Reason = Reason.LOST
    words: str = ""
    was_cancelled: bool = False
    is_ending: bool = False


class PollSchedule:
    """When a place is polled next.

    Args:
        interval: Seconds between two polls.
    """

    def __init__(self, interval: float) -> None:
        """Begin with a poll that is due."""
        self._interval, self._eager_until, self._took = interval, 0.0, 0.0
        self.next = 0.0
        """When, steady seconds."""
        self._last = 0.0

    def soon(self, now: float) -> None:
        """Poll more often for a while: something was asked of the place."""
        self._eager_until = now + SOON_FOR
        self.next = min(self.next, now + SOON)

    def again(self, now: float) -> None:
        """Poll once more at once, or a moment after the last poll."""
        self.next = min(self.next, max(now, self._last + SOON / 2))

    def polled(self, began: float, now: float) -> None:
        """Take note of a poll, and when it began."""
        before, self._took, self._last = self._took, now - began, now
        pause = min(SOON, self._interval) if now < self._eager_until else self._interval
        self.next = now + max(pause, min(SELDOM, DEAR * min(before, self._took)))

    def failed(self, began: float, now: float) -> None:
        """Take note of a poll without an answer: how long that took says nothing of what an answer costs."""
        self._last = now
        self.next = now + max(self._interval, now - began)


@define(eq=False)
class Backoff:
    """When something may be submitted again after submissions that were of no use.

    Args:
        until: Not before, steady seconds.
        failures: How many there were in a row.
    """

    until: float = -math.inf
    failures: int = 0

    def failed(self, now: float) -> None:
        """Take note of one; those that fail together count once."""
        if now >= self.until:
            self.failures += 1
            self.until = now + min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(self.failures, 10) / 2)

    def succeeded(self) -> None:
        """Take note of one that was of use."""
        self.until, self.failures = -math.inf, 0


@define(eq=False)
class Complaints:
    """What is wrong with a place: for people who ask, and in the log.

    Args:
        pool: The pool that uses the place.
        trouble: What is wrong at this moment; empty: nothing.
    """

    pool: str
    trouble: str = ""
    _seldom: Seldom = field(factory=Seldom)

    def add(self, trouble: str) -> None:
        """Take note of what is wrong."""
        self.trouble = trouble
        if said := self._seldom.of(trouble, trio.current_time()):
            LOG.warning("pool '%s': %s", self.pool, said)

    def clear(self) -> None:
        """Take note that all is well."""
        self.trouble = ""
