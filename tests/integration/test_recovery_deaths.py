"""Engine, launcher or both die by SIGKILL while `daggy run --dir` is at work: the same command goes on."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.integration.recovery_rig import (
    COMPLETED,
    ENGINE,
    ERRORED,
    KILLED,
    LOST,
    OK,
    QUEUED,
    Rig,
    alive,
    kill,
    launchers,
    rig,
    told,
)


@pytest.fixture
def at(tmp_path: Path) -> Iterator[Rig]:
    with rig(tmp_path) as made:
        yield made


@pytest.mark.parametrize("dies", ["launcher", "engine", "both"])
def test_a_task_that_kills_what_runs_it(at: Rig, dies: str) -> None:
    target = {"launcher": "$PPID", "engine": ENGINE, "both": f"{ENGINE} $PPID"}[dies]
    once = f"{{ test $DAGGY_ATTEMPT -gt 1 || {{ kill -9 {target}; sleep 60; }}; }}"
    tasks = {
        "before": {"details": told()},
        "deadly": {"details": told(once), "parents": ["before"]},
        "after": {"details": told(), "parents": ["deadly"]},
    }
    at.write(tasks)
    code, said = at.run("-j", "2")
    assert code == (0 if dies == "launcher" else -signal.SIGKILL), said
    if dies != "launcher":
        code, said = at.run("-j", "2")
        assert code == 0, said
    at.check(lambda name: {"before": [], "deadly": ["before"], "after": ["deadly"]}[name])
    assert at.names() == ["before", "deadly", "deadly", "after"]
    deadly = [row[1:] for row in at.attempts() if row[0] == 1]
    stopped = KILLED if dies == "engine" else LOST
    assert deadly == [(1, stopped, QUEUED), (2, OK, COMPLETED)]
    crashes = at.query("SELECT crashes FROM attempts WHERE task_index = 1 AND attempt = 1")
    assert crashes == [(0 if dies == "engine" else 1,)]


def test_a_task_that_always_kills_its_launcher_does_not_take_the_others_along(at: Rig) -> None:
    at.write(
        {
            "deadly": {"details": told("kill -9 $PPID"), "crash_limit": 1},
            "child": {"details": told(), "parents": ["deadly"]},
            "other": {"details": told(), "parameters": {"N": {"range": [0, 20]}}, "expand": ["N"]},
        }
    )
    code, said = at.run("-j", "1")
    assert code == 1
    assert "deadly errored: lost" in said
    deadly = [row[1:] for row in at.attempts() if row[0] == 0]
    assert deadly == [(1, LOST, QUEUED), (2, LOST, ERRORED)]
    assert sum(name.startswith("other.") for name in set(at.names("end"))) == 20
    assert "child" not in at.names()


def disturb(at: Rig, way: str, moments: random.Random) -> None:
    """Run, and end it from outside: after so much was said, or a moment after it was started."""
    process = at.start("-q", "-j", "3")

    def until_more(lines: int) -> None:
        goal = len(at.lines()) + lines
        at.until(lambda: len(at.lines()) >= goal or process.poll() is not None)

    if more := moments.choice([0, 1, 5, 15, 25]):
        until_more(more)
    else:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(moments.uniform(0.1, 0.6))  # while it reads, recovers or begins
    if process.poll() is None and way == "interrupt":
        process.send_signal(signal.SIGINT)
    elif process.poll() is None:
        kill(*(launchers(process.pid) if way != "engine" else []))
        if way == "launchers":
            until_more(10)
        kill(process.pid)
    process.communicate(timeout=60)


def test_nothing_runs_twice_unnoticed_whoever_dies_when(at: Rig) -> None:
    """Engines, launchers and both are killed, or interrupted, at moments drawn with a seed."""
    count, moments = 40, random.Random(20)
    pulled = {"parameters": {"N": {"range": [0, count]}}, "crash_limit": 100}
    tasks = {
        "pull": {"details": told("sleep 0.0{{ N % 7 }}"), **pulled},
        "clean": {"details": told(": {{ N }}"), "parents": [{"task": "pull", "match": ["N"]}], **pulled},
        "report": {"details": told(), "parents": ["clean"], "crash_limit": 100},
    }
    at.write(tasks)
    for way in ("engine", "launchers", "both", "interrupt", "engine", "both", "launchers"):
        disturb(at, way, moments)
    code, said = at.run("-q", "-j", "3")
    assert code == 0, said
    everything = [f"{word}.N:{number}" for word in ("pull", "clean") for number in range(count)]
    assert set(at.names("end")) == {*everything, "report"}

    def parents(name: str) -> list[str]:
        if name == "report":
            return [one for one in everything if one.startswith("clean")]
        return [name.replace("clean", "pull")] if name.startswith("clean") else []

    at.check(parents)
    assert any(reason in (LOST, KILLED) for _, _, reason, _ in at.attempts()), "nobody was ever killed at work"


def test_a_generator_that_finished_before_its_answer_was_kept_is_not_run_again(at: Rig) -> None:
    os.mkfifo(at.path / "go")
    answer = {"x": {"details": told()}, "y": {"details": told(), "parents": ["x"]}}
    (at.path / "answer").write_text(json.dumps(answer))
    tasks = {
        "find": {"details": told("{ echo $$ > pid; cat go; cat answer; }"), "is_generator": True},
        "use": {"details": told(), "parents": ["find"]},
    }
    at.write(tasks)
    process = at.start("-j", "1")
    at.until(lambda: (at.path / "pid").exists() and (at.path / "pid").read_text().endswith("\n"), process)
    with closing(sqlite3.connect(at.database, isolation_level=None)) as locked:
        locked.execute("BEGIN IMMEDIATE")  # nothing can be kept until this is given up
        (at.path / "go").write_text("")
        at.until(lambda: not Path(f"/proc/{int((at.path / 'pid').read_text())}").exists(), process)
        process.kill()
        process.communicate()
        locked.execute("ROLLBACK")
    assert at.query("SELECT count(*) FROM generated") == [(0,)]
    code, said = at.run("-j", "1")
    assert code == 0, said
    at.check(lambda name: {"find": [], "find/x": ["find"], "find/y": ["find/x"], "use": ["find/x", "find/y"]}[name])
    assert at.names() == ["find", "find/x", "find/y", "use"]
    assert at.query("SELECT count(*) FROM generated") == [(1,)]


def test_what_grew_has_the_same_indexes_after_a_kill(at: Rig) -> None:
    waits = told("{ test -e go || sleep 60; : {{ N }}; }")
    part = {"parameters": {"N": {"range": [0, 3]}}, "details": waits}
    (at.path / "parts").write_text(json.dumps({"tasks": {"part": part}}))
    at.write(
        {
            "find": {"details": told("{ echo {{ K }} > /dev/null; cat parts; }"), "is_generator": True},
            "use": {"details": told(), "parents": ["find"]},
        },
        parameters={"K": [1, 2]},
    )
    process = at.start("-j", "1")
    at.until(lambda: at.names("end") and at.query("SELECT count(*) FROM generated") == [(2,)], process)
    order = [index for (index,) in at.query("SELECT task_index FROM generated ORDER BY id")]
    process.kill()
    process.communicate()
    (at.path / "go").touch()
    code, said = at.run("-j", "1")
    assert code == 0, said
    at.check()
    assert len(set(at.names())) == 9  # whoever was at work when it was killed has started twice
    first = 1 + max(index for _, index, _, name in at.lines() if "part" not in name)
    for position, generator in enumerate(order):
        origin = next(name for _, index, _, name in at.lines() if index == generator)
        for number in range(3):
            assert ("start", first + 3 * position + number, f"{origin}/part.N:{number}") in {
                (what, index, name) for what, index, _, name in at.lines()
            }


def test_an_edit_after_a_kill_keeps_what_is_the_same(at: Rig) -> None:
    tasks: dict[str, dict[str, Any]] = {
        "same": {"details": told()},
        "wrong": {"details": told("{ echo wrong > used; sleep 60; }"), "parents": ["same"]},
        "last": {"details": told(), "parents": ["wrong"]},
    }
    at.write(tasks)
    process = at.start("-j", "1")
    at.until((at.path / "used").exists, process)
    kill(process.pid, *launchers(process.pid))
    process.communicate()
    (at.path / "used").unlink()
    tasks["wrong"]["details"] = told("echo right > used")
    at.write(tasks)
    code, said = at.run("-j", "1")
    assert code == 0, said
    assert (at.path / "used").read_text() == "right\n"
    assert at.names() == ["same", "wrong", "wrong", "last"]
    at.check()
    assert at.query("SELECT max(version) FROM specs") == [(2,)]


def test_what_an_edit_changes_never_starts_again_as_it_was(at: Rig) -> None:
    """An edit after a kill is committed before anything is launched."""
    tasks = {name: {"details": told(f"{{ echo {name} >> used; sleep 60; }}")} for name in ("a", "b")}
    at.write(tasks)
    process = at.start("-j", "1")
    at.until((at.path / "used").exists, process)
    process.kill()
    process.communicate()
    before = len(at.lines())
    at.write({name: {"details": told(f"test -e never || echo new {name} >> used")} for name in ("a", "b")})
    code, said = at.run("-j", "1")
    assert code == 0, said
    assert (at.path / "used").read_text().splitlines()[1:] == ["new a", "new b"]
    assert len(at.lines()) - before == 4


def test_an_interrupted_run_has_ended_its_tasks_and_spent_nothing(at: Rig) -> None:
    at.write(
        {
            "soft": {"details": told("{ echo $$ >> pids; exec sleep 60; }"), "crash_limit": 0},
            "hard": {"details": {**told("{ trap '' TERM; echo $$ >> pids; sleep 60; }"), "grace": 0.2}},
        }
    )
    process = at.start("-j", "2")
    at.until(lambda: (at.path / "pids").exists() and len((at.path / "pids").read_text().split()) == 2, process)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    for pid in (at.path / "pids").read_text().split():
        assert not alive(int(pid))
    stopped = at.query("SELECT reason, outcome, failures, crashes, message FROM attempts JOIN messages USING (id)")
    assert stopped == [(KILLED, QUEUED, 0, 0, "daggy stopped")] * 2
    at.write({name: {"details": told()} for name in ("soft", "hard")})
    code, said = at.run("-j", "2")
    assert code == 0, said
    assert sorted(at.attempts())[1::2] == [(0, 2, OK, COMPLETED), (1, 2, OK, COMPLETED)]


def test_a_launcher_of_one_pool_dies_and_the_other_goes_on(at: Rig) -> None:
    fork = {"executor": "fork", "workers": 1}
    config = {"pools": {"left": fork, "right": fork}, "default_pool": "left"}
    (at.path / "config.json").write_text(json.dumps(config))
    deadly = "{ test $DAGGY_ATTEMPT -gt 1 || { kill -9 $PPID; sleep 60; }; }"
    tasks = {
        "a": {"details": told(), "pool": "left"},
        "b": {"details": told(deadly), "pool": "right", "parents": ["a"]},
        "c": {"details": told(), "pool": "left", "parents": ["b"]},
        "d": {
            "details": told(f"{{ test $DAGGY_ATTEMPT -gt 1 || {{ kill -9 {ENGINE}; sleep 60; }}; }}"),
            "parents": ["c"],
        },
        "e": {"details": told(), "pool": "right", "parents": ["d"]},
    }
    at.write(tasks)
    code, said = at.run("--config", "config.json")
    assert code == -signal.SIGKILL, said
    code, said = at.run("--config", "config.json")
    assert code == 0, said
    at.check(lambda name: [] if name == "a" else [chr(ord(name) - 1)])
    assert at.names() == ["a", "b", "b", "c", "d", "d", "e"]
    used = at.query("SELECT DISTINCT task_index, pool FROM attempts JOIN places ON number = place ORDER BY task_index")
    assert used == [(0, "left"), (1, "right"), (2, "left"), (3, "left"), (4, "right")]
