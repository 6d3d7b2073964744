"""What is the memory tracker's own: batches that are views stay views, and adjacent ones become one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from daggy.errors import InternalError, UsageError
from daggy.testing.entries import attempts, edited, moved, random_rows, same_story, story, submitted
from daggy.tracker import ATTEMPT, Attempts, Generated
from daggy_memory import MemorySettings, MemoryTracker


@pytest.fixture
def tracker() -> MemoryTracker:
    tracker = MemoryTracker(MemorySettings(), Path())
    tracker.append([submitted(1)])
    return tracker


def batches(tracker: MemoryTracker) -> list[Attempts]:
    return [entry for entry in tracker.history(1).entries if isinstance(entry, Attempts)]


def test_adjacent_views_of_a_chunk_become_one_view_without_a_copy(tracker: MemoryTracker) -> None:
    chunk = random_rows(10_000, 1)
    for place in range(0, 10_000, 7):
        tracker.append([Attempts(1, 1, chunk[place : place + 7], {0: str(place)})])
    (batch,) = batches(tracker)
    assert np.shares_memory(batch.rows, chunk)
    assert len(batch.rows) == 10_000
    assert batch.messages == {place: str(place) for place in range(0, 10_000, 7)}


def test_a_page_is_a_view_with_its_messages(tracker: MemoryTracker) -> None:
    chunk = random_rows(1000, 1)
    tracker.append([Attempts(1, 1, chunk, {500: "m", 501: "n"})])
    (page,) = tracker.attempts(1, 500, 1)
    assert np.shares_memory(page.rows, chunk[500:501])
    assert page.messages == {0: "m"}


@pytest.mark.parametrize("between", ["a gap", "a move", "another version", "another chunk"])
def test_views_are_not_joined_over(tracker: MemoryTracker, between: str) -> None:
    chunk = random_rows(10, 1)
    tracker.append([edited(1, 2), Attempts(1, 1, chunk[:3])])
    match between:
        case "a gap":
            tracker.append([Attempts(1, 1, chunk[4:])])
        case "a move":
            tracker.append([moved(1, 1, [(0, 1)]), Attempts(1, 1, chunk[3:])])
        case "another version":
            tracker.append([Attempts(1, 2, chunk[3:])])
        case _:
            tracker.append([Attempts(1, 1, random_rows(10, 2)[3:])])
    first, second = batches(tracker)
    assert len(first.rows) == 3
    assert np.shares_memory(first.rows, chunk)
    assert len(second.rows) in (6, 7)


def test_rows_that_are_nobodys_view_are_gathered_in_chunks(tracker: MemoryTracker) -> None:
    rows = random_rows(9000, 1)
    for row in rows[:5000]:
        tracker.append([Attempts(1, 1, np.array([row], ATTEMPT))])
    tracker.append([Attempts(1, 1, rows[5000:].copy())])
    found = batches(tracker)
    assert len(found) <= 4
    assert same_story(story(found), story([Attempts(1, 1, rows)]))


def test_views_of_other_memory_are_copied(tracker: MemoryTracker) -> None:
    wide = np.zeros((100, 3), ATTEMPT)
    wide["index"] = np.arange(300).reshape(100, 3)
    data = random_rows(5, 3).tobytes()
    tracker.append([Attempts(1, 1, wide[:, 1]), Attempts(1, 1, np.frombuffer(data, ATTEMPT))])
    first = np.concatenate([batch.rows for batch in batches(tracker)])
    assert first["index"][:100].tolist() == list(range(1, 300, 3))
    assert first[100:].tobytes() == data


def test_a_history_is_a_snapshot(tracker: MemoryTracker) -> None:
    chunk = random_rows(10, 1)
    tracker.append([Attempts(1, 1, chunk[:5])])
    before = tracker.history(1)
    tracker.append([Attempts(1, 1, chunk[5:], {0: "later"}), moved(1, 1, [(0, 1)])])
    assert same_story(story(before.entries), story([Attempts(1, 1, chunk[:5])]))


def test_what_cannot_be_is_refused_by_name(tracker: MemoryTracker) -> None:
    with pytest.raises(InternalError, match="Attempts of run 2, which was never submitted"):
        tracker.append([attempts(2, 1, 1, seed=1)])
    with pytest.raises(InternalError, match="run 1 is submitted, but ids up to 1 were given"):
        tracker.append([submitted(1)])
    with pytest.raises(InternalError, match="version 2 of run 1 is submitted twice"):
        tracker.append([edited(1, 2), edited(1, 2)])
    with pytest.raises(InternalError, match="Generated of run 1 version 2, which was never submitted"):
        tracker.append([Generated(1, 2, 0, 1, b"", 1.0)])
    assert [version.version for version in tracker.history(1).versions] == [1]


def test_nobody_else_can_look_at_it() -> None:
    with pytest.raises(UsageError, match="ask its server"):
        MemoryTracker.open_readonly(MemorySettings(), Path())
