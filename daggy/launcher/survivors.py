"""Launchers that outlived their engine: they finish what they run, and get no new tasks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial

import trio
from attrs import define, field

from daggy.attempt import chosen
from daggy.executor import Kind, Reports
from daggy.launcher import frames
from daggy.launcher.frames import Key
from daggy.launcher.host import Channel, Host, Met, Remains


@define(eq=False)
class Survivor:
    """One of them.

    Args:
        channel: The stream to it.
        running: What it runs, each with its lane; -1 if that is no lane of this engine, or its slot is free already.
        seq: The last sequence number that it reported.
        acked: The last one that it may forget.
        trouble: Why it cannot go on; empty if it can.
    """

    channel: Channel
    running: dict[Key, int] = field(factory=dict)
    seq: int = 0
    acked: int = 0
    trouble: str = ""


class Survivors:
    """All of them on one host."""

    def __init__(
        self,
        host: Host,
        epoch: int,
        report: Callable[[Reports], None],
        buried: Callable[[Remains], None],
        excerpt: Callable[[frames.Excerpt], None],
        rested: Callable[[set[int]], None],
    ) -> None:
        """Begin without any.

        Args:
            host: Where they are.
            epoch: The engine's.
            report: Takes their reports.
            buried: Takes what dead ones left.
            excerpt: Takes the answers to reads.
            rested: Called with the lanes in which tasks have ended, and with none when one has gone.
        """
        self._host, self._epoch, self._report, self._buried = host, epoch, report, buried
        self._excerpt, self._rested = excerpt, rested
        self._survivors: dict[int, Survivor] = {}

    @property
    def running(self) -> bool:
        """Whether any of them runs anything, and can report it."""
        return any(one.running and not one.trouble for one in self._survivors.values())

    @property
    def trouble(self) -> str:
        """Why one of them cannot go on; empty if all can."""
        return next((one.trouble for one in self._survivors.values() if one.trouble), "")

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._survivors)

    def occupied(self, lane: int) -> int:
        """Return how much of a lane's width they use: what an earlier executor launched for this engine."""
        return sum(other == lane for one in self._survivors.values() for other in one.running.values())

    def take(self, met: Met, nursery: trio.Nursery) -> None:
        """Serve one; what it reported when it was met has been passed on."""
        survivor = Survivor(met.channel, seq=int(met.reports.rows["seq"].max(initial=0)))
        survivor.running = {key: lane if key[3] == self._epoch else -1 for key, lane in met.lanes.items()}
        self._survivors[met.channel.number] = survivor
        nursery.start_soon(self._serve, survivor)

    async def _serve(self, survivor: Survivor) -> None:
        number = survivor.channel.number
        self._release(survivor)
        await survivor.channel.serve(partial(self._hear, survivor))
        if not survivor.channel.is_closing:
            left = await self._host.bury(number, survivor.seq)
            self._buried(left)
            self._take_reports(survivor, left.reports, frames.kinds_and_keys(left.reports.rows.tobytes()))
        elif not survivor.running and survivor.acked >= survivor.seq:
            with trio.CancelScope(shield=True):
                await self._host.bury(number, survivor.seq)
            self._host.forget(number)
        del self._survivors[number]
        self._rested(set())

    def _hear(self, survivor: Survivor, answers: list[frames.Answer]) -> None:
        for answer in answers:
            match answer:
                case frames.Reported(reports, keys):
                    self._take_reports(survivor, reports, keys)
                case frames.Excerpt():
                    self._excerpt(answer)
                case frames.Trouble(message):
                    survivor.trouble = message
                    self._rested(set())
        self._release(survivor)

    def _take_reports(
        self, survivor: Survivor, reports: Reports, keys: Sequence[tuple[int, int, int, int, int, int]]
    ) -> None:
        """Pass on reports about what it runs: all others were passed on before, or their tasks are launched again."""
        freed: set[int] = set()
        wanted: list[int] = []
        for at, (kind, *ticket) in enumerate(keys):
            key: Key = tuple(ticket)  # type: ignore[assignment]
            if key in survivor.running:
                wanted.append(at)
                if kind == Kind.FINISHED:
                    freed.add(survivor.running.pop(key))
        survivor.seq = max(survivor.seq, int(reports.rows["seq"].max(initial=0)))
        if wanted:
            self._report(chosen(reports, wanted))
        self._rested(freed - {-1})

    def _release(self, survivor: Survivor) -> None:
        """Let one go that has nothing more to do and to report."""
        if not survivor.running and survivor.acked >= survivor.seq and not survivor.channel.is_closing:
            survivor.channel.send(frames.stop(immediate=False))
            survivor.channel.close(leave=True)

    def send(self, keys: Iterable[Key], command: Callable[[list[Key]], bytes]) -> None:
        """Send a command about those of these tasks that one of them runs."""
        wanted = set(keys)
        for survivor in self._survivors.values():
            if there := list(wanted & survivor.running.keys()):
                survivor.channel.send(command(there))

    def ack(self, number: int, seq: int) -> None:
        """Let one forget what it reported up to `seq`; a number of none of these is ignored."""
        survivor = self._survivors.get(number)
        if survivor is not None:
            survivor.acked = max(seq, survivor.acked)
            survivor.channel.send(frames.ack(seq))
            self._release(survivor)

    def stop(self, *, immediate: bool) -> None:
        """End what they run."""
        for survivor in self._survivors.values():
            survivor.channel.send(frames.stop(immediate=immediate))

    def leave(self) -> None:
        """Leave all of them alone."""
        for survivor in self._survivors.values():
            survivor.channel.close(leave=True)

    def runs(self, task: tuple[int, int, int, int]) -> tuple[Channel, Key] | None:
        """Return the channel to what runs a task (run, version, index, attempt), and the task's whole key."""
        for survivor in self._survivors.values():
            for key in survivor.running:
                if (*key[:3], key[4]) == task:
                    return survivor.channel, key
        return None
