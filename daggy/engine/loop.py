"""The engine's loop: it waits, takes all that has come from pools, tracker and people, and acts at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import trio
from attrs import define, field
from numpy.typing import NDArray

from daggy.attempt import Kind, Reason, Reports, Rows, Ticket
from daggy.engine.answers import Answers
from daggy.engine.batches import by_pool, by_run
from daggy.engine.commits import Commits
from daggy.engine.held_reports import tickets_of
from daggy.engine.state import EngineState
from daggy.run.reports import on_reports, on_tick
from daggy.run.run import Run
from daggy.run.states import IS_IN_FLIGHT, REMOVED, Now

IDLE_SECONDS = 1.0
"""Seconds between two turns while something is ready and finds no room: patience runs out meanwhile."""

LONG = 0.001
"""Seconds from which a turn is long; giving way after shorter ones would slow down a chain of tasks."""

PASSES = 4
"""Passes of the scheduler without another task's progress after which none is taken to be ready: trio goes through a
pass in either order, and the first task in it does not see the others.
"""


@define(eq=False)
class Loop:
    """Takes turns.

    Args:
        state: The engine's.
        commits: Gives to the tracker what turns record.
        answers: Reads generators' answers.
        mishaps: Looks at the ends of a pool's attempts for machines that eat them.
        ended_attempts: Number of ended attempts by reason, for each pool.
    """

    state: EngineState
    commits: Commits
    answers: Answers
    mishaps: Callable[[str, Rows], None]
    ended_attempts: dict[str, NDArray[np.int64]] = field(init=False)

    @ended_attempts.default
    def _no_attempts(self) -> dict[str, NDArray[np.int64]]:
        return {name: np.zeros(len(Reason), np.int64) for name in self.state.dispatcher.links}

    async def run(self) -> None:
        """Wait for reports, timers and commands, and take all that has come as one batch; until cancelled."""
        state = self.state
        while True:
            with trio.move_on_at(self._next_due()):
                await state.woken.wait()
            state.woken = trio.Event()
            began = trio.current_time()
            self.turn()
            await give_way(trio.current_time() - began)

    def _next_due(self) -> float:
        """Return when something is to be done without a report."""
        due = self.state.due.next_due()
        if self._may_launch():
            due = min(due, self.state.dispatcher.next_due())
        return min(due, trio.current_time() + IDLE_SECONDS) if self.state.due.ready else due

    def _may_launch(self) -> bool:
        return not (self.state.stopping.is_set() or self.state.writer.trouble or self.state.starting)

    def turn(self) -> None:
        """Act on all that has come, hand out what is ready, and give what happened to the tracker."""
        state, now = self.state, self.state.now()
        inbox, state.inbox = state.inbox, []
        for name, reports in by_pool(inbox):
            self._apply(name, reports, now)
        for run in state.due.take_due(now.mono):
            on_tick(run, now)
        if self._may_launch():
            ready = [run for run in state.due.look_at_ready() if self.commits.may_launch(run)]
            for run in state.dispatcher.dispatch(ready, now):
                state.due.touch(run)
            if state.dispatcher.is_cut:
                state.wake()
        for run in state.due.take_touched():
            self._collect(run)
        for name, rows in state.held_reports.take_done():
            state.acks.note(name, rows)
        if acks := state.acks.take():
            state.writer.give([], acks)

    def _apply(self, name: str, reports: Reports, now: Now) -> None:
        """Hand reports to their runs; what they free is free from here on."""
        state = self.state
        reports, in_order = state.held_reports.postpone(name, reports, state.runs)
        rows = reports.rows
        reasons = rows["row"]["reason"][rows["kind"] == Kind.FINISHED]
        self.ended_attempts[name] += np.bincount(reasons, minlength=len(Reason))[: len(Reason)]
        self.mishaps(name, rows)
        if state.flights.strays:
            state.flights.release(tickets_of(rows[rows["kind"] != Kind.STARTED]))
        for (run_id, version), chosen in by_run(reports):
            run = state.runs.get(run_id)
            freeing = chosen.rows if run is None else _without_earlier(run, version, chosen.rows)
            state.flights.reported((run_id, version), freeing, now.mono)
            if run is not None:
                on_reports(run, chosen, now)
                state.due.touch(run)
                for answer in run.outbox.answers:
                    state.acks.hold(answer.ticket)
        state.note_applied(name, rows, in_order=in_order)

    def _collect(self, run: Run) -> None:
        """Carry out a run's instructions: keep entries, kill attempts, read answers, announce its end."""
        self.state.dispatcher.pass_on(run)
        answers, run.outbox.answers = run.outbox.answers, []
        for answer in answers:
            assert self.state.nursery is not None
            self.state.nursery.start_soon(self.answers.apply, run, answer)
        self.commits.give(run)


async def give_way(took: float) -> None:
    """After a long turn let other tasks proceed until none is ready, but for no longer than the turn took.

    An answer to a request takes a dozen passes of the scheduler; with a turn in each of them it would wait for a dozen
    turns.

    Args:
        took: Seconds of the turn.
    """
    if took < LONG:
        return
    until = trio.current_time() + took
    quiet = 0
    while quiet < PASSES and trio.current_time() < until:
        await trio.lowlevel.checkpoint()
        quiet = 0 if trio.lowlevel.current_statistics().tasks_runnable else quiet + 1


def _without_earlier(run: Run, version: int, rows: Rows) -> Rows:
    """Leave out repeated reports of earlier attempts of tasks that are in flight again: those use nothing any more."""
    if version == run.version:
        index = np.minimum(rows["row"]["index"], run.plan.size - 1)
        column = run.frontier.state[index]
        is_earlier = IS_IN_FLIGHT[column] & (run.frontier.attempt[index] != rows["row"]["attempt"])
        for place in np.flatnonzero(column == REMOVED).tolist():  # it may go on under another index
            is_earlier[place] = _has_later(run, next(iter(tickets_of(rows[place : place + 1]))))
    else:
        is_earlier = np.fromiter((_has_later(run, ticket) for ticket in tickets_of(rows)), np.bool_, len(rows))
    return rows[~is_earlier] if is_earlier.any() else rows


def _has_later(run: Run, ticket: Ticket) -> bool:
    """Return whether the task of a ticket has another attempt in flight that was launched under the same index."""
    if ticket in run.launched or ticket in run.orphans:
        return False
    place = ticket.version, ticket.index
    tables: Iterable[Iterable[Ticket]] = (run.launched, run.orphans)
    return any((one.version, one.index) == place for table in tables for one in table)
