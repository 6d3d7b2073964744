"""A machine elsewhere while a pool runs: connected, met, silent, met again or given up; and the way of every report."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from functools import partial

import numpy as np
import trio

from daggy.attempt import Kind, Reason, Reports, Rows, Ticket, chosen
from daggy.errors import DaggyError, leaves
from daggy.executor import Launches, NodeState
from daggy.launcher import frames
from daggy.launcher.far_host import FarHost
from daggy.launcher.frames import Key
from daggy.launcher.homecoming import Homecoming
from daggy.launcher.host import Found
from daggy.launcher.launchers import Launchers
from daggy.launcher.line import AwayError, UnfitError
from daggy.launcher.mux import Mux
from daggy.launcher.outstanding import Outstanding
from daggy.launcher.preemption import Preemption
from daggy.launcher.standing import Clock, Endings, Standing

LOG = logging.getLogger("daggy.launcher")

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0
"""Seconds before a machine that cannot be reached is tried again: doubled each time, less up to a half."""
UNFIT_PAUSE = 60.0
"""Seconds before one that cannot run anything is tried again."""
PING = 10.0
"""Seconds between two pings, at most."""
SPARE = 10.0
"""Seconds beyond lease and grace after which what a silent machine ran is taken for lost."""
LAST_COPIES = 10.0
"""Seconds for outputs to be copied here before a machine is let go."""
NOT_WANTED = "no longer part of its run"


class Remote:
    """Launchers on one machine elsewhere, over as many connections as it takes.

    A connection that breaks proves nothing: what runs there goes on. What the launchers say at the next meeting, or
    their lease, decides. `run` must run while it is used.
    """

    def __init__(
        self,
        host: FarHost,
        epoch: int,
        sent: Outstanding,
        report: Callable[[Reports], None],
        changed: Callable[[], None],
        claim: Callable[[], int],
        owns: Callable[[int], object],
        turns: trio.CapacityLimiter,
    ) -> None:
        """Begin unconnected, with what an earlier engine sent there.

        Args:
            host: The machine.
            epoch: The engine's.
            sent: What an earlier engine sent there.
            report: Takes reports.
            changed: Called when the machine comes or goes.
            claim: Gives a number for a launcher.
            owns: Takes the numbers of launchers that are met there.
            turns: Bounds how many machines are connected to at the same time.
        """
        self.host, self._epoch = host, epoch
        self._report, self._claim, self._owns, self._turns = report, claim, owns, turns
        self.sent = sent
        """What it has."""
        host.reported = sent.reported
        self.launchers: Launchers | None = None
        """Those there, while it is connected."""
        self._is_full = False
        self._scope = trio.CancelScope()
        self._clock = Clock()
        self._home = Homecoming(host.site.directory, host.fetch_bytes)
        self._spoke_at = trio.current_time()  # launchers there may have heard us last, by the steady clock
        self._waiting = trio.lowlevel.ParkingLot()  # those who wait for what it has to change
        self._endings = Endings()
        self.is_leaving = False
        """Whether it takes no more tasks, and goes once it has none."""
        self.preemption = Preemption(self._take)
        """Tells tasks that were ended together with the machine from those that failed."""
        self._stopping = trio.Event()
        self.standing = Standing(host.machine.name, changed)
        self.idle = trio.Event()
        """Set when a stop is done, or what runs is left alone."""
        self.gone = trio.Event()
        """Set when it has been let go."""

    @property
    def is_open(self) -> bool:
        """Whether it takes tasks."""
        return self.standing.state == NodeState.UP

    @property
    def lease_left(self) -> float:
        """Seconds until what it has counts as lost, if it stays silent."""
        silence = 0.0 if self.launchers is not None else trio.current_time() - self._spoke_at
        return self.host.lease + self.sent.longest_grace + SPARE - silence

    async def run(self) -> None:
        """Connect, serve, and connect again, until it is dismissed."""
        try:
            with self._scope:
                await self._keep_connected()
        finally:
            self.idle.set()
            self.gone.set()

    async def _keep_connected(self) -> None:
        pause = 0.0
        while not self._stopping.is_set():
            await self.host.way.until_next(pause)
            error = await self._connect_once()
            if error is None or self._stopping.is_set():
                return
            if isinstance(error, AwayError):
                was_there = not pause or self.standing.state == NodeState.UP
                pause = FIRST_PAUSE if was_there else min(LONGEST_PAUSE, pause * 2)
                self.standing.become(NodeState.SILENT, str(error))
            else:
                pause = UNFIT_PAUSE
                self.standing.become(NodeState.REFUSED, str(error))

    async def _connect_once(self) -> Exception | None:
        """Serve one connection; return why it ended, None if it was let go."""
        try:
            await self._serve()
        except Exception as error:  # what one machine says must not end what others do
            worst = _worst(error)
            if isinstance(worst, (DaggyError, OSError)):
                return worst
            if self.standing.state != NodeState.REFUSED:
                LOG.exception("%s: what it says cannot be understood", self.host.machine.name)
            return UnfitError(f"what it says cannot be understood: {type(worst).__name__}: {worst}")
        finally:
            launchers, self.launchers = self.launchers, None
            if launchers is not None:
                self._endings.had = {number for number, one in launchers.accounts.items() if one.out}
                launchers.recall_waiting()
        return None

    async def _serve(self) -> None:
        async with self._turns:
            mux = Mux(await self.host.way.dial())
            try:
                await mux.greet()
            except BaseException:
                await mux.drop()
                raise
        try:
            await self._serve_over(mux)
        finally:
            self._spoke_at = trio.current_time()

    async def _serve_over(self, mux: Mux) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(mux.run)
            began = trio.current_time()
            said = await self.host.begin(mux)
            self._clock.measure(float(said["wall"]), trio.current_time() - began)
            nursery.start_soon(self._ping, mux)
            found = await self.host.meet(self._epoch)
            self._endings.compare({one.launcher for one in found.dead})
            for number in self.host.numbers:
                self._owns(number)
            launchers = self.launchers = Launchers(
                self.host, self.host.site, self._epoch, found, self._claim, nursery, self.preemption.give
            )
            self._settle(found, launchers)
            try:
                await launchers.start_one()
            except OSError as error:
                raise UnfitError(f'{error}; make room there, or set "directory" of the pool to another place') from None
            self._be_up()
            nursery.start_soon(_follow, launchers.idle, self.idle)
            nursery.start_soon(self._home.run, self.host.part)
            await launchers.gone.wait()
            with trio.move_on_after(LAST_COPIES):
                await self._home.done()
            await mux.ask("ping" if self.host.keeps else "clear")  # what was sent before has been carried out then
            nursery.cancel_scope.cancel()

    def _be_up(self) -> None:
        why = self.host.way.ends_with if self._endings.is_usual else self._clock.complaint
        self.standing.become(NodeState.DRAINING if self.is_leaving else NodeState.UP, why)

    async def _ping(self, mux: Mux) -> None:
        """Let the machine know that this engine is there, and see that it answers."""
        while True:
            await trio.sleep(min(PING, self.host.lease / 4))
            began = trio.current_time()
            mux.ping()  # with what is asked: one message less
            said = await mux.ask("ping")
            self._clock.measure(float(said["wall"]), trio.current_time() - began)
            if self.is_open:
                self._be_up()

    def _settle(self, found: Found, launchers: Launchers) -> None:
        """Report what has happened since this machine was last heard, and repeat what it may not have heard."""
        news = self.sent.news(
            [(one.launcher, one.reports) for one in found.dead]
            + [(one.channel.number, one.reports) for one in found.alive]
        )
        self.preemption.give(news.reports)
        self._recall(news.unheard)
        self.sent.forget_others(self.host.numbers)
        for number in self.host.numbers:
            launchers.on_ack(number, self.sent.ackable(number))
        for key, message in self.sent.kills.items():
            launchers.withdraw([Ticket(*key)], partial(frames.kill, message=message))
        launchers.withdraw(news.strays, partial(frames.kill, message=NOT_WANTED))

    def _recall(self, keys: Sequence[Key]) -> None:
        if keys:
            recalled = Reports(np.concatenate([frames.about(Kind.RECALLED, key, 0) for key in keys]))
            self.sent.take(recalled.rows)
            self._report(recalled)

    def _take(self, reports: Reports) -> None:
        """Take note of what is answered for, correct the times, and pass on what it was its own to report."""
        ours = self.sent.take(reports.rows)
        if not all(ours):
            reports = chosen(reports, np.flatnonzero(ours))
        rows = reports.rows
        self._clock.correct(rows)
        self._report(reports)
        if not self.host.keeps:  # launchers may forget what they have reported
            for number in np.unique(rows["row"]["launcher"][rows["seq"] > 0]).tolist():
                self.on_ack(number, self.sent.reported[number])
        self._home.want(rows)
        self._waiting.unpark_all()

    def look(self) -> None:
        """Take what it has for lost after lease and grace without a word; take nothing while it has no room.

        To be called each second.
        """
        launchers = self.launchers
        if launchers is not None:
            self.preemption.look()
        if launchers is None:
            self._is_full = False
        elif self._is_full and not launchers.trouble:
            self._is_full = False
            self._be_up()
        elif launchers.trouble and self.standing.state == NodeState.UP:  # it cannot write down what happens
            self._is_full = True
            self.standing.become(NodeState.REFUSED, launchers.trouble)
            launchers.recall_waiting()
        if self.lease_left < 0 and self.sent.tasks:
            self.give_up(f"{self.host.machine.name} has not been heard from for {_duration(self.host.lease)}")
        elif self.lease_left < 0 and self.host.way.calls_in:
            self.dismiss()

    def give_up(self, message: str, reason: Reason = Reason.LOST) -> None:
        """Report all that it has as lost; one that calls in is forgotten."""
        if self.preemption.is_possible:
            self.preemption.begin(message)
        self.preemption.give(self.sent.lost(message, reason))
        if self.host.way.calls_in:
            self.dismiss()

    def on_launches(self, batch: Launches) -> None:
        """Send tasks there; those for which it cannot be told now come back at once."""
        keys = [(batch.run, batch.version, one.index, batch.epoch, one.attempt) for one in batch.launches]
        is_taking = self.launchers is not None and not self._stopping.is_set() and not self.is_leaving
        trouble = "" if is_taking or not keys else "it takes none"
        try:
            if not trouble:
                self.sent.add(zip(keys, (one.grace for one in batch.launches), strict=True))
        except OSError as error:
            trouble = str(error)
            LOG.warning("%s: nothing is sent there: %s", self.host.machine.name, error)
        if trouble or self.launchers is None:
            self._recall(keys)
            return
        self._waiting.unpark_all()
        self.launchers.on_launches(self.host.moved(batch))

    def withdraw(self, tickets: Iterable[Ticket], command: Callable[[list[Key]], bytes]) -> None:
        """Give back those of these tasks that have not started; `command` does so, and more, at a launcher."""
        known = [ticket for ticket in tickets if frames.key(ticket) in self.sent.tasks]
        if isinstance(command, partial):  # a kill: it is repeated until the task is answered for
            self.sent.kills.update({frames.key(ticket): command.keywords["message"] for ticket in known})
        if self.launchers is not None:
            self.launchers.withdraw(known, command)

    def on_ack(self, number: int, seq: int) -> None:
        """Let a launcher forget what it reported up to `seq`."""
        self.sent.kept(number, seq)
        self._waiting.unpark_all()
        if self.launchers is not None:
            self.launchers.on_ack(number, self.sent.ackable(number))

    async def until(self, holds: Callable[[], object]) -> None:
        """Wait until something holds that depends on the tasks which it has."""
        while not holds():
            await self._waiting.park()

    def on_stop(self, *, immediate: bool) -> None:
        """Give back what waits and end what runs; of a silent machine the lease does so."""
        self._stop(lambda launchers: launchers.on_stop(immediate=immediate))

    def on_leave(self) -> None:
        """Give back what waits and let what runs go on."""
        self._stop(Launchers.on_leave)

    def _stop(self, how: Callable[[Launchers], None]) -> None:
        self._stopping.set()
        self.preemption.stop()
        if self.launchers is None:
            self._scope.cancel()
        else:
            how(self.launchers)

    def dismiss(self) -> None:
        """Let all launchers go; `gone` is set when that is done."""
        self._stopping.set()
        if self.launchers is None:
            self._scope.cancel()
        else:
            self.launchers.dismiss()

    @property
    def trouble(self) -> str:
        """Why a launcher there cannot go on; empty if all can, or it is away."""
        return self.launchers.trouble if self.launchers is not None else ""

    async def read(self, run: int, version: int, row: Rows, stream: str, offset: int, limit: int) -> bytes | None:
        """Return a part of a running task's output, None if it does not run there, or cannot be told now."""
        if self.launchers is None:
            return None
        return await self.launchers.read(run, version, row, stream, offset, limit)


async def _follow(one: trio.Event, other: trio.Event) -> None:
    await one.wait()
    other.set()


def _worst(error: BaseException) -> BaseException:
    """Return the error that says most: what has to be mended, before a connection that was lost."""
    found = list(leaves(error))
    return next((one for one in found if isinstance(one, UnfitError)), None) or next(
        (one for one in found if not isinstance(one, AwayError)), found[0]
    )


def _duration(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 120 else f"{seconds:.0f} s"
