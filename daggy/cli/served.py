"""A server as what commands read from."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence

from daggy.cli.source import Json, Source, number, split
from daggy.client import Client
from daggy.errors import NotFoundError


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
        earliest = None if since is None else _timestamp(since)
        tag = [f"{key}:{value}" for key, value in tags.items()]
        return self.client.runs(tag=tag, state=split(states), name=name, since=earliest, limit=limit)

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
            self.number(which), param=_pairs(where), state=split(states), template=template, limit=limit,
            cursor=cursor or None,
        )  # fmt: skip

    def chosen(
        self, which: str, selectors: Sequence[str], where: Mapping[str, str], states: Sequence[str]
    ) -> Iterator[Json]:
        """Yield the tasks that selectors choose; none: all."""
        run, seen = self.number(which), set[int]()
        wanted = split(states)
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


def _timestamp(seconds: float) -> str:
    return dt.datetime.fromtimestamp(seconds, dt.UTC).isoformat()
