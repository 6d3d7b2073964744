"""The states of a task as its column stores them: the public ones, and kinds of `queued` that only a run sees."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from daggy.attempt import State

WAITING = int(State.WAITING)
QUEUED = int(State.QUEUED)  # in a ready queue
RUNNING = int(State.RUNNING)
COMPLETED = int(State.COMPLETED)
ERRORED = int(State.ERRORED)
KILLED = int(State.KILLED)
UPSTREAM_FAILED = int(State.UPSTREAM_FAILED)
SENT = 7  # queued, handed to an executor, not known to have started
DELAYED = 8  # queued, between retries
REMOVED = 9  # no longer part of the run; counted nowhere
CODES = 10

SMALL = 24
"""For up to so many tasks, plain integers are faster than arrays. Read at each use, so that tests can set it."""

PUBLIC: NDArray[np.uint8] = np.array([0, 1, 2, 3, 4, 5, 6, 1, 1, 255], np.uint8)
"""Public state of each code; 255 for none."""

IN_FLIGHT = (SENT, RUNNING)
UNSTARTED = (WAITING, QUEUED, DELAYED)
FAILED = (ERRORED, KILLED, UPSTREAM_FAILED)
ENDED = (COMPLETED, *FAILED)
ACTIVE = (WAITING, QUEUED, DELAYED, SENT, RUNNING)


class Now(NamedTuple):
    """A moment: `wall` seconds since 1970 for records, `mono` seconds of a steady clock for timers."""

    wall: float
    mono: float


def mask(*codes: int) -> NDArray[np.bool_]:
    """Return a table of length `CODES`, true at these: index it with a state column."""
    table = np.zeros(CODES, np.bool_)
    table[list(codes)] = True
    return table


IS_FAILED = mask(*FAILED)
IS_ENDED = mask(*ENDED)
IS_ACTIVE = mask(*ACTIVE)
IS_IN_FLIGHT = mask(*IN_FLIGHT)
IS_UNSTARTED = mask(*UNSTARTED)
