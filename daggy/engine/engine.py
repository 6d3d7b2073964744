"""The engine: runs, pools and a tracker joined by one loop that waits, takes all that has come, and acts at once."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager

import trio

from daggy.attempt import Reports, Rows
from daggy.engine.acks import Acks
from daggy.engine.admission import check_needs
from daggy.engine.batches import by_run, joined, only
from daggy.engine.directory import StateDirectory
from daggy.engine.dispatch import Dispatcher, Line, lost
from daggy.engine.flights import Flights
from daggy.engine.pool import Pool
from daggy.engine.writer import Writer
from daggy.errors import SpecError, UsageError
from daggy.executor import Ack, Executor, Request, Site, Stop
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
from daggy.tracker import Epoch, Place, RunFilter, Submitted, Tracker

MakeExecutor = Callable[[Site], Executor]

LARGEST_ANSWER = 1_000_000_000
"""Bytes that a generator may answer."""

IDLE_SECONDS = 1.0
"""While something is ready and finds no room, patience is looked at so often."""

LONGEST_PAUSE = 10.0
"""Seconds before an executor that keeps raising is made again."""


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
        self._recovered: list[tuple[str, Reports]] = []
        self._inbox: list[tuple[str, Reports]] = []
        self._wake = trio.Event()
        self._barriers: dict[int, int] = {}
        self._ends: dict[int, trio.Event] = {}
        self._last_run = tracker.last_run()
        self._stopping = self._stopped = False
        self._nursery: trio.Nursery | None = None

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
        self._stopping = True
        for line in self.dispatcher.lines.values():
            line.ask(Stop(immediate))

    async def _keep_the_rest(self) -> None:
        """After the last executor has left: act on what it said, keep it, and let everybody go who waits for an end."""
        self._turn()
        if not self.writer.trouble:
            await self.writer.kept(self.writer.last)
        self._stopped = True
        for event in self._ends.values():
            event.set()

    async def _serve(self, name: str, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run a pool's executor; make another one whenever it raises."""
        line, pause, fault = self.dispatcher.lines[name], 0.1, ""
        while True:
            began = trio.current_time()
            try:
                await self._serve_once(line, fault, task_status)
                break
            except Exception as error:  # a plug-in is isolated: whatever it raises, the runs survive it
                if line.executor is None:
                    raise
                if self._stopping:
                    break
                fault = f"the executor of pool '{name}' failed: {type(error).__name__}: {error}"
            finally:
                line.requests = None
            pause = 0.1 if trio.current_time() - began > LONGEST_PAUSE else min(LONGEST_PAUSE, pause * 2)
            await trio.sleep(pause)
        if all(other.requests is None for other in self.dispatcher.lines.values()):
            await self._keep_the_rest()

    async def _serve_once(self, line: Line, fault: str, task_status: trio.TaskStatus[None]) -> None:
        name = line.pool.name
        executor = self._make[name](Site(name, self.directory.path, self.directory.instance, self.tracker.durable))
        recovered = await executor.recover(self.epoch)
        line.pool.set_capacity(executor.capacity())
        send, receive = trio.open_memory_channel[Request](float("inf"))
        if fault:
            self._report(name, recovered)
            self._turn()
            keys = list(self._flights.of_pool(line.pool))
            self._report(name, lost(self.epoch, keys, self.runs, fault, time.time()))
        else:
            self._recovered.append((name, recovered))
        first, line.executor, line.requests = line.executor is None, executor, send
        if first:
            task_status.started()
        await executor.run(receive, lambda reports: self._report(name, reports), lambda: self._capacity_changed(line))

    def _capacity_changed(self, line: Line) -> None:
        if line.executor is not None:
            line.pool.set_capacity(line.executor.capacity())
        self._wake.set()

    # The loop.

    def _report(self, pool: str, reports: Reports) -> None:
        """Take a batch of reports from an executor; the next turn acts on it."""
        self._inbox.append((pool, reports))
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
        if acks := self._acks.take():
            self.writer.give([], acks)

    def _may_launch(self, run: Run) -> bool:
        """Return whether what gives the run's indexes their meaning has been committed."""
        return bool(run.frontier.ready) and self.writer.done >= self._barriers.get(run.id, 0)

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
        if entries := run.take_entries():
            number = self.writer.give(entries, urgent=run.is_ended)
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
        if self._barriers or self._stopping:
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
        self._barriers[run.id] = self.writer.give(run.take_entries(), urgent=True)
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

    async def load(self, run_id: int) -> Run:
        """Return a kept run, read back with what launchers finished meanwhile; it goes on where it left off.

        Raises:
            UsageError: there is no such run.
            SpecError: the pools have changed, and one of its tasks can never run any more.
        """
        records = [
            record for record in self.tracker.runs(RunFilter(before=run_id + 1, limit=1)) if record.run == run_id
        ]
        if not records:
            raise UsageError(f"no run {run_id}; 'daggy ls' shows those there are")
        run = restore(records[0], self.tracker.history(run_id), self.epoch, self.now())
        check_needs(run.plan, self.dispatcher)
        self._admit(run)
        await self._recover(run)
        return run

    async def _recover(self, run: Run) -> None:
        """Apply what dead launchers knew of this run, generators' answers included, until nothing more follows."""
        for name, reports in self._recovered:
            self._fill_places(name, reports.rows)
        mine = [
            chosen for _, reports in self._recovered for (run_id, _), chosen in by_run(reports) if run_id == run.id
        ]
        for rest in mine:
            left = on_recovered(run, rest, self.now())
            while run.outbox.answers:
                for answer in run.outbox.answers:
                    await self._answer(run, answer)
                run.outbox.answers.clear()
                left = on_recovered(run, left, self.now())
            forget_unfollowed(run, left)
        for name, reports in self._recovered:
            self._acks.note(name, reports.rows)
        self._recovered = [(name, reports) for name, reports in self._recovered if not mine]
        run.settle(self.now())
        await self._commit(run)

    async def _commit(self, run: Run) -> None:
        """Keep what a command changed before anything that uses it is launched; pass its kills on."""
        self.dispatcher.pass_on(run)
        number = self.writer.give(run.take_entries(), urgent=True)
        self._barriers[run.id] = number
        if not run.is_ended:
            self._ends.pop(run.id, None)
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
        check_needs(base := plan(spec), self.dispatcher)
        new = edit.replan(run, spec)
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
        """Put what is errored, killed or upstream_failed back in the queue."""
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
