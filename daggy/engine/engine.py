"""The engine: runs, pools and a tracker joined by one loop that waits, takes all that has come, and acts at once."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial

import numpy as np
import trio

from daggy.attempt import Reports, Rows
from daggy.engine.acks import Acks
from daggy.engine.admission import check_generated, check_needs
from daggy.engine.batches import by_run, checked, joined, only
from daggy.engine.directory import StateDirectory
from daggy.engine.dispatch import Dispatcher, Line, lost
from daggy.engine.flights import Flights
from daggy.engine.pool import Pool
from daggy.engine.recovered import Recovered
from daggy.engine.serving import Serving
from daggy.engine.writer import Writer
from daggy.errors import SpecError, UsageError
from daggy.executor import Ack, Executor, Site, Stop
from daggy.plan import Difference, difference, plan
from daggy.run import commands, edit
from daggy.run.growth import on_bad_answer, on_generated
from daggy.run.reports import on_reports, on_tick
from daggy.run.restore import forget_unfollowed, on_recovered, restore
from daggy.run.ring import Indexes
from daggy.run.run import Answer, Run
from daggy.run.states import Now
from daggy.spec import parse_fragment
from daggy.spec.model import RunSpec
from daggy.tracker import Epoch, Place, RunFilter, RunRecord, Submitted, Tracker

MakeExecutor = Callable[[Site], Executor]

LARGEST_ANSWER = 1_000_000_000
"""Bytes that a generator may answer."""

IDLE_SECONDS = 1.0
"""While something is ready and finds no room, patience is looked at so often."""


class Engine:
    """Runs on pools. Open it, submit, wait for the end; it owns all of it in between.

    Args:
        tracker: Where runs are kept.
        pools: By name, what makes the pool's executor.
        directory: Whose lock is held.
        default_pool: For templates that name none.
        threads: False keeps everything on the loop: for simulated time.
    """

    def __init__(
        self,
        tracker: Tracker,
        pools: Mapping[str, MakeExecutor],
        directory: StateDirectory,
        *,
        default_pool: str = "default",
        threads: bool = True,
    ) -> None:
        """Keep what is given; nothing starts before `open`."""
        self.tracker = tracker
        self.directory = directory
        self.runs: dict[int, Run] = {}
        self.epoch = tracker.last_epoch() + 1
        self.writer = Writer(tracker, self._acknowledge, in_thread=threads and tracker.durable)
        self.places: dict[tuple[str, str], int] = {place: number for number, place in tracker.places().items()}
        self._make = dict(pools)
        self._flights = Flights()
        lines = {name: Line(Pool(name)) for name in pools}
        self.dispatcher = Dispatcher(lines, default_pool, self._flights, self.epoch, self._report_rendering)
        self._acks = Acks()
        self._recovered = Recovered()
        self._inbox: list[tuple[str, Reports]] = []
        self._wake = trio.Event()
        self._barriers: dict[int, int] = {}
        self._held: set[int] = set()
        self._ends: dict[int, trio.Event] = {}
        self._last_run = tracker.last_run()
        self._stop_asked = trio.Event()
        self._stopped = False
        self._nursery: trio.Nursery | None = None

    @property
    def _stopping(self) -> bool:
        return self._stop_asked.is_set()

    @property
    def trouble(self) -> str:
        """Return why nothing can be kept at this moment; empty if all is well."""
        return self.writer.trouble

    @staticmethod
    def now() -> Now:
        """Return this moment on both clocks."""
        return Now(time.time(), trio.current_time())

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
            await self.writer.kept(self.writer.give([Epoch(self.epoch, time.time())]))
            async with trio.open_nursery() as executors:
                for name in self._make:
                    await executors.start(self._serve, name)
                self._recovered.drop_unknown(lambda run: self._record(run) is not None)
                nursery.start_soon(self._loop)
                try:
                    yield
                finally:
                    self.stop()
            with trio.CancelScope(shield=True):
                await self._keep_the_rest()
            nursery.cancel_scope.cancel()

    def stop(self, *, immediate: bool = False) -> None:
        """Stop starting work and end what runs: TERM and grace, or (again, `immediate`) KILL. Its tasks stay queued."""
        self._stop_asked.set()
        for line in self.dispatcher.lines.values():
            line.ask(Stop(immediate))

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
        site = Site(name, place.path, place.instance, self.tracker.durable, others)
        serving = Serving(
            line,
            partial(self._make[name], site),
            self.epoch,
            self._stop_asked,
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
        if self._recovered.waits_for(name):  # what earlier engines launched is known from the first time
            chosen = np.flatnonzero(recovered.rows["epoch"] == self.epoch)
            said = recovered.messages
            messages = {at: said[old] for at, old in enumerate(chosen.tolist()) if old in said}
            recovered = Reports(recovered.rows[chosen], messages)
        self._report(name, recovered)
        self._report(name, lost(self.epoch, self._flights.of_pool(line.pool), self.runs, message, time.time()))

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
            self._turn()

    def _next_due(self) -> float:
        """Return when something is to be done though nobody reports."""
        dues = [due for run in self.runs.values() if (due := run.delays.next_due()) is not None]
        if any(run.frontier.ready for run in self.runs.values()):
            dues.append(trio.current_time() + IDLE_SECONDS)
        return min(dues, default=float("inf"))

    def _turn(self) -> None:
        now = self.now()
        inbox, self._inbox = self._inbox, []
        for name, reports in joined(inbox):
            self._apply(name, reports, now)
        for run in self.runs.values():
            due = run.delays.next_due()
            if due is not None and due <= now.mono:
                on_tick(run, now)
        if not self._stopping and not self.writer.trouble:
            self.dispatcher.dispatch([run for run in self.runs.values() if self._may_launch(run)], now)
        for run in self.runs.values():
            self._collect(run)
        for name, rows in self._recovered.take_done():
            self._acks.note(name, rows)
        if acks := self._acks.take():
            self.writer.give([], acks)

    def _may_launch(self, run: Run) -> bool:
        """Return whether what gives the run's indexes their meaning has been committed."""
        kept = self.writer.done >= self._barriers.get(run.id, 0)
        return kept and bool(run.frontier.ready) and run.id not in self._held

    def _apply(self, name: str, reports: Reports, now: Now) -> None:
        """Hand reports to their runs; what they free is free from here on."""
        self._fill_places(name, reports.rows)
        for (run_id, version), chosen in by_run(reports):
            self._flights.reported((run_id, version), chosen.rows, now.mono)
            run = self.runs.get(run_id)
            if run is not None:
                on_reports(run, chosen, now)
                for answer in run.outbox.answers:
                    self._acks.hold(answer.ticket)
        if self.tracker.durable:
            self._acks.note(name, reports.rows)

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
            return
        number = self.writer.give(entries, urgent=barrier or run.is_ended)
        if barrier:
            self._barriers[run.id] = number
        if run.is_ended and self._nursery is not None:
            self._nursery.start_soon(self._announce, run, number)

    async def _announce(self, run: Run, number: int) -> None:
        """Say that a run has ended, once that is kept."""
        await self.writer.kept(number)
        if run.is_ended:
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
        if index in run.answering and answer.ticket not in run.orphans:
            message = message or self._grow(run, index, data)
            if message:
                on_bad_answer(run, index, message, self.now())
        self._acks.release(answer.ticket)
        self._give_entries(run, barrier=True)
        self._wake.set()

    async def _read_answer(self, run: Run, answer: Answer) -> bytes:
        line = self.dispatcher.line_of(run.frontier.lane_of(answer.index).policy.pool)
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

    # What people ask for.

    async def submit(self, spec: RunSpec, raw: bytes) -> int:
        """Take a new run; return its id once it is kept.

        Raises:
            SpecError: it cannot be planned, or a task needs what no machine can ever give.
        """
        made = plan(spec)
        check_needs(made, self.dispatcher)
        self._last_run += 1
        run = Run(self._last_run, made, created=time.time(), epoch=self.epoch)
        entry = Submitted(run.id, 1, raw, made.digest, spec.name, spec.tags, run.created)
        await self.writer.kept(self.writer.give([entry]))
        self._admit(run)
        run.begin()
        return run.id

    def _admit(self, run: Run) -> None:
        self.directory.make_packs(run.id)
        self.runs[run.id] = run
        self._wake.set()

    def _record(self, run_id: int) -> RunRecord | None:
        """Return what the tracker's list says of a run; None if it keeps no such run."""
        found = self.tracker.runs(RunFilter(before=run_id + 1, limit=1))
        return found[0] if found and found[0].run == run_id else None

    async def load(self, run_id: int, *, hold: bool = False) -> Run:
        """Return a kept run, read back with what launchers finished meanwhile; it goes on where it left off.

        Args:
            run_id: The run.
            hold: Launch nothing of it before it is edited, resumed or requeued.

        Raises:
            UsageError: there is no such run.
            SpecError: the pools have changed, and one of its tasks can never run any more (not with `hold`).
        """
        record = self._record(run_id)
        if record is None:
            raise UsageError(f"no run {run_id}; 'daggy ls' shows those there are")
        run = restore(record, self.tracker.history(run_id), self.epoch, self.now())
        if hold:
            self._held.add(run_id)
        else:
            check_needs(run.plan, self.dispatcher)
        await self._recover(run)
        self._admit(run)
        return run

    async def _recover(self, run: Run) -> None:
        """Apply what dead launchers knew of this run, generators' answers included, until nothing more follows."""
        left = on_recovered(run, self._recovered.of_run(run.id), self.now())
        while answers := run.outbox.answers:
            run.outbox.answers = []
            for answer in answers:
                await self._answer(run, answer)
            left = on_recovered(run, left, self.now())
        forget_unfollowed(run, left)
        run.settle(self.now())
        await self._kept(run)
        self._recovered.applied(run.id)

    async def _commit(self, run: Run) -> None:
        """Keep what a command changed before anything that uses it is launched; pass its kills on."""
        self.dispatcher.pass_on(run)
        self._held.discard(run.id)
        await self._kept(run)

    async def _kept(self, run: Run) -> None:
        """Return when what a run recorded is kept; before that nothing of it is launched, and its end not announced."""
        self._barriers[run.id] = number = self.writer.give(run.take_entries(), urgent=True)
        said = self._ends.get(run.id)
        if said is not None and said.is_set() and not run.is_ended:
            del self._ends[run.id]
        self._wake.set()
        await self.writer.kept(number)
        if run.is_ended:
            self._ends.setdefault(run.id, trio.Event()).set()

    async def edit(
        self, run_id: int, spec: RunSpec, raw: bytes, *, keep_downstream: bool = False, actor: str = ""
    ) -> Difference:
        """Replace a run's spec and resume it; return what that changed.

        Raises:
            SpecError: as `submit`; nothing has changed.
        """
        run = self.runs[run_id]
        base, new = plan(spec), edit.replan(run, spec)
        check_needs(new, self.dispatcher)
        changes = difference(run.plan, new)
        entry = Submitted(
            run_id,
            run.version + 1,
            raw,
            base.digest,
            spec.name,
            spec.tags,
            time.time(),
            keep_downstream=keep_downstream,
        )
        edit.on_edit(run, new, entry, self.now(), actor)
        await self._commit(run)
        return changes

    async def resume(self, run_id: int, actor: str = "") -> None:
        """Put what is errored, killed or upstream_failed back in the queue.

        Raises:
            SpecError: the pools have changed, and one of its tasks can never run any more.
        """
        check_needs(self.runs[run_id].plan, self.dispatcher)
        commands.on_resume(self.runs[run_id], self.now(), actor)
        await self._commit(self.runs[run_id])

    async def requeue(self, run_id: int, chosen: Indexes, actor: str = "") -> None:
        """Run these tasks again, and what is downstream of them."""
        commands.on_requeue(self.runs[run_id], chosen, self.now(), actor)
        await self._commit(self.runs[run_id])

    async def kill(self, run_id: int, chosen: Indexes | None = None, actor: str = "") -> None:
        """Kill a run, or some of its tasks."""
        commands.on_kill(self.runs[run_id], chosen, self.now(), actor)
        await self._commit(self.runs[run_id])

    async def ended(self, run_id: int) -> None:
        """Return when the run has ended and that is kept, or when the engine has stopped."""
        if not self._stopped:
            await self._ends.setdefault(run_id, trio.Event()).wait()

    async def read_log(self, run_id: int, version: int, row: Rows, stream: str, offset: int, limit: int) -> bytes:
        """Return bytes of one attempt's output, as `Executor.read_log`."""
        pool = next((pool for (pool, _), number in self.places.items() if number == int(row["place"])), "")
        executor = self.dispatcher.line_of(pool).executor
        if executor is None:
            raise FileNotFoundError(f"pool '{pool}' has no executor")
        return await executor.read_log(run_id, version, row, stream, offset, limit)
