"""What executors still knew at the start: kept until the runs that it is about have been read back."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from attrs import define, field

from daggy.attempt import REPORT, Reports, Rows
from daggy.engine.batches import by_run, joined


@define(eq=False)
class _Batch:
    """What one pool said, and the runs that have not taken their part of it yet."""

    pool: str
    reports: Reports
    runs: set[int]


@define(eq=False)
class Recovered:
    """Reports of earlier launchers, by run.

    A launcher is acknowledged by sequence number, whatever its reports are about: so not before all of them have been
    applied, or belong to nothing.
    """

    _batches: list[_Batch] = field(factory=list)

    def add(self, pool: str, reports: Reports) -> None:
        """Keep what a pool's executor said."""
        self._batches.append(_Batch(pool, reports, set(np.unique(reports.rows["run"]).tolist())))

    def waits_for(self, pool: str) -> bool:
        """Return whether some of what a pool said is still to be applied."""
        return any(batch.pool == pool for batch in self._batches)

    def of_run(self, run: int) -> Reports:
        """Return what is known of a run, from all pools and all versions of its spec, as one batch."""
        mine = [("", part) for batch in self._batches for (one, _), part in by_run(batch.reports) if one == run]
        return joined(mine)[0][1] if mine else Reports(np.zeros(0, REPORT))

    def drop_unknown(self, is_known: Callable[[int], bool]) -> None:
        """Expect nobody to ask for runs that are not kept: they were forgotten, or another database's."""
        for batch in self._batches:
            batch.runs = {run for run in batch.runs if is_known(run)}

    def applied(self, run: int) -> None:
        """Take note that a run has taken its part."""
        for batch in self._batches:
            batch.runs.discard(run)

    def take_done(self) -> Iterator[tuple[str, Rows]]:
        """Yield pool and reports, once, of what may be acknowledged when all that has been given is kept."""
        done = [batch for batch in self._batches if not batch.runs]
        self._batches = [batch for batch in self._batches if batch.runs]
        for batch in done:
            yield batch.pool, batch.reports.rows
