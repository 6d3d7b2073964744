"""Launchers that outlived their engine: they end what they run, and get nothing more to do."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from functools import partial

import trio
from attrs import define, field

from daggy.executor import Kind, Reports, Rows, Site
from daggy.launcher import frames, recovery
from daggy.launcher.connection import Connection, Met
from daggy.launcher.frames import Key

LOG = logging.getLogger("daggy.fork")


@define(eq=False)
class Elder:
    """One of them.

    Args:
        connection: The way to it.
        running: What it runs.
        seq: The last sequence number that it reported.
        acked: The last one that it may forget.
        trouble: Why it cannot go on; empty if it can.
    """

    connection: Connection
    running: set[Key] = field(factory=set)
    seq: int = 0
    acked: int = 0
    trouble: str = ""


class Elders:
    """All of them of one pool."""

    def __init__(
        self,
        site: Site,
        report: Callable[[Reports], None],
        remains: dict[int, recovery.Remains],
        excerpt: Callable[[frames.Excerpt], None],
        rested: Callable[[], None],
    ) -> None:
        """Begin without any; what dead ones leave behind is added to `remains`.

        Args:
            site: Whose they are.
            report: Takes what they report.
            remains: What dead launchers left.
            excerpt: Takes the answers to reads.
            rested: Called when one has ended a task, or has gone.
        """
        self._site, self._report, self._remains = site, report, remains
        self._excerpt, self._rested = excerpt, rested
        self._elders: dict[int, Elder] = {}
        self._stopping = False

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

    def take(self, met: Met, nursery: trio.Nursery) -> None:
        """Serve one; what it has said already has been passed on."""
        rows = met.reports.rows
        elder = Elder(met.connection, seq=int(rows["seq"].max(initial=0)))
        elder.running = {key for kind, key in _kinds(rows) if kind == Kind.STARTED}
        self._elders[met.connection.number] = elder
        nursery.start_soon(self._serve, elder)

    async def _serve(self, elder: Elder) -> None:
        number = elder.connection.number
        self._release(elder)
        await elder.connection.serve(partial(self._hear, elder))
        if elder.running and not elder.connection.closing:
            await self._bury(elder)
        elif not elder.running and elder.acked >= elder.seq:
            with trio.CancelScope(shield=True):
                await recovery.until_gone(self._site.directory, number)
            recovery.remove(self._site.directory, number)
        del self._elders[number]
        self._rested()

    async def _bury(self, elder: Elder) -> None:
        """One died: what it ran has ended or is lost."""
        site, number = self._site, elder.connection.number
        left = await trio.to_thread.run_sync(recovery.read, site.directory, site.instance, number, elder.seq)
        self._remains[number] = left
        wanted = [at for at, (_, key) in enumerate(_kinds(left.reports.rows)) if key in elder.running]
        said = left.reports.messages
        messages = {new: said[old] for new, old in enumerate(wanted) if old in said}
        self._report(Reports(left.reports.rows[wanted], messages))

    def _hear(self, elder: Elder, answers: list[frames.Answer]) -> None:
        for answer in answers:
            match answer:
                case frames.Told(reports, keys):
                    ended = {tuple(key) for kind, *key in keys if kind == Kind.FINISHED}
                    elder.running -= ended
                    elder.seq = max(elder.seq, int(reports.rows["seq"].max(initial=0)))
                    self._report(reports)
                    self._rested()
                case frames.Excerpt():
                    self._excerpt(answer)
                case frames.Trouble(message):
                    elder.trouble = message
                    LOG.warning("launcher %d %s", elder.connection.number, message or "goes on")
        self._release(elder)

    def _release(self, elder: Elder) -> None:
        """Let one go that has nothing more to do and to say."""
        if not elder.running and elder.acked >= elder.seq and not elder.connection.closing:
            elder.connection.send(frames.stop(immediate=False))
            elder.connection.close()

    def send(self, keys: Iterable[Key], command: Callable[[list[Key]], bytes]) -> None:
        """Send a command about those of these tasks that one of them runs."""
        wanted = set(keys)
        for elder in self._elders.values():
            if there := list(wanted & elder.running):
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


def _kinds(rows: Rows) -> list[tuple[int, Key]]:
    return [(kind, tuple(key)) for kind, *key in frames.kinds_and_keys(rows.tobytes())]  # type: ignore[misc]
