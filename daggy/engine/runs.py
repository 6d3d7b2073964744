"""The runs in memory: all that have not ended, and those that were used last; others are read back when needed."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager

import trio
from attrs import define, evolve, field

from daggy.attempt import Rows
from daggy.engine.admission import check_needs
from daggy.engine.answers import Answers
from daggy.engine.archive import Archive, record_of
from daggy.engine.commits import Commits
from daggy.engine.ended_runs import EndedRuns
from daggy.engine.executors import NOT_CURRENT, Executors
from daggy.engine.held_reports import Unended
from daggy.engine.state import EngineState
from daggy.errors import ConflictError, DaggyError, DirectoryError, NotFoundError, SpecError, UnavailableError
from daggy.executor import Kill
from daggy.run.reconcile import number_above, on_recovered, on_unfollowed
from daggy.run.run import Run
from daggy.tracker import Counted, RunFilter, RunRecord, RunState

LOG = logging.getLogger("daggy.engine")

UNENDED = (RunState.QUEUED, RunState.RUNNING)

TRY_AGAIN = 5.0
"""Seconds before a run that could not be taken up is tried again."""

STARTING = "starting: unfinished runs are being read back"


@define(eq=False)
class Runs(Mapping[int, Run]):
    """Runs in memory by id, and how they get there and leave.

    Args:
        state: The engine's.
        archive: Reads back what is kept.
        commits: Keeps what is recorded.
        answers: Applies generators' answers.
        executors: What is known of earlier launches.
        takes_up: Whether a run that has not ended goes on once somebody asks for it.
    """

    state: EngineState
    archive: Archive
    commits: Commits
    answers: Answers
    executors: Executors
    takes_up: bool = True
    _ended: EndedRuns = field(init=False)
    unread: dict[int, str] = field(factory=dict)
    """Why runs have not been read back that are to go on; empty once one has been."""
    unreadable: dict[int, str] = field(factory=dict)
    """Why runs that have not ended do not go on before the next start."""
    _reading: dict[int, trio.Lock] = field(factory=dict)

    @_ended.default
    def _no_ended(self) -> EndedRuns:
        return EndedRuns(self.state.runs)

    def __getitem__(self, run_id: int) -> Run:
        """Return a run in memory."""
        return self.state.runs[run_id]

    def __iter__(self) -> Iterator[int]:
        """Iterate over the ids of the runs in memory."""
        return iter(self.state.runs)

    def __len__(self) -> int:
        """Return how many runs are in memory."""
        return len(self.state.runs)

    async def take_up(self) -> None:
        """Read back every run that has not ended; they continue where they left off.

        A run that cannot be read back, or can never continue, is left as it is, and the log says so; one for which
        there is no folder goes on once it can be made. Nothing is launched before all have been read: what still runs
        of any of them takes room.
        """
        self.state.starting = STARTING
        records = await self.archive.records(RunFilter(states=UNENDED, limit=1 << 30))
        wanted = {record.run for record in records}
        self.executors.expect(wanted.__contains__)
        for record in reversed(records):
            try:
                await self.find(record.run)
            except DirectoryError as error:
                self.unreadable[record.run] = str(error)
                LOG.warning("run %d cannot be read back: %s", record.run, error)
            except UnavailableError as error:
                self.unread[record.run] = str(error)
        self.state.starting = ""
        self.state.wake()
        if self.unread and self.state.nursery is not None:
            self.state.nursery.start_soon(self._take_up_in_time)

    async def _take_up_in_time(self) -> None:
        """Try again to read back the runs for which there was no folder."""
        while left := [run_id for run_id, reason in self.unread.items() if reason]:
            await trio.sleep(TRY_AGAIN)
            for run_id in left:
                try:
                    await self.find(run_id)
                except NotFoundError:
                    self.unread[run_id] = ""
                except DaggyError as error:
                    self.unread[run_id] = str(error)
                else:
                    self.unread[run_id] = ""

    async def records(self, matching: RunFilter) -> Sequence[RunRecord]:
        """Return one page of runs, newest first; of those in memory the state of this moment."""
        found = [self.as_now(record) for record in await self.archive.records(matching)]
        return [record if record.counts is not None else await self._counted(record) for record in found]

    async def _counted(self, record: RunRecord) -> RunRecord:
        """Return a record with counts, of a run that is not in memory: an earlier version of Daggy kept none."""
        try:
            run = await self.archive.read_back(record)
        except (NotFoundError, DirectoryError):
            return record
        if run.is_ended and run.id not in self:
            self.state.writer.give([Counted(run.id, run.counts())])
        return evolve(record, counts=run.counts())

    def as_now(self, record: RunRecord) -> RunRecord:
        """Return what the tracker lists of a run as it is at this moment."""
        run = self.get(record.run)
        if run is None:
            return record
        state, ended = self.commits.shown(run)
        counts = run.counts()
        return evolve(record, version=run.version, state=state, started=run.started_at, ended=ended, counts=counts)

    async def find(self, run_id: int) -> Run:
        """Return a run, read back if it is not in memory.

        Raises:
            NotFoundError: there is no such run.
            ConflictError: it has not ended, and is not to go on here.
            DirectoryError: this version of Daggy cannot read it.
        """
        run = self.get(run_id)
        if run is None:
            run = await self._read_once(run_id)
        self.use(run)
        return run

    async def _read_once(self, run_id: int) -> Run:
        """Read a run back, once for all who ask for it at the same time."""
        async with self.turn(run_id):
            return self.get(run_id) or await self._read_back(run_id)

    @asynccontextmanager
    async def turn(self, run_id: int) -> AsyncIterator[None]:
        """Let nobody else read a run back, or forget it, while this lasts."""
        turn = self._reading.setdefault(run_id, trio.Lock())
        try:
            async with turn:
                yield
        finally:
            if not turn.statistics().tasks_waiting and self._reading.get(run_id) is turn:
                del self._reading[run_id]

    async def _read_back(self, run_id: int) -> Run:
        record = await self.archive.record(run_id)
        if record.state in UNENDED:
            if not self.takes_up:
                raise ConflictError(
                    f"run {run_id} has not ended, and this 'daggy run' continues another one; once that has ended, "
                    f"'daggy serve --dir {self.state.directory.path}' continues it"
                )
            return await self.load(run_id, lenient=True)
        run = await self.archive.read_back(record)
        number_above(run, run.spent.items())
        self.admit(run)
        self.commits.announce(run)
        return run

    async def load(self, run_id: int, *, hold: bool = False, lenient: bool = False) -> Run:
        """Return a kept run, read back with what launchers finished meanwhile; it continues where it left off.

        Args:
            run_id: The run.
            hold: Launch nothing of it before it is edited, resumed or requeued.
            lenient: If one of its tasks can never run any more, hold it instead of refusing it.

        Raises:
            NotFoundError: there is no such run.
            NoRoomError, UnavailableError: the folder of its outputs cannot be made.
            SpecError: the pools have changed, and one of its tasks can never run any more (not with `hold`, `lenient`).
        """
        self.state.directory.make_packs(run_id)  # before anything that is known of its tasks is used up
        run = await self.archive.read_back(await self.archive.record(run_id))
        if hold:
            self.state.held[run_id] = "it is being loaded"
        else:
            try:
                check_needs(run.plan, self.state.dispatcher)
            except SpecError as error:
                if not lenient:
                    raise
                self.state.held[run_id] = str(error)
                LOG.warning("run %d is held until it is edited or the pools are changed: %s", run_id, error)
        await self._recover(run)
        self.admit(run)
        for pool, reports in self.state.held_reports.take_postponed(run_id):
            self.state.report(pool, reports)
        return run

    async def _recover(self, run: Run) -> None:
        """Apply what launchers knew of this run, generators' answers included, until nothing more follows; adopt what
        has not ended.
        """
        known = self.state.held_reports.of_run(run.id)
        left = on_recovered(run, known, self.state.now())
        while answers := run.outbox.answers:
            run.outbox.answers = []
            for answer in answers:
                await self.answers.apply(run, answer)
            left = on_recovered(run, left, self.state.now())
        on_unfollowed(run, left, self.state.now())
        for pool, unended in self.state.held_reports.unended(run.id):
            self._adopt(run, pool, unended)
        run.settle(self.state.now())
        await self.commits.keep(run)
        self.state.held_reports.applied(run.id)

    def _adopt(self, run: Run, pool: str, unended: Sequence[Unended]) -> None:
        """Account for what an earlier engine launched and has not ended; end what is no longer wanted."""
        link = self.state.dispatcher.link_of(pool)
        self.state.dispatcher.adopt(link, run, unended)
        if unwanted := [one.ticket for one in unended if one.ticket not in run.launched]:
            link.ask(Kill(unwanted, NOT_CURRENT))

    def admit(self, run: Run) -> None:
        """Take a run into memory."""
        self.state.runs[run.id] = run
        self._ended.use(run, trio.current_time())
        self.state.due.touch(run)
        self.state.wake()

    def use(self, run: Run) -> None:
        """Note that a run is used, or has ended, and let others leave memory for it."""
        self._ended.use(run, trio.current_time())
        self.tidy()

    def tidy(self) -> None:
        """Let ended runs leave memory for which there is no room."""
        for left in self._ended.take_surplus(self.is_busy, trio.current_time()):
            self.drop(left.id)

    def is_busy(self, run: Run) -> bool:
        """Return whether a run is still needed in memory."""
        return bool(
            not run.is_ended
            or self.commits.is_pending(run)
            or run.orphans
            or run.id in self.state.due.touched
            or self.state.flights.has(run.id)
        )

    def drop(self, run_id: int) -> None:
        """Let a run leave memory."""
        self.state.runs.pop(run_id, None)
        self.state.due.drop(run_id)
        self.state.dispatcher.drop(run_id)
        self.state.flights.drop(run_id)
        self._ended.forget(run_id)
        self.commits.drop(run_id)
        self.state.held.pop(run_id, None)

    async def ended(self, run_id: int) -> None:
        """Return when the run has ended and that is kept, or when the engine has stopped."""
        if run_id not in self:
            await self.find(run_id)
        await self.commits.ended(run_id)

    def held(self, run_id: int) -> str:
        """Return why nothing of a run is launched, with the mend; empty if it is."""
        return self.state.held.get(run_id) or self.unread.get(run_id) or self.unreadable.get(run_id, "")

    def is_kept(self, run_id: int) -> bool:
        """Return whether the tracker keeps a run of this id."""
        return record_of(run_id, self.state.tracker) is not None

    async def read_log(self, run_id: int, version: int, row: Rows, stream: str, offset: int, limit: int) -> bytes:
        """Return bytes of one attempt's output, as `Executor.read_log`."""
        place = int(row["place"])
        pool = next((pool for (pool, _), number in self.state.places.numbers.items() if number == place), "")
        link = self.state.dispatcher.links.get(pool) or self.state.dispatcher.link_of("")
        if link.executor is None:
            raise FileNotFoundError(f"pool '{link.pool.name}' has no executor")
        return await link.executor.read_log(run_id, version, row, stream, offset, limit)
