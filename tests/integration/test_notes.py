"""Notes: what running tasks tell of themselves is seen, outlives who carries it, and reaches the next attempt."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from daggy.cli.notes import said
from tests.integration.linger_rig import launchers
from tests.integration.serve_rig import Server, command, events_of, serving, shell, until


def telling(note: str, then: str, **keys: Any) -> dict[str, Any]:
    """A template whose tasks keep a note, and then do something else."""
    words = ["sh", "-c", f'printf %s "$1" > "$DAGGY_NOTE"; {then}', "sh", note]
    return {"details": {"command": words}, **keys}


def note_of(server: Server, run: int, index: int = 0) -> Any:
    return server.get(f"/runs/{run}/tasks/{index}")["note"]


def told(server: Server, run: int) -> list[dict[str, Any]]:
    """All events up to the end of a run."""
    lines = []
    with server.http.stream("GET", "/api/v1/events", headers={"Last-Event-ID": "0"}) as response:
        for line in response.iter_lines():
            lines.append(line)
            if f'"run_id":{run},' in line and '"state":"completed"' in line:
                break
    return events_of("\n".join([*lines, "", ""]))


def output(server: Server, run: int, attempt: int) -> str:
    return server.api("GET", f"/runs/{run}/tasks/0/logs/stdout", params={"attempt": attempt}).text


def test_a_note_is_seen_by_every_way_of_looking(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    with serving(tmp_path / "state") as server:
        run = server.submit(
            {
                "fit": telling('{"progress": 0.425, "message": "epoch 3"}', f"read line < {gate}"),
                "plain": shell("true"),
            }
        )
        server.until(lambda: note_of(server, run))
        assert note_of(server, run) == {"progress": 0.425, "message": "epoch 3"}
        assert [task["note"] for task in server.get(f"/runs/{run}/tasks")["items"]] == [note_of(server, run), None]
        shown = command("show", "last", "--dir", "state", cwd=tmp_path).stdout
        assert shown.endswith("  fit: 42%, epoch 3\n")
        gate.write_text("go on\n")
        server.ended(run)
        assert [[0, 1]] in [event["data"].get("noted") for event in told(server, run)]
        assert note_of(server, run) == {"progress": 0.425, "message": "epoch 3"}
    listed = command("tasks", "last", "--dir", "state", "--json", cwd=tmp_path).stdout
    assert [task["note"] for task in json.loads(listed)["items"]] == [{"progress": 0.425, "message": "epoch 3"}, None]
    with serving(tmp_path / "state") as server:
        assert note_of(server, run) == {"progress": 0.425, "message": "epoch 3"}


@pytest.mark.parametrize(
    ("note", "told"),
    [
        ({"progress": 0}, "0%"),
        ({"progress": 1.0, "message": "done"}, "100%, done"),
        ({"progress": True, "message": 3}, '{"progress": true, "message": 3}'),
        ({"progress": 7}, '{"progress": 7}'),
        ({"message": "red \x1b[31m\n  other: 100%\u202e"}, "red [31m other: 100%"),
        ({"a": "x" * 500}, '{"a": "' + "x" * 93),
    ],
)
def test_a_note_is_put_into_few_words(note: dict[str, Any], told: str) -> None:
    assert said(note) == told


@pytest.mark.parametrize("dies", ["server", "server and launcher"])
def test_the_last_note_survives_who_carries_it_and_reaches_the_next_attempt(tmp_path: Path, dies: str) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    wait = f"read line < {gate}"
    script = f"[ $DAGGY_NOTE_BEFORE ] && exec cat $DAGGY_NOTE_BEFORE; {wait}; echo '{{\"n\": 2}}' > $DAGGY_NOTE; {wait}"
    details = {"command": ["sh", "-c", script]}
    with serving(tmp_path / "state") as server:
        run = server.submit({"a": {"details": details}})
        server.until(lambda: server.get(f"/runs/{run}")["counts"]["running"])
        server.stop(signal.SIGKILL)
    gate.write_text("go on\n")
    notes = tmp_path / "state" / "launchers" / "1" / "notes"
    until(lambda: [note.read_text() for note in notes.iterdir()] == ['{"n": 2}\n'])
    if dies == "server":
        gate.write_text("go on\n")
    else:
        for pid in launchers(tmp_path / "state"):
            os.kill(pid, signal.SIGKILL)
    with serving(tmp_path / "state") as server:
        assert server.ended(run)["state"] == "completed"
        reasons = [one["reason"] for one in server.get(f"/runs/{run}/tasks/0")["attempts"]]
        assert note_of(server, run) == {"n": 2}
        if dies == "server":
            assert reasons == ["ok"]
        else:
            assert reasons == ["lost", "ok"]
            assert output(server, run, 2) == '{"n":2}'


def test_a_stopped_task_is_told_so_and_its_next_attempt_gets_its_note(tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    ends = "trap 'cat $DAGGY_NOTE.end; exit 1' TERM; sleep 1000 & wait"
    script = f'if [ -n "$DAGGY_NOTE_BEFORE" ]; then cat $DAGGY_NOTE_BEFORE; exit; fi; touch {begun}; {ends}'
    with serving(tmp_path / "state") as server:
        run = server.submit({"a": telling('{"job": 7}', script)})
        server.until(begun.exists)
        assert server.stop(signal.SIGTERM) == 0
    with serving(tmp_path / "state") as server:
        assert server.ended(run)["state"] == "completed"
        assert [output(server, run, attempt) for attempt in (1, 2)] == ["stopped", '{"job":7}']


def test_a_pipe_where_a_task_is_told_of_its_end_holds_nothing_up(tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    script = f"mkfifo $DAGGY_NOTE.end; touch {begun}; sleep 1000"
    with serving(tmp_path / "state") as server:
        run = server.submit({"a": telling('{"job": 7}', script), "b": shell("sleep 1000")})
        server.until(begun.exists)
        assert command("kill", "last", "--dir", "state", cwd=tmp_path).returncode == 0
        assert server.ended(run)["counts"]["killed"] == 2


def test_notes_follow_their_tasks_through_edits(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    waits = telling('{"n": 1}', f"read line < {gate}")
    with serving(tmp_path / "state") as server:
        run = server.submit({"gone": shell("true"), "stays": waits})
        server.until(lambda: note_of(server, run, 1))
        spec = {"directory": str(tmp_path), "tasks": {"stays": waits, "new": shell("true")}}
        assert server.api("PATCH", f"/runs/{run}", json={"spec": spec}).status_code == 200
        assert [task["note"] for task in server.get(f"/runs/{run}/tasks")["items"]] == [{"n": 1}, None]
        gate.write_text("go on\n")
        server.ended(run)
    with serving(tmp_path / "state") as server:
        assert [task["note"] for task in server.get(f"/runs/{run}/tasks")["items"]] == [{"n": 1}, None]


def test_what_is_no_note_is_left_out(tmp_path: Path) -> None:
    tasks = {
        "list": telling("[1]", "true"),
        "torn": telling('{"a": ', "true"),
        "large": shell("head -c 70000 /dev/zero | tr '\\0' x | sed 's/.*/{\"a\": \"&\"}/' > $DAGGY_NOTE"),
        "folder": shell("mkdir $DAGGY_NOTE"),
        "fifo": shell("mkfifo $DAGGY_NOTE"),
        "gone": telling('{"a": 1}', "rm $DAGGY_NOTE"),
        "good": telling('{"a": 1}', "true"),
    }
    with serving(tmp_path / "state") as server:
        run = server.submit(tasks)
        assert server.ended(run)["state"] == "completed"
        notes = {task["name"]: task["note"] for task in server.get(f"/runs/{run}/tasks")["items"]}
        assert {name: note for name, note in notes.items() if note and name != "gone"} == {"good": {"a": 1}}
