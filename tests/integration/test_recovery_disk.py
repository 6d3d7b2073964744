"""A disk that is full, databases that are not ours or not whole, while and before `daggy run --dir` is at work."""

from __future__ import annotations

import resource
import signal
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.integration.recovery_rig import OK, Rig, rig, told


@pytest.fixture
def at(tmp_path: Path) -> Iterator[Rig]:
    with rig(tmp_path) as made:
        yield made


def held(at: Rig) -> None:
    at.write(
        {
            "a": {"details": told("{ until test -e go; do sleep 0.02; done; }")},
            "b": {"details": told(), "parents": ["a"]},
            "c": {"details": told("{ until test -e on; do sleep 0.02; done; }"), "parents": ["b"]},
            "d": {"details": told(), "parents": ["c"]},
        }
    )


def full(at: Rig, process: subprocess.Popen[str]) -> int:
    """Leave the engine no room, once all that its start is to leave is kept; return the limit that was."""
    at.until(at.names, process)
    at.until(lambda: at.query("SELECT count(*) FROM places") == [(1,)], process)
    _, most = resource.prlimit(process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (1, most))  # of the engine: every write to a file fails
    return most


def test_a_full_disk_stops_launching_says_so_and_with_room_it_goes_on(at: Rig) -> None:
    at.write(
        {
            "a": {"details": told("{ until test -e go; do sleep 0.02; done; }")},
            "b": {"details": told("{ until test -e on; do sleep 0.02; done; }"), "parents": ["a"]},
            "c": {"details": told(), "parents": ["b"]},
            "slow": {"details": told("{ until test -e on; do sleep 0.02; done; sleep 0.5; }")},
        }
    )
    process = at.start("-j", "3")
    assert process.stderr is not None
    at.until(lambda: {"a", "slow"} <= set(at.names()), process)
    most = full(at, process)
    (at.path / "go").touch()
    said = ""
    while "cannot save state: " not in said:
        line = process.stderr.readline()
        assert line, said
        said += line
    assert "retrying" in said
    (at.path / "on").touch()
    at.until(lambda: "slow" in at.names("end"), process)
    assert "c" not in at.names(), "'b' ended half a second before, and there was room for its child"
    assert at.attempts() == []
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (most, most))
    _, rest = process.communicate(timeout=60)
    assert process.returncode == 0, rest
    assert "state can be saved again" in rest
    at.check(lambda name: {"b": ["a"], "c": ["b"]}.get(name, []))
    assert [reason for _, _, reason, _ in at.attempts()] == [OK] * 4


def test_a_run_that_is_killed_while_the_disk_is_full_goes_on_from_the_spool(at: Rig) -> None:
    held(at)
    (at.path / "on").touch()
    process = at.start("-j", "1")
    full(at, process)
    (at.path / "go").touch()  # the first that cannot be kept is the end of 'a', which starts 'b' at once all the same
    at.until(lambda: "b" in at.names("end"), process)
    process.kill()
    process.communicate()
    done = at.names("end")
    code, said = at.run("-j", "1")
    assert code == 0, said
    at.check(lambda name: [] if name == "a" else [chr(ord(name) - 1)])
    assert at.names().count("a") == 1, f"ended before the kill: {done}"


def test_ctrl_c_ends_a_run_whose_disk_is_full(at: Rig) -> None:
    held(at)
    process = at.start("-j", "1")
    full(at, process)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 3, said
    assert "the end of the run could not be saved: " in said
    assert "bug" not in said
    (at.path / "go").touch()
    (at.path / "on").touch()
    code, said = at.run("-j", "1")
    assert code == 0, said
    at.check(lambda name: [] if name == "a" else [chr(ord(name) - 1)])


@pytest.mark.parametrize(
    ("harm", "line"),
    [
        ("PRAGMA user_version = 99", "has format 99, this Daggy reads and writes format 6"),
        ("PRAGMA application_id = 7", "is a database, but not one of Daggy's"),
        ("DROP TABLE attempts", "is damaged (no such table: "),
        ("", "is damaged (file is not a database)"),
    ],
)
def test_a_database_that_cannot_be_believed_is_refused_and_left_as_it_is(at: Rig, harm: str, line: str) -> None:
    at.write({"a": {"details": told()}})
    assert at.run()[0] == 0
    if harm:
        with closing(sqlite3.connect(at.database)) as connection:
            connection.executescript(harm)
    else:
        at.database.write_bytes(b"rubbish" * 1000)
    before = at.database.read_bytes()
    code, said = at.run()
    assert code == 3, said
    assert line in said
    assert len(said.splitlines()) == 1
    if "TABLE" not in harm:
        assert at.database.read_bytes() == before
    assert at.names() == ["a"]


def test_a_database_that_was_removed_is_a_new_run_whatever_spools_are_left(at: Rig) -> None:
    at.write({"a": {"details": told()}, "b": {"details": told("{ test -e go || sleep 60; }"), "parents": ["a"]}})
    process = at.start("-j", "1")
    at.until(lambda: "b" in at.names(), process)
    process.kill()
    process.communicate()
    for file in at.database.parent.glob("daggy.db*"):
        file.unlink()
    (at.path / "go").touch()
    code, said = at.run("-j", "1")
    assert code == 0, said
    assert at.names("end") == ["a", "a", "b"], "of what is not in the database nothing is believed"
