"""The launchers of a pool while it runs: who has what, who gets the next, what becomes of it when one dies."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import islice

import numpy as np
import trio
from attrs import define, field

from daggy.errors import DaggyError, InternalError
from daggy.executor import Kind, Launches, Reports, Rows, Site, Ticket
from daggy.launcher import frames, recovery
from daggy.launcher.client import Client, claim, local_command
from daggy.launcher.connection import Connection
from daggy.launcher.frames import Key
from daggy_fork.elders import Elders
from daggy_fork.lanes import Lane, Share, Waiting
from daggy_fork.settings import ForkSettings

LOG = logging.getLogger("daggy.fork")

ONE_KEEPS_UP = 400.0
"""Processes a second that one launcher starts with ease."""
SWIFT = 0.02
"""Seconds: of tasks shorter than this, fewer than FEW are not worth moving from one launcher to another."""
FEW = 4
LINGER = 60.0
"""Seconds that a launcher without an engine and without work waits for another engine."""
STILLBORN = 5
"""Launchers in a row that may be killed before they answer."""


class LauncherError(DaggyError):
    """A launcher ended before it answered: this machine cannot run it."""


@define(eq=False)
class LocalLauncher:
    """One launcher and what it has.

    Args:
        client: Our end of it.
        out: What it was sent and has not come back, in the order sent, with its lane.
        started: Those of `out` that it has reported as started.
        moving: Those of `out` that are being taken back to go to another launcher.
        withdrawn: Those that the engine wants back, or ended.
        seq: The last sequence number that it reported.
        acked: The last one that it may forget.
        greeted: Whether it has answered.
        stuck: Why it cannot write down what happens, and report it, at this moment; empty if it can.
    """

    client: Client
    out: dict[Key, tuple[Lane, Waiting]] = field(factory=dict)
    started: set[Key] = field(factory=set)
    moving: set[Key] = field(factory=set)
    withdrawn: set[Key] = field(factory=set)
    seq: int = 0
    acked: int = 0
    greeted: bool = False
    stuck: str = ""

    def of_lane(self, lane: Lane) -> list[Key]:
        """Return what it has of a lane, in the order sent."""
        return [key for key, (other, _) in self.out.items() if other is lane]


def greeting(settings: ForkSettings, site: Site, epoch: int, number: int) -> bytes:
    """Return the first frame for a launcher: whose it is, and what all its tasks share."""
    environment = settings.environment if settings.inherit else {"PATH": os.defpath, **settings.environment}
    return frames.hello(
        epoch=epoch,
        launcher=number,
        directory=str(site.directory),
        instance=site.instance,
        durable=site.durable,
        environment=environment,
        inherit=settings.inherit,
        output_bytes=settings.output_bytes,
        linger=LINGER if site.linger else 0.0,
    )


class LocalLaunchers:
    """Launchers, the lanes that they share, and the way of every report to the engine."""

    def __init__(
        self,
        settings: ForkSettings,
        site: Site,
        epoch: int,
        nursery: trio.Nursery,
        report: Callable[[Reports], None],
        remains: dict[int, recovery.Remains],
    ) -> None:
        """Begin without launchers; what dead ones leave behind is added to `remains`."""
        self._settings, self._site, self._epoch = settings, site, epoch
        self._nursery, self._report, self._remains = nursery, report, remains
        self._launchers: dict[int, LocalLauncher] = {}
        self._lanes: dict[int, Lane] = {}
        self._most = min(len(os.sched_getaffinity(0)), settings.workers)
        self._starting = self._stillborn = 0
        self._stopping = self._ending = False
        self._reads: dict[int, trio.MemorySendChannel[bytes | None]] = {}
        self._read_number = 0
        self.elders = Elders(site, epoch, report, remains, self._on_excerpt, self._on_rested)
        self.idle = trio.Event()
        self.gone = trio.Event()

    async def start_one(self) -> None:
        """Start a launcher and give it its share of every lane."""
        self._starting += 1
        try:
            number = claim(self._site.directory, self._site.pool)
            said = self._site.directory / "launchers" / str(number) / "log"
            with os.fdopen(os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as log:
                client = await Client.start(
                    number, local_command(), greeting(self._settings, self._site, self._epoch, number), log
                )
        finally:
            self._starting -= 1
        launcher = self._launchers[number] = LocalLauncher(client)
        if self._stopping:  # one that lingers would wait for another engine
            client.send(frames.stop(immediate=True))
            client.close()
        self._nursery.start_soon(self._serve, launcher)
        for lane in self._lanes.values():
            self._feed(lane, reshare=True)

    async def _serve(self, launcher: LocalLauncher) -> None:
        await launcher.client.serve(partial(self._hear, launcher))
        if not launcher.greeted and not self._stopping:
            self._check_birth(launcher)
        if launcher.client.is_left:
            pass  # it goes on
        elif not launcher.client.closing or launcher.out:
            await self._bury(launcher)
        elif not self._site.durable or launcher.acked >= launcher.seq:
            recovery.remove(self._site.directory, launcher.client.number)
        del self._launchers[launcher.client.number]
        for lane in self._lanes.values():
            lane.shares.pop(launcher.client.number, None)
        if self._stopping:
            self._rest()
        elif not self._launchers and not self._starting:
            await self.start_one()
        for lane in self._lanes.values():
            self._feed(lane, reshare=True)

    def _check_birth(self, launcher: LocalLauncher) -> None:
        """A launcher died before it answered: give up if this machine cannot run any."""
        self._stillborn += 1
        if launcher.client.process.returncode != -signal.SIGKILL or self._stillborn >= STILLBORN:
            log = self._site.directory / "launchers" / str(launcher.client.number) / "log"
            raise LauncherError(f"a launcher could not be started: {_last_line(log.read_text(errors='replace'))}")

    async def _bury(self, launcher: LocalLauncher) -> None:
        """A launcher died: keep what it finished, kill what it ran and report it, let others have the rest."""
        number = launcher.client.number
        if self._site.durable:
            site = self._site
            left = await trio.to_thread.run_sync(recovery.read, site.directory, site.instance, number, launcher.seq)
            self._remains[number] = left
            reports = left.reports
        else:
            reports = await trio.to_thread.run_sync(self._lose, launcher)
        self._told(launcher, frames.Told(reports, frames.kinds_and_keys(reports.rows.tobytes())))
        for lane in self._lanes.values():
            self._requeue(launcher, lane, launcher.of_lane(lane))
        self._recall_waiting(launcher.withdrawn)  # it died before it could give them back itself
        if self._stopping:
            self._recall_waiting()

    def _lose(self, launcher: LocalLauncher) -> Reports:
        """Kill what a launcher without a spool may have been running, and return it as lost."""
        suspects = set(launcher.started)
        for lane in self._lanes.values():
            share = lane.shares.get(launcher.client.number)
            suspects.update(islice(launcher.of_lane(lane), share.most if share else 0))
        suspects |= recovery.end(self._site.instance, list(launcher.out), {})
        return recovery.all_lost([key for key in launcher.out if key in suspects], launcher.client.number)

    def on_launches(self, batch: Launches) -> None:
        """Put tasks in their lane; a batch of none only sets the lane's width."""
        lane = self._lanes.get(batch.lane) or self._lanes.setdefault(batch.lane, Lane(batch.lane))
        run, version, epoch = batch.run, batch.version, batch.epoch
        for one in batch.launches:
            lane.waiting[run, version, one.index, epoch, one.attempt] = batch, one
        before = lane.width
        lane.asked, lane.epoch = batch.width, epoch
        lane.width = self._room(lane) if len(self.elders) else batch.width
        if self._stopping:
            return self._recall_waiting()
        self._feed(lane, reshare=lane.width != before)
        self._grow(lane)
        return None

    def _room(self, lane: Lane) -> int:
        """Return what is left of a lane's width beside what elders run of it."""
        return max(0, lane.asked - self.elders.occupied(lane.number))

    def _grow(self, lane: Lane) -> None:
        """Start another launcher where the tasks are so short that those there are cannot keep up."""
        count = len(self._launchers) + self._starting
        if lane.waiting and count < self._most and lane.width / max(lane.pace, 1e-3) > ONE_KEEPS_UP * count:
            self._starting += 1
            self._nursery.start_soon(self._start_another)

    async def _start_another(self) -> None:
        self._starting -= 1  # `start_one` counts it from here on
        try:
            await self.start_one()
        except (OSError, ValueError) as error:  # those that are there go on
            LOG.warning("no other launcher can be started beside %d: %s", len(self._launchers), error)
            self._most = max(1, len(self._launchers) + self._starting)

    def _feed(self, lane: Lane, *, reshare: bool = False) -> None:
        """Send each launcher what it can start, and a little more to go on with."""
        if reshare and self._launchers:
            for number, width in lane.reshare([*self._launchers]):
                self._launchers[number].client.send(frames.widen(lane.number, width, lane.epoch))
        ahead = lane.ahead
        shares = [(number, share) for number, share in lane.shares.items() if share.width and number in self._launchers]
        for more in (0, ahead):  # first what can start at once, everywhere
            for position, (number, share) in enumerate(shares):
                if lane.waiting and share.out <= share.width + more // 2:
                    fair = -(-len(lane.waiting) // (len(shares) - position))
                    room = share.width + more - share.out
                    self._send(lane, self._launchers[number], share, min(room, fair) if more else room)
        if not lane.waiting and len(self._launchers) > 1:
            self._level(lane)

    def _send(self, lane: Lane, launcher: LocalLauncher, share: Share, count: int) -> None:
        for batch, launches, keys in lane.take(count):
            launcher.out.update((key, (lane, (batch, one))) for key, one in zip(keys, launches, strict=True))
            share.out += len(keys)
            launcher.client.send(frames.launch(batch, launches, share.width))

    def _level(self, lane: Lane) -> None:
        """Take tasks back that wait at one launcher while another has nothing to do."""
        idle = any(share.out < share.width for share in lane.shares.values())
        for number, share in lane.shares.items():
            launcher = self._launchers.get(number)
            surplus = share.out - share.width
            if surplus <= 0 or launcher is None or launcher.moving or (share.width and not idle):
                continue
            mine = launcher.of_lane(lane)
            waiting = [key for key in mine if key not in launcher.started]
            slow = len(waiting) < len(mine) or lane.pace >= SWIFT
            if slow or surplus >= FEW or not share.width:
                waiting = waiting[max(0, share.width - (len(mine) - len(waiting))) :]
                launcher.moving.update(waiting[len(waiting) // 2 if share.width else 0 :])
                launcher.client.send(frames.recall(launcher.moving))

    def _requeue(self, launcher: LocalLauncher, lane: Lane, keys: Sequence[Key]) -> None:
        lane.give_back([(key, launcher.out.pop(key)[1]) for key in keys])
        launcher.moving.difference_update(keys)
        share = lane.shares.get(launcher.client.number)
        if share is not None:
            share.out -= len(keys)

    def _hear(self, launcher: LocalLauncher, answers: list[frames.Answer]) -> None:
        for answer in answers:
            match answer:
                case frames.Told():
                    self._told(launcher, answer)
                case frames.Narrowed(number, width, running):
                    lane = self._lanes[number]
                    lane.narrowed(launcher.client.number, width, running)
                    self._feed(lane, reshare=True)
                case frames.Excerpt():
                    self._on_excerpt(answer)
                case frames.Hello():
                    launcher.greeted = True
                    self._stillborn = 0
                case frames.Trouble(message):
                    number = launcher.client.number
                    launcher.stuck = message
                    LOG.warning("launcher %d %s", number, f"cannot go on: {message}" if message else "goes on")
                    if self._stopping:
                        self._rest()

    def _on_excerpt(self, excerpt: frames.Excerpt) -> None:
        if excerpt.number in self._reads:
            self._reads.pop(excerpt.number).send_nowait(excerpt.data)

    def _on_rested(self, lanes: set[int]) -> None:
        for lane in [self._lanes[number] for number in lanes if number in self._lanes]:
            lane.width = self._room(lane)
            self._feed(lane, reshare=True)
        if self._stopping:
            self._rest()

    @property
    def trouble(self) -> str:
        """Why a launcher cannot go on; empty if all can."""
        stuck = next((launcher.stuck for launcher in self._launchers.values() if launcher.stuck), self.elders.trouble)
        return f"a launcher cannot go on: {stuck}; make room, and it goes on by itself" if stuck else ""

    def _told(self, launcher: LocalLauncher, told: frames.Told) -> None:
        """Take in reports, pass them on, and send what there is room for now."""
        lanes: dict[int, tuple[Lane, bool]] = {}
        returned: dict[int, list[Key]] = {}
        unwanted: list[int] = []
        for at, (kind, *ticket) in enumerate(told.keys):
            key: Key = tuple(ticket)  # type: ignore[assignment]
            known = launcher.out.get(key)
            if known is None:
                unwanted.append(at)
            elif kind == Kind.STARTED:
                launcher.started.add(key)
                launcher.moving.discard(key)
                lanes.setdefault(known[0].number, (known[0], False))
            elif kind == Kind.RECALLED and key in launcher.moving:
                returned.setdefault(known[0].number, []).append(key)
                unwanted.append(at)
            else:
                lane = known[0]
                freed = self._back(launcher, key, lane, ended=kind == Kind.FINISHED)
                lanes[lane.number] = lane, freed or lanes.get(lane.number, (lane, False))[1]
        if told.keys and told.keys[-1][0] == Kind.FINISHED:
            self._pace(told, lanes)
        if self._site.durable:
            launcher.seq = max(launcher.seq, int(told.reports.rows["seq"].max(initial=0)))
        self._pass_on(told.reports, unwanted)
        for number, keys in returned.items():
            lanes.setdefault(number, (self._lanes[number], False))
            self._requeue(launcher, self._lanes[number], keys)
        for lane, freed in lanes.values():
            self._feed(lane, reshare=freed)
            self._grow(lane)
        if self._stopping:
            self._rest()

    def _back(self, launcher: LocalLauncher, key: Key, lane: Lane, *, ended: bool) -> bool:
        """Take a task off a launcher's account; return whether that frees width for other launchers."""
        del launcher.out[key]
        launcher.started.discard(key)
        launcher.moving.discard(key)
        launcher.withdrawn.discard(key)
        if ended:
            return lane.ended(launcher.client.number)
        lane.shares[launcher.client.number].out -= 1
        return False

    def _pace(self, told: frames.Told, lanes: dict[int, tuple[Lane, bool]]) -> None:
        attempts = told.reports.rows["row"]
        started, ended = float(attempts["started"][-1]), float(attempts["ended"][-1])
        for lane, _ in lanes.values():
            lane.paced(ended - started if started else 0.0)

    def _pass_on(self, reports: Reports, unwanted: Sequence[int]) -> None:
        """Give the engine what concerns it: all but what was moved or was told before."""
        if not unwanted:
            self._report(reports)
            return
        if len(unwanted) < len(reports.rows):
            kept = np.ones(len(reports.rows), np.bool_)
            kept[unwanted] = False
            old = kept.nonzero()[0].tolist() if reports.messages else ()
            messages = {new: reports.messages[at] for new, at in enumerate(old) if at in reports.messages}
            self._report(Reports(reports.rows[kept], messages))

    def on_recall(self, tickets: Iterable[Ticket]) -> None:
        """Give back those that have not started."""
        self._withdraw(tickets, frames.recall)

    def on_kill(self, tickets: Iterable[Ticket], message: str) -> None:
        """Give back those that have not started, and end those that have."""
        self._withdraw(tickets, partial(frames.kill, message=message))

    def _withdraw(self, tickets: Iterable[Ticket], command: Callable[[list[Key]], bytes]) -> None:
        keys = {frames.key(ticket) for ticket in tickets}
        self._recall_waiting(keys)
        for launcher in self._launchers.values():
            there = [key for key in keys if key in launcher.out]
            if there:
                launcher.withdrawn.update(there)
                launcher.moving.difference_update(there)  # whoever moves it, it is the engine's to hear of
                launcher.client.send(command(there))
        self.elders.send(keys, command)

    def _recall_waiting(self, keys: set[Key] | None = None) -> None:
        """Give back what waits here, or those of these keys that do."""
        rows: list[Rows] = []
        for lane in self._lanes.values():
            for key in [key for key in lane.waiting if keys is None or key in keys]:
                del lane.waiting[key]
                rows.append(frames.about(Kind.RECALLED, key, 0))
        if rows:
            self._report(Reports(np.concatenate(rows)))

    def on_ack(self, number: int, seq: int) -> None:
        """Let a launcher forget what it reported up to `seq`."""
        launcher = self._launchers.get(number)
        if launcher is not None:
            launcher.acked = max(seq, launcher.acked)
            launcher.client.send(frames.ack(seq))
        else:
            self.elders.ack(number, seq)

    def on_stop(self, *, immediate: bool) -> None:
        """Give back what waits and end what runs; `idle` is set when that is done."""
        self._stopping = self._ending = True
        self._recall_waiting()
        for launcher in self._launchers.values():
            launcher.moving.clear()
            launcher.client.send(frames.stop(immediate=immediate))
        self.elders.stop(immediate=immediate)
        self._rest()

    def on_leave(self) -> None:
        """Give back what waits and let what runs go on; `idle` is set at once."""
        self._stopping = True
        self._recall_waiting()
        for launcher in self._launchers.values():
            launcher.moving.clear()
            waiting = [key for key in launcher.out if key not in launcher.started]
            launcher.client.send(frames.recall(waiting) if launcher.out else frames.stop(immediate=False))
        self.idle.set()

    def dismiss(self) -> None:
        """Let all launchers go, which end what they still run unless they linger; `gone` is set when they have."""
        self._stopping = True
        self.elders.leave()
        for launcher in self._launchers.values():
            launcher.client.close(leave=self._site.linger and not self._ending)
        self._rest()

    def _rest(self) -> None:
        """Note whether nothing is left to wait for: a launcher without room says nothing before it has some."""
        busy = any(launcher.out and not launcher.stuck for launcher in self._launchers.values())
        if not busy and not self.elders.running:
            self.idle.set()
        if not self._launchers and not self._starting and not len(self.elders):
            self.gone.set()

    async def read(self, run: int, version: int, row: Rows, stream: str, offset: int, limit: int) -> bytes | None:
        """Return a part of a running task's output, None if it does not run here."""
        task = (run, version, int(row["index"]), int(row["attempt"]))
        for launcher in self._launchers.values():
            for key in launcher.started:
                if (*key[:3], key[4]) == task and not launcher.client.closing:
                    return await self._ask(launcher.client, key, stream, offset, limit)
        if found := self.elders.runs(task):
            return await self._ask(*found, stream, offset, limit)
        return None

    async def _ask(self, client: Client | Connection, key: Key, stream: str, offset: int, limit: int) -> bytes | None:
        self._read_number += 1
        number = self._read_number
        sender, receiver = trio.open_memory_channel[bytes | None](1)
        self._reads[number] = sender
        client.send(frames.read(number, key, stream, offset, limit))
        try:
            with trio.move_on_after(5):
                return await receiver.receive()
        finally:
            self._reads.pop(number, None)
        raise InternalError(f"launcher {client.number} does not answer")


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else "it said nothing"
