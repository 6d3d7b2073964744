"""The engine: runs on pools, composed of its loop, its runs, its executors and the commands that people give."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import AsyncIterator, Callable, Container, Mapping, Sequence
from contextlib import asynccontextmanager

import trio

from daggy.attempt import Reports
from daggy.engine.answers import Answers
from daggy.engine.archive import Archive
from daggy.engine.batches import only
from daggy.engine.commands import Commands
from daggy.engine.commits import Commits
from daggy.engine.directory import StateDirectory
from daggy.engine.dispatch import Dispatcher, PoolLink
from daggy.engine.executors import Executors, MakeExecutor as MakeExecutor
from daggy.engine.flights import Flights
from daggy.engine.footing import Footing
from daggy.engine.loop import Loop
from daggy.engine.news import News
from daggy.engine.nodes import Nodes
from daggy.engine.places import Places
from daggy.engine.pool import Pool
from daggy.engine.reader import Reader
from daggy.engine.runs import STARTING, Runs
from daggy.engine.state import EngineState
from daggy.engine.status import PoolStatus, pool_statuses
from daggy.engine.writer import Writer
from daggy.errors import DirectoryError, FencedError
from daggy.executor import Ack, Entrance, Launch, Stop
from daggy.run.run import Run
from daggy.run.states import Now
from daggy.tracker import Epoch, Tracker

LOG = logging.getLogger("daggy.engine")


class Engine:
    """Runs on pools. Open it, give commands, wait for ends; it owns all of it in between.

    Args:
        tracker: Where runs are kept.
        pools: By name, what makes the pool's executor.
        directory: The state directory, whose lock is held.
        default_pool: For templates that name none.
        evals: The pools whose tasks may be Python source.
        threads: False keeps everything on the loop: for simulated time.
        linger: What runs goes on when this engine dies or leaves, to be taken up by the next one.
        twin: The tracker opened a second time for reading, so that readers do not stop the loop; None reads on it.
        follow: Whether events are recorded for clients that follow them. That is a server's engine: it launches
            nothing before it has taken up what its predecessor left.
        clock: The wall clock, seconds since 1970: for records only.
        entrance: Where machines of its pools call in; None: nowhere.
    """

    def __init__(
        self,
        tracker: Tracker,
        pools: Mapping[str, MakeExecutor],
        directory: StateDirectory,
        *,
        default_pool: str = "default",
        evals: Container[str] = (),
        threads: bool = True,
        linger: bool = False,
        twin: Tracker | None = None,
        follow: bool = False,
        clock: Callable[[], float] = time.time,
        entrance: Entrance | None = None,
    ) -> None:
        """Compose the parts; nothing starts before `open`."""
        self.tracker, self.directory, self.clock = tracker, directory, clock
        self.epoch = tracker.last_epoch() + 1
        self.reader = Reader(tracker, twin)
        self.writer = Writer(tracker, self._on_kept, in_thread=threads and tracker.durable)
        self.news = News(tracker.last_told(), self.writer.give, self.writer.kept, self.reader, clock)
        flights, places = Flights(), Places.of(tracker.places(), lambda place: self.writer.give([place]))
        links = {name: PoolLink(Pool(name), evals=name in evals) for name in pools}
        dispatcher = Dispatcher(links, default_pool, flights, places, self.epoch, self._on_unrendered, directory.lists)
        self.state = EngineState(
            tracker, directory, clock, self.epoch, self.reader, self.writer, self.news, dispatcher, flights,
            follow, threads, places,
            STARTING if follow else "",
        )  # fmt: skip
        self.commits = Commits(self.state)
        answers = Answers(self.state, self.commits)
        self.nodes = Nodes(self.state)
        self.loop = Loop(self.state, self.commits, answers, self.nodes.watch)
        self.executors = Executors(self.state, dict(pools), linger and tracker.durable, self.nodes.tell, entrance)
        self.archive = Archive(self.state)
        self.runs = Runs(self.state, self.archive, self.commits, answers, self.executors)
        self.commits.announced = self.runs.use
        self.commands = Commands(self.state, self.runs, self.commits)
        self._fenced: FencedError | None = None

    def _on_kept(self, acks: Sequence[tuple[str, Ack]]) -> None:
        self.commits.on_kept(acks)

    def _on_unrendered(self, reports: Reports) -> None:
        """Take reports about tasks whose templates have no value."""
        self.state.report(self.state.dispatcher.default_pool, reports)

    @property
    def stopping(self) -> trio.Event:
        """Set when nothing more is started."""
        return self.state.stopping

    @property
    def is_stopping(self) -> bool:
        """Return whether nothing more is started."""
        return self.state.stopping.is_set()

    @property
    def trouble(self) -> str:
        """Return why nothing can be kept at this moment; empty if all is well."""
        return self.writer.trouble

    def troubles(self) -> dict[str, str]:
        """Return for each thing that work needs, named by what it does when all is well, what is wrong with it."""
        found = {"state can be saved": f"cannot save state: {self.trouble}" if self.trouble else ""}
        for name, link in self.state.dispatcher.links.items():
            found[f"pool '{name}' can start tasks"] = link.trouble if link.requests is not None else ""
        for run, reason in [*self.runs.unread.items(), *self.runs.unreadable.items()]:
            found[f"run {run} goes on"] = f"run {run} does not go on: {reason}" if reason else ""
        return found

    def readiness(self) -> str:
        """Return why work is not going on as it should at this moment, with the mend; empty if all is well."""
        if self.is_stopping:
            return "stopping"
        if self.trouble:
            return f"cannot save state: {self.trouble}"
        return next((pool.trouble for pool in self.status() if pool.trouble), self.state.starting)

    def status(self) -> list[PoolStatus]:
        """Return what each pool has and what is in use of it."""
        return pool_statuses(self.state.dispatcher, self.loop.ended_attempts)

    def admit_readers(self, twin: Tracker) -> None:
        """Record events from here on, and read on this twin of the tracker, which the caller closes after the engine.

        For an open engine of one run that was not made to be followed: others that have not ended stay as they are.
        """
        assert self.state.nursery is not None
        self.reader.twin = twin
        self.runs.takes_up = False
        self.state.follow = True
        self.state.nursery.start_soon(self.news.run)

    def now(self) -> Now:
        """Return this moment on both clocks."""
        return self.state.now()

    def place_names(self) -> dict[int, tuple[str, str]]:
        """Return what the column `place` of attempts means: number to (pool, host)."""
        return {number: place for place, number in self.state.places.numbers.items()}

    def rendered(self, run: Run, index: int) -> Launch:
        """Return a task as it would be launched now.

        Raises:
            TemplateError: a value cannot be rendered.
        """
        return self.state.dispatcher.renderer(run).one(index)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Begin an epoch, start executors and the loop; on leaving, stop them in order and keep what is left.

        Raises:
            DirectoryError: the state directory was removed under it; it has stopped in order.
            FencedError: another engine has taken over; what ran here has been ended.
            DaggyError: the tracker cannot be used any more.
        """
        try:
            async with self._open():
                yield
        except BaseExceptionGroup as group:
            raise only(group) from None

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[None]:
        async with trio.open_nursery() as nursery:
            self.state.nursery = nursery
            nursery.start_soon(self._write)
            footing = Footing(self.directory)
            if self.state.threads:  # in simulated time there is no directory that anybody else could remove
                nursery.start_soon(self._stop_without, footing)
            begun = Epoch(self.epoch, self.clock(), self.directory.instance, socket.gethostname())
            await self.writer.kept(self.writer.give([begun]))
            if self.state.follow:
                nursery.start_soon(self.news.run)
            async with trio.open_nursery() as executors:
                for name in self.executors.make:
                    await executors.start(self._supervise, name)
                self.executors.expect(self.runs.is_kept)
                nursery.start_soon(self.loop.run)
                try:
                    yield
                finally:
                    self.stop()
            with trio.CancelScope(shield=True):
                await self._keep_the_rest()
            self.news.end()
            nursery.cancel_scope.cancel()
        if self._fenced is not None:
            raise self._fenced
        if footing.lost:
            raise DirectoryError(footing.lost)

    async def _stop_without(self, footing: Footing) -> None:
        await footing.until_lost()
        self.stop()

    async def _write(self) -> None:
        """Have the writer at work; once another engine has taken over, end what runs here, and then this engine."""
        try:
            await self.writer.run()
        except FencedError as error:
            LOG.warning("%s; ending what this engine runs", error)
            self._fenced = error
            self.stop()
            self._end_if_fenced()

    def _end_if_fenced(self) -> None:
        if self._fenced is not None and self.executors.are_gone and self.state.nursery is not None:
            self.state.nursery.cancel_scope.cancel()

    async def _supervise(self, name: str, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep a pool's executor running; after the last one, release all that wait for the end of a run."""
        await self.executors.supervise(name, task_status)
        if self.executors.are_gone:
            await self._keep_the_rest()
            self._end_if_fenced()

    def stop(self, *, immediate: bool = False, leave: bool = False) -> None:
        """Stop starting work and end what runs: TERM and grace, or (again, `immediate`) KILL. Its tasks stay queued.

        `leave`: what runs goes on without an engine, and the next one takes it up (only an engine that lingers).
        """
        leave = leave and self.executors.linger
        if self.is_stopping and not immediate:
            return
        self.state.stopping.set()
        for link in self.state.dispatcher.links.values():
            link.ask(Stop(immediate, leave=leave))

    async def _keep_the_rest(self) -> None:
        """After the last executor has left: act on what it said, keep it, and release everybody who waits for an end.

        What a tracker in trouble does not keep is not acknowledged either, and will be reported again.
        """
        self.loop.turn()
        await self.writer.settled()
        self.commits.release_all()
