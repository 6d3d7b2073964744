"""Entries of runs given to the tracker: what waits until they are kept, and how the end of a run is announced."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import trio
from attrs import define, field

from daggy.attempt import RunState
from daggy.engine.state import EngineState
from daggy.executor import Ack
from daggy.run.run import Run
from daggy.tracker import Counted, Entry, NewsItem


@define(eq=False)
class Commits:
    """Gives entries of runs to the tracker.

    Args:
        state: The engine's.
        announced: Called when the end of a run has been announced.
        is_over: Whether the engine has stopped, so that waiting for the end of a run returns at once.
    """

    state: EngineState
    announced: Callable[[Run], None] = lambda _: None
    is_over: bool = False
    _barriers: dict[int, int] = field(factory=dict)
    """Number of the batch that must be kept before anything of a run is launched, by run."""
    _ends: dict[int, trio.Event] = field(factory=dict)
    _end_numbers: dict[int, int] = field(factory=dict)
    """Number of the last batch that was given of a run that has ended, by run."""

    def may_launch(self, run: Run) -> bool:
        """Return whether what gives the run's indexes their meaning is kept, and nothing holds the run."""
        return self.state.writer.done >= self._barriers.get(run.id, 0) and run.id not in self.state.held

    def give(self, run: Run, *, barrier: bool = False) -> None:
        """Give what a run recorded; once that is kept its end is announced. `barrier`: launch nothing before."""
        entries = run.take_entries()
        if not entries:
            if self.state.follow:
                self.state.news.note(run)
            return
        number = self._give(run, entries, urgent=barrier or run.is_ended)
        if barrier:
            self._barriers[run.id] = number
        if run.is_ended and self.state.nursery is not None:
            self.state.nursery.start_soon(self._announce_in_time, run, number)

    def _give(self, run: Run, entries: Sequence[Entry], *, urgent: bool) -> int:
        """Give entries of a run, with the news of its end; return a number to wait for."""
        items: Sequence[NewsItem] = ()
        if self.state.follow:
            self.state.news.note(run, entries)
            items = self.state.news.flush(run) if entries and run.is_ended else ()
        counted = [Counted(run.id, run.kept_counts())] if entries else []
        number = self.state.writer.give([*entries, *counted, *items], urgent=urgent)
        self.state.news.given(number, items)
        if run.is_ended:
            self._end_numbers[run.id] = number
        return number

    async def commit(self, run: Run) -> None:
        """Keep what a command changed before anything that uses it is launched; pass its kills on."""
        self.state.dispatcher.pass_on(run)
        self.state.held.pop(run.id, None)
        await self.keep(run)

    async def keep(self, run: Run) -> None:
        """Return when what a run recorded is kept; before that nothing of it is launched, and its end not announced."""
        self._barriers[run.id] = number = self._give(run, run.take_entries(), urgent=True)
        said = self._ends.get(run.id)
        if said is not None and said.is_set() and not run.is_ended:
            del self._ends[run.id]
        self.state.due.touch(run)
        self.state.wake()
        await self.state.writer.kept(number)
        if self._has_kept_end(run):
            self.announce(run)

    def on_kept(self, acks: Sequence[tuple[str, Ack]]) -> None:
        """Pass on the acknowledgements that a commit allows, and let runs go on that waited for it."""
        for pool, ack in acks:
            self.state.dispatcher.links[pool].ask(ack)
        done = self.state.writer.done
        if any(number <= done for number in self._barriers.values()):
            self._barriers = {run: number for run, number in self._barriers.items() if number > done}
            self.state.wake()

    # Ends of runs.

    def shown(self, run: Run) -> tuple[RunState, float | None]:
        """Return a run's state and when it ended, as they may be shown: its end once that is kept."""
        if run.is_ended and not self._has_kept_end(run):
            return RunState.RUNNING, None
        return run.state, run.ended_at

    async def _announce_in_time(self, run: Run, number: int) -> None:
        """Announce that a run has ended, once that is kept."""
        await self.state.writer.kept(number)
        if self._has_kept_end(run):
            self.announce(run)

    def _has_kept_end(self, run: Run) -> bool:
        """Return whether a run has ended and that is kept: it may have ended while something before that was."""
        return run.is_ended and self.state.writer.done >= self._end_numbers.get(run.id, 0)

    def announce(self, run: Run) -> None:
        """Let those go on who wait for the end of a run."""
        self._ends.setdefault(run.id, trio.Event()).set()
        self.announced(run)

    async def ended(self, run_id: int) -> None:
        """Return when the end of a run in memory is kept, or when the engine has stopped."""
        if not self.is_over:
            await self._ends.setdefault(run_id, trio.Event()).wait()

    def is_pending(self, run: Run) -> bool:
        """Return whether the end of a run is not announced yet, or something of it is not kept."""
        said = self._ends.get(run.id)
        return said is None or not said.is_set() or bool(run.outbox.entries) or run.id in self._barriers

    def release_all(self) -> None:
        """Let everybody go on who waits for an end: the engine has stopped."""
        self.is_over = True
        for event in self._ends.values():
            event.set()

    def drop(self, run_id: int) -> None:
        """Forget a run that leaves memory."""
        self._ends.pop(run_id, None)
        self._end_numbers.pop(run_id, None)
