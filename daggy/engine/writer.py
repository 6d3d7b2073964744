"""Writes entries to the tracker in groups, one transaction at a time, retried until they are kept."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import trio
from attrs import define, field

from daggy.errors import DaggyError, FencedError, TrackerError
from daggy.executor import Ack
from daggy.tracker import Entry, Tracker

GROUP_SECONDS = 0.03
"""Seconds that entries wait for others before they are committed."""

JOBS_SECONDS = 0.02
"""Seconds that entries wait for other work with the tracker."""

LONGEST_PAUSE = 5.0
"""Seconds between retries while a tracker fails, at most."""


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
    _news: trio.Event = field(factory=trio.Event)
    _waiters: list[tuple[int, trio.Event]] = field(factory=list)
    _jobs: list[tuple[Callable[[Tracker], None], trio.Event]] = field(factory=list)

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

    async def perform(self, job: Callable[[Tracker], None]) -> None:
        """Have something else done with the tracker, between two commits and behind all that was given; return when it
        is.

        While it fails it is tried again, as commits are.
        """
        done = trio.Event()
        self._jobs.append((job, done))
        self._rush.set()
        self._wake.set()
        await done.wait()

    async def settled(self) -> None:
        """Return when all that was given is kept, or when nothing can be kept at this moment."""
        self._rush.set()
        self._wake.set()
        while self.done < self.last and not self.trouble:
            await self._news.wait()

    async def run(self) -> None:
        """Commit what is given, until cancelled; then try once to commit what is left.

        What a tracker could not keep, or does not know to have kept, is what the next append begins with.

        Raises:
            FencedError: another engine has taken over.
            DaggyError: the tracker cannot be used any more; launchers still hold what was not kept.
        """
        try:
            while True:
                await self._wake.wait()
                with trio.move_on_after(GROUP_SECONDS):
                    await self._rush.wait()
                self._wake = trio.Event()
                self._rush = trio.Event()
                pause = 0.1
                while not await self._commit() or not await self._do_jobs():
                    await trio.sleep(pause)
                    pause = min(LONGEST_PAUSE, pause * 2)
        except trio.Cancelled:
            with trio.CancelScope(shield=True):
                await self._commit()
            raise
        except Exception as error:
            self._hold_up(str(error) or type(error).__name__)
            raise

    async def _commit(self) -> bool:
        """Append all that is there; return whether it is kept. If not, it is the first to be tried again."""
        entries, self._entries = self._entries, []
        acks, self._acks = self._acks, []
        number = self.last
        try:
            if entries:
                await self._append(entries)
        except BaseException as error:
            self._entries[:0], self._acks[:0] = entries, acks
            if not _may_pass(error):
                raise
            self._hold_up(_said(error))
            return False
        self._finish(number, acks)
        return True

    async def _do_jobs(self) -> bool:
        """Do other work with the tracker, briefly if there is something to commit; return whether it succeeded."""
        while self._jobs:
            jobs = [job for job, _ in self._jobs]
            if self.in_thread:
                count, error = await trio.to_thread.run_sync(self._do_some, jobs)
            else:
                count, error = self._do_some(jobs[:1])
            for _, done in self._jobs[:count]:
                done.set()
            del self._jobs[:count]
            if error is not None:
                if not _may_pass(error):
                    raise error
                self._hold_up(_said(error))
                return False
            self.trouble = ""
            if self._entries:
                self._wake.set()
                return True
        return True

    def _do_some(self, jobs: Sequence[Callable[[Tracker], None]]) -> tuple[int, Exception | None]:
        """Do jobs in order for a short time; return how many were done, and what the next one raised."""
        until = time.monotonic() + JOBS_SECONDS
        for number, job in enumerate(jobs):
            try:
                job(self.tracker)
            except Exception as error:  # noqa: BLE001  # the caller says which of them may pass
                return number, error
            if time.monotonic() >= until:
                return number + 1, None
        return len(jobs), None

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
        except Exception as error:
            self._entries, self._acks = entries, acks
            if not _may_pass(error) and not isinstance(error, FencedError):  # which `run` raises
                raise
            self._hold_up(_said(error))
            self._wake.set()
            return
        self._finish(self.last, acks)

    def _finish(self, number: int, acks: Sequence[tuple[str, Ack]]) -> None:
        self.done = number
        self.trouble = ""
        self._tell()
        ready = [event for wanted, event in self._waiters if wanted <= number]
        self._waiters = [(wanted, event) for wanted, event in self._waiters if wanted > number]
        for event in ready:
            event.set()
        self.committed(acks)

    def _hold_up(self, trouble: str) -> None:
        self.trouble = trouble
        self._tell()

    def _tell(self) -> None:
        self._news.set()
        self._news = trio.Event()


def _may_pass(error: BaseException) -> bool:
    """Return whether a retry may help: not after permanent errors, nor after errors of others."""
    return isinstance(error, TrackerError) or (isinstance(error, Exception) and not isinstance(error, DaggyError))


def _said(error: BaseException) -> str:
    return str(error) if isinstance(error, TrackerError) else f"the tracker failed: {type(error).__name__}: {error}"
