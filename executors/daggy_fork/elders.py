"""Launchers that outlived their engine: they end what they run, and get nothing more to do."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from functools import partial

import trio
from attrs import define, field

from daggy.executor import Kind, Reports, Site
from daggy.launcher import frames, recovery
from daggy.launcher.connection import Connection, Met
from daggy.launcher.frames import Key

LOG = logging.getLogger("daggy.fork")


@define(eq=False)
class Elder:
    """One of them.

    Args:
        connection: The way to it.
        running: What it runs, each with its lane; -1 if that is no lane of this engine, or its slot is free already.
        seq: The last sequence number that it reported.
        acked: The last one that it may forget.
        trouble: Why it cannot go on; empty if it can.
    """

    connection: Connection
    running: dict[Key, int] = field(factory=dict)
    seq: int = 0
    acked: int = 0
    trouble: str = ""


class Elders:
    """All of them of one pool."""

    def __init__(
        self,
        site: Site,
        epoch: int,
        report: Callable[[Reports], None],
        remains: dict[int, recovery.Remains],
        excerpt: Callable[[frames.Excerpt], None],
        rested: Callable[[set[int]], None],
    ) -> None:
        """Begin without any; what dead ones leave behind is added to `remains`.

        Args:
            site: Whose they are.
            epoch: The engine's.
            report: Takes what they report.
            remains: What dead launchers left.
            excerpt: Takes the answers to reads.
            rested: Called with the lanes in which tasks have ended, and with none when one has gone.
        """
        self._site, self._epoch, self._report, self._remains = site, epoch, report, remains
        self._excerpt, self._rested = excerpt, rested
        self._elders: dict[int, Elder] = {}

    @property
    def running(self) -> bool:
        """Whether any of them runs anything, and can say so."""
        return any(elder.running and not elder.trouble for elder in self._elders.values())

    @property
    def trouble(self) -> str:
        """Why one of them cannot go on; empty if all can."""
        return next((elder.trouble for elder in self._elders.values() if elder.trouble), "")

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._elders)

    def occupied(self, lane: int) -> int:
        """Return how much of a lane's width they use: what an executor before this one launched for this engine."""
        return sum(other == lane for elder in self._elders.values() for other in elder.running.values())

    def take(self, met: Met, nursery: trio.Nursery) -> None:
        """Serve one; what it has said already has been passed on."""
        elder = Elder(met.connection, seq=int(met.reports.rows["seq"].max(initial=0)))
        elder.running = {key: lane if key[3] == self._epoch else -1 for key, lane in met.lanes.items()}
        self._elders[met.connection.number] = elder
        nursery.start_soon(self._serve, elder)

    async def _serve(self, elder: Elder) -> None:
        number = elder.connection.number
        self._release(elder)
        await elder.connection.serve(partial(self._hear, elder))
        if not elder.connection.closing:
            await recovery.until_gone(self._site.directory, number)
            await self._bury(elder)
        elif not elder.running and elder.acked >= elder.seq:
            with trio.CancelScope(shield=True):
                await recovery.until_gone(self._site.directory, number)
            recovery.remove(self._site.directory, number)
        del self._elders[number]
        self._rested(set())

    async def _bury(self, elder: Elder) -> None:
        """One died: what it ran has ended or is lost."""
        site, number = self._site, elder.connection.number
        left = await trio.to_thread.run_sync(recovery.read, site.directory, site.instance, number, elder.seq)
        self._remains[number] = left
        self._told(elder, left.reports, frames.kinds_and_keys(left.reports.rows.tobytes()))

    def _hear(self, elder: Elder, answers: list[frames.Answer]) -> None:
        for answer in answers:
            match answer:
                case frames.Told(reports, keys):
                    self._told(elder, reports, keys)
                case frames.Excerpt():
                    self._excerpt(answer)
                case frames.Trouble(message):
                    elder.trouble = message
                    number = elder.connection.number
                    LOG.warning("launcher %d %s", number, f"cannot go on: {message}" if message else "goes on")
                    self._rested(set())
        self._release(elder)

    def _told(self, elder: Elder, reports: Reports, keys: Sequence[tuple[int, int, int, int, int, int]]) -> None:
        """Pass on what is said of what it runs: all else was told before, or was given back and is launched anew."""
        freed: set[int] = set()
        wanted: list[int] = []
        for at, (kind, *ticket) in enumerate(keys):
            key: Key = tuple(ticket)  # type: ignore[assignment]
            if key in elder.running:
                wanted.append(at)
                if kind == Kind.FINISHED:
                    freed.add(elder.running.pop(key))
        elder.seq = max(elder.seq, int(reports.rows["seq"].max(initial=0)))
        if wanted:
            messages = {new: reports.messages[at] for new, at in enumerate(wanted) if at in reports.messages}
            self._report(Reports(reports.rows[wanted], messages))
        self._rested(freed - {-1})

    def _release(self, elder: Elder) -> None:
        """Let one go that has nothing more to do and to say."""
        if not elder.running and elder.acked >= elder.seq and not elder.connection.closing:
            elder.connection.send(frames.stop(immediate=False))
            elder.connection.close()

    def send(self, keys: Iterable[Key], command: Callable[[list[Key]], bytes]) -> None:
        """Send a command about those of these tasks that one of them runs."""
        wanted = set(keys)
        for elder in self._elders.values():
            if there := list(wanted & elder.running.keys()):
                elder.connection.send(command(there))

    def ack(self, number: int, seq: int) -> bool:
        """Let one forget what it reported up to `seq`; return whether it is one of these."""
        elder = self._elders.get(number)
        if elder is None:
            return False
        elder.acked = max(seq, elder.acked)
        elder.connection.send(frames.ack(seq))
        self._release(elder)
        return True

    def stop(self, *, immediate: bool) -> None:
        """End what they run."""
        for elder in self._elders.values():
            elder.connection.send(frames.stop(immediate=immediate))

    def leave(self) -> None:
        """Let all of them alone."""
        for elder in self._elders.values():
            elder.connection.close()

    def runs(self, task: tuple[int, int, int, int]) -> tuple[Connection, Key] | None:
        """Return who runs a task (run, version, index, attempt), and its whole key."""
        for elder in self._elders.values():
            for key in elder.running:
                if (*key[:3], key[4]) == task:
                    return elder.connection, key
        return None
