"""An executor whose launchers are simulated: it meets those of earlier engines, and loses what dies with one."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Sequence
from typing import ClassVar

import numpy as np
import trio

from daggy.attempt import REPORT
from daggy.errors import Problem
from daggy.executor import (
    STOPPED,
    Ack,
    Executor,
    Kill,
    Kind,
    Launch,
    Launches,
    Machine,
    Recall,
    Reports,
    Request,
    Rows,
    Site,
    Stop,
    Ticket,
    Work,
)
from tests.simulation.specs import POOLS
from tests.simulation.world import SimLauncher, World, report


class SimExecutor(Executor):
    """Starts one launcher of its own; earlier ones that live on get nothing more to do."""

    Settings: ClassVar[type] = dict

    def __init__(self, world: World, site: Site) -> None:
        """Keep what is given; start nothing."""
        self.world, self.site = world, site
        self.own: SimLauncher | None = None
        self.met: list[SimLauncher] = []
        self.asked: dict[int, int] = {}
        self.early: list[Reports] = []
        self.failed = trio.Event()
        self.is_stopping = self.is_dead = self.is_gone = False
        self._rest = trio.Event()
        self._report: Callable[[Reports], None] = self.early.append

    def capacity(self) -> Sequence[Machine]:
        """Return the pool's one machine."""
        pool = self.site.pool
        return (Machine(f"m-{pool}", {"cores": POOLS[pool]}),)

    @property
    def fixed(self) -> bool:
        """Return True."""
        return True

    def check(self, work: Work) -> Iterable[Problem]:
        """Find nothing wrong."""
        del work
        return ()

    async def recover(self, epoch: int) -> Reports:
        """Return what launchers of this pool still know."""
        self.epoch = epoch
        await trio.sleep(self.world.rng.choice([0.0, 0.01]))
        known: list[Rows] = [np.zeros(0, REPORT)]
        for launcher in self._others():
            known += launcher.spool
            if not launcher.is_alive:
                continue
            self._listen_to(launcher)
            self.met.append(launcher)
            for ticket, process in launcher.running.items():
                known.append(report(Kind.STARTED, ticket, started=process.began, launcher=launcher.number))
        self._sweep()
        return Reports(np.concatenate(known))

    def _others(self) -> list[SimLauncher]:
        return [one for one in self.world.launchers.values() if one.pool == self.site.pool and one is not self.own]

    def _listen_to(self, launcher: SimLauncher) -> None:
        launcher.hear = self._hear
        launcher.died = lambda: self._bury(launcher)
        launcher.ended = lambda: self._freed(launcher)

    def _hear(self, reports: Reports) -> None:
        self._report(reports)
        self._check_rest()

    async def run(
        self,
        requests: trio.MemoryReceiveChannel[Request],
        report: Callable[[Reports], None],
        changed: Callable[[], None],
    ) -> None:
        """Carry out requests until stopped, or until it is made to fail."""
        del changed
        self._report = report
        for early in self.early:
            report(early)
        self._start_own()
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._listen, requests, nursery.cancel_scope)
                await self.failed.wait()
                raise RuntimeError("an executor fails")
        except* RuntimeError:
            raise RuntimeError("an executor fails") from None
        finally:
            self.leave()

    async def _listen(self, requests: trio.MemoryReceiveChannel[Request], scope: trio.CancelScope) -> None:
        with contextlib.suppress(trio.ClosedResourceError):
            async for request in requests:
                self._obey(request)
                if isinstance(request, Stop):
                    if not request.leave:
                        self._check_rest()
                        await self._rest.wait()
                    break
        scope.cancel()

    def die(self) -> None:
        """Its engine is killed: nothing more is heard or carried out."""
        self.is_dead = True
        self.leave()

    def leave(self) -> None:
        """Hang up: what runs goes on, or not."""
        self._report = self.early.append
        for launcher in [*self.met, *([self.own] if self.own else [])]:
            launcher.hang_up()

    def _start_own(self) -> None:
        self.world.last_number += 1
        number = self.world.last_number
        self.own = SimLauncher(self.world, number, self.site.pool, self.epoch, self.site.linger)
        self.world.launchers[number] = self.own
        self._listen_to(self.own)

    # What is asked of it.

    def _obey(self, request: Request) -> None:
        assert self.own is not None
        if self.is_dead:
            return
        match request:
            case Launches():
                self._launch(request)
            case Recall(tickets):
                self.own.recall(set(tickets))
            case Kill(tickets, _):
                for launcher in (self.own, *self.met):
                    launcher.kill(set(tickets))
            case Ack(number, seq):
                if number in self.world.launchers:
                    self.world.launchers[number].ack(seq)
                self._sweep()
            case Stop(leave=leave):
                self.is_stopping = True
                self.own.recall(None)
                if not leave:
                    for launcher in (self.own, *self.met):
                        launcher.kill(set(launcher.running), STOPPED)

    def _launch(self, batch: Launches) -> None:
        assert self.own is not None
        tickets: list[tuple[Ticket, Launch]] = [
            (Ticket(batch.run, batch.version, one.index, batch.epoch, one.attempt), one) for one in batch.launches
        ]
        self.asked[batch.lane] = batch.width
        self.own.launch(batch.lane, self._room(batch.lane), tickets)

    def _room(self, lane: int) -> int:
        """Return what is left of a lane beside what launchers of this engine's earlier executors run of it."""
        running = [
            p for one in self.met for p in one.running.values() if p.lane == lane and p.ticket.epoch == self.epoch
        ]
        return max(0, self.asked.get(lane, 0) - len(running))

    def _freed(self, launcher: SimLauncher) -> None:
        if launcher is not self.own and self.own is not None and self.own.is_alive:
            for lane in self.asked:
                self.own.width[lane] = self._room(lane)
            self.own.start()
        self._sweep()
        self._check_rest()

    def _check_rest(self) -> None:
        if self.is_stopping and not any(one.running for one in (*self.met, *([self.own] if self.own else []))):
            self._rest.set()

    # What becomes of launchers.

    def _bury(self, launcher: SimLauncher) -> None:
        """One died: say what it had finished and what is lost; another one gets the rest."""
        given = [one[0] for queue in launcher.waiting.values() for one in queue if one[0] in launcher.withdrawn]
        left = {lane: [one for one in queue if one[0] not in given] for lane, queue in launcher.waiting.items()}
        self._report(Reports(np.concatenate([np.zeros(0, REPORT), *launcher.spool])))
        for ticket in given:
            self._report(Reports(report(Kind.RECALLED, ticket)))
        launcher.hang_up()
        if launcher is not self.own:
            if launcher in self.met:  # it has not been let go in this very moment
                self.met.remove(launcher)
            self._freed(launcher)
        elif self.is_stopping:
            for ticket in [ticket for queue in left.values() for ticket, _ in queue]:
                self._report(Reports(report(Kind.RECALLED, ticket)))
        else:
            self._start_own()
            for lane, queue in left.items():
                self.own.launch(lane, self._room(lane), queue)
        self._check_rest()

    def _sweep(self) -> None:
        """Let launchers go that have nothing more to do or to say."""
        for launcher in self._others():
            if not launcher.running and not launcher.spool:
                del self.world.launchers[launcher.number]
                if launcher in self.met:
                    self.met.remove(launcher)

    async def read_log(self, run: int, version: int, row: Rows, stream: str, offset: int, limit: int) -> bytes:
        """Return what a generator answered; now and then it is gone."""
        del stream, offset, limit
        await trio.sleep(self.world.rng.choice([0.0, 0.01, 0.5]))
        index, attempt = int(row["index"]), int(row["attempt"])
        found = [
            text
            for ticket, text in self.world.answers.items()
            if (ticket.run, ticket.version, ticket.index, ticket.attempt) == (run, version, index, attempt)
        ]
        if not found:
            raise FileNotFoundError("its pack is gone")
        return found[-1]
