"""What commands that look read from, in the API's shapes: a server, or a directory that no server uses."""

from __future__ import annotations

import abc
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from daggy.cli.look import Kept
from daggy.client import Client
from daggy.errors import NotFoundError, UsageError
from daggy.plan import plan_as_json
from daggy.run import explain as explaining, shapes
from daggy.run.run import Run
from daggy.run.selectors import select, states_named
from daggy.tracker import RunFilter

Json = Any


class Source(abc.ABC):
    """Runs and tasks in the API's shapes. `which` is a run's id, or `last`."""

    @abc.abstractmethod
    def runs(self, tags: Mapping[str, str], states: Sequence[str], name: str, since: float | None, limit: int) -> Json:
        """Return a page of runs, newest first."""

    @abc.abstractmethod
    def run(self, which: str) -> Json:
        """Return a run with its counts."""

    @abc.abstractmethod
    def graph(self, which: str) -> Json:
        """Return the plan of a run by template."""

    @abc.abstractmethod
    def tasks(
        self, which: str, where: Mapping[str, str], states: Sequence[str], template: str, limit: int, cursor: int
    ) -> Json:
        """Return a page of tasks."""

    @abc.abstractmethod
    def chosen(
        self, which: str, selectors: Sequence[str], where: Mapping[str, str], states: Sequence[str]
    ) -> Iterator[Json]:
        """Yield the tasks that selectors choose; none: all."""

    @abc.abstractmethod
    def explain(self, which: str, index: int) -> Json:
        """Return why a task is where it is."""


def number(which: str, last: int) -> int:
    """Return the id of the run that a user calls `which`.

    Raises:
        UsageError: it is no id.
    """
    if which == "last":
        return last
    if not (which.isascii() and which.isdigit()):
        raise UsageError(f"no run '{which}'; name it by its id, or 'last'")
    return int(which)


class Served(Source):
    """A server."""

    def __init__(self, client: Client) -> None:
        """Keep the client."""
        self.client = client

    def number(self, which: str) -> int:
        """Return the id of the run that a user calls `which`."""
        return number(which, self.client.last() if which == "last" else 0)

    def runs(self, tags: Mapping[str, str], states: Sequence[str], name: str, since: float | None, limit: int) -> Json:
        """Return a page of runs, newest first."""
        earliest = None if since is None else shapes.timestamp(since)
        tag = [f"{key}:{value}" for key, value in tags.items()]
        return self.client.runs(tag=tag, state=_split(states), name=name, since=earliest, limit=limit)

    def run(self, which: str) -> Json:
        """Return a run with its counts."""
        return self.client.run(self.number(which))

    def graph(self, which: str) -> Json:
        """Return the plan of a run by template."""
        return self.client.graph(self.number(which))

    def tasks(
        self, which: str, where: Mapping[str, str], states: Sequence[str], template: str, limit: int, cursor: int
    ) -> Json:
        """Return a page of tasks."""
        return self.client.tasks(
            self.number(which), param=_pairs(where), state=_split(states), template=template, limit=limit,
            cursor=cursor or None,
        )  # fmt: skip

    def chosen(
        self, which: str, selectors: Sequence[str], where: Mapping[str, str], states: Sequence[str]
    ) -> Iterator[Json]:
        """Yield the tasks that selectors choose; none: all."""
        run, seen = self.number(which), set[int]()
        wanted = _split(states)
        for selector in selectors or [""]:
            for task in self._chosen(run, selector, where, wanted):
                if task["index"] not in seen and (not wanted or task["state"] in wanted):
                    seen.add(task["index"])
                    yield task

    def _chosen(self, run: int, selector: str, where: Mapping[str, str], states: Sequence[str]) -> Iterator[Json]:
        if selector.isascii() and selector.isdigit():
            yield {**self.client.task(run, int(selector)), "attempts": None}
        elif ":" in selector.rpartition("/")[2]:
            named = self.client.tasks(run, name=selector)["items"]
            if not named:
                raise NotFoundError(f"no task named '{selector}'")
            yield from named
        else:
            filters = {"template": selector, "param": _pairs(where), "state": states, "limit": 1000}
            yield from self.client.all_tasks(run, **filters)

    def explain(self, which: str, index: int) -> Json:
        """Return why a task is where it is."""
        return self.client.explain(self.number(which), index)


def _pairs(where: Mapping[str, str]) -> list[str]:
    return [f"{key}:{value}" for key, value in where.items()]


def _split(states: Sequence[str]) -> list[str]:
    return [state.strip() for text in states for state in text.split(",")]


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
            wanted = [shapes.run_state(state) for state in _split(states)]
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
