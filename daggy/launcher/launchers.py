"""The launchers of one host while a pool runs: started, fed, heard, buried, and let go."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from functools import partial

import numpy as np
import trio

from daggy.attempt import chosen
from daggy.errors import DaggyError
from daggy.executor import Kind, Launches, Reports, Rows, Site, Ticket
from daggy.launcher import frames
from daggy.launcher.dead_launchers import all_lost
from daggy.launcher.feeding import Account, Feeder
from daggy.launcher.frames import Key
from daggy.launcher.host import Channel, Found, Host, Remains
from daggy.launcher.lanes import Lane
from daggy.launcher.reads import Reads
from daggy.launcher.survivors import Survivors
from daggy.launcher.suspects import Suspects
from daggy.seldom import Seldom

LOG = logging.getLogger("daggy.launcher")

STILLBORN = 5
"""Launchers in a row that may be killed before they answer."""


class LauncherError(DaggyError):
    """A launcher ended before it answered: this machine cannot run it."""


class Launchers:
    """Launchers of one host, and the way of every report to the engine."""

    def __init__(
        self,
        host: Host,
        site: Site,
        epoch: int,
        found: Found,
        claim: Callable[[], int],
        nursery: trio.Nursery,
        report: Callable[[Reports], None],
    ) -> None:
        """Begin with what was found there; `start_one` makes it ready for launches.

        Args:
            host: Where they are.
            site: Whose they are.
            epoch: The engine's.
            found: What earlier engines left.
            claim: Gives a number for a launcher.
            nursery: Takes the tasks that serve them.
            report: Takes reports.
        """
        self._host, self._site, self._epoch = host, site, epoch
        self._claim, self._nursery, self._report = claim, nursery, report
        self._remains: dict[int, Remains] = {}
        self._reads = Reads()
        self._survivors = Survivors(host, epoch, report, self._on_buried, self._reads.answer, self._on_rested)
        self._feeder = Feeder(self._survivors.occupied)
        self._suspects = Suspects(self._feeder, host.most, nursery, self._start_channel, self._take)
        self.accounts: dict[int, Account] = {}
        """Launchers started by this executor, by number."""
        self._most = host.most
        self._starting = self._stillborn = 0
        self._stopping = self._ending = False
        self._seldom = Seldom()
        self.idle = trio.Event()
        """Set when a stop is done, or what runs is left alone."""
        self.gone = trio.Event()
        """Set when all launchers have been let go."""
        for remains in found.dead:
            self._on_buried(remains)
        for met in found.alive:
            self._survivors.take(met, nursery)

    async def start_one(self) -> None:
        """Start a launcher and give it its quota of every lane."""
        self._starting += 1
        try:
            channel = await self._start_channel()
        finally:
            self._starting -= 1
        account = self._feeder.accounts[channel.number] = Account(channel)
        self._take(account)
        self._feeder.feed_all()

    async def _start_channel(self) -> Channel:
        return await self._host.start(self._claim(), self._epoch)

    def _take(self, account: Account) -> None:
        """Serve a launcher that has been started."""
        self.accounts[account.channel.number] = account
        if self._stopping:  # one that lingers would wait for another engine
            account.channel.send(frames.stop(immediate=True))
            account.channel.close()
        self._nursery.start_soon(self._serve, account)

    async def _serve(self, account: Account) -> None:
        channel = account.channel
        await channel.serve(partial(self._hear, account))
        account.is_gone = True
        if not account.is_greeted and not self._stopping:
            self._check_birth(channel)
        if channel.is_left:
            pass  # it goes on
        elif not channel.is_closing or account.out:
            await self._bury(account)
        elif not self._site.durable or account.acked >= account.seq:
            self._host.forget(channel.number)
        del self.accounts[channel.number]
        self._feeder.drop(channel.number)
        self._suspects.gone(account)
        if self._stopping:
            self._rest()
        elif not self._feeder.accounts and not self._starting:
            await self.start_one()
        self._feeder.feed_all()
        self._go_on()

    def _check_birth(self, channel: Channel) -> None:
        """A launcher died before it answered: give up if the machine cannot run any."""
        self._stillborn += 1
        if channel.failure or self._stillborn >= STILLBORN:
            raise LauncherError(f"a launcher could not be started: {channel.failure or 'it was killed'}")

    async def _bury(self, account: Account) -> None:
        """A launcher died: keep what it finished, kill what it ran and report it, let others have the rest."""
        number = account.channel.number
        if self._site.durable:
            self._remains[number] = await self._host.bury(number, account.seq)
            reports = self._remains[number].reports
            _warn(self._remains[number])
        else:
            found = await self._host.end(account.out) | self._feeder.suspects(account)
            reports = all_lost([key for key in account.out if key in found], number)
        self._on_reports(account, frames.Reported(reports, frames.kinds_and_keys(reports.rows.tobytes())))
        self._suspects.suspect(reports.rows)
        self._feeder.requeue_all(account)
        self.recall_waiting(account.withdrawn)  # it died before it could give them back itself
        if self._stopping:
            self.recall_waiting()

    def _on_buried(self, remains: Remains) -> None:
        """Keep in mind what a dead launcher left, until all of it is acknowledged."""
        self._remains[remains.launcher] = remains
        self._suspects.suspect(remains.reports.rows)
        _warn(remains)

    def on_launches(self, batch: Launches) -> None:
        """Hand out tasks; a batch of none only sets the lane's width."""
        lane, is_changed = self._feeder.put(batch)
        if self._stopping:
            self.recall_waiting()
            return
        self._feeder.feed(lane, divide=is_changed)
        self._grow(lane)
        self._go_on()

    def _grow(self, lane: Lane) -> None:
        """Start another launcher where those there cannot keep up."""
        count = len(self._feeder.accounts) + self._starting
        if count < self._most and self._feeder.is_slow(lane, count):
            self._starting += 1
            self._nursery.start_soon(self._start_another)

    async def _start_another(self) -> None:
        self._starting -= 1  # `start_one` counts it from here on
        try:
            await self.start_one()
        except (OSError, ValueError) as error:  # those that are there go on
            count = len(self._feeder.accounts)
            text = f"no other launcher can be started beside {count}: {error}"
            if said := self._seldom.of(text, trio.current_time()):
                LOG.warning(said)
            self._most = max(1, count + self._starting)

    def _hear(self, account: Account, answers: list[frames.Answer]) -> None:
        for answer in frames.merged(answers) if len(answers) > 1 else answers:
            match answer:
                case frames.Reported():
                    self._on_reports(account, answer)
                case frames.Narrowed():
                    self._feeder.narrowed(account, answer)
                    self._go_on()
                case frames.Excerpt():
                    self._reads.answer(answer)
                case frames.Hello():
                    account.is_greeted = True
                    self._stillborn = 0
                case frames.Trouble(message):
                    account.trouble = message
                    self._go_on()

    def _on_rested(self, lanes: set[int]) -> None:
        self._feeder.rested(lanes)
        self._go_on()

    def _go_on(self) -> None:
        """Start what is to run apart; while stopping, see whether that is done."""
        if self._stopping:
            self._rest()
        else:
            self._suspects.start()

    @property
    def trouble(self) -> str:
        """Why a launcher cannot go on; empty if all can."""
        own = (account.trouble for account in self.accounts.values() if account.trouble)
        trouble = next(own, self._survivors.trouble)
        return f"a launcher cannot go on: {trouble}; make room, and it goes on by itself" if trouble else ""

    def _on_reports(self, account: Account, reported: frames.Reported) -> None:
        """Take in reports, pass them on, and send what there is room for."""
        heard = self._feeder.hear(account, reported)
        if self._site.durable:
            account.seq = max(account.seq, int(reported.reports.rows["seq"].max(initial=0)))
        self._pass_on(reported.reports, heard.unwanted)
        for lane in self._feeder.go_on(account, heard):
            self._grow(lane)
        self._suspects.release(account, is_kept=not self._site.durable)
        self._go_on()

    def _pass_on(self, reports: Reports, unwanted: Sequence[int]) -> None:
        """Give the engine what concerns it: all but what was moved or was reported before."""
        if not unwanted:
            self._report(reports)
            return
        if len(unwanted) < len(reports.rows):
            self._report(chosen(reports, np.delete(np.arange(len(reports.rows)), unwanted)))

    def withdraw(self, tickets: Iterable[Ticket], command: Callable[[list[Key]], bytes]) -> None:
        """Give back those of these tasks that have not started; `command` does so, and more, at a launcher."""
        keys = {frames.key(ticket) for ticket in tickets}
        self.recall_waiting(keys)
        for account in self.accounts.values():
            there = [key for key in keys if key in account.out]
            if there:
                account.withdrawn.update(there)
                account.moving.difference_update(there)  # though it was being moved, its report is the engine's
                account.channel.send(command(there))
        self._survivors.send(keys, command)

    def recall_waiting(self, keys: set[Key] | None = None) -> None:
        """Give back what waits here, or those of these keys that do."""
        rows = [frames.about(Kind.RECALLED, key, 0) for key in self._feeder.take_waiting(keys)]
        if rows:
            self._report(Reports(np.concatenate(rows)))

    def on_ack(self, number: int, seq: int) -> None:
        """Let a launcher forget what it reported up to `seq`; one that is dead is forgotten once all of it is kept."""
        account = self.accounts.get(number)
        if number in self._remains:
            if seq >= self._remains[number].last:
                self._host.forget(number)
                del self._remains[number]
        elif account is not None:
            account.acked = max(seq, account.acked)
            account.channel.send(frames.ack(seq))
            self._suspects.release(account, is_kept=account.acked >= account.seq)
        else:
            self._survivors.ack(number, seq)

    def on_stop(self, *, immediate: bool) -> None:
        """Give back what waits and end what runs; `idle` is set when that is done."""
        self._stopping = self._ending = True
        self.recall_waiting()
        for account in self.accounts.values():
            account.moving.clear()
            account.channel.send(frames.stop(immediate=immediate))
        self._survivors.stop(immediate=immediate)
        self._rest()

    def on_leave(self) -> None:
        """Give back what waits and let what runs go on; `idle` is set at once."""
        self._stopping = True
        self.recall_waiting()
        for account in self.accounts.values():
            account.moving.clear()
            waiting = [key for key in account.out if key not in account.started]
            account.channel.send(frames.recall(waiting) if account.out else frames.stop(immediate=False))
        self.idle.set()

    def dismiss(self) -> None:
        """Let all launchers go, which end what they still run unless they linger; `gone` is set when they have."""
        self._stopping = True
        self._survivors.leave()
        for account in self.accounts.values():
            account.channel.close(leave=self._site.linger and not self._ending)
        self._rest()

    def _rest(self) -> None:
        """Note whether nothing is left to wait for: a launcher without room reports nothing before it has some."""
        busy = any(account.out and not account.trouble for account in self.accounts.values())
        if not busy and not self._survivors.running:
            self.idle.set()
        starting = self._starting or self._suspects.is_starting
        if not self.accounts and not starting and not len(self._survivors):
            self.gone.set()

    async def read(self, run: int, version: int, row: Rows, stream: str, offset: int, limit: int) -> bytes | None:
        """Return a part of a running task's output, None if it does not run here."""
        task = (run, version, int(row["index"]), int(row["attempt"]))
        for account in self.accounts.values():
            for key in account.started:
                if (*key[:3], key[4]) == task and not account.channel.is_closing:
                    return await self._reads.ask(account.channel, key, stream, offset, limit)
        if found := self._survivors.runs(task):
            return await self._reads.ask(*found, stream, offset, limit)
        return None


def _warn(remains: Remains) -> None:
    """Say that a spool could not be read to its end: check the disk."""
    if remains.damage:
        LOG.warning(
            "what launcher %d wrote down cannot be read to its end: %s; what it ended after that is not known, and is "
            "taken for lost or runs again; check the disk", remains.launcher, remains.damage,
        )  # fmt: skip
