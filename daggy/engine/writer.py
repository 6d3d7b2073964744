"""The tracker's writer: entries in groups, one transaction at a time, retried until they are kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import trio
from attrs import define, field

from daggy.errors import TrackerError
from daggy.executor import Ack
from daggy.tracker import Entry, Tracker

GROUP_SECONDS = 0.03
"""How long entries wait for company before they are committed."""

LONGEST_PAUSE = 5.0
"""Seconds between tries while a tracker fails."""


@define(eq=False)
class Writer:
    """Commits entries in order and says when they are kept.

    Args:
        tracker: Where to.
        committed: Called after each commit, with the acknowledgements that it allows.
        in_thread: Whether appending is left to a thread, so that a disk never stops the loop.
        trouble: Why nothing can be kept at this moment; empty if all is well.
        last: Number of the last batch given.
        done: Number of the last batch that is kept.
    """

    tracker: Tracker
    committed: Callable[[Sequence[tuple[str, Ack]]], None]
    in_thread: bool
    trouble: str = ""
    last: int = 0
    done: int = 0
    _entries: list[Entry] = field(factory=list)
    _acks: list[tuple[str, Ack]] = field(factory=list)
    _wake: trio.Event = field(factory=trio.Event)
    _rush: trio.Event = field(factory=trio.Event)
    _waiters: list[tuple[int, trio.Event]] = field(factory=list)

    def give(self, entries: Sequence[Entry], acks: Sequence[tuple[str, Ack]] = (), *, urgent: bool = False) -> int:
        """Take entries, and acknowledgements (pool, ack) that wait for them; return the batch's number."""
        self._entries.extend(entries)
        self._acks.extend(acks)
        self.last += 1
        if urgent:
            self._rush.set()
        if not self.in_thread and not self.trouble:
            self._commit_inline()
        else:
            self._wake.set()
        return self.last

    async def kept(self, number: int) -> None:
        """Return when that batch is kept."""
        self._rush.set()
        self._wake.set()
        while self.done < number:
            event = trio.Event()
            self._waiters.append((number, event))
            await event.wait()

    async def run(self) -> None:
        """Commit what is given, until cancelled; then commit what is left."""
        try:
            while True:
                await self._wake.wait()
                with trio.move_on_after(GROUP_SECONDS):
                    await self._rush.wait()
                self._wake = trio.Event()
                self._rush = trio.Event()
                await self._commit()
        finally:
            with trio.CancelScope(shield=True):
                if self._entries or self._acks:
                    await self._commit(tries=1)

    async def _commit(self, tries: int = 0) -> None:
        """Append all that is there, again and again until it is kept (or so many times)."""
        entries, self._entries = self._entries, []
        acks, self._acks = self._acks, []
        number, pause, tried = self.last, 0.1, 0
        while True:
            try:
                if entries:
                    await self._append(entries)
                break
            except TrackerError as error:
                self.trouble = str(error)
                tried += 1
                if tried == tries:
                    raise
            try:
                await trio.sleep(pause)
            except trio.Cancelled:
                self._entries[:0], self._acks[:0] = entries, acks
                raise
            pause = min(LONGEST_PAUSE, pause * 2)
        self._finish(number, acks)

    async def _append(self, entries: Sequence[Entry]) -> None:
        if self.in_thread:
            await trio.to_thread.run_sync(self.tracker.append, entries)
        else:
            self.tracker.append(entries)

    def _commit_inline(self) -> None:
        entries, self._entries = self._entries, []
        acks, self._acks = self._acks, []
        try:
            if entries:
                self.tracker.append(entries)
        except TrackerError as error:
            self.trouble = str(error)
            self._entries, self._acks = entries, acks
            self._wake.set()
            return
        self._finish(self.last, acks)

    def _finish(self, number: int, acks: Sequence[tuple[str, Ack]]) -> None:
        self.done = number
        self.trouble = ""
        ready = [event for wanted, event in self._waiters if wanted <= number]
        self._waiters = [(wanted, event) for wanted, event in self._waiters if wanted > number]
        for event in ready:
            event.set()
        self.committed(acks)
