"""The SQLite tracker when things go wrong: killed at any moment, full disks, foreign and damaged files."""

from __future__ import annotations

import random
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from daggy.errors import DaggyError, DirectoryError, TrackerError
from daggy.testing.entries import attempts, moved, same_story, story, submitted
from daggy.tracker import Attempts, Epoch, RunFilter, Submitted
from daggy_sqlite import SqliteSettings, SqliteTracker

# Appends batches for ever and says, after each, how many attempts it was told are kept.
WRITER = """
import sys
from pathlib import Path
from daggy_sqlite import SqliteSettings, SqliteTracker
from daggy.testing.entries import attempts, moved
tracker = SqliteTracker(SqliteSettings(), Path(sys.argv[1]))
number = int(sys.argv[2])
while True:
    count = 1 + number * 37 % 1500
    batch = attempts(1, 1, count, seed=number, messages={0: f"batch {number}"})
    tracker.append([batch, moved(1, 1, [(number, number + 1)])])
    number += 1
    print(number, flush=True)
"""


def open_tracker(directory: Path) -> SqliteTracker:
    """Open the tracker of a directory."""
    return SqliteTracker(SqliteSettings(), directory)


def kill_writer(directory: Path, first: int, acknowledgements: int) -> int:
    """Start a writer, kill it after some acknowledgements and a bit; return the last batch it acknowledged."""
    command = [sys.executable, "-c", WRITER, str(directory), str(first)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        for _ in range(acknowledgements):
            assert process.stdout.readline()
    finally:
        process.send_signal(signal.SIGKILL)
    rest = process.stdout.read().split()
    process.wait()
    process.stdout.close()
    return int(rest[-1]) if rest and rest[-1].isdigit() else first + acknowledgements


def test_what_was_acknowledged_survives_sigkill_at_any_moment(tmp_path: Path) -> None:
    tracker = open_tracker(tmp_path)
    tracker.append([submitted(1)])
    tracker.close()
    pauses = random.Random(5)
    number = 0
    for _ in range(4):
        acknowledged = kill_writer(tmp_path, number, pauses.randint(1, 12))
        tracker = open_tracker(tmp_path)
        kept = tracker.history(1).entries
        batches = [entry for entry in kept if isinstance(entry, Attempts)]
        number = len(batches)
        assert number in (acknowledged, acknowledged + 1)  # the last may have been kept without being told
        assert len(kept) == 2 * number, "an append is kept whole or not at all"
        expected = attempts(1, 1, 1 + (number - 1) * 37 % 1500, seed=number - 1, messages={0: f"batch {number - 1}"})
        assert same_story(story(batches[-1:]), story([expected]))
        tracker.close()


def test_looking_while_another_process_writes(tmp_path: Path) -> None:
    tracker = open_tracker(tmp_path)
    tracker.append([submitted(1)])
    tracker.close()
    process = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path), "0"], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        process.stdout.readline()
        looker = SqliteTracker.open_readonly(SqliteSettings(), tmp_path)
        seen = 0
        for _ in range(10):
            told = int(process.stdout.readline())
            batches = [entry for entry in looker.history(1).entries if isinstance(entry, Attempts)]
            assert len(batches) >= max(told, seen), "a look sees everything that was committed before it"
            seen = len(batches)
        with pytest.raises(TrackerError, match="readonly"):
            looker.append([Epoch(1, 1.0)])
        looker.close()
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def test_looking_at_a_copy_that_nobody_can_write(tmp_path: Path) -> None:
    tracker = open_tracker(tmp_path / "live")
    tracker.append([submitted(1), attempts(1, 1, 10, seed=1)])
    tracker.close()
    image = tmp_path / "image"
    shutil.copytree(tmp_path / "live", image)
    before = sorted(path.name for path in image.iterdir())
    looker = SqliteTracker.open_readonly(SqliteSettings(), image)
    assert same_story(story(looker.history(1).entries), story([attempts(1, 1, 10, seed=1)]))
    assert [record.run for record in looker.runs(RunFilter())] == [1]
    looker.close()
    assert before == ["daggy.db"], "a closed tracker leaves one file"


def test_looking_at_nothing_says_so(tmp_path: Path) -> None:
    with pytest.raises(DirectoryError, match=r"no 'daggy\.db' in"):
        SqliteTracker.open_readonly(SqliteSettings(), tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_full_database_keeps_nothing_and_works_again_later(tmp_path: Path) -> None:
    tracker = open_tracker(tmp_path)
    first = attempts(1, 1, 100, seed=1)
    tracker.append([submitted(1), first])
    connection = sqlite3.connect(tmp_path / "daggy.db")
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.close()
    tracker._connection.execute(f"PRAGMA max_page_count = {pages + 3}")
    big = attempts(1, 1, 50_000, seed=2)
    for _ in range(3):
        with pytest.raises(TrackerError, match="full"):
            tracker.append([Epoch(4, 1.0), moved(1, 1, [(0, 1)]), big])
        assert tracker.last_epoch() == 0
        assert same_story(story(tracker.history(1).entries), story([first]))
    tracker._connection.execute(f"PRAGMA max_page_count = {1 << 30}")
    tracker.append([big])
    assert same_story(story(tracker.history(1).entries), story([first, big]))


LIMITED = """
import resource, sys
from pathlib import Path
from daggy_sqlite import SqliteSettings, SqliteTracker
from daggy.errors import TrackerError
from daggy.testing.entries import attempts, same_story, story
tracker = SqliteTracker(SqliteSettings(), Path(sys.argv[1]))
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, hard))
kept = failed = 0
while failed < 3:
    try:
        tracker.append([attempts(1, 1, 1000, seed=kept)])
        kept += 1
    except TrackerError:
        failed += 1
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
tracker.append([attempts(1, 1, 1000, seed=kept)])
kept += 1
expected = story([attempts(1, 1, 1000, seed=number) for number in range(kept)])
assert same_story(story(tracker.history(1).entries), expected)
print(kept)
"""


def test_writes_that_fail_are_tried_again_with_room(tmp_path: Path) -> None:
    tracker = open_tracker(tmp_path)
    tracker.append([submitted(1)])
    tracker.close()
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[1] == resource.RLIM_INFINITY
    command = [sys.executable, "-c", LIMITED, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 2
    tracker = open_tracker(tmp_path)
    assert sum(len(batch.rows) for batch in tracker.attempts(1, 0, 10**9)) == int(done.stdout) * 1000
    tracker.close()


def test_another_format_is_refused_naming_both(tmp_path: Path) -> None:
    open_tracker(tmp_path).close()
    connection = sqlite3.connect(tmp_path / "daggy.db")
    connection.execute("PRAGMA user_version = 9")
    connection.close()
    for opening in (open_tracker, lambda place: SqliteTracker.open_readonly(SqliteSettings(), place)):
        with pytest.raises(DirectoryError, match="has format 9, this Daggy reads and writes format 6"):
            opening(tmp_path)


def test_somebody_elses_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "daggy.db")
    connection.execute("CREATE TABLE theirs (x)")
    connection.commit()
    connection.close()
    before = (tmp_path / "daggy.db").read_bytes()
    with pytest.raises(DirectoryError, match="not one of Daggy's"):
        open_tracker(tmp_path)
    assert (tmp_path / "daggy.db").read_bytes() == before


def test_a_creation_that_was_interrupted_is_begun_again(tmp_path: Path) -> None:
    (tmp_path / "daggy.db").touch()
    tracker = open_tracker(tmp_path)
    tracker.append([submitted(1)])
    assert tracker.last_run() == 1
    tracker.close()


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Return the bytes of a database with a bit of everything."""
    directory = tmp_path_factory.mktemp("sound")
    tracker = open_tracker(directory)
    tracker.append([submitted(1, tags={"a": "b"}), submitted(2)])
    for seed in range(4):
        tracker.append([attempts(1, 1, 300, seed=seed, messages={1: "ä"}), moved(1, 1, [(0, 5)]), Epoch(seed, 1.0)])
    tracker.close()
    return (directory / "daggy.db").read_bytes()


def look_everywhere(directory: Path) -> None:
    """Ask a tracker everything, and append to it."""
    tracker = open_tracker(directory)
    try:
        tracker.last_epoch()
        tracker.last_run()
        tracker.epochs()
        tracker.places()
        for record in tracker.runs(RunFilter(tags={"a": "b"})):
            tracker.history(record.run)
            tracker.attempts(record.run, 5, 100)
            tracker.attempts(record.run, 0, 10, index=3)
        tracker.append([Epoch(9, 1.0), attempts(1, 1, 3, seed=1), Submitted(9, 1, b"", "", "", {}, 1.0)])
        tracker.forget(1)
    finally:
        tracker.close()


@pytest.mark.parametrize("damage", ["not a database", "cut short", "zeroed pages"])
def test_a_damaged_file_is_told_with_the_mend(tmp_path: Path, sound: bytes, damage: str) -> None:
    broken = {
        "not a database": b"this is not a database, but it is long enough to be taken for one" * 100,
        "cut short": sound[: len(sound) // 2],
        "zeroed pages": sound[:4096] + bytes(len(sound) - 4096),
    }[damage]
    (tmp_path / "daggy.db").write_bytes(broken)
    with pytest.raises(DirectoryError, match=r"is damaged .* restore a backup, or use another --dir"):
        look_everywhere(tmp_path)


def test_no_damage_ends_in_a_traceback(tmp_path: Path, sound: bytes) -> None:
    dice = random.Random(11)
    for number in range(60):
        broken = bytearray(sound)
        for _ in range(dice.choice([1, 20, 400])):
            broken[dice.randrange(len(broken))] = dice.randrange(256)
        place = tmp_path / str(number)
        place.mkdir()
        (place / "daggy.db").write_bytes(broken)
        try:
            look_everywhere(place)
        except (DaggyError, KeyError) as error:
            assert str(error)  # noqa: PT017 - any of Daggy's own errors will do


def test_text_that_is_no_text_does_not_stop_it(tmp_path: Path) -> None:
    tracker = open_tracker(tmp_path)
    tracker.append([submitted(1), attempts(1, 1, 1, seed=1, messages={0: "no such file: '\udcff\0'"})])
    (batch,) = tracker.attempts(1, 0, 1)
    assert batch.messages == {0: "no such file: '?\0'"}
    tracker.close()


def test_only_the_owner_can_read_it(tmp_path: Path) -> None:
    tracker = open_tracker(tmp_path / "state")
    tracker.append([submitted(1)])
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "state").iterdir()}
    assert set(modes.values()) == {0o600}
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700
    tracker.close()
