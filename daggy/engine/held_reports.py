"""Holds what executors reported at the start until its runs have been read back."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator
from typing import NamedTuple

from attrs import define, field

from daggy.attempt import Kind, Reports, Rows, Ticket, joined
from daggy.engine.batches import by_run


@define(eq=False)
class _Batch:
    """Reports of one pool, and the runs that have not taken theirs yet."""

    pool: str
    reports: Reports
    runs: set[int]


class Unended(NamedTuple):
    """What an executor reported at the start and has not ended: it runs there, or is held there until it begins."""

    ticket: Ticket
    place: int
    is_held: bool


@define(eq=False)
class HeldReports:
    """Reports of earlier launchers, by run.

    A launcher is acknowledged by sequence number, whatever its reports are about: so not before all of them have been
    applied, or belong to nothing.
    """

    _batches: list[_Batch] = field(factory=list)
    _postponed: list[tuple[str, Reports]] = field(factory=list)
    _later: list[tuple[str, Rows]] = field(factory=list)

    def add(self, pool: str, reports: Reports) -> None:
        """Keep the reports of a pool's executor."""
        self._batches.append(_Batch(pool, reports, set(reports.rows["run"].tolist())))

    def waiting(self, pool: str) -> set[int]:
        """Return the runs that have not taken their reports of a pool."""
        return set().union(*(batch.runs for batch in self._batches if batch.pool == pool))

    def finished(self, pool: str) -> set[Ticket]:
        """Return the tickets of the finishes that a pool's executor reported at the start and that are still held."""
        held = (batch for batch in self._batches if batch.pool == pool)
        return {
            ticket
            for batch in held
            for ticket in tickets_of(batch.reports.rows, Kind.FINISHED)
            if ticket.run in batch.runs
        }

    def postpone(self, pool: str, reports: Reports, in_memory: Container[int]) -> tuple[Reports, bool]:
        """Set aside reports of runs that have not taken theirs yet: an adopted task may end at any moment.

        Returns what is left, and whether it may be acknowledged now: a launcher is acknowledged in its own order.
        """
        if not (waiting := self.waiting(pool)):
            return reports, True
        unheard = {run for run in waiting if run not in in_memory}
        left: list[Reports] = []
        for (run, _), part in by_run(reports):
            if run in unheard:
                self._postponed.append((pool, part))
            else:
                left.append(part)
        return joined(left), False

    def acknowledge_later(self, pool: str, rows: Rows) -> None:
        """Note applied reports that are to be acknowledged after those that are still held here."""
        self._later.append((pool, rows))

    def take_postponed(self, run: int) -> list[tuple[str, Reports]]:
        """Return pool by pool, once, the reports of a run that arrived while it was read back."""
        mine = [one for one in self._postponed if run in one[1].rows["run"]]
        self._postponed = [one for one in self._postponed if run not in one[1].rows["run"]]
        return mine

    def of_run(self, run: int) -> Reports:
        """Return what is known of a run, from all pools and all versions of its spec, as one batch."""
        return joined([part for batch in self._batches for (one, _), part in by_run(batch.reports) if one == run])

    def unended(self, run: int) -> Iterator[tuple[str, list[Unended]]]:
        """Yield pool by pool what of a run still runs or is held, as its executor reported."""
        for batch in self._batches:
            if run in batch.runs:
                rows = unended(batch.reports.rows)
                rows = rows[rows["run"] == run]
                columns = tickets_of(rows), rows["row"]["place"].tolist(), (rows["kind"] == Kind.HELD).tolist()
                yield batch.pool, [Unended(*one) for one in zip(*columns, strict=True)]

    def drop_unknown(self, is_known: Callable[[int], bool]) -> list[tuple[str, list[Ticket]]]:
        """Drop reports of unknown runs; return pool by pool what still runs or is held of them.

        They were forgotten, or are another database's, or have ended.
        """
        left = []
        for batch in self._batches:
            unknown = {run for run in batch.runs if not is_known(run)}
            batch.runs -= unknown
            going = [ticket for ticket in tickets_of(unended(batch.reports.rows)) if ticket.run in unknown]
            if going:
                left.append((batch.pool, going))
        return left

    def applied(self, run: int) -> None:
        """Note that a run has taken its reports."""
        for batch in self._batches:
            batch.runs.discard(run)

    def take_done(self) -> Iterator[tuple[str, Rows]]:
        """Yield pool and reports, once, of what may be acknowledged when all that has been given is kept."""
        done = [batch for batch in self._batches if not batch.runs]
        self._batches = [batch for batch in self._batches if batch.runs]
        for batch in done:
            yield batch.pool, batch.reports.rows
        pools = {batch.pool for batch in self._batches}
        later, self._later = self._later, []
        for pool, rows in later:
            if pool in pools:
                self._later.append((pool, rows))
            else:
                yield pool, rows


def unended(rows: Rows) -> Rows:
    """Return the reports of what runs, or will by itself."""
    chosen: Rows = rows[(rows["kind"] == Kind.STARTED) | (rows["kind"] == Kind.HELD)]
    return chosen


def tickets_of(rows: Rows, kind: Kind | None = None) -> Iterator[Ticket]:
    """Yield the tickets of reports, or of those of one kind."""
    chosen = rows if kind is None else rows[rows["kind"] == kind]
    columns = (chosen["run"], chosen["version"], chosen["row"]["index"], chosen["epoch"], chosen["row"]["attempt"])
    for run, version, index, epoch, attempt in zip(*(column.tolist() for column in columns), strict=True):
        yield Ticket(run, version, index, epoch, attempt)
