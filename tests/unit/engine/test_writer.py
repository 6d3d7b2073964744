"""The writer keeps order, groups, retries until the tracker keeps, and acknowledges only what is kept."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
import trio
import trio.testing
from hypothesis import given, strategies as st

from daggy.engine.writer import GROUP_SECONDS, Writer
from daggy.errors import FencedError, InternalError, TrackerError
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


class UnsureTracker(MemoryTracker):
    """Raises when it is told to, before or after it keeps a batch; holds the writer to what it has to do then."""

    def __init__(self, ends: list[str]) -> None:
        super().__init__(MemorySettings(), Path())
        self.ends, self.before, self.is_kept = ends, list[Entry](), False
        self.numbers: list[int] = []

    def append(self, entries: Sequence[Entry]) -> None:
        if [*map(id, entries[: len(self.before)])] != [*map(id, self.before)]:
            raise InternalError("the same entries come first")
        fresh = entries[len(self.before) if self.is_kept else 0 :]
        end = self.ends.pop(0) if self.ends else "kept"
        self.before, self.is_kept = ([] if end == "kept" else list(entries)), end == "unsure"
        if end != "refused":
            self.numbers += [entry.number for entry in fresh if isinstance(entry, Epoch)]
        elif len(fresh) < len(entries):
            self.before, self.is_kept = list(entries[: -len(fresh) or None]), True
        if end != "kept":
            raise TrackerError("no answer")


@given(st.lists(st.sampled_from(["kept", "unsure", "refused"]), max_size=12), st.lists(st.integers(0, 2), max_size=8))
@pytest.mark.parametrize("in_thread", [True, False])
def test_an_append_after_one_that_raised_begins_with_the_same(
    in_thread: bool, ends: list[str], pauses: list[int]
) -> None:
    """Whatever is given meanwhile; each entry is kept once, in order, and acknowledged after it is."""
    tracker, acked = UnsureTracker([*ends]), list[tuple[str, Ack]]()

    def committed(acks: Sequence[tuple[str, Ack]]) -> None:
        assert all(ack.seq in tracker.numbers for _, ack in acks)
        acked.extend(acks)

    async def work() -> None:
        writer = Writer(tracker, committed, in_thread=in_thread)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(writer.run)
            for number, pause in enumerate(pauses):
                writer.give([Epoch(number, 0.0)], [("p", Ack(1, number))])
                await trio.sleep(pause * GROUP_SECONDS)
            await writer.kept(writer.last)
            nursery.cancel_scope.cancel()

    trio.run(work, clock=trio.testing.MockClock(autojump_threshold=0))
    assert tracker.numbers == [*range(len(pauses))]
    assert [ack.seq for _, ack in acked] == tracker.numbers


@pytest.mark.trio
@pytest.mark.parametrize("in_thread", [True, False])
async def test_a_writer_of_an_engine_that_another_one_replaced_stops(
    in_thread: bool, autojump_clock: trio.testing.MockClock
) -> None:
    class Fenced(MemoryTracker):
        def append(self, entries: Sequence[Entry]) -> None:
            raise FencedError("the schema was taken over by host b")

    acked = list[object]()
    writer = Writer(Fenced(MemorySettings(), Path()), acked.extend, in_thread=in_thread)
    writer.give([Epoch(1, 0.0)], [("p", Ack(1, 5))])
    with pytest.raises(FencedError, match="taken over by host b"):
        await writer.run()
    writer.give([Epoch(2, 0.0)])
    await writer.settled()
    assert (writer.trouble, acked) == ("the schema was taken over by host b", [])


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
