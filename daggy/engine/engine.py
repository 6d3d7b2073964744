"""The engine: the loop, and what people ask of it: runs submitted, read back, edited, killed, forgotten."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import trio
from attrs import evolve

from daggy.attempt import Rows, Ticket
from daggy.engine import core
from daggy.engine.admission import check_needs
from daggy.engine.core import Core
from daggy.engine.dispatch import Line
from daggy.engine.ended_runs import EndedRuns
from daggy.engine.intake.reading import Intake
from daggy.errors import ConflictError, DirectoryError, NotFoundError, SpecError
from daggy.executor import Kill
from daggy.plan import Difference, Plan, difference, plan
from daggy.run import commands, edit
from daggy.run.indexes import Indexes
from daggy.run.reconcile import on_recovered, on_unfollowed
from daggy.run.replay import replay
from daggy.run.run import Run
from daggy.spec.model import RunSpec
from daggy.tracker import Attempts, History, RunFilter, RunRecord, RunState, Submitted, Tracker, Version

MakeExecutor = core.MakeExecutor

LOG = logging.getLogger("daggy.engine")

UNENDED = (RunState.QUEUED, RunState.RUNNING)

KEYS_SECONDS = 86_400.0
"""How long a submission's key is remembered."""

LARGE = 1 << 16
"""Bytes of a spec from which a run is not read back on the loop."""

MANY = 20_000
"""Attempts of a run from which it is not read back on the loop: 4 ms."""

NOT_CURRENT = "it is no longer part of its run"


class Engine(Core):
    """Runs on pools. Open it, submit, wait for the end; it owns all of it in between.

    Runs that have not ended are in `runs`; those that have are read back when somebody asks for them, and leave memory
    when nobody has for a while.
    """

    def _begin(self) -> None:
        self._last_run = self.tracker.last_run()
        self._shelf = EndedRuns(self.runs)
        self._intake = Intake()
        self._reading: dict[int, trio.Lock] = {}
        self._expect(lambda run: self._record(run) is not None)

    def _expect(self, is_wanted: Callable[[int], bool]) -> None:
        """Let go what executors know of runs that nobody will ask for; end what still runs of them."""
        for pool, tickets in self._recovered.drop_unknown(is_wanted):
            self.line(pool).ask(Kill(tickets, NOT_CURRENT))

    def line(self, pool: str) -> Line:
        """Return a pool, its executor and what is in use of its machines; '' is the default pool."""
        return self.dispatcher.line_of(pool)

    def place_names(self) -> dict[int, tuple[str, str]]:
        """Return what the column `place` of attempts means: number to (pool, host)."""
        return {number: place for place, number in self.places.items()}

    # Runs in memory and runs read back.

    async def take_up(self) -> None:
        """Read back every run that has not ended; they go on where they left off.

        What cannot be read back, or can never run any more, is left as it is and said in the log. Nothing is launched
        before all have been: what still runs of any of them takes room.
        """
        self._starting = core.STARTING
        records = await self.reader.read(lambda tracker: tracker.runs(RunFilter(states=UNENDED, limit=1 << 30)))
        wanted = {record.run for record in records}
        self._expect(wanted.__contains__)
        for record in reversed(records):
            try:
                await self.find(record.run)
            except DirectoryError as error:
                LOG.warning("run %d cannot be read back: %s", record.run, error)
        self._starting = ""
        self._wake.set()

    def _record(self, run_id: int) -> RunRecord | None:
        """Return what the tracker's list says of a run; None if it keeps no such run."""
        return _record_of(run_id, self.tracker)

    async def records(self, matching: RunFilter) -> Sequence[RunRecord]:
        """Return one page of runs, newest first; of those in memory the state of this moment."""
        found = await self.reader.read(lambda tracker: tracker.runs(matching))
        return [self._as_now(record) for record in found]

    def _as_now(self, record: RunRecord) -> RunRecord:
        """Return what the tracker lists of a run as it is at this moment."""
        run = self.runs.get(record.run)
        if run is None:
            return record
        state, ended = self.shown(run)
        return evolve(record, version=run.version, state=state, started=run.started_at, ended=ended)

    async def versions(self, run_id: int) -> Sequence[Version]:
        """Return the versions of a run's spec, in order, with what generators answered.

        Raises:
            NotFoundError: there is no such run.
        """
        return (await self._history(run_id)).versions

    async def _history(self, run_id: int) -> History:
        await self.writer.settled()
        try:
            return await self.reader.read(lambda tracker: tracker.history(run_id))
        except KeyError:
            raise _unknown(run_id) from None

    async def find(self, run_id: int) -> Run:
        """Return a run, read back if it is not in memory.

        Raises:
            NotFoundError: there is no such run.
            DirectoryError: this Daggy cannot read it.
        """
        run = self.runs.get(run_id)
        if run is None:
            run = await self._found(run_id)
        self._shelf.use(run, trio.current_time())
        self.tidy()
        return run

    def tidy(self) -> None:
        """Let ended runs leave memory for which there is no room."""
        for left in self._shelf.take_surplus(self._is_busy, trio.current_time()):
            self._drop(left.id)

    def _say_ended(self, run: Run) -> None:
        super()._say_ended(run)
        self._shelf.use(run, trio.current_time())
        self.tidy()

    async def _found(self, run_id: int) -> Run:
        """Read a run back, once for all who ask for it at the same time."""
        turn = self._reading.setdefault(run_id, trio.Lock())
        try:
            async with turn:
                return self.runs.get(run_id) or await self._read_back(run_id)
        finally:
            if not turn.statistics().tasks_waiting and self._reading.get(run_id) is turn:
                del self._reading[run_id]

    async def _read_back(self, run_id: int) -> Run:
        record = await self.reader.read(partial(_record_of, run_id))
        if record is None:
            raise _unknown(run_id)
        if record.state in UNENDED:
            return await self.load(run_id, lenient=True)
        run = await self._restored(record)
        self._admit(run)
        self._say_ended(run)
        return run

    async def _restored(self, record: RunRecord) -> Run:
        history = await self._history(record.run)
        made = {}
        if self._threads:
            large = [version for version in history.versions if len(version.spec) > LARGE]
            made = {version.version: await self._intake.plan(version.spec) for version in large}
        rebuild = partial(replay, record, history, self.epoch, self.now(), made)
        is_long = made or sum(len(one.rows) for one in history.entries if isinstance(one, Attempts)) > MANY
        return await trio.to_thread.run_sync(rebuild) if is_long and self._threads else rebuild()

    async def fresh(self, run_id: int) -> Run:
        """Return a copy of a run as it is kept, to try something on; the engine knows nothing of it.

        Raises:
            NotFoundError: there is no such run.
        """
        await self.writer.settled()
        record = await self.reader.read(partial(_record_of, run_id))
        if record is None:
            raise _unknown(run_id)
        return await self._restored(record)

    def _is_busy(self, run: Run) -> bool:
        """Return whether a run that has ended is still needed in memory."""
        said = self._ends.get(run.id)
        return bool(
            not run.is_ended
            or said is None
            or not said.is_set()  # somebody may wait for that
            or run.orphans
            or run.outbox.entries
            or run.id in self._barriers
            or run.id in self._busy.touched
            or self._flights.has(run.id)
        )

    def _drop(self, run_id: int) -> None:
        """Let a run leave memory."""
        self.runs.pop(run_id, None)
        self._busy.drop(run_id)
        self.dispatcher.drop(run_id)
        self._flights.drop(run_id)
        self._shelf.forget(run_id)
        self._ends.pop(run_id, None)
        self._end_numbers.pop(run_id, None)
        self._held.pop(run_id, None)

    def _admit(self, run: Run) -> None:
        self.directory.make_packs(run.id)
        self.runs[run.id] = run
        self._shelf.use(run, trio.current_time())
        self._busy.touch(run)
        self._wake.set()

    async def load(self, run_id: int, *, hold: bool = False, lenient: bool = False) -> Run:
        """Return a kept run, read back with what launchers finished meanwhile; it goes on where it left off.

        Args:
            run_id: The run.
            hold: Launch nothing of it before it is edited, resumed or requeued.
            lenient: If one of its tasks can never run any more, hold it instead of refusing it.

        Raises:
            NotFoundError: there is no such run.
            SpecError: the pools have changed, and one of its tasks can never run any more (not with `hold`, `lenient`).
        """
        record = await self.reader.read(partial(_record_of, run_id))
        if record is None:
            raise _unknown(run_id)
        run = await self._restored(record)
        if hold:
            self._held[run_id] = "it is being taken up"
        else:
            try:
                check_needs(run.plan, self.dispatcher)
            except SpecError as error:
                if not lenient:
                    raise
                self._held[run_id] = str(error)
                LOG.warning("run %d is held until it is edited or the pools are mended: %s", run_id, error)
        await self._recover(run)
        self._admit(run)
        for pool, reports in self._recovered.take_postponed(run_id):
            self._report(pool, reports)
        return run

    def held(self, run_id: int) -> str:
        """Return why nothing of a run is launched, with the mend; empty if it is."""
        return self._held.get(run_id, "")

    async def _recover(self, run: Run) -> None:
        """Apply what launchers knew of this run, generators' answers included, until nothing more follows; adopt what
        still runs.
        """
        known = self._recovered.of_run(run.id)
        left = on_recovered(run, known, self.now())
        while answers := run.outbox.answers:
            run.outbox.answers = []
            for answer in answers:
                await self._answer(run, answer)
            left = on_recovered(run, left, self.now())
        on_unfollowed(run, left, self.now())
        for pool, tickets in self._recovered.running(run.id):
            self._adopt(run, pool, tickets)
        run.settle(self.now())
        await self._kept(run)
        self._recovered.applied(run.id)

    def _adopt(self, run: Run, pool: str, tickets: Sequence[Ticket]) -> None:
        """Account for what an earlier engine launched and still runs; end what is not wanted any more."""
        line = self.line(pool)
        self.dispatcher.adopt(line, run, tickets)
        if unwanted := [ticket for ticket in tickets if ticket not in run.launched]:
            line.ask(Kill(unwanted, NOT_CURRENT))

    async def _commit(self, run: Run) -> None:
        """Keep what a command changed before anything that uses it is launched; pass its kills on."""
        self.dispatcher.pass_on(run)
        self._held.pop(run.id, None)
        await self._kept(run)

    async def _kept(self, run: Run) -> None:
        """Return when what a run recorded is kept; before that nothing of it is launched, and its end not announced."""
        self._barriers[run.id] = number = self._give(run, run.take_entries(), urgent=True)
        said = self._ends.get(run.id)
        if said is not None and said.is_set() and not run.is_ended:
            del self._ends[run.id]
        self._busy.touch(run)
        self._wake.set()
        await self.writer.kept(number)
        if self._has_kept_end(run):
            self._say_ended(run)

    # What people ask for.

    async def submit(
        self, spec: RunSpec, raw: bytes, *, made: Plan | None = None, key: str = "", body: str = ""
    ) -> int:
        """Take a new run; return its id once it is kept.

        Args:
            spec: The spec.
            raw: The same as it is to be kept.
            made: Its plan, if there is one already.
            key: What the caller calls this submission, to recognise a second one.
            body: A digest of what the caller sent, to tell a second one from another under the same key.

        Raises:
            SpecError: it cannot be planned, or a task needs what no machine can ever give.
        """
        made = made or plan(spec)
        check_needs(made, self.dispatcher)
        self._last_run += 1
        run = Run(self._last_run, made, created=self.clock(), epoch=self.epoch)
        entry = Submitted(run.id, 1, raw, made.digest, spec.name, spec.tags, run.created, key=key, body=body)
        await self.writer.kept(self.writer.give([entry]))
        run.begin()
        self._admit(run)
        return run.id

    async def keyed(self, key: str) -> tuple[int, str] | None:
        """Return the run that was submitted under a key within a day, and its body's digest; None if there is none."""
        await self.writer.settled()
        since = self.clock() - KEYS_SECONDS
        return await self.reader.read(lambda tracker: tracker.keyed(key, since))

    async def edit(
        self,
        run_id: int,
        spec: RunSpec,
        raw: bytes,
        *,
        made: Plan | None = None,
        keep_downstream: bool = False,
        actor: str = "",
    ) -> Difference:
        """Replace a run's spec and resume it; return what that changed.

        Raises:
            SpecError: as `submit`; nothing has changed.
            NotFoundError: there is no such run.
        """
        base = made or plan(spec)
        run, changes = await self._compared(run_id, base)
        check_needs(changes.new, self.dispatcher)
        entry = Submitted(
            run_id,
            run.version + 1,
            raw,
            base.digest,
            spec.name,
            spec.tags,
            self.clock(),
            keep_downstream=keep_downstream,
            actor=actor,
        )
        edit.on_edit(run, changes, entry, self.now(), actor)
        await self._commit(run)
        return changes

    async def _compared(self, run_id: int, base: Plan) -> tuple[Run, Difference]:
        """Return a run, and what leads from its present plan to that of another spec."""
        while True:
            run = await self.find(run_id)
            compare = partial(difference, run.plan, edit.replan(run, base.spec, base))
            changes = await trio.to_thread.run_sync(compare) if self._threads else compare()
            if self.runs.get(run_id) is run and run.plan is changes.old:  # else a generator has answered meanwhile
                return run, changes

    async def resume(self, run_id: int, actor: str = "") -> None:
        """Put what is errored, killed or upstream_failed back in the queue.

        Raises:
            SpecError: the pools have changed, and one of its tasks can never run any more.
            NotFoundError: there is no such run.
        """
        run = await self.find(run_id)
        check_needs(run.plan, self.dispatcher)
        commands.on_resume(run, self.now(), actor)
        await self._commit(run)

    async def requeue(self, run_id: int, chosen: Indexes, actor: str = "", *, keep_downstream: bool = False) -> None:
        """Run these tasks again, and what is downstream of them unless that is to be kept.

        Raises:
            NotFoundError: there is no such run.
        """
        run = await self.find(run_id)
        commands.on_requeue(run, chosen, self.now(), actor, keep_downstream=keep_downstream)
        await self._commit(run)

    async def kill(self, run_id: int, chosen: Indexes | None = None, actor: str = "") -> None:
        """Kill a run, or some of its tasks.

        Raises:
            NotFoundError: there is no such run.
        """
        run = await self.find(run_id)
        commands.on_kill(run, chosen, self.now(), actor)
        await self._commit(run)

    async def forget(self, run_id: int, known: RunRecord | None = None) -> None:
        """Remove a run that has ended, with all that its tasks wrote. `known`: what was just listed of it.

        Raises:
            NotFoundError: there is no such run.
            ConflictError: it has not ended.
        """
        run = self.runs.get(run_id)
        record = self._as_now(known or await self._known(run_id))
        if record.state in UNENDED or (run is not None and self._is_busy(run)):
            raise ConflictError(f"run {run_id} has not ended; kill it first, and wait for its end")
        self._drop(run_id)
        await self.writer.perform(lambda tracker: tracker.forget(run_id))
        await self.remove_outputs(run_id)
        if self._follow:
            self.news.note_forgotten(run_id)

    async def remove_outputs(self, run_id: int) -> None:
        """Remove what a run's tasks wrote, if there is any."""
        remove = partial(shutil.rmtree, self.directory.path / "runs" / str(run_id), ignore_errors=True)
        if self._threads:
            await trio.to_thread.run_sync(remove)
        else:
            remove()

    async def _known(self, run_id: int) -> RunRecord:
        record = await self.reader.read(partial(_record_of, run_id))
        if record is None:
            raise _unknown(run_id)
        return record

    async def ended(self, run_id: int) -> None:
        """Return when the run has ended and that is kept, or when the engine has stopped."""
        if run_id not in self.runs:
            await self.find(run_id)
        if not self._stopped:
            await self._ends.setdefault(run_id, trio.Event()).wait()

    async def attempts(self, run: Run, index: int) -> Sequence[tuple[int, Rows, str]]:
        """Return all ended attempts of a task, in order: version, row and message of each."""
        await self.writer.settled()
        return await self.reader.read(partial(attempts_of, run, index))

    async def read_log(self, run_id: int, version: int, row: Rows, stream: str, offset: int, limit: int) -> bytes:
        """Return bytes of one attempt's output, as `Executor.read_log`."""
        pool = next((pool for (pool, _), number in self.places.items() if number == int(row["place"])), "")
        line = self.dispatcher.lines.get(pool) or self.line("")
        if line.executor is None:
            raise FileNotFoundError(f"pool '{line.pool.name}' has no executor")
        return await line.executor.read_log(run_id, version, row, stream, offset, limit)


def attempts_of(run: Run, index: int, tracker: Tracker) -> Sequence[tuple[int, Rows, str]]:
    """Return all ended attempts of a task that a tracker keeps, in order: version, row and message of each.

    Earlier versions of the run's spec knew the task by other indexes.
    """
    found: list[tuple[int, Rows, str]] = []
    indexes = {run.version: index}
    for version in sorted(run.translations, reverse=True):
        changes = run.translations[version]
        known = 0 <= index < changes.new.size  # what grew under the later version has no earlier index
        here = int(changes.back(np.array([index], np.int64))[0]) if known else -1
        indexes[version] = index = here
    for asked in {here for here in indexes.values() if here >= 0}:
        for batch in tracker.attempts(run.id, 0, 1 << 30, asked):
            if indexes.get(batch.version) == asked:
                found += [(batch.version, row, batch.messages.get(place, "")) for place, row in enumerate(batch.rows)]
    return sorted(found, key=lambda one: int(one[1]["attempt"]))


def _record_of(run_id: int, tracker: Tracker) -> RunRecord | None:
    found = tracker.runs(RunFilter(before=run_id + 1, limit=1))
    return found[0] if found and found[0].run == run_id else None


def _unknown(run_id: int) -> NotFoundError:
    return NotFoundError(f"no run {run_id}; 'daggy ls' shows those there are")
