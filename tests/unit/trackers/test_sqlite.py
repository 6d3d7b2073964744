"""What is the SQLite tracker's own: what a user sees with the sqlite3 shell, chunks, threads, ids."""

from __future__ import annotations

import shutil
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from daggy.errors import InternalError, TrackerError
from daggy.testing.entries import attempts, edited, moved, random_rows, same_rows, same_story, story, submitted
from daggy.tracker import (
    ATTEMPT,
    Attempts,
    Generated,
    Place,
    Reason,
    RunChanged,
    RunFilter,
    RunState,
    State,
    Submitted,
)
from daggy_sqlite import SqliteSettings, SqliteTracker, columns, tracker as module


@pytest.fixture
def tracker(tmp_path: Path) -> Iterator[SqliteTracker]:
    tracker = SqliteTracker(SqliteSettings(), tmp_path)
    tracker.append([submitted(1, name="nightly", tags={"env": "test"}, spec=b'{"version": 1}')])
    yield tracker
    tracker.close()


def query(tmp_path: Path, text: str) -> list[tuple[object, ...]]:
    connection = sqlite3.connect(tmp_path / "daggy.db")
    try:
        return connection.execute(text).fetchall()
    finally:
        connection.close()


def test_names_that_an_older_database_lacks_are_added_when_it_is_opened(tmp_path: Path) -> None:
    SqliteTracker(SqliteSettings(), tmp_path).close()
    older = sqlite3.connect(tmp_path / "daggy.db")
    for table in ("states", "run_states", "reasons"):
        older.execute(f"DELETE FROM {table} WHERE name NOT IN ('completed', 'exit')")
    older.commit()
    older.close()
    SqliteTracker(SqliteSettings(), tmp_path).close()
    for table, kind in (("states", State), ("run_states", RunState), ("reasons", Reason)):
        names = [(int(member), member.name.lower()) for member in kind]
        assert query(tmp_path, f"SELECT * FROM {table} ORDER BY 1") == names


def test_a_user_can_read_it_with_the_shell(tracker: SqliteTracker, tmp_path: Path) -> None:
    rows = np.zeros(3, ATTEMPT)
    rows["index"] = [4, 5, 6]
    rows["attempt"] = [1, 1, 2]
    rows["ended"] = 1_700_000_000.5
    rows["started"] = [1_700_000_000.0, 1_700_000_000.25, 0]
    rows["reason"] = [Reason.EXIT, Reason.SIGNAL, Reason.SPAWN]
    rows["code"] = [3, -9, 0]
    rows["outcome"] = [State.ERRORED, State.QUEUED, State.ERRORED]
    rows["place"] = 2
    tracker.append([Place(2, "default", "here"), Attempts(1, 1, rows, {2: "no such file: 'x'"})])
    tracker.append(
        [moved(1, 1, [(0, 2)], cause="requeued by alice", actor="alice"), RunChanged(1, RunState.ERRORED, 0)]
    )
    told = query(
        tmp_path,
        "SELECT run, task_index, attempt, outcome, reason, exit_code, signal, started, ended, seconds, "
        "pool, host, message FROM attempts_readable",
    )
    at = "2023-11-14 22:13:20"
    assert told == [
        (1, 4, 1, "errored", "exit", 3, None, at, at, 0.5, "default", "here", None),
        (1, 5, 1, "queued", "signal", None, 9, at, at, 0.25, "default", "here", None),
        (1, 6, 2, "errored", "spawn", 0, None, None, at, None, "default", "here", "no such file: 'x'"),
    ]
    assert query(tmp_path, "SELECT run, name, state, tags ->> 'env' FROM runs_readable") == [
        (1, "nightly", "errored", "test")
    ]
    assert query(tmp_path, "SELECT spec ->> 'version' FROM specs_readable") == [(1,)]
    events = query(tmp_path, "SELECT state, ranges, cause, actor FROM events_readable")
    assert events == [("waiting", "[[0,2]]", "requeued by alice", "alice"), ("errored", None, "", "")]


def test_runs_are_found_by_any_number_of_tags(tracker: SqliteTracker) -> None:
    many = {f"key-{number}": "1" for number in range(3000)}
    tracker.append([submitted(2, tags=many), submitted(3, tags=many | {"key-2999": "2"})])
    assert [record.run for record in tracker.runs(RunFilter(many))] == [2]


def test_tags_go_with_their_run(tracker: SqliteTracker, tmp_path: Path) -> None:
    tracker.append([edited(1, 2)])
    assert query(tmp_path, "SELECT * FROM tags") == [("edit", "2", 1)]
    tracker.forget(1)
    assert query(tmp_path, "SELECT * FROM tags") == []


def test_every_state_and_reason_has_its_name(tracker: SqliteTracker, tmp_path: Path) -> None:
    assert query(tmp_path, "SELECT * FROM states") == [(state, state.name.lower()) for state in State]
    assert query(tmp_path, "SELECT * FROM run_states") == [(state, state.name.lower()) for state in RunState]
    assert query(tmp_path, "SELECT * FROM reasons") == [(reason, reason.name.lower()) for reason in Reason]


def test_an_attempt_takes_sixty_bytes(tracker: SqliteTracker, tmp_path: Path) -> None:
    rows = random_rows(1, 1).repeat(20_000)
    rows["index"] = np.random.default_rng(1).permutation(20_000)
    for name in ("attempt", "code", "reason", "failures", "crashes", "place", "flags", "launcher", "pack", "stderr"):
        rows[name] = 0
    rows["offset"] = np.arange(20_000) * 12
    rows["stdout"] = 12
    rows["rss_kb"] = 1900
    rows["cpu"] = 0.0012
    rows["started"] = rows["ended"] - 0.003
    tracker.append([Attempts(1, 1, rows)])
    tracker.close()
    size = (tmp_path / "daggy.db").stat().st_size
    assert size < 20_000 * 60 + 100_000
    tracker.__init__(SqliteSettings(), tmp_path)  # type: ignore[misc]


@pytest.mark.parametrize("count", [1, 9, 10, 11, 999, 1000, 1001, 2345])
@pytest.mark.parametrize("kind", ["plain", "one odd", "any"])
def test_rows_of_any_kind_in_statements_of_any_size(tracker: SqliteTracker, count: int, kind: str) -> None:
    rows = random_rows(count, count)
    if kind != "any":
        rows["place"] = 3
        rows["attempt"] = 1
        rows["outcome"] = State.COMPLETED
        for name in ("code", "reason", "failures", "crashes", "flags", "stderr"):
            rows[name] = 0
    if kind == "one odd":
        rows["code"][count // 2] = -15
        rows["crashes"][count // 2] = 65535
    tracker.append([Attempts(1, 1, rows)])
    (batch,) = tracker.attempts(1, 0, count)
    assert isinstance(batch, Attempts)
    assert same_rows(batch.rows, rows)


def test_extreme_numbers_come_back(tracker: SqliteTracker) -> None:
    rows = np.zeros(2, ATTEMPT)
    for name in ATTEMPT.names or ():
        kind = ATTEMPT[name]
        if kind.kind in "iu":
            rows[name] = np.iinfo(kind).max if kind.itemsize < 8 else 2**62
    rows["code"] = [-32768, 32767]
    rows["ended"] = [0.0, 2.0**32]
    rows["started"] = [0.0, 2.0**32 - 10**7]
    rows["cpu"] = [0.0, 10**6]
    tracker.append([Attempts(1, 1, rows)])
    assert same_rows(tracker.attempts(1, 0, 5)[0].rows, rows)


def test_small_batches_of_one_append_go_in_together(tracker: SqliteTracker, monkeypatch: pytest.MonkeyPatch) -> None:
    statements: list[str] = []
    tracker._connection.set_trace_callback(statements.append)
    entries = [attempts(1, 1, 1, seed=number) for number in range(1000)]
    tracker.append(entries)
    tracker._connection.set_trace_callback(None)
    assert sum("INTO attempts" in statement for statement in statements) == 1
    assert sum(statement == "COMMIT" for statement in statements) == 1
    assert same_story(story(tracker.history(1).entries), story(entries))


def test_another_thread_may_go_on(tracker: SqliteTracker) -> None:
    thread = threading.Thread(target=lambda: tracker.append([attempts(1, 1, 5, seed=1)]))
    thread.start()
    thread.join()
    assert len(tracker.history(1).entries) == 1


def test_a_second_writer_is_seen(tracker: SqliteTracker, tmp_path: Path) -> None:
    tracker.append([attempts(1, 1, 5, seed=1)])
    other = SqliteTracker(SqliteSettings(), tmp_path)
    other.append([attempts(1, 1, 7, seed=2)])
    other.close()
    tracker.append([attempts(1, 1, 3, seed=3)])
    expected = story([attempts(1, 1, 5, seed=1), attempts(1, 1, 7, seed=2), attempts(1, 1, 3, seed=3)])
    assert same_story(story(tracker.history(1).entries), expected)


def forgettable(tracker: SqliteTracker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let run 3 have ten pieces, and all that a run can have; runs 1 and 2 are to stay."""
    monkeypatch.setattr(module, "FORGET", 100)
    tracker.append([submitted(2), attempts(2, 1, 10, seed=2)])
    tracker.append([Submitted(3, 1, b"{}", "d", "", {}, 3.0, key="mine", body="b")])
    tracker.append([attempts(3, 1, 950, seed=1, messages={900: "m"}), moved(3, 1, [(0, 1)])])
    tracker.append([Generated(3, 1, 0, 1, b"x", 1.0)])


def require_forgotten(folder: Path) -> None:
    """Require that nothing is left of run 3, and all of runs 1 and 2."""
    assert query(folder, "SELECT count(*), min(run), max(run) FROM attempts") == [(10, 2, 2)]
    for table in ("messages", "events", "generated", "submissions", "forgetting"):
        assert query(folder, f"SELECT count(*) FROM {table}") == [(0,)]
    for table in ("runs", "specs"):
        assert query(folder, f"SELECT run FROM {table} ORDER BY run") == [(1,), (2,)]


def copies(tracker: SqliteTracker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Forget run 3; return what a crash before each of its pieces would have left."""
    remove, left = tracker._remove, [tmp_path / f"copy-{number}" for number in range(10)]
    coming = iter(left)

    def copied(run: int, piece: tuple[int, int, bool]) -> None:
        copy = next(coming)
        copy.mkdir()
        for file in tmp_path.glob("daggy.db*"):
            shutil.copy(file, copy)
        remove(run, piece)

    monkeypatch.setattr(tracker, "_remove", copied)
    tracker.forget(3)
    return left


def test_forget_removes_in_pieces(tracker: SqliteTracker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forgettable(tracker, monkeypatch)
    left = copies(tracker, tmp_path, monkeypatch)
    require_forgotten(tmp_path)
    assert [query(copy, "SELECT count(*) FROM attempts WHERE run = 3")[0][0] for copy in left] == [*range(950, 0, -100)]


def test_a_half_forgotten_run_is_never_seen_and_gone_with_the_next_start(
    tracker: SqliteTracker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forgettable(tracker, monkeypatch)
    for copy in copies(tracker, tmp_path, monkeypatch):
        for again in (SqliteTracker.open_readonly(SqliteSettings(), copy), SqliteTracker(SqliteSettings(), copy)):
            assert [record.run for record in again.runs(RunFilter())] == [2, 1]
            assert again.keyed("mine", 0.0) is None
            assert again.last_run() == 3
            for ask in (again.history, lambda run, again=again: again.attempts(run, 0, 1)):
                with pytest.raises(KeyError):
                    ask(3)
            again.close()
        require_forgotten(copy)


def test_a_forget_that_failed_halfway_goes_on_with_the_next_one(
    tracker: SqliteTracker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forgettable(tracker, monkeypatch)
    remove = tracker._remove

    def failing(run: int, piece: tuple[int, int, bool]) -> None:
        if piece[0] >= (run << 32) + 300:
            raise TrackerError("the disk is full")
        remove(run, piece)

    monkeypatch.setattr(tracker, "_remove", failing)
    with pytest.raises(TrackerError, match="disk is full"):
        tracker.forget(3)
    monkeypatch.setattr(tracker, "_remove", remove)
    assert query(tmp_path, "SELECT count(*) FROM attempts WHERE run = 3") == [(650,)]
    tracker.forget(99)
    require_forgotten(tmp_path)


def test_a_full_disk_does_not_keep_a_half_forgotten_run_from_being_opened(
    tracker: SqliteTracker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forgettable(tracker, monkeypatch)
    copy = copies(tracker, tmp_path, monkeypatch)[5]

    def failing(self: SqliteTracker, run: int, piece: tuple[int, int, bool]) -> None:
        raise TrackerError("the disk is full")

    with monkeypatch.context() as context:
        context.setattr(SqliteTracker, "_remove", failing)
        again = SqliteTracker(SqliteSettings(), copy)
    assert [record.run for record in again.runs(RunFilter())] == [2, 1]
    again.forget(99)
    again.close()
    require_forgotten(copy)


def test_what_cannot_be_is_refused_by_name(tracker: SqliteTracker) -> None:
    with pytest.raises(InternalError, match="Attempts of run 2, which was never submitted"):
        tracker.append([attempts(2, 1, 1, seed=1)])
    with pytest.raises(InternalError, match="run 1 is submitted, but ids up to 1 were given"):
        tracker.append([submitted(1)])
    with pytest.raises(InternalError, match="version 2 of run 1 is submitted twice"):
        tracker.append([edited(1, 2), edited(1, 2)])
    with pytest.raises(InternalError, match="Generated of run 1 version 2, which was never submitted"):
        tracker.append([Generated(1, 2, 0, 1, b"", 1.0)])
    assert [version.version for version in tracker.history(1).versions] == [1]


def test_a_history_longer_than_one_reading(tracker: SqliteTracker, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = random_rows(3 * columns.READ + 5, 1)
    tracker.append([edited(1, 2), Attempts(1, 1, rows[: columns.READ]), Attempts(1, 2, rows[columns.READ :])])
    first, second = tracker.history(1).entries
    assert isinstance(first, Attempts)
    assert isinstance(second, Attempts)
    assert (first.version, second.version) == (1, 2)
    assert same_rows(first.rows, rows[: columns.READ])
    assert same_rows(second.rows, rows[columns.READ :])
