"""Results: shown, kept through the death of whoever carries them, gone with their run."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from daggy_sqlite import SqliteSettings, SqliteTracker
from tests.integration.linger_rig import launchers
from tests.integration.serve_rig import Server, command, serving, shell, task, until

OLD = Path(__file__).parents[1] / "data" / "format-3"


def leaving(value: str, before: str = "", **keys: Any) -> dict[str, Any]:
    """A template whose tasks leave a value, after something else."""
    told: dict[str, Any] = task("sh", "-c", f'{before}printf %s "$1" > "$DAGGY_RESULT"', "sh", value, **keys)
    return {**told, "result": True}


def results(server: Server, run: int, index: int) -> list[Any]:
    return [attempt["result"] for attempt in server.get(f"/runs/{run}/tasks/{index}")["attempts"]]


def test_results_are_shown_by_every_way_of_looking(tmp_path: Path) -> None:
    tasks = {
        "each": leaving('{"n": {{ N }}, "created": [1, "ä"]}', parameters={"N": [1, 2]}),
        "none": leaving("null"),
        "bad": leaving("{"),
        "again": shell('echo $DAGGY_ATTEMPT > "$DAGGY_RESULT"; [ $DAGGY_ATTEMPT = 2 ]', result=True, max_retries=1),
    }
    first = {"n": 1, "created": [1, "ä"]}
    with serving(tmp_path / "state") as server:
        run = server.submit(tasks)
        assert server.ended(run)["counts"]["errored"] == 1
        assert [results(server, run, index) for index in range(5)] == [
            [first],
            [{"n": 2, "created": [1, "ä"]}],
            [None],
            [None],
            [1, 2],
        ]
        attempt = server.get(f"/runs/{run}/tasks/3")["attempts"][0]
        assert (attempt["reason"], attempt["exit_code"]) == ("result", 0)
        assert attempt["message"].startswith("its result is no JSON: ")

        def asked(*words: str) -> tuple[int, str, str]:
            done = command("result", *words, "--dir", "state", cwd=tmp_path)
            return done.returncode, done.stdout, done.stderr

        told = [asked("last"), asked("last", "each.N:1"), asked("last", "none"), asked("last", "--json")]
        assert told[0] == (
            0,
            'each.N:1: {"n": 1, "created": [1, "ä"]}\neach.N:2: {"n": 2, "created": [1, "ä"]}\nagain: 2\n',
            "",
        )
        assert told[1] == (0, json.dumps(first, ensure_ascii=False) + "\n", "")
        assert told[2][0] == 2
        assert 'none left no result; a task that is to leave one says "result": true' in told[2][2]
        assert json.loads(told[3][1])[0] == {"index": 0, "name": "each.N:1", "attempt": 1, "result": first}
    assert [asked("last"), asked("last", "each.N:1"), asked("last", "none"), asked("last", "--json")] == told
    readable = sqlite3.connect(tmp_path / "state" / "daggy.db").execute("SELECT * FROM results_readable").fetchall()
    assert (run, 1, 0, 1, '{"n":1,"created":[1,"ä"]}') in readable


@pytest.mark.parametrize("dies", ["server", "server and launcher"])
def test_a_result_survives_who_carries_it(tmp_path: Path, dies: str) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    with serving(tmp_path / "state") as server:
        run = server.submit({"a": leaving('{"a": 1}', f"read line < {gate}; ")})
        server.until(lambda: server.get(f"/runs/{run}")["counts"].get("running"))
        server.stop(signal.SIGKILL)
    gate.write_text("go on\n")
    segment = tmp_path / "state" / "launchers" / "1" / "spool" / "00000001"
    until(lambda: b'V{"a":1}' in segment.read_bytes())
    if dies == "server and launcher":
        for pid in launchers(tmp_path / "state"):
            os.kill(pid, signal.SIGKILL)
    with serving(tmp_path / "state") as server:
        assert server.ended(run)["state"] == "completed"
        assert results(server, run, 0) == [{"a": 1}]


def test_a_task_that_is_to_leave_a_result_from_now_on_runs_again(tmp_path: Path) -> None:
    with serving(tmp_path / "state") as server:
        run = server.submit({"a": shell("echo 1 | tee $DAGGY_RESULT"), "b": shell("true")})
        server.ended(run)
        spec = {
            "directory": str(tmp_path),
            "tasks": {"a": shell("echo 1 | tee $DAGGY_RESULT", result=True), "b": shell("true")},
        }
        answer = server.api("PATCH", f"/runs/{run}", json={"spec": spec})
        assert answer.status_code == 200, answer.text
        server.ended(run)
        assert results(server, run, 0) == [None, 1]
        assert results(server, run, 1) == [None]


def test_results_go_with_their_run_and_an_earlier_directory_gets_room_for_them(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir(mode=0o700)
    shutil.copy(OLD / "daggy.db", tmp_path / "state")
    with serving(tmp_path / "state") as server:
        run = server.submit({"a": leaving("[1]")})
        server.ended(run)
        assert results(server, run, 0) == [[1]]
    tracker = SqliteTracker(SqliteSettings(), tmp_path / "state")
    assert [dict(batch.results) for batch in tracker.attempts(run, 0, 9)] == [{0: "[1]"}]
    tracker.forget(run)
    tracker.close()
    assert not sqlite3.connect(tmp_path / "state" / "daggy.db").execute("SELECT * FROM results").fetchall()


def test_what_is_written_late_touches_nobody_elses(tmp_path: Path) -> None:
    gate, late = tmp_path / "gate", tmp_path / "late"
    os.mkfifo(gate)
    leaves = f'(read line < {gate}; echo 666 > "$DAGGY_RESULT"; touch {late}) > /dev/null 2>&1 & exit 0'
    with serving(tmp_path / "state") as server:
        run = server.submit({"a": shell(leaves, result=True), "b": leaving("1", "seq 1 20000; ", parents=["a"])})
        server.ended(run)
        gate.write_text("go on\n")
        until(late.exists)
        again = server.submit({"c": leaving("2")})
        server.ended(again)
        assert [results(server, run, 0), results(server, run, 1), results(server, again, 0)] == [[None], [1], [2]]
        assert len(server.api("GET", f"/runs/{run}/tasks/1/logs/stdout").text.split()) == 20_000
