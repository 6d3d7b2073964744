"""What the parts of an engine share: runs in memory, and the ways to pools, tracker and followers."""

from __future__ import annotations

from collections.abc import Callable

import trio
from attrs import define, evolve, field

from daggy.attempt import Reports, Rows
from daggy.engine.acks import Acks
from daggy.engine.batches import checked
from daggy.engine.directory import StateDirectory
from daggy.engine.dispatch import Dispatcher
from daggy.engine.due_runs import DueRuns
from daggy.engine.flights import Flights
from daggy.engine.held_reports import HeldReports
from daggy.engine.news import News
from daggy.engine.places import Places
from daggy.engine.reader import Reader
from daggy.engine.writer import Writer
from daggy.run.run import Run
from daggy.run.states import Now
from daggy.tracker import Tracker


@define(eq=False)
class EngineState:
    """Plain data, on which the parts of an engine act.

    Args:
        tracker: Where runs are kept.
        directory: The state directory, whose lock is held.
        clock: The wall clock.
        epoch: Number of this engine in the directory's history; part of each ticket.
        reader, writer: The ways to the tracker.
        news: What followers are told.
        dispatcher: Pools and their executors.
        flights: What executors have.
        follow: Whether events are recorded for clients that follow them.
        threads: Whether long work may leave the loop.
        places: The machines that attempts ran on, and their numbers.
        starting: Why nothing is launched yet; empty once it may be.
        runs: Those in memory, by id.
        held: Runs of which nothing is launched, with the reason.
        due: Runs by what is to be done about them.
        acks: Which reports launchers may forget.
        held_reports: What executors knew at the start of runs that have not been read back.
        inbox: Reports that the next turn acts on, by pool.
        woken: Set when there is something for the loop to do.
        stopping: Set when nothing more is started.
        nursery: For what the loop starts beside itself.
    """

    tracker: Tracker
    directory: StateDirectory
    clock: Callable[[], float]
    epoch: int
    reader: Reader
    writer: Writer
    news: News
    dispatcher: Dispatcher
    flights: Flights
    follow: bool
    threads: bool
    places: Places
    starting: str = ""
    runs: dict[int, Run] = field(factory=dict)
    held: dict[int, str] = field(factory=dict)
    due: DueRuns = field(factory=DueRuns)
    acks: Acks = field(factory=Acks)
    held_reports: HeldReports = field(factory=HeldReports)
    inbox: list[tuple[str, Reports]] = field(factory=list)
    woken: trio.Event = field(factory=trio.Event)
    stopping: trio.Event = field(factory=trio.Event)
    nursery: trio.Nursery | None = None

    def now(self) -> Now:
        """Return this moment on both clocks."""
        return Now(self.clock(), trio.current_time())

    def wake(self) -> None:
        """Let the loop take its next turn."""
        self.woken.set()

    def report(self, pool: str, reports: Reports) -> None:
        """Take a batch of reports whose places are known; the next turn acts on it."""
        self.inbox.append((pool, reports))
        self.wake()

    def hear(self, pool: str, reports: Reports) -> None:
        """Take a batch of reports from a pool's executor."""
        self.report(pool, self.placed(pool, checked(reports)))

    def placed(self, pool: str, reports: Reports) -> Reports:
        """Return a copy of an executor's reports with the numbers of places in them."""
        executor = self.dispatcher.links[pool].executor
        assert executor is not None
        return evolve(reports, rows=self.places.placed(pool, executor.machines, reports.rows))

    def note_applied(self, pool: str, rows: Rows, *, in_order: bool) -> None:
        """Have reports acknowledged once all that was given is kept, and never before earlier ones of a launcher."""
        if not in_order:
            self.held_reports.acknowledge_later(pool, rows)
        elif self.tracker.durable:
            self.acks.note(pool, rows)
