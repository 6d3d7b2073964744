"""The port that commands read runs through, in the API's shapes; see `served` for a server, `kept` for a directory."""

from __future__ import annotations

import abc
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Json = Any

INTERRUPTED = "interrupted"
"""How a run is shown that has not ended, and on which no process works."""


class Source(abc.ABC):
    """A source of runs."""

    @abc.abstractmethod
    def runs(self, tags: Mapping[str, str], states: Sequence[str], name: str, since: float | None, limit: int) -> Json:
        """Return a page of runs, newest first; `since` is in seconds since 1970."""

    @abc.abstractmethod
    def open(self, which: str) -> RunSource:
        """Return one run as it is at this moment.

        Args:
            which: Its id, or `last`.

        Raises:
            UsageError: there is no such run.
        """

    def find_again(self) -> Source:
        """Return the source to go on with after this one could not be reached."""
        return self


class RunSource(abc.ABC):
    """One run; `id` is its number."""

    id: int

    @abc.abstractmethod
    def run(self) -> Json:
        """Return the run with its counts."""

    @abc.abstractmethod
    def graph(self) -> Json:
        """Return the plan by template."""

    @abc.abstractmethod
    def tasks(
        self,
        where: Mapping[str, str],
        states: Sequence[str],
        template: str,
        limit: int,
        cursor: int,
        node: str = "",
    ) -> Json:
        """Return a page of tasks, ascending by index, from the index `cursor` on; of a `node` those that are or ended
        there.
        """

    @abc.abstractmethod
    def chosen(
        self, selectors: Sequence[str], where: Mapping[str, str], states: Sequence[str], after: int = 0
    ) -> Iterator[Json]:
        """Yield the tasks that selectors choose; none: all.

        Args:
            selectors: Indexes, names of tasks, templates.
            where: Texts of parameters.
            states: Names of states; none: all.
            after: Leave out tasks below this index.

        Raises:
            UsageError: a selector chooses something that does not exist.
        """

    @abc.abstractmethod
    def attempts(self, index: int) -> Sequence[Json]:
        """Return the ended attempts of a task, in order."""

    @abc.abstractmethod
    def explain(self, index: int) -> Json:
        """Return why a task is in its state."""

    @abc.abstractmethod
    def overview(self) -> Json:
        """Return why the run is not completed: its other tasks, in groups."""

    @abc.abstractmethod
    async def read(self, index: int, attempt: int, stream: str, offset: int, limit: int) -> bytes:
        """Return up to `limit` bytes of what an attempt wrote to `stdout` or `stderr`, while it runs or after.

        Raises:
            NotFoundError: the output is gone, or not what was written.
        """


def split(states: Sequence[str]) -> list[str]:
    """Return names of states one by one; one text may hold several, with commas."""
    return [state.strip() for text in states for state in text.split(",")]
