"""Which ended runs stay in memory: those used last, as far as there is room."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from attrs import define, field

from daggy.run.run import Run

MOST_RUNS = 256
"""Ended runs in memory."""

MOST_TASKS = 2_000_000
"""Tasks of ended runs in memory: about 200 MB."""

LEAST_SECONDS = 5.0
"""Seconds that a run stays at least after it was used or has ended: its user may still need it."""

OFTEN = 10
"""Checks for room in that time: each costs by the number of runs in memory."""


@define(eq=False)
class EndedRuns:
    """When each run was last used.

    Args:
        runs: Those in memory, ended or not.
    """

    runs: Mapping[int, Run]
    _used: dict[int, float] = field(factory=dict)
    _next_look: float = 0.0

    def use(self, run: Run, now: float) -> None:
        """Note that a run is used."""
        self._used.pop(run.id, None)
        self._used[run.id] = now

    def take_surplus(self, is_busy: Callable[[Run], bool], now: float) -> Iterator[Run]:
        """Yield, and forget, the ended runs for which there is no room, least recently used first."""
        if now < self._next_look:
            return
        self._next_look = now + LEAST_SECONDS / OFTEN
        ended = [run for run_id in self._used if (run := self.runs.get(run_id)) is not None and run.is_ended]
        count, tasks = len(ended), sum(run.plan.size for run in ended)
        for run in ended:
            if count <= MOST_RUNS and tasks <= MOST_TASKS:
                return
            if now - self._used[run.id] >= LEAST_SECONDS and not is_busy(run):
                del self._used[run.id]
                count, tasks = count - 1, tasks - run.plan.size
                yield run

    def forget(self, run_id: int) -> None:
        """Note that a run has left memory."""
        self._used.pop(run_id, None)
