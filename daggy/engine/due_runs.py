"""The runs that a turn of the loop visits: a turn costs by what happened, not by the number of runs."""

from __future__ import annotations

from collections.abc import Iterator

from attrs import define, field

from daggy.run.run import Run


@define(eq=False)
class DueRuns:
    """Runs by what is to be done about them.

    Args:
        touched: Something happened to these: their outboxes are to be emptied.
        ready: These have tasks that could be handed out.
        dues: When (steady clock) the first delay of these is over.
    """

    touched: dict[int, Run] = field(factory=dict)
    ready: dict[int, Run] = field(factory=dict)
    dues: dict[int, tuple[float, Run]] = field(factory=dict)

    def touch(self, run: Run) -> None:
        """Note that something happened to a run."""
        self.touched[run.id] = run

    def take_due(self, now: float) -> Iterator[Run]:
        """Yield the runs that have a delay which is over; they are touched."""
        for due, run in [*self.dues.values()] if self.dues else ():
            if due <= now:
                self.touch(run)
                yield run

    def take_touched(self) -> list[Run]:
        """Return the runs that something happened to since the last call, and note what is to be done about them."""
        runs = list(self.touched.values())
        self.touched.clear()
        for run in runs:
            self._look(run)
        return runs

    def _look(self, run: Run) -> None:
        if run.frontier.ready:
            self.ready[run.id] = run
        else:
            self.ready.pop(run.id, None)
        due = run.delays.next_due()
        if due is None:
            self.dues.pop(run.id, None)
        else:
            self.dues[run.id] = due, run

    def look_at_ready(self) -> list[Run]:
        """Return the runs with something to hand out, those touched since the last turn among them."""
        for run in self.touched.values():
            self._look(run)
        return list(self.ready.values())

    def next_due(self) -> float:
        """Return when the first delay of any run is over; infinity if there is none."""
        return min((due for due, _ in self.dues.values()), default=float("inf"))

    def drop(self, run_id: int) -> None:
        """Forget a run that leaves memory."""
        for table in (self.touched, self.ready, self.dues):
            table.pop(run_id, None)
