"""Runs as the tracker keeps them: listed, read back, and their attempts."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import repeat

import trio
from attrs import define, field

from daggy.attempt import Rows, Texts
from daggy.engine.intake.reading import Intake
from daggy.engine.state import EngineState
from daggy.errors import NotFoundError, SpecError
from daggy.run.replay import replay, unreadable
from daggy.run.run import Run, places_of
from daggy.tracker import Attempts, History, RunFilter, RunRecord, Tracker, Version

LARGE = 1 << 16
"""Bytes of a spec from which a run is not read back on the loop."""

MANY = 20_000
"""Attempts of a run from which it is not read back on the loop: 4 ms."""


Ended = tuple[int, Rows, Texts]
"""An ended attempt: the version of the spec that it belongs to, its row of ATTEMPT, what it left beside it."""


@define(eq=False)
class Archive:
    """Reads what is kept of runs."""

    state: EngineState
    _intake: Intake = field(factory=Intake)

    async def record(self, run_id: int) -> RunRecord:
        """Return what the tracker lists of a run.

        Raises:
            NotFoundError: there is no such run.
        """
        record = await self.state.reader.read(partial(record_of, run_id))
        if record is None:
            raise _unknown(run_id)
        return record

    async def records(self, matching: RunFilter) -> Sequence[RunRecord]:
        """Return one page of runs, newest first."""
        return await self.state.reader.read(lambda tracker: tracker.runs(matching))

    async def history(self, run_id: int) -> History:
        """Return all that is kept of a run.

        Raises:
            NotFoundError: there is no such run.
        """
        await self.state.writer.settled()
        try:
            return await self.state.reader.read(lambda tracker: tracker.history(run_id))
        except KeyError:
            raise _unknown(run_id) from None

    async def versions(self, run_id: int) -> Sequence[Version]:
        """Return the versions of a run's spec, in order, with the answers of generators.

        Raises:
            NotFoundError: there is no such run.
        """
        return (await self.history(run_id)).versions

    async def read_back(self, record: RunRecord) -> Run:
        """Return a run as it is kept.

        Raises:
            NotFoundError: it was forgotten meanwhile.
            DirectoryError: this version of Daggy cannot read it.
        """
        history = await self.history(record.run)
        made = {}
        if self.state.threads:
            large = [version for version in history.versions if len(version.spec) > LARGE]
            try:
                made = {version.version: await self._intake.plan(version.spec) for version in large}
            except SpecError as error:
                raise unreadable(error) from error
        rebuild = partial(replay, record, history, self.state.epoch, self.state.now(), made)
        is_long = made or sum(len(one.rows) for one in history.entries if isinstance(one, Attempts)) > MANY
        return await trio.to_thread.run_sync(rebuild) if is_long and self.state.threads else rebuild()

    async def copy(self, run_id: int) -> Run:
        """Return a copy of a run as it is kept, to try something on; the engine does not know it.

        Raises:
            NotFoundError: there is no such run.
        """
        await self.state.writer.settled()
        return await self.read_back(await self.record(run_id))

    async def attempts(self, run: Run, index: int) -> Sequence[Ended]:
        """Return all ended attempts of a task, in order: version, row and texts of each.

        Raises:
            NotFoundError: the run was forgotten meanwhile.
        """
        await self.state.writer.settled()
        try:
            return await self.state.reader.read(partial(attempts_of, run, index))
        except KeyError:
            raise _unknown(run.id) from None


def attempts_of(run: Run, index: int, tracker: Tracker) -> Sequence[Ended]:
    """Return all ended attempts of a task that a tracker keeps, in order: version, row and texts of each.

    Earlier versions of the run's spec, and earlier answers of its generator, knew the task by other indexes.
    """
    found: list[Ended] = []
    places = set(places_of(run, index))
    for wanted in {here for _, here in places}:
        for batch in tracker.attempts(run.id, 0, 1 << 30, wanted):
            if (batch.version, wanted) in places:
                texts = (Texts(batch.messages.get(at, ""), batch.results.get(at, "")) for at in range(len(batch.rows)))
                found += zip(repeat(batch.version), batch.rows, texts)
    return sorted(found, key=lambda one: int(one[1]["attempt"]))


def record_of(run_id: int, tracker: Tracker) -> RunRecord | None:
    """Return what a tracker lists of a run; None if it keeps no such run."""
    found = tracker.runs(RunFilter(before=run_id + 1, limit=1))
    return found[0] if found and found[0].run == run_id else None


def _unknown(run_id: int) -> NotFoundError:
    return NotFoundError(f"no run {run_id}; 'daggy ls' shows those there are")
