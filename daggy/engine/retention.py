"""How long ended runs are kept: so many, and so many days."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

import trio

from daggy.engine.configuration import Retention
from daggy.engine.engine import Engine
from daggy.errors import ConflictError, NotFoundError
from daggy.tracker import RunFilter, RunRecord, RunState, Tracker

LOG = logging.getLogger("daggy.engine")

ENDED = (RunState.COMPLETED, RunState.ERRORED, RunState.KILLED)

PAUSE = 60.0
"""Seconds between two looks at what is kept too long."""

AT_ONCE = 200
"""Runs that are forgotten before one looks again."""

DAY = 86_400.0


async def retain(engine: Engine, retention: Retention) -> None:
    """Forget ended runs beyond the newest `runs`, and those that ended more than `days` ago, until cancelled."""
    while True:
        due = await engine.reader.read(lambda tracker: overdue(tracker, retention, time.time()))
        for record in due:
            try:
                await engine.forget(record.run)
            except (ConflictError, NotFoundError):
                continue  # somebody has taken it up again, or was faster
        if due:
            LOG.info("%d runs were kept long enough and are forgotten", len(due))
        await trio.sleep(PAUSE if len(due) < AT_ONCE else 0)


def overdue(tracker: Tracker, retention: Retention, now: float) -> Sequence[RunRecord]:
    """Return ended runs that are to be forgotten, as many as are forgotten in one go."""
    newest = tracker.runs(RunFilter(states=ENDED, limit=retention.runs)) if retention.runs else ()
    before = newest[-1].run if newest else None
    found = {}
    if not retention.runs or len(newest) == retention.runs:
        found = {record.run: record for record in tracker.runs(RunFilter(states=ENDED, before=before, limit=AT_ONCE))}
    oldest = now - retention.days * DAY
    for record in tracker.runs(RunFilter(states=ENDED, until=oldest, limit=AT_ONCE)):
        if record.ended is not None and record.ended < oldest:
            found[record.run] = record
    return list(found.values())[:AT_ONCE]
