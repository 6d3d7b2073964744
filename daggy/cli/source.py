"""What commands that look read from, in the API's shapes; a server or a directory, see `served` and `unserved`."""

from __future__ import annotations

import abc
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from daggy.errors import UsageError

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


def split(states: Sequence[str]) -> list[str]:
    """Return names of states one by one; one text may hold several, with commas."""
    return [state.strip() for text in states for state in text.split(",")]
