"""Reading a state directory without a server: its tracker opened for reading, a run rebuilt from it."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from attrs import frozen

from daggy.engine.configuration import Configuration, read_configuration
from daggy.engine.directory import StateDirectory
from daggy.errors import UsageError
from daggy.executor import Executor, Site
from daggy.plan import Plan
from daggy.run.replay import replay
from daggy.run.run import Run
from daggy.run.states import Now
from daggy.tracker import RunFilter, RunRecord, Tracker
from daggy.view.shapes import Places

KEPT = "sqlite"
"""The tracker of a directory, if no configuration says otherwise."""


@frozen
class Kept:
    """A state directory opened for reading; what is being written to it is seen as of the last commit."""

    directory: StateDirectory
    configuration: Configuration
    tracker: Tracker

    def record(self, which: str) -> RunRecord:
        """Return the run that a user calls `which`: an id, or `last`.

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

    def run(self, which: str, made: Mapping[int, Plan] = MappingProxyType({})) -> Run:
        """Return a run, rebuilt; `made` are plans of versions of its spec that were made already.

        Raises:
            UsageError: there is none.
            DirectoryError: this Daggy cannot read it.
        """
        record = self.record(which)
        return replay(record, self.tracker.history(record.run), 0, Now(time.time(), 0.0), made)

    @property
    def places(self) -> Places:
        """Return what places in attempts mean."""
        return self.tracker.places()

    def executor(self, pool: str) -> Executor:
        """Return an executor that can read what attempts of a pool wrote; a pool that nothing configures is local."""
        makers = self.configuration.executors()
        make = makers.get(pool) or read_configuration(None, {}).executors()["default"]
        return make(Site(pool, self.directory.path, self.directory.instance, self.tracker.durable))


def look(directory: Path, config: Path | None = None) -> Kept:
    """Open a state directory for reading.

    Raises:
        DirectoryError: there is nothing, or it cannot be read.
        UsageError: its tracker keeps nothing that another process could read.
    """
    opened = StateDirectory.look(directory)
    configuration = read_configuration(config, os.environ)
    return Kept(opened, configuration, configuration.look(opened.path, KEPT))
