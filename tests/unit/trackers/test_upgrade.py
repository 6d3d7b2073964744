"""A directory that an earlier Daggy wrote is brought to today's format, or refused with what to do."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import pytest

from daggy.errors import DirectoryError
from daggy.run.replay import replay
from daggy.run.states import Now
from daggy.tracker import Attempts, Epoch, NewsItem, Noted, RunFilter, RunState
from daggy.view.shapes import Filter, tasks
from daggy_sqlite import SqliteSettings, SqliteTracker, schema

KEPT = Path(__file__).parents[2] / "data" / "format-1"


@pytest.fixture
def old(tmp_path: Path) -> Path:
    place = tmp_path / "state"
    place.mkdir()
    shutil.copy(KEPT / "daggy.db", place)
    return place


def format_of(place: Path) -> int:
    connection = sqlite3.connect(place / "daggy.db")
    found = int(connection.execute("PRAGMA user_version").fetchone()[0])
    connection.close()
    return found


def test_a_directory_of_format_1_is_brought_up_and_its_run_goes_on(old: Path) -> None:
    assert format_of(old) == 1
    tracker = SqliteTracker(SqliteSettings(), old)
    (record,) = tracker.runs(RunFilter())
    assert (record.name, record.state, dict(record.tags)) == ("kept", RunState.ERRORED, {"env": "test"})
    assert [one.run for one in tracker.runs(RunFilter({"env": "test"}))] == [1]
    run = replay(record, tracker.history(1), 9, Now(0.0, 0.0))
    states = {task.name: task.state for task in tasks(run, Filter()).items}
    assert states["work.N:3"] == "errored"
    assert states["report"] == "upstream_failed"
    assert states["discover/found"] == "completed"
    assert (tracker.last_told(), tracker.keyed("k", 0.0)) == (0, None)
    tracker.append([NewsItem(1, 1, 0.0, b"{}")])
    tracker.close()
    assert format_of(old) == schema.FORMAT


def test_epochs_of_format_3_are_nobodys(tmp_path: Path) -> None:
    """Nobody wrote down whose they were; those that follow say it."""
    shutil.copy(KEPT.with_name("format-3") / "daggy.db", tmp_path)
    tracker = SqliteTracker(SqliteSettings(), tmp_path)
    (before,) = tracker.epochs()
    assert (before.number, before.instance, before.host) == (1, "", "")
    assert [len(batch.rows) for batch in tracker.attempts(2, 0, 9)] == [1]
    tracker.append([mine := Epoch(2, 5.5, "0a1b", "here")])
    assert tracker.epochs() == [before, mine]
    tracker.close()
    assert format_of(tmp_path) == schema.FORMAT


def test_a_directory_of_format_5_gets_room_for_results_and_notes(tmp_path: Path) -> None:
    shutil.copy(KEPT.with_name("format-5") / "daggy.db", tmp_path)
    tracker = SqliteTracker(SqliteSettings(), tmp_path)
    (batch,) = tracker.attempts(1, 0, 9)
    assert (batch.rows["code"].tolist(), batch.results, tracker.history(1).notes) == ([3, 0], {}, [])
    more = Attempts(1, 1, batch.rows[:1], {}, {0: "[1]"})
    tracker.append([more, noted := Noted(1, 1, 0, 2, '{"n":1}', 5.0)])
    assert [dict(one.results) for one in tracker.attempts(1, 2, 9)] == [{0: "[1]"}]
    assert tracker.history(1).notes == [noted]
    tracker.close()
    assert format_of(tmp_path) == schema.FORMAT


def test_looking_at_a_directory_of_format_1_says_how_to_bring_it_up(old: Path) -> None:
    with pytest.raises(DirectoryError, match="has format 1, of an earlier Daggy; 'daggy serve' or 'daggy run'"):
        SqliteTracker.open_readonly(SqliteSettings(), old)
    assert format_of(old) == 1


def test_an_interrupted_migration_leaves_the_earlier_format(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "MIGRATIONS", {**schema.MIGRATIONS, 2: schema.SINCE_2 + "SELECT no_such_column;"})
    with pytest.raises(DirectoryError):
        SqliteTracker(SqliteSettings(), old)
    assert format_of(old) == 1
    monkeypatch.undo()
    SqliteTracker(SqliteSettings(), old).close()
    assert format_of(old) == schema.FORMAT
