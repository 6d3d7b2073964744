"""A few stories of the crash test, always the same ones, and what the oracle itself must be right about."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from stat import S_ISVTX

import pytest
from attrs import evolve

from daggy.plan import plan
from daggy.spec import parse
from daggy_sqlite import SqliteSettings, SqliteTracker
from tests.chaos import faults, naive
from tests.chaos.specs import Script, Writer
from tests.chaos.story import story
from tests.integration.serve_rig import DAGGY

HERE = Path(__file__).parent

SEEDS = (7, 20, 37, 79)
"""Three with a server, one with `daggy run`: engines and launchers killed, a torn write, power cuts, a full disk."""


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """The library of faults; without a compiler there is none, which is an error in CI only."""
    try:
        return faults.build(tmp_path)
    except faults.UnbuiltError as error:
        if "CI" in os.environ:
            raise
        pytest.skip(str(error))


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_a_story_of_crashes_ends_well(seed: int, library: Path, tmp_path: Path) -> None:
    command = [sys.executable, str(HERE), "--seed", str(seed), "--dir", str(tmp_path / "stories")]
    told = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert told.returncode == 0, told.stdout + told.stderr
    assert "survived" in told.stdout


def test_a_seed_gives_the_same_story() -> None:
    assert [story(seed) for seed in range(50)] == [story(seed) for seed in range(50)]


def test_stories_come_to_every_kind_of_death() -> None:
    kinds = {step.kind for seed in range(300) for step in story(seed).steps}
    places = {str(fault) for seed in range(2000) for step in story(seed).steps for fault in step.faults}
    assert {"engine", "launcher", "both", "power", "clock", "leave", "full", "fault", "edit", "requeue"} <= kinds
    for role, file, op, _ in faults.POINTS:
        assert any(place.startswith(f"{role}:{file}:{op}:") for place in places)


def test_the_naive_expansion_is_daggys(tmp_path: Path) -> None:
    for seed in range(60):
        for script in story(seed).scripts:
            _compare(script, tmp_path)


def _compare(script: Script, home: Path) -> None:
    made = plan(parse(json.dumps(script.document(home)).encode(), directory=None))
    tasks = naive.expand(script)
    assert {made.name(index) for index in range(made.size)} == {name for name, task in tasks.items() if not task.home}


def test_a_changed_mark_changes_a_template_and_nothing_else() -> None:
    script = Writer(random.Random(1), may_fail=False).script("one", 60)
    shape = script.shapes[0]
    changed = naive.changed(script, script.replaced(evolve(shape, mark="other")))
    assert changed == {name for name, task in naive.expand(script).items() if task.shape is shape}


def test_the_board_kills_at_the_call_that_was_named(library: Path, tmp_path: Path) -> None:
    board = faults.Board(tmp_path / "board", library)
    (tmp_path / "spool").mkdir()
    written = tmp_path / "spool" / "1"
    board.arm((faults.Fault("launcher", "spool", "write", 3, "torn"),))
    script = (
        "import os, sys; f = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT)\nfor _ in range(9): os.write(f, b'0123')"
    )
    command = [sys.executable, "-c", script, str(written), "daggy.launcher.program"]
    ended = subprocess.run(command, env=board.environment(), timeout=60, check=False)
    assert ended.returncode == -9
    assert written.read_bytes() == b"0123" * 2 + b"01"
    assert board.fired()
    assert dict(board.calls()) == {"launcher:spool:open": 1, "launcher:spool:write": 3}
    board.close()


@pytest.mark.parametrize(
    ("script", "kept"),
    [
        ('cat answer > "$DAGGY_GENERATE"', "*.answer"),
        ("cat answer", "[0-9].[0-9]"),
        ("cat answer; head -c 1200000 /dev/zero | tr '\\0' ' '", "*.stdout"),
    ],
)
def test_what_a_generator_says_is_synced_before_it_counts(
    script: str, kept: str, library: Path, tmp_path: Path
) -> None:
    """Whatever the mills' power cuts happen to take: what was synced has the sticky bit."""
    (tmp_path / "answer").write_text(json.dumps({"tasks": {"new": {"details": {"command": ["true"]}}}}))
    maker = {"details": {"command": ["sh", "-c", script]}, "is_generator": True}
    (tmp_path / "spec.json").write_text(json.dumps({"tasks": {"maker": maker}}))
    board = faults.Board(tmp_path / "board", library)
    command = [*DAGGY, "run", "spec.json", "--dir", "state"]
    subprocess.run(command, cwd=tmp_path, env=os.environ | board.environment(), timeout=60, check=True)
    board.close()
    (said,) = (tmp_path / "state").glob(f"runs/1/packs/{kept}")
    assert said.stat().st_mode & S_ISVTX


def test_the_board_fills_the_disk_for_a_while_and_moves_the_clock(library: Path, tmp_path: Path) -> None:
    board = faults.Board(tmp_path / "board", library)
    (tmp_path / "packs").mkdir()
    board.arm((faults.Fault("launcher", "pack", "write", 2, "before", 2),))
    board.move_clock(-7200.0)
    script = """
import os, sys, time
f, told = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT), []
for _ in range(5):
    try:
        told.append(os.write(f, b"x"))
    except OSError as error:
        told.append(error.errno)
print(told, time.time())
"""
    command = [sys.executable, "-c", script, str(tmp_path / "packs" / "1"), "daggy.launcher.program"]
    said = subprocess.run(command, env=board.environment(), timeout=60, check=True, capture_output=True, text=True)
    told, _, now = said.stdout.rpartition("] ")
    assert told == "[1, 28, 28, 1, 1"
    assert float(now) < written_at(tmp_path / "packs" / "1") - 7000
    board.close()


def written_at(path: Path) -> float:
    return path.stat().st_mtime


def test_what_a_trackers_log_has_unsynced_is_known(library: Path, tmp_path: Path) -> None:
    board = faults.Board(tmp_path / "board", library)
    script = """
import os, signal, sqlite3, sys
writer = sqlite3.connect(sys.argv[1] + "/daggy.db", isolation_level=None)
writer.execute("PRAGMA journal_mode=WAL")
writer.execute(f"PRAGMA synchronous={sys.argv[2]}")
writer.execute("CREATE TABLE t (x)")
os.kill(os.getpid(), signal.SIGKILL)
"""
    for setting, is_loose in (("FULL", False), ("NORMAL", True)):
        (home := tmp_path / setting).mkdir()
        command = [sys.executable, "-c", script, str(home), setting, "daggy.launcher.program"]
        subprocess.run(command, env=board.environment(), check=False)
        assert (board.loose() < faults.NOTHING) == is_loose
    board.close()


COMMITS = """
import os, signal, sys
from pathlib import Path
from daggy.errors import TrackerError
from daggy.testing.entries import attempts, submitted
from daggy_sqlite import SqliteSettings, SqliteTracker

tracker = SqliteTracker(SqliteSettings(), Path(sys.argv[1]))
tracker.append([submitted(1)])
print("ready", flush=True)
input()
batch = [attempts(1, 1, 3, seed=1)]
try:
    tracker.append(batch)
except TrackerError:
    looked = SqliteTracker.open_readonly(SqliteSettings(), Path(sys.argv[1]))
    print("refused", len(looked.attempts(1, 0, 9)), flush=True)
    looked.close()
else:
    print("kept", flush=True)
input()
if sys.argv[2] == "again":
    tracker.append([*batch, attempts(1, 1, 2, seed=2)])
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("way", ["again", "dies"])
@pytest.mark.parametrize(("op", "nth", "when"), [("write", 2, "torn"), ("sync", 1, "before")])
def test_a_commit_that_fails_has_kept_nothing(
    op: str, nth: int, when: str, way: str, library: Path, tmp_path: Path
) -> None:
    """Even if all of it is in the log, only not synced: the same again keeps each once; after a death it is whole."""
    board = faults.Board(tmp_path / "board", library)
    command = [sys.executable, "-c", COMMITS, str(tmp_path / "state"), way, "daggy.launcher.program"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
        env=os.environ | board.environment(),
    ) as process:  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        board.arm((faults.Fault("launcher", "tracker", op, nth, when, 2),))
        print(file=process.stdin)
        assert process.stdout.readline() == "refused 0\n"
        board.clear()
        print(file=process.stdin)
        assert process.wait(60) == -9
    board.close()
    with closing(SqliteTracker(SqliteSettings(), tmp_path / "state")) as tracker:
        kept = sum(len(batch.rows) for batch in tracker.attempts(1, 0, 99))
    assert kept == 5 if way == "again" else kept in (0, 3)
