"""How long ended runs are kept: so many, and so many days."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import suppress

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

SIDE_BY_SIDE = 50
"""Runs that are forgotten at the same time: a busy server takes its time for each."""

DAY = 86_400.0


async def retain(engine: Engine, retention: Retention) -> None:
    """Forget ended runs beyond the newest `runs`, and those that ended more than `days` ago, until cancelled.

    Those that are kept leave memory in time, also if nobody asks for anything.
    """
    while True:
        engine.tidy()
        due = await engine.reader.read(lambda tracker: overdue(tracker, retention, engine.clock()))
        left = iter(due)
        async with trio.open_nursery() as nursery:
            for _ in range(SIDE_BY_SIDE):
                nursery.start_soon(_forget, engine, left)
        if due:
            LOG.info("%d runs were kept long enough and are forgotten", len(due))
        await trio.sleep(PAUSE if len(due) < AT_ONCE else 0)


async def _forget(engine: Engine, records: Iterator[RunRecord]) -> None:
    for record in records:
        with suppress(ConflictError, NotFoundError):  # somebody has taken it up again, or was faster
            await engine.forget(record.run, record)


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
