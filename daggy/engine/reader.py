"""Reads from a tracker beside its writer: in a thread, on its own instance, so that the loop never waits."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import trio
from attrs import define, field

from daggy.tracker import Tracker

T = TypeVar("T")


@define(eq=False)
class Reader:
    """One reader of a tracker.

    Args:
        tracker: What the engine writes to. Read directly, on the loop, if there is no twin: a memory tracker, or an
            engine with one run and no other readers.
        twin: The same, opened for reading only.
    """

    tracker: Tracker
    twin: Tracker | None = None
    _turn: trio.Lock = field(factory=trio.Lock)

    async def read(self, ask: Callable[[Tracker], T]) -> T:
        """Return the result of a function of the tracker, which sees everything committed before.

        Raises:
            TrackerError: it cannot be read.
        """
        if self.twin is None:
            return ask(self.tracker)
        async with self._turn:
            return await trio.to_thread.run_sync(ask, self.twin)
