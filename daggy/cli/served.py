"""A server as a source of runs."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Mapping, Sequence

from attrs import frozen

from daggy.cli.source import Json, RunSource, Source, split
from daggy.client import Client
from daggy.errors import NotFoundError, UsageError


@frozen
class Served(Source):
    """A server.

    Args:
        client: Asks it.
        left: Opens its directory for reading, once it is gone for good; None where that is not known.
    """

    client: Client
    left: Callable[[], Source] | None = None

    def runs(self, tags: Mapping[str, str], states: Sequence[str], name: str, since: float | None, limit: int) -> Json:
        """Return a page of runs, newest first."""
        earliest = None if since is None else dt.datetime.fromtimestamp(since, dt.UTC).isoformat()
        return self.client.runs(tag=_pairs(tags), state=split(states), name=name, since=earliest, limit=limit)

    def open(self, which: str) -> ServedRun:
        """Return one run."""
        if which == "last":
            return ServedRun(self.client, self.client.last())
        if not (which.isascii() and which.isdigit()):
            raise UsageError(f"no run '{which}'; name it by its id, or 'last'")
        return ServedRun(self.client, int(which))

    def find_again(self) -> Source:
        """Take the address of a server that was started again; of a `daggy run` return the directory."""
        if self.left is not None and not self.client.comes_back:
            return self.left()
        self.client.find_again()
        return self


@frozen
class ServedRun(RunSource):
    """A run of a server."""

    client: Client
    id: int

    def run(self) -> Json:
        """Return the run with its counts."""
        return self.client.run(self.id)

    def graph(self) -> Json:
        """Return the plan by template."""
        return self.client.graph(self.id)

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
        filters = {"param": _pairs(where), "state": split(states), "template": template, "node": node}
        return self.client.tasks(self.id, **filters, limit=limit, cursor=cursor or None)

    def chosen(
        self, selectors: Sequence[str], where: Mapping[str, str], states: Sequence[str], after: int = 0
    ) -> Iterator[Json]:
        """Yield the tasks that selectors choose."""
        seen: set[int] = set()
        wanted = split(states)
        if "" in selectors:
            raise NotFoundError("no task named ''")
        for selector in selectors or [""]:
            for task in self._chosen(selector, where, wanted, after):
                is_new = task["index"] >= after and task["index"] not in seen
                if is_new and (not wanted or task["state"] in wanted) and where.items() <= task["parameters"].items():
                    seen.add(task["index"])
                    yield task

    def _chosen(self, selector: str, where: Mapping[str, str], states: Sequence[str], after: int) -> Iterator[Json]:
        if selector.isascii() and selector.isdigit():
            task = self.client.task(self.id, int(selector))
            yield from self.client.tasks(self.id, name=task["name"])["items"]
        elif ":" in selector.rpartition("/")[2]:
            named = self.client.tasks(self.id, name=selector)["items"]
            if not named:
                raise NotFoundError(f"no task named '{selector}'")
            yield from named
        else:
            filters = {"template": selector, "param": _pairs(where), "state": states, "limit": 1000}
            yield from self.client.all_tasks(self.id, **filters, cursor=after or None)

    def attempts(self, index: int) -> Sequence[Json]:
        """Return the ended attempts of a task."""
        found: Sequence[Json] = self.client.task(self.id, index)["attempts"]
        return found

    def explain(self, index: int) -> Json:
        """Return why a task is in its state."""
        return self.client.explain(self.id, index)

    def overview(self) -> Json:
        """Return why the run is not completed."""
        return self.client.explain_run(self.id)

    async def read(self, index: int, attempt: int, stream: str, offset: int, limit: int) -> bytes:
        """Return bytes of an attempt's output. Nothing else runs meanwhile."""
        return b"".join(self.client.log(self.id, index, stream, attempt=attempt, offset=offset, limit=limit))


def _pairs(where: Mapping[str, str]) -> list[str]:
    return [f"{key}:{value}" for key, value in where.items()]
