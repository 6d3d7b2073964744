"""The writer keeps order, groups, retries until the tracker keeps, and acknowledges only what is kept."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
import trio
import trio.testing

from daggy.engine.writer import GROUP_SECONDS, Writer
from daggy.errors import TrackerError
from daggy.executor import Ack
from daggy.tracker import Entry, Epoch
from daggy_memory import MemorySettings, MemoryTracker


class FailingTracker(MemoryTracker):
    """Raises so many times before it keeps anything; remembers the batches and the threads."""

    def __init__(self, failures: int) -> None:
        super().__init__(MemorySettings(), Path())
        self.failures = failures
        self.batches: list[list[Entry]] = []
        self.threads: set[int] = set()

    def append(self, entries: Sequence[Entry]) -> None:
        self.threads.add(threading.get_ident())
        if self.failures:
            self.failures -= 1
            raise TrackerError("disk full: make room")
        super().append(entries)
        self.batches.append(list(entries))


def epochs(batches: list[list[Entry]]) -> list[list[int]]:
    return [[entry.number for entry in batch if isinstance(entry, Epoch)] for batch in batches]


@pytest.mark.trio
async def test_entries_that_come_together_are_committed_together(autojump_clock: trio.testing.MockClock) -> None:
    tracker, acked = FailingTracker(0), list[object]()
    writer = Writer(tracker, acked.extend, in_thread=True)
    async with trio.open_nursery() as nursery:
        for number in range(1, 4):
            writer.give([Epoch(number, 0.0)], [("p", Ack(1, number))])
        nursery.start_soon(writer.run)
        await writer.kept(writer.last)
        assert epochs(tracker.batches) == [[1, 2, 3]]
        assert acked == [("p", Ack(1, number)) for number in range(1, 4)]
        assert tracker.threads.isdisjoint({threading.get_ident()})
        nursery.cancel_scope.cancel()


@pytest.mark.trio
async def test_a_lone_entry_waits_no_longer_than_the_group(autojump_clock: trio.testing.MockClock) -> None:
    tracker, kept = FailingTracker(0), trio.Event()
    writer = Writer(tracker, lambda acks: kept.set(), in_thread=True)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(writer.run)
        began = trio.current_time()
        writer.give([Epoch(1, 0.0)])
        await kept.wait()
        assert trio.current_time() - began <= GROUP_SECONDS + 0.05
        nursery.cancel_scope.cancel()


@pytest.mark.trio
@pytest.mark.parametrize("in_thread", [True, False])
async def test_a_failing_tracker_holds_acknowledgements_and_loses_nothing(
    in_thread: bool, autojump_clock: trio.testing.MockClock
) -> None:
    tracker, acked = FailingTracker(3), list[object]()
    writer = Writer(tracker, acked.extend, in_thread=in_thread)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(writer.run)
        writer.give([Epoch(1, 0.0)], [("p", Ack(1, 5))])
        await writer.settled()
        assert writer.trouble == "disk full: make room"
        assert acked == []
        writer.give([Epoch(2, 0.0)])
        await writer.kept(writer.last)
        assert [number for batch in epochs(tracker.batches) for number in batch] == [1, 2]
        assert acked == [("p", Ack(1, 5))]
        assert not writer.trouble
        nursery.cancel_scope.cancel()


@pytest.mark.trio
async def test_what_is_left_is_committed_when_the_writer_is_cancelled(autojump_clock: trio.testing.MockClock) -> None:
    tracker = FailingTracker(0)
    writer = Writer(tracker, lambda acks: None, in_thread=True)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(writer.run)
        await trio.testing.wait_all_tasks_blocked()
        writer.give([Epoch(1, 0.0)])
        nursery.cancel_scope.cancel()
    assert epochs(tracker.batches) == [[1]]
