"""A directory that no server uses as what commands read from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from daggy.cli.look import Kept
from daggy.cli.source import Json, Source, split
from daggy.errors import UsageError
from daggy.plan import plan_as_json
from daggy.run.run import Run
from daggy.tracker import RunFilter
from daggy.view import explain as explaining, shapes
from daggy.view.selectors import select, states_named


class Directory(Source):
    """A directory that no server uses, read as of its last commit."""

    def __init__(self, kept: Kept) -> None:
        """Keep the directory, opened for reading."""
        self.kept = kept
        self._run: tuple[str, Run] | None = None

    def opened(self, which: str) -> Run:
        """Return a run, rebuilt once."""
        if self._run is None or self._run[0] != which:
            self._run = which, self.kept.run(which)
        return self._run[1]

    def runs(self, tags: Mapping[str, str], states: Sequence[str], name: str, since: float | None, limit: int) -> Json:
        """Return a page of runs, newest first."""
        try:
            wanted = [shapes.run_state(state) for state in split(states)]
        except ValueError as error:
            raise UsageError(str(error)) from error
        found = self.kept.tracker.runs(RunFilter(tags, wanted, name, since, limit=limit + 1))
        items = [shapes.as_json(shapes.listed(record)) for record in found[:limit]]
        return {"items": items, "next": str(items[-1]["run_id"]) if len(found) > limit else None}

    def run(self, which: str) -> Json:
        """Return a run with its counts."""
        return shapes.as_json(shapes.describe(self.opened(which)))

    def graph(self, which: str) -> Json:
        """Return the plan of a run by template."""
        return plan_as_json(self.opened(which).plan)

    def tasks(
        self, which: str, where: Mapping[str, str], states: Sequence[str], template: str, limit: int, cursor: int
    ) -> Json:
        """Return a page of tasks."""
        wanted = shapes.Filter(states_named(states), template, where)
        page = shapes.as_json(shapes.tasks(self.opened(which), wanted, cursor, limit))
        return {"items": page["items"], "next": None if page["next"] is None else str(page["next"])}

    def chosen(
        self, which: str, selectors: Sequence[str], where: Mapping[str, str], states: Sequence[str]
    ) -> Iterator[Json]:
        """Yield the tasks that selectors choose; none: all."""
        run = self.opened(which)
        for index in select(run, selectors, where, states).tolist():
            yield shapes.as_json(shapes.task(run, index))

    def explain(self, which: str, index: int) -> Json:
        """Return why a task is where it is."""
        return shapes.as_json(explaining.explain(self.opened(which), index, self.kept.places))
