"""Retention of ended runs: a number of runs, and a number of days."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

import trio

from daggy.engine.configuration import Retention
from daggy.engine.engine import Engine
from daggy.errors import ConflictError, NotFoundError
from daggy.tracker import RunFilter, RunRecord, RunState, Tracker

LOG = logging.getLogger("daggy.engine")

ENDED = (RunState.COMPLETED, RunState.ERRORED, RunState.KILLED)

PAUSE = 60.0
"""Seconds between two checks."""

AT_ONCE = 200
"""Runs that are forgotten before the next check."""

SIDE_BY_SIDE = 20
"""Runs that are forgotten at the same time: half as many as there are threads, so that others find one, too."""

PAGE = 1000
"""Runs on a page."""

ALL = 1 << 62
"""Above the id of any run."""

DAY = 86_400.0


async def retain(engine: Engine, retention: Retention) -> None:
    """Forget ended runs beyond the newest `runs`, and those that ended more than `days` ago, until cancelled.

    Those that are kept leave memory in time, even without requests. What an interrupted `forget` left is
    removed first.
    """
    await _remove_left(engine)
    while True:
        engine.runs.tidy()
        due = await overdue(engine, retention, engine.clock())
        left = iter(due)
        async with trio.open_nursery() as nursery:
            for _ in range(SIDE_BY_SIDE):
                nursery.start_soon(_forget, engine, left)
        if due:
            LOG.info("%d runs are past their retention and are removed", len(due))
        await trio.sleep(PAUSE if len(due) < AT_ONCE else 0)


async def _remove_left(engine: Engine) -> None:
    """Remove the output of unknown runs: the process ended while they were being forgotten."""
    found = await engine.reader.read(partial(_with_outputs, folder=engine.directory.path / "runs"))
    while found:
        page = {record.run for record in await _runs(engine, RunFilter(before=found[0] + 1, limit=PAGE))}
        least = min(page) if len(page) == PAGE else 0
        beyond = next((place for place, run in enumerate(found) if run < least), len(found))
        for run in found[:beyond]:
            if run not in page and run not in engine.runs:
                LOG.info("removing the output of run %d, which was removed", run)
                await engine.commands.remove_outputs(run)
        found = found[beyond:]


def _with_outputs(tracker: Tracker, folder: Path) -> Sequence[int]:
    """Return the runs that were submitted, and have a folder for what they write, newest first."""
    last = tracker.last_run()
    runs = (int(path.name) for path in folder.iterdir() if path.name.isdecimal())
    return sorted((run for run in runs if run <= last), reverse=True)


async def _forget(engine: Engine, records: Iterator[RunRecord]) -> None:
    for record in records:
        with suppress(ConflictError, NotFoundError):  # it was taken up again, or removed by a request
            await engine.commands.forget(record.run, record)


async def overdue(engine: Engine, retention: Retention, now: float) -> Sequence[RunRecord]:
    """Return ended runs that are to be forgotten, as many as are forgotten in one go."""
    least = await _least_kept(engine, retention.runs)
    found = {}
    if least is not None:
        beyond = RunFilter(states=ENDED, before=least, limit=AT_ONCE)
        found = {record.run: record for record in await _runs(engine, beyond)}
    oldest = now - retention.days * DAY
    for record in await _runs(engine, RunFilter(states=ENDED, until=oldest, limit=AT_ONCE)):
        if record.ended is not None and record.ended < oldest:
            found[record.run] = record
    return list(found.values())[:AT_ONCE]


async def _least_kept(engine: Engine, count: int) -> int | None:
    """Return the last of the newest `count` ended runs, or what is above all if that is none; None if there are fewer.

    They are read page by page, so that other requests are answered in between.
    """
    least = ALL
    while count > 0:
        page = await _runs(engine, RunFilter(states=ENDED, before=least, limit=min(count, PAGE)))
        if len(page) < min(count, PAGE):
            return None
        least, count = page[-1].run, count - len(page)
    return least


async def _runs(engine: Engine, matching: RunFilter) -> Sequence[RunRecord]:
    return await engine.reader.read(lambda tracker: tracker.runs(matching))
