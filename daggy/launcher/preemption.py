"""Machines that may be preempted: a task that was ended together with its machine is lost, and has not failed."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import cast

import numpy as np
import trio
from attrs import define, evolve, field
from numpy.typing import NDArray

from daggy.attempt import STOPPED, Kind, Reason, Reports, Rows

WORD = 1.0
"""Seconds for a machine to say that it is ending, after a task there was ended by a signal that may have hit all."""


@define(eq=False)
class Preemption:
    """Tells apart, in the reports of a machine, tasks that failed from those that were ended with the machine.

    Args:
        take: Takes the reports.
        is_possible: Whether the machine may be preempted.
    """

    take: Callable[[Reports], None]
    is_possible: bool = False
    _message: str = ""  # why what is ended now is lost; empty: the machine is not ending
    _held: list[Reports] = field(factory=list)
    _since: float = 0.0

    def give(self, reports: Reports) -> None:
        """Pass reports on, or keep them until it is known what has ended a task."""
        if self._message:
            self.take(self._lost(reports))
        elif self.is_possible and (self._held or terminated(reports.rows).any()):
            if not self._held:
                self._since = trio.current_time()
            self._held.append(reports)
        else:
            self.take(reports)

    def look(self) -> None:
        """Pass on what has waited for long enough: the machine has not said that it is ending."""
        if self._held and trio.current_time() - self._since > WORD:
            self._release()

    def begin(self, message: str) -> None:
        """Take note that the machine is being ended, and why: tasks that end with it are lost from here on."""
        self._message = message
        self._release()

    def stop(self) -> None:
        """Take note that tasks are ended by us from here on."""
        self._release()
        self.is_possible, self._message = False, ""

    def _lost(self, reports: Reports) -> Reports:
        return as_lost(reports, self._message, stopped(reports.rows) | terminated(reports.rows))

    def _release(self) -> None:
        held, self._held = self._held, []
        for one in held:
            self.take(self._lost(one) if self._message else one)


def terminated(rows: Rows) -> NDArray[np.bool_]:
    """Return which of these REPORTs are about tasks that the signal TERM has ended, or KILL, and not by our will."""
    attempts = rows["row"]
    by_signal = (attempts["reason"] == Reason.SIGNAL) & np.isin(attempts["code"], (-signal.SIGTERM, -signal.SIGKILL))
    by_shell = (attempts["reason"] == Reason.EXIT) & (attempts["code"] == 128 + signal.SIGTERM)
    return cast("NDArray[np.bool_]", (rows["kind"] == Kind.FINISHED) & (by_signal | by_shell))


def stopped(rows: Rows) -> NDArray[np.bool_]:
    """Return which of these REPORTs are about tasks that their launcher has ended because it was to end itself."""
    return cast("NDArray[np.bool_]", (rows["kind"] == Kind.FINISHED) & (rows["row"]["flags"] & STOPPED > 0))


def as_lost(reports: Reports, message: str, which: NDArray[np.bool_]) -> Reports:
    """Return reports in which these are about tasks that were lost, with a message."""
    rows = reports.rows
    places = np.flatnonzero(which)
    if not len(places):
        return reports
    rows["row"]["reason"][places] = Reason.LOST
    rows["row"]["flags"][places] &= np.uint8(~STOPPED & 0xFF)
    return evolve(reports, messages={**reports.messages, **dict.fromkeys(places.tolist(), message)})
