"""The engine's loop: it waits, takes all that has come from pools, tracker and people, and acts at once."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial

import numpy as np
import trio

from daggy.attempt import Kind, Reason, Reports, Rows, RunState, Ticket
from daggy.engine.acks import Acks
from daggy.engine.admission import check_generated
from daggy.engine.batches import by_run, checked, joined, only
from daggy.engine.directory import StateDirectory
from daggy.engine.dispatch import Dispatcher, Line, lost
from daggy.engine.due_runs import DueRuns
from daggy.engine.flights import Flights
from daggy.engine.held_reports import HeldReports, tickets_of
from daggy.engine.news import News, NewsItem
from daggy.engine.pool import Pool
from daggy.engine.reader import Reader
from daggy.engine.supervisor import Supervisor
from daggy.engine.turns import give_way
from daggy.engine.writer import Writer
from daggy.errors import SpecError
from daggy.executor import Ack, Executor, Site, Stop
from daggy.run.growth import on_bad_answer, on_generated
from daggy.run.reports import on_reports, on_tick
from daggy.run.run import Answer, Run
from daggy.run.states import IS_IN_FLIGHT, Now
from daggy.spec import parse_fragment
from daggy.tracker import Entry, Epoch, Place, Tracker

MakeExecutor = Callable[[Site], Executor]

LARGEST_ANSWER = 1_000_000_000
"""Bytes that a generator may answer."""

IDLE_SECONDS = 1.0
"""While something is ready and finds no room, patience is looked at so often."""

STARTING = "starting: unfinished runs are being read back"


class Core:
    """Runs on pools. Open it; it owns all of it in between.

    Args:
        tracker: Where runs are kept.
        pools: By name, what makes the pool's executor.
        directory: Whose lock is held.
        default_pool: For templates that name none.
        threads: False keeps everything on the loop: for simulated time.
        linger: What runs goes on when this engine dies or leaves, to be taken up by the next one.
        twin: The tracker opened a second time for reading, so that readers do not stop the loop; None reads on it.
        follow: Whether somebody may want to follow what happens, now or later. That is a server's engine: it launches
            nothing before it has taken up what its predecessor left.
        clock: The wall clock, seconds since 1970: for records only.
    """

    def __init__(
        self,
        tracker: Tracker,
        pools: Mapping[str, MakeExecutor],
        directory: StateDirectory,
        *,
        default_pool: str = "default",
        threads: bool = True,
        linger: bool = False,
        twin: Tracker | None = None,
        follow: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Keep what is given; nothing starts before `open`."""
        self.tracker = tracker
        self.directory = directory
        self.clock = clock
        self.reader = Reader(tracker, twin)
        self.runs: dict[int, Run] = {}
        self.epoch = tracker.last_epoch() + 1
        self.writer = Writer(tracker, self._acknowledge, in_thread=threads and tracker.durable)
        self.places: dict[tuple[str, str], int] = {place: number for number, place in tracker.places().items()}
        self.ended_attempts = {name: np.zeros(len(Reason), np.int64) for name in pools}
        self.news = News(tracker.last_told(), self.writer.give, self.writer.kept, self.reader, clock)
        self._make = dict(pools)
        self._linger = linger and tracker.durable
        self._follow = follow
        self._threads = threads
        self._flights = Flights()
        lines = {name: Line(Pool(name)) for name in pools}
        self.dispatcher = Dispatcher(lines, default_pool, self._flights, self.epoch, self._report_rendering)
        self._busy = DueRuns()
        self._acks = Acks()
        self._recovered = HeldReports()
        self._inbox: list[tuple[str, Reports]] = []
        self._wake = trio.Event()
        self._barriers: dict[int, int] = {}
        self._held: dict[int, str] = {}
        self._ends: dict[int, trio.Event] = {}
        self._end_numbers: dict[int, int] = {}  # of the last batch that was given of a run that has ended
        self.stopping = trio.Event()
        self._stopped = False
        self._starting = STARTING if follow else ""
        self._nursery: trio.Nursery | None = None

    @property
    def is_stopping(self) -> bool:
        """Return whether nothing more is started."""
        return self.stopping.is_set()

    @property
    def trouble(self) -> str:
        """Return why nothing can be kept at this moment; empty if all is well."""
        return self.writer.trouble

    def readiness(self) -> str:
        """Return why work is not going on as it should at this moment, with the mend; empty if all is well."""
        if self.is_stopping:
            return "stopping"
        if self.trouble:
            return f"nothing can be kept: {self.trouble}"
        pools = (line.trouble for line in self.dispatcher.lines.values())
        return next((trouble for trouble in pools if trouble), self._starting)

    def now(self) -> Now:
        """Return this moment on both clocks."""
        return Now(self.clock(), trio.current_time())

    # Life.

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Begin an epoch, start executors and the loop; on leaving, stop them in order and keep what is left."""
        try:
            async with self._open():
                yield
        except BaseExceptionGroup as group:
            raise only(group) from None

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[None]:
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            nursery.start_soon(self.writer.run)
            await self.writer.kept(self.writer.give([Epoch(self.epoch, self.clock())]))
            if self._follow:
                nursery.start_soon(self.news.run)
            async with trio.open_nursery() as executors:
                for name in self._make:
                    await executors.start(self._serve, name)
                self._begin()
                nursery.start_soon(self._loop)
                try:
                    yield
                finally:
                    self.stop()
            with trio.CancelScope(shield=True):
                await self._keep_the_rest()
            nursery.cancel_scope.cancel()

    def _begin(self) -> None:
        """Do what is to be done before the first turn, now that all executors have said what they know."""

    def stop(self, *, immediate: bool = False, leave: bool = False) -> None:
        """Stop starting work and end what runs: TERM and grace, or (again, `immediate`) KILL. Its tasks stay queued.

        `leave`: what runs goes on without an engine, and the next one takes it up (only one that lingers).
        """
        leave = leave and self._linger
        if self.is_stopping and not immediate:
            return
        self.stopping.set()
        for line in self.dispatcher.lines.values():
            line.ask(Stop(immediate, leave=leave))

    async def _keep_the_rest(self) -> None:
        """After the last executor has left: act on what it said, keep it, and let everybody go who waits for an end.

        What a tracker in trouble does not keep is not acknowledged either, and will be heard again.
        """
        self._turn()
        await self.writer.settled()
        self._stopped = True
        for event in self._ends.values():
            event.set()

    async def _serve(self, name: str, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep a pool's executor at work; the last one to leave lets go who waits for an end."""
        line, place = self.dispatcher.lines[name], self.directory
        others = frozenset(self._make) - {name}
        site = Site(name, place.path, place.instance, self.tracker.durable, others, self._linger)
        serving = Supervisor(
            line,
            partial(self._make[name], site),
            self.epoch,
            self.stopping,
            recovered=partial(self._take_first, name),
            succeeded=partial(self._take_over, line),
            report=partial(self._report, name),
            changed=partial(self._capacity_changed, line),
        )
        await serving.run(task_status)
        if all(other.requests is None for other in self.dispatcher.lines.values()):
            await self._keep_the_rest()

    def _take_first(self, name: str, recovered: Reports) -> None:
        self._fill_places(name, recovered.rows)
        self._recovered.add(name, recovered)

    def _take_over(self, line: Line, recovered: Reports, message: str) -> None:
        """Act on what an executor's successor knows of its launches; all else that it had is lost."""
        name = line.pool.name
        self._acks.forget_told(name)
        running = {((one.run, one.version), one.index) for one in tickets_of(recovered.rows, Kind.STARTED)}
        unheard = self._recovered.waiting(name)  # what earlier engines launched of these is known from the first time
        rows, said = recovered.rows, recovered.messages
        is_news = np.fromiter(map(self._is_current, tickets_of(rows)), np.bool_, len(rows))
        is_heard = ~np.isin(rows["run"], list(unheard))
        if self.tracker.durable:
            self._acks.note(name, rows[is_heard & ~is_news])
        chosen = np.flatnonzero(is_heard & is_news)
        messages = {at: said[old] for at, old in enumerate(chosen.tolist()) if old in said}
        self._report(name, Reports(rows[chosen], messages))
        gone = [key for key in self._flights.of_pool(line.pool) if key not in running]
        self._report(name, lost(gone, self.runs, message, self.clock()))

    def _is_current(self, ticket: Ticket) -> bool:
        """Return whether a report may say something new: a successor tells again what has not been acknowledged."""
        run = self.runs.get(ticket.run)
        return run is None or ticket in run.orphans or run.index_of(ticket) >= 0

    def _capacity_changed(self, line: Line) -> None:
        if line.executor is not None:
            line.pool.set_capacity(line.executor.capacity())
        self._wake.set()

    # The loop.

    def _report(self, pool: str, reports: Reports) -> None:
        """Take a batch of reports from an executor; the next turn acts on it."""
        self._inbox.append((pool, checked(reports)))
        self._wake.set()

    def _report_rendering(self, reports: Reports) -> None:
        self._report(self.dispatcher.default_pool, reports)

    async def _loop(self) -> None:
        """Wait for reports, timers and commands; take all that has come as one batch."""
        while True:
            with trio.move_on_at(self._next_due()):
                await self._wake.wait()
            self._wake = trio.Event()
            began = trio.current_time()
            self._turn()
            await give_way(trio.current_time() - began)

    def _next_due(self) -> float:
        """Return when something is to be done though nobody reports."""
        due = self._busy.next_due()
        return min(due, trio.current_time() + IDLE_SECONDS) if self._busy.ready else due

    def _turn(self) -> None:
        now = self.now()
        inbox, self._inbox = self._inbox, []
        for name, reports in joined(inbox):
            self._apply(name, reports, now)
        for run in self._busy.take_due(now.mono):
            on_tick(run, now)
        if not self.is_stopping and not self.writer.trouble and not self._starting:
            ready = [run for run in self._busy.look_at_ready() if self._may_launch(run)]
            for run in self.dispatcher.dispatch(ready, now):
                self._busy.touch(run)
            if self.dispatcher.is_cut:
                self._wake.set()
        for run in self._busy.take_touched():
            self._collect(run)
        for name, rows in self._recovered.take_done():
            self._acks.note(name, rows)
        if acks := self._acks.take():
            self.writer.give([], acks)

    def _may_launch(self, run: Run) -> bool:
        """Return whether what gives the run's indexes their meaning has been committed."""
        return self.writer.done >= self._barriers.get(run.id, 0) and run.id not in self._held

    def _apply(self, name: str, reports: Reports, now: Now) -> None:
        """Hand reports to their runs; what they free is free from here on."""
        reports, in_order = self._recovered.postpone(name, reports, self.runs)
        rows = reports.rows
        self._fill_places(name, rows)
        reasons = rows["row"]["reason"][rows["kind"] == Kind.FINISHED]
        self.ended_attempts[name] += np.bincount(reasons, minlength=len(Reason))[: len(Reason)]
        for (run_id, version), chosen in by_run(reports):
            run = self.runs.get(run_id)
            told = chosen.rows if run is None else _without_earlier(run, version, chosen.rows)
            self._flights.reported((run_id, version), told, now.mono)
            if run is not None:
                on_reports(run, chosen, now)
                self._busy.touch(run)
                for answer in run.outbox.answers:
                    self._acks.hold(answer.ticket)
        if not in_order:
            self._recovered.told(name, rows)
        elif self.tracker.durable:
            self._acks.note(name, rows)

    def _fill_places(self, name: str, rows: Rows) -> None:
        """Write where attempts ran. A pool of several machines says so by ticket, one of one machine by itself."""
        if not len(rows):
            return
        machines = self.dispatcher.lines[name].pool.machines
        if len(machines) == 1:
            rows["row"]["place"] = self._place(name, next(iter(machines)))
            return
        for row in rows:
            host = self._flights.machine_of(int(row["run"]), int(row["version"]), int(row["row"]["index"]))
            row["row"]["place"] = self._place(name, host)

    def _place(self, pool: str, host: str) -> int:
        number = self.places.get((pool, host))
        if number is None:
            number = self.places[pool, host] = len(self.places) + 1
            self.writer.give([Place(number, pool, host)])
        return number

    def _collect(self, run: Run) -> None:
        """Carry out what a run's handlers want done: entries kept, attempts killed, answers read, its end announced."""
        self.dispatcher.pass_on(run)
        answers, run.outbox.answers = run.outbox.answers, []
        for answer in answers:
            assert self._nursery is not None
            self._nursery.start_soon(self._answer, run, answer)
        self._give_entries(run)

    def _give_entries(self, run: Run, *, barrier: bool = False) -> None:
        """Have kept what a run recorded; once that is done its end is announced. `barrier`: launch nothing before."""
        entries = run.take_entries()
        if not entries:
            if self._follow:
                self.news.note(run)
            return
        number = self._give(run, entries, urgent=barrier or run.is_ended)
        if barrier:
            self._barriers[run.id] = number
        if run.is_ended and self._nursery is not None:
            self._nursery.start_soon(self._announce, run, number)

    def _give(self, run: Run, entries: Sequence[Entry], *, urgent: bool) -> int:
        """Have entries of a run kept, with what there is to tell of its end; return a number to wait for."""
        items: Sequence[NewsItem] = ()
        if self._follow:
            self.news.note(run, entries)
            items = self.news.flush(run) if entries and run.is_ended else ()
        number = self.writer.give([*entries, *items], urgent=urgent)
        self.news.given(number, items)
        if run.is_ended:
            self._end_numbers[run.id] = number
        return number

    def shown(self, run: Run) -> tuple[RunState, float | None]:
        """Return a run's state and when it ended, as they may be told: its end once that is kept."""
        if run.is_ended and not self._has_kept_end(run):
            return RunState.RUNNING, None
        return run.state, run.ended_at

    async def _announce(self, run: Run, number: int) -> None:
        """Say that a run has ended, once that is kept."""
        await self.writer.kept(number)
        if self._has_kept_end(run):
            self._say_ended(run)

    def _has_kept_end(self, run: Run) -> bool:
        """Return whether a run has ended and that is kept: it may have ended while something before that was."""
        return run.is_ended and self.writer.done >= self._end_numbers.get(run.id, 0)

    def _say_ended(self, run: Run) -> None:
        self._ends.setdefault(run.id, trio.Event()).set()

    def _acknowledge(self, acks: Sequence[tuple[str, Ack]]) -> None:
        for name, ack in acks:
            self.dispatcher.lines[name].ask(ack)
        if any(number <= self.writer.done for number in self._barriers.values()):
            self._barriers = {run: number for run, number in self._barriers.items() if number > self.writer.done}
            self._wake.set()

    # Generators.

    async def _answer(self, run: Run, answer: Answer) -> None:
        """Read what a generator answered and let the run grow by it."""
        message, data = "", b""
        try:
            data = await self._read_answer(run, answer)
        except (OSError, ValueError) as error:
            message = f"its answer cannot be read: {error}"
        index = run.launched.get(answer.ticket, answer.index)
        if index in run.answering and run.ticket(index) == answer.ticket:  # else an edit took its task away meanwhile
            message = message or self._grow(run, index, data)
            if message:
                on_bad_answer(run, index, message, self.now())
        self._acks.release(answer.ticket)
        self._give_entries(run, barrier=True)
        self._busy.touch(run)
        self._wake.set()

    async def _read_answer(self, run: Run, answer: Answer) -> bytes:
        line = self.dispatcher.line_of(run.frontier.queue_of(answer.index).policy.pool)
        if line.executor is None:
            raise OSError("its executor is gone")
        ticket = answer.ticket
        return await line.executor.read_log(run.id, ticket.version, answer.row, "answer", 0, LARGEST_ANSWER)

    def _grow(self, run: Run, index: int, data: bytes) -> str:
        """Return why an answer cannot be used; empty if it was."""
        try:
            fragment = parse_fragment(data, run.plan.spec, source=run.plan.name(index))
            check_generated(fragment, self.dispatcher)
            on_generated(run, index, fragment, data, self.now())
        except SpecError as error:
            return str(error)
        return ""


def _without_earlier(run: Run, version: int, rows: Rows) -> Rows:
    """Leave out what is said again of attempts whose tasks are in flight anew: that uses nothing any more."""
    if version == run.version:
        index = np.minimum(rows["row"]["index"], run.plan.size - 1)
        is_earlier = IS_IN_FLIGHT[run.frontier.state[index]] & (run.frontier.attempt[index] != rows["row"]["attempt"])
    else:
        is_earlier = np.fromiter((_has_later(run, ticket) for ticket in tickets_of(rows)), np.bool_, len(rows))
    return rows[~is_earlier] if is_earlier.any() else rows


def _has_later(run: Run, ticket: Ticket) -> bool:
    """Return whether another attempt of the task of a ticket of an earlier version is what is in flight."""
    if ticket in run.launched or ticket in run.orphans:
        return False
    place = ticket.version, ticket.index
    return any((one.version, one.index) == place for table in (run.launched, run.orphans) for one in table)
