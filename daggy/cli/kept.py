"""A state directory as a source of runs: opened for reading, runs rebuilt from it as of the last commit."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import msgspec
import numpy as np
from attrs import define, evolve, field

from daggy.cli.source import INTERRUPTED, Json, RunSource, Source, split
from daggy.engine.archive import Ended, attempts_of
from daggy.engine.configuration import Configuration, read_configuration
from daggy.engine.directory import StateDirectory
from daggy.engine.runs import UNENDED
from daggy.errors import DirectoryError, NotFoundError, UsageError
from daggy.executor import Executor, Site
from daggy.plan import Plan, plan_as_json
from daggy.run.replay import replay
from daggy.run.run import Run
from daggy.run.states import Now
from daggy.tracker import RunFilter, RunRecord, RunState, Tracker
from daggy.view import explain as explaining, shapes
from daggy.view.explain import Explanation
from daggy.view.selectors import select, states_named
from daggy.view.unfinished import overview

TRACKER = "sqlite"
"""The tracker of a directory, if no configuration says otherwise."""


@define(eq=False)
class Kept(Source):
    """A state directory opened for reading, even while another process uses it."""

    directory: StateDirectory
    configuration: Configuration
    tracker: Tracker
    _executors: dict[str, Executor] = field(factory=dict, repr=False)

    @classmethod
    def look(cls, directory: Path, configuration: Configuration) -> Kept:
        """Open a state directory for reading, with the tracker and the pools that are configured.

        Raises:
            DirectoryError: there is nothing, or it cannot be read.
            UsageError: its tracker keeps nothing that another process could read.
        """
        opened = StateDirectory.look(directory)
        return cls(opened, configuration, configuration.look(opened.path, TRACKER))

    def runs(self, tags: Mapping[str, str], states: Sequence[str], name: str, since: float | None, limit: int) -> Json:
        """Return a page of runs, newest first."""
        is_idle = not self.directory.is_in_use()
        wanted = _wanted(split(states), is_idle=is_idle)
        if states and not wanted:
            return {"items": [], "next": None}
        found = self.tracker.runs(RunFilter(tags, wanted, name, since, limit=limit + 1))
        shown = map(shapes.listed, map(self._counted, found[:limit]))
        items = [shapes.as_json(_as_idle(one) if is_idle else one) for one in shown]
        return {"items": items, "next": str(items[-1]["run_id"]) if len(found) > limit else None}

    def _counted(self, record: RunRecord) -> RunRecord:
        """Return a record with counts; where none are kept the run tells them, if it can be read."""
        if record.counts is not None:
            return record
        try:
            return evolve(record, counts=self.rebuilt(record).counts())
        except (KeyError, DirectoryError):
            return record

    def open(self, which: str) -> KeptRun:
        """Return one run, rebuilt."""
        return KeptRun(self, self.rebuilt(self.record(which)))

    def record(self, which: str) -> RunRecord:
        """Return the record of a run, by its id or as `last`.

        Raises:
            UsageError: there is none.
        """
        if which == "last":
            found = self.tracker.runs(RunFilter(limit=1))
            if not found:
                raise UsageError(f"directory '{self.directory.path}' holds no runs")
            return found[0]
        number = int(which) if which.isascii() and which.isdigit() else -1
        for record in self.tracker.runs(RunFilter(before=number + 1, limit=1)) if number > 0 else ():
            if record.run == number:
                return record
        there = ", ".join(str(record.run) for record in self.tracker.runs(RunFilter(limit=5)))
        raise UsageError(f"no run '{which}' in '{self.directory.path}'; there are: {there or 'none'}, or 'last'")

    def rebuilt(self, record: RunRecord, made: Mapping[int, Plan] = MappingProxyType({})) -> Run:
        """Return a run; `made` are plans of versions of its spec that were made already.

        Raises:
            DirectoryError: this Daggy cannot read it.
        """
        return replay(record, self.tracker.history(record.run), 0, Now(time.time(), 0.0), made)

    def executor(self, pool: str) -> Executor:
        """Return an executor that can read what attempts of a pool wrote; a pool that nothing configures is local."""
        if pool not in self._executors:
            makers = self.configuration.executors()
            make = makers.get(pool) or read_configuration(None, {}).executors()["default"]
            site = Site(pool, self.directory.path, self.directory.instance, self.tracker.durable)
            self._executors[pool] = make(site)
        return self._executors[pool]


def _wanted(names: Sequence[str], *, is_idle: bool) -> list[RunState]:
    """Return the states that are kept of runs that are shown in these.

    Raises:
        UsageError: there is no such state.
    """
    try:
        wanted = [shapes.run_state(name) for name in names if name != INTERRUPTED]
    except ValueError as error:
        raise UsageError(f"{error}, {INTERRUPTED}") from error
    if not is_idle:
        return wanted
    ended = [state for state in wanted if state not in UNENDED]
    return [*ended, *UNENDED] if INTERRUPTED in names else ended


def _as_idle(shown: shapes.RunShape) -> shapes.RunShape:
    """Return a run of a directory that no process uses: one that has not ended is interrupted."""
    return evolve(shown, state=INTERRUPTED) if shapes.run_state(shown.state) in UNENDED else shown


class KeptRun(RunSource):
    """A run of a directory, as of the last commit."""

    def __init__(self, kept: Kept, run: Run) -> None:
        """Keep the run."""
        self.id = run.id
        self._kept = kept
        self._run = run
        self._places = kept.tracker.places()
        self._rows: dict[int, Sequence[Ended]] = {}
        self._is_interrupted = not run.is_ended and not kept.directory.is_in_use()

    def run(self) -> Json:
        """Return the run with its counts."""
        shown = shapes.describe(self._run)
        return shapes.as_json(evolve(shown, state=INTERRUPTED) if self._is_interrupted else shown)

    def graph(self) -> Json:
        """Return the plan by template."""
        return plan_as_json(self._run.plan)

    def tasks(
        self,
        where: Mapping[str, str],
        states: Sequence[str],
        template: str,
        limit: int,
        cursor: int,
        node: str = "",
    ) -> Json:
        """Return a page of tasks."""
        places = shapes.places_of(self._places, node) if node else None
        wanted = shapes.Filter(states_named(states), template, where, places)
        page = _decoded(shapes.tasks(self._run, wanted, cursor, limit))
        return {"items": page["items"], "next": None if page["next"] is None else str(page["next"])}

    def chosen(
        self, selectors: Sequence[str], where: Mapping[str, str], states: Sequence[str], after: int = 0
    ) -> Iterator[Json]:
        """Yield the tasks that selectors choose."""
        found = select(self._run, selectors, where, states)
        for index in found[np.searchsorted(found, after) :].tolist():
            yield _decoded(shapes.task(self._run, index))

    def attempts(self, index: int) -> Sequence[Json]:
        """Return the ended attempts of a task."""
        found = [shapes.attempt(row, texts, self._places) for _, row, texts in self._ended(index)]
        return [_decoded(one) for one in found]

    def _ended(self, index: int) -> Sequence[Ended]:
        if index not in self._rows:
            self._rows = {index: attempts_of(self._run, index, self._kept.tracker)}
        return self._rows[index]

    def explain(self, index: int) -> Json:
        """Return why a task is in its state."""
        attempts = [shapes.attempt(row, texts, self._places) for _, row, texts in self._ended(index)]
        return shapes.as_json(self._explained(index, attempts))

    def _explained(self, index: int, attempts: Sequence[shapes.AttemptShape] | None = None) -> Explanation:
        """Explain a task; where no process works on the run, that comes first."""
        found = explaining.explain(self._run, index, self._places, attempts=attempts)
        if self._is_interrupted and found.state in ("queued", "waiting"):
            return evolve(found, because=[{"kind": "interrupted"}, *found.because])
        return found

    def overview(self) -> Json:
        """Return why the run is not completed."""
        shown = overview(self._run, self._explained)
        return shapes.as_json(evolve(shown, state=INTERRUPTED) if self._is_interrupted else shown)

    async def read(self, index: int, attempt: int, stream: str, offset: int, limit: int) -> bytes:
        """Return bytes of an attempt's output."""
        for version, row, _ in self._ended(index):
            if int(row["attempt"]) == attempt:
                pool, _ = self._places.get(int(row["place"]), ("", ""))
                try:
                    return await self._kept.executor(pool).read_log(self.id, version, row, stream, offset, limit)
                except FileNotFoundError as error:
                    raise NotFoundError(f"the output is gone: {error}") from error
                except (OSError, ValueError) as error:
                    raise NotFoundError(f"the output cannot be read: {error}") from error
        raise NotFoundError(f"task {index} has no attempt {attempt} that ended")


def _decoded(shape: object) -> Any:
    """Return a shape as plain JSON data, with the results and notes in it decoded."""
    return msgspec.json.decode(msgspec.json.encode(shapes.as_json(shape)))
