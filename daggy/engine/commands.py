"""What people ask of an engine: submit, edit, resume, requeue, kill and forget runs."""

from __future__ import annotations

import logging
import shutil
from collections import defaultdict
from functools import partial

import trio
from attrs import define, field

from daggy.engine.admission import check_needs
from daggy.engine.batches import fault
from daggy.engine.commits import Commits
from daggy.engine.dispatch import PoolLink
from daggy.engine.runs import UNENDED, Runs
from daggy.engine.state import EngineState
from daggy.errors import ConflictError, Problem, SpecError
from daggy.plan import Difference, Plan, difference, plan
from daggy.run import commands, edit
from daggy.run.indexes import Indexes
from daggy.run.run import Run
from daggy.seldom import Seldom
from daggy.spec.model import RunSpec
from daggy.tracker import Counted, RunRecord, Submitted

KEYS_SECONDS = 86_400.0
"""How long a submission's key is remembered."""

FORGET_SECONDS = 10.0
"""Seconds that an executor has to remove what lies elsewhere of a run."""

LOG = logging.getLogger("daggy.engine")


@define(eq=False)
class Commands:
    """Carries out commands; each returns once what it changed is kept."""

    state: EngineState
    runs: Runs
    commits: Commits
    _last_run: int = field(init=False)
    _unforgotten: dict[str, Seldom] = field(factory=lambda: defaultdict(Seldom))  # by pool

    @_last_run.default
    def _read_last_run(self) -> int:
        return self.state.tracker.last_run()

    def check(self, plan: Plan) -> None:
        """Refuse a plan with tasks that no machine of their pool could ever run.

        Raises:
            SpecError: with a problem for each such template.
        """
        check_needs(plan, self.state.dispatcher)

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
            NoRoomError, UnavailableError: the folder of its outputs cannot be made.
        """
        made = made or plan(spec)
        check_needs(made, self.state.dispatcher)
        self._last_run += 1
        self.state.directory.make_packs(self._last_run)  # before the run is kept: if this fails there is none
        run = Run(self._last_run, made, created=self.state.clock(), epoch=self.state.epoch)
        entry = Submitted(run.id, 1, raw, made.digest, spec.name, spec.tags, run.created, key=key, body=body)
        run.begin()
        await self.state.writer.kept(self.state.writer.give([entry, Counted(run.id, run.kept_counts())]))
        self.runs.admit(run)
        return run.id

    async def keyed(self, key: str) -> tuple[int, str] | None:
        """Return the run that was submitted under a key within a day, and its body's digest; None if there is none."""
        await self.state.writer.settled()
        since = self.state.clock() - KEYS_SECONDS
        return await self.state.reader.read(lambda tracker: tracker.keyed(key, since))

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
        check_needs(changes.new, self.state.dispatcher)
        entry = Submitted(
            run_id, run.version + 1, raw, base.digest, spec.name, spec.tags, self.state.clock(),
            keep_downstream=keep_downstream, actor=actor,
        )  # fmt: skip
        edit.on_edit(run, changes, entry, self.state.now(), actor)
        await self.commits.commit(run)
        return changes

    async def _compared(self, run_id: int, base: Plan) -> tuple[Run, Difference]:
        """Return a run, and what leads from its present plan to that of another spec."""
        while True:
            run = await self.runs.find(run_id)
            if run.ledger.dropped and base.takes_inputs:
                if not run.is_ended or self.runs.is_busy(run):
                    mend = "wait for its end, or kill it; then edit it"
                    raise SpecError([Problem("tasks", "results of the run that it takes are not in memory", mend)])
                self.runs.drop(run_id)
                continue
            compare = partial(difference, run.plan, edit.replan(run, base.spec, base))
            changes = await trio.to_thread.run_sync(compare) if self.state.threads else compare()
            if self.runs.get(run_id) is run and run.plan is changes.old:  # else a generator has answered meanwhile
                return run, changes

    async def resume(self, run_id: int, actor: str = "") -> None:
        """Put what is errored, killed or upstream_failed back in the queue.

        Raises:
            SpecError: the pools have changed, and one of its tasks can never run any more.
            NotFoundError: there is no such run.
        """
        run = await self.runs.find(run_id)
        check_needs(run.plan, self.state.dispatcher)
        commands.on_resume(run, self.state.now(), actor)
        await self.commits.commit(run)

    async def requeue(self, run_id: int, chosen: Indexes, actor: str = "", *, keep_downstream: bool = False) -> None:
        """Run these tasks again, and what is downstream of them unless that is to be kept.

        Raises:
            NotFoundError: there is no such run.
        """
        run = await self.runs.find(run_id)
        commands.on_requeue(run, chosen, self.state.now(), actor, keep_downstream=keep_downstream)
        await self.commits.commit(run)

    async def kill(self, run_id: int, chosen: Indexes | None = None, actor: str = "") -> None:
        """Kill a run, or some of its tasks.

        Raises:
            NotFoundError: there is no such run.
        """
        run = await self.runs.find(run_id)
        commands.on_kill(run, chosen, self.state.now(), actor)
        await self.commits.commit(run)

    async def forget(self, run_id: int, known: RunRecord | None = None) -> None:
        """Remove a run that has ended, with all that its tasks wrote. `known`: what was just listed of it.

        Raises:
            NotFoundError: there is no such run.
            ConflictError: it has not ended.
        """
        async with self.runs.turn(run_id):  # nobody reads it back while it goes
            run = self.runs.get(run_id)
            record = self.runs.as_now(known or await self.runs.archive.record(run_id))
            if record.state in UNENDED or (run is not None and self.runs.is_busy(run)):
                raise ConflictError(f"run {run_id} has not ended; kill it first, and wait for its end")
            self.runs.drop(run_id)
            await self.state.writer.perform(lambda tracker: tracker.forget(run_id))
        await self.remove_outputs(run_id)
        if self.state.follow:
            self.state.news.note_forgotten(run_id)

    async def remove_outputs(self, run_id: int) -> None:
        """Remove what a run's tasks wrote, if there is any: here last, so that all is tried again after a crash."""
        async with trio.open_nursery() as nursery:
            for link in self.state.dispatcher.links.values():
                nursery.start_soon(self._forget_elsewhere, link, run_id)
        remove = partial(shutil.rmtree, self.state.directory.path / "runs" / str(run_id), ignore_errors=True)
        if self.state.threads:
            await trio.to_thread.run_sync(remove)
        else:
            remove()

    async def _forget_elsewhere(self, link: PoolLink, run_id: int) -> None:
        if link.executor is None:
            return
        message = f"not done within {FORGET_SECONDS:g} s"
        try:
            with trio.move_on_after(FORGET_SECONDS) as scope:
                await link.executor.forget(run_id)
        except Exception as error:  # noqa: BLE001 - a plug-in is isolated: the run is removed whatever it raises
            message = fault(error)
        else:
            if not scope.cancelled_caught:
                return
        text = f"pool '{link.pool.name}' may keep output of run {run_id}, which was removed: {message}"
        if said := self._unforgotten[link.pool.name].of(text, trio.current_time()):
            LOG.warning(said)
