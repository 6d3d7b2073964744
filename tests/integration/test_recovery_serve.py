"""What each crash of a server costs: engine, launcher or both killed, and the next server goes on. An oracle that knows
nothing of Daggy's code, the tasks' own appends to a file, says what ran.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration import linger_rig
from tests.integration.serve_rig import Server, command, serving, shell, task

LINE = 'echo "{} $DAGGY_TASK $DAGGY_ATTEMPT $$" >> {}'


class Scene:
    """A directory that servers come and go in, and what its tasks said."""

    def __init__(self, path: Path) -> None:
        self.path, self.log, self.gate = path, path / "oracle", path / "gate"
        self.log.touch()
        self.state = path / "state"
        self.servers: list[Server] = []

    def serve(self, *arguments: str) -> Server:
        (self.state / "address").unlink(missing_ok=True)
        self.servers.append(Server(self.state, *arguments))
        return self.servers[-1]

    def kill(self) -> None:
        """Kill the engine, and nothing else."""
        server = self.servers[-1]
        server.http.close()
        server.process.kill()
        server.process.wait()

    def told(self, work: str = ":", parents: Any = (), **keys: Any) -> Any:
        """A task that says when it begins and ends."""
        begin, end = (LINE.format(word, self.log) for word in ("begin", "end"))
        return shell(f"{begin}; {work} || exit; {end}", parents, **keys)

    def gated(self, parents: Any = (), **keys: Any) -> Any:
        """One that waits for the gate."""
        return self.told(f"while ! test -e {self.gate}; do sleep 0.02; done", parents, **keys)

    def said(self) -> list[list[str]]:
        return [line.split() for line in self.log.read_text().splitlines()]

    def begun(self) -> Counter[str]:
        return Counter(name for word, name, *_ in self.said() if word == "begin")

    def ended(self) -> Counter[str]:
        return Counter(name for word, name, *_ in self.said() if word == "end")

    def launchers(self) -> list[int]:
        """Process ids of the launchers that hold their locks."""
        return [pid for pid in linger_rig.launchers(self.state) if _alive(pid)]

    def until(self, condition: Any) -> None:
        """Wait for what processes do of which nobody tells."""
        import time

        deadline = time.monotonic() + 60
        while not condition():
            assert time.monotonic() < deadline, (self.said(), [one.errors.read_text()[-2000:] for one in self.servers])
            time.sleep(0.02)


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    one = Scene(tmp_path)
    yield one
    one.gate.touch()
    for server in one.servers:
        if server.process.poll() is None:
            server.stop()
    for pid in one.launchers():
        os.kill(pid, signal.SIGTERM)
    one.until(lambda: not one.launchers())


def attempts(server: Server, run: int, index: int) -> list[str]:
    return [one["reason"] for one in server.get(f"/runs/{run}/tasks/{index}")["attempts"]]


def test_what_runs_outlives_the_engine_and_is_taken_up(scene: Scene) -> None:
    server = scene.serve()
    run = server.submit({"a": scene.gated(), "b": scene.gated(), "c": scene.told(parents=["a", "b"])})
    scene.until(lambda: scene.begun().total() == 2)
    scene.kill()
    server = scene.serve()
    assert server.get(f"/runs/{run}")["counts"]["running"] == 2
    scene.gate.touch()
    assert server.ended(run)["state"] == "completed"
    assert scene.begun() == scene.ended() == Counter("abc")
    assert [attempts(server, run, index) for index in range(3)] == [["ok"]] * 3
    assert server.api("GET", f"/runs/{run}/tasks/0/logs/stdout").content == b""


def test_what_ends_while_nobody_listens_counts_and_runs_once(scene: Scene) -> None:
    server = scene.serve()
    tasks = {"a": scene.gated(), "b": scene.told("exit 3", parents=[{"task": "a", "on": "ended"}])}
    run = server.submit(tasks)
    scene.until(lambda: scene.begun()["a"] == 1)
    scene.kill()
    scene.gate.touch()
    scene.until(lambda: scene.ended()["a"] == 1)
    server = scene.serve()
    assert server.ended(run)["state"] == "errored"
    assert scene.begun() == Counter("ab")
    assert attempts(server, run, 1) == ["exit"]


def test_an_engine_killed_again_and_again_loses_nothing_and_runs_nothing_twice(scene: Scene) -> None:
    server = scene.serve()
    work = scene.told("sleep 0.05", expand=["N"], parameters={"N": {"range": [0, 120]}})
    run = server.submit({"work": work, "last": scene.told(parents=["work"])})
    for count in (10, 35, 60, 90):
        scene.until(lambda count=count: scene.ended().total() >= count)
        scene.kill()
        server = scene.serve()
    assert server.ended(run)["state"] == "completed"
    assert set(scene.begun().values()) == {1}
    assert scene.ended().total() == 121


def test_a_launcher_that_died_with_the_engine_lost_what_it_ran_and_that_runs_again(scene: Scene) -> None:
    server = scene.serve()
    run = server.submit({"a": scene.gated(), "b": scene.told(parents=["a"])})
    scene.until(lambda: scene.begun()["a"] == 1)
    (pid,) = scene.launchers()
    scene.kill()
    os.kill(pid, signal.SIGKILL)
    scene.gate.touch()
    server = scene.serve()
    assert server.ended(run)["state"] == "completed"
    assert attempts(server, run, 0) == ["lost", "ok"]
    assert scene.begun()["b"] == 1


def test_a_launcher_that_dies_after_it_was_taken_up_lost_what_it_ran(scene: Scene) -> None:
    server = scene.serve()
    run = server.submit({"a": scene.gated()})
    scene.until(lambda: scene.begun()["a"] == 1)
    (old,) = scene.launchers()
    scene.kill()
    server = scene.serve()
    os.kill(old, signal.SIGKILL)
    scene.until(lambda: scene.begun()["a"] == 2)
    scene.gate.touch()
    assert server.ended(run)["state"] == "completed"
    assert attempts(server, run, 0) == ["lost", "ok"]


def test_what_was_taken_up_can_be_killed_and_read(scene: Scene) -> None:
    server = scene.serve()
    run = server.submit({"a": shell("echo hello; exec sleep 1000")})
    server.until(lambda: server.api("GET", f"/runs/{run}/tasks/0/logs/stdout").content == b"hello\n")
    scene.kill()
    server = scene.serve()
    assert server.api("GET", f"/runs/{run}/tasks/0/logs/stdout").content == b"hello\n"
    server.api("POST", f"/runs/{run}/kill")
    assert server.ended(run)["state"] == "killed"
    assert attempts(server, run, 0) == ["killed"]


def test_a_server_can_leave_what_runs_to_the_next_one(scene: Scene) -> None:
    server = scene.serve("--leave-running")
    run = server.submit({"a": scene.gated(), "b": scene.told(parents=["a"])})
    scene.until(lambda: scene.begun()["a"] == 1)
    assert server.stop() == 0
    assert scene.launchers()
    server = scene.serve()
    scene.gate.touch()
    assert server.ended(run)["state"] == "completed"
    assert scene.begun() == Counter("ab")


def test_a_server_that_stops_ends_what_runs_and_the_next_one_runs_it_again(scene: Scene) -> None:
    server = scene.serve()
    run = server.submit({"a": scene.gated()})
    scene.until(lambda: scene.begun()["a"] == 1)
    assert server.stop() == 0
    assert scene.launchers() == []
    scene.gate.touch()
    server = scene.serve()
    assert server.ended(run)["state"] == "completed"
    assert attempts(server, run, 0) == ["killed", "ok"]
    assert server.get(f"/runs/{run}/tasks/0")["attempts"][0]["message"] == "daggy stopped"


def test_a_launcher_that_does_not_answer_is_ended(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    server = scene.serve()
    run = server.submit({"a": scene.gated()})
    scene.until(lambda: scene.begun()["a"] == 1)
    (pid,) = scene.launchers()
    os.kill(pid, signal.SIGSTOP)
    scene.kill()
    scene.gate.touch()
    server = scene.serve()
    assert server.ended(run)["state"] == "completed"
    assert attempts(server, run, 0) == ["lost", "ok"]
    assert not _alive(pid)


def test_one_command_takes_up_what_a_server_left(scene: Scene) -> None:
    spec = {"name": "one", "tasks": {"a": scene.gated(), "b": scene.told(parents=["a"])}}
    server = scene.serve()
    server.submit(spec["tasks"], name="one")
    scene.until(lambda: scene.begun()["a"] == 1)
    scene.kill()
    scene.gate.touch()
    (scene.path / "spec.json").write_text(json.dumps(spec))
    ran = command("run", "--dir", "state", "spec.json", cwd=scene.path)
    assert ran.returncode == 0, ran.stderr
    assert scene.begun() == Counter("ab")


def test_an_edit_is_there_after_a_crash_or_was_never_answered(scene: Scene) -> None:
    server = scene.serve()
    tasks = {"a": scene.gated(), "b": scene.told(parents=["a"])}
    run = server.submit(tasks)
    scene.until(lambda: scene.begun()["a"] == 1)
    spec = server.get(f"/runs/{run}/spec")
    spec["tasks"]["c"] = task("true", parents=["b"])
    assert server.api("PATCH", f"/runs/{run}", json={"spec": spec}).status_code == 200
    scene.kill()
    scene.gate.touch()
    server = scene.serve()
    told = server.ended(run)
    assert (told["state"], told["version"], told["counts"]["completed"]) == ("completed", 2, 3)
    assert scene.begun() == Counter("ab")


def test_events_go_on_where_they_were(scene: Scene) -> None:
    with serving(scene.path / "other") as server:
        run = server.submit({"a": task("true")})
        server.ended(run)
        server.until(lambda: '"completed"' in _events(server, run, 0)[-1])
        before = _events(server, run, 0)
    (scene.path / "other" / "address").unlink(missing_ok=True)
    with serving(scene.path / "other") as server:
        assert _events(server, run, 0)[: len(before)] == before


def _events(server: Server, run: int, after: int) -> list[str]:
    """What was told of a run, until it is told that it ended."""
    text = ""
    header = {"Last-Event-ID": str(after)}
    with server.http.stream("GET", f"/api/v1/runs/{run}/events", headers=header) as response:
        for piece in response.iter_text():
            text += piece
            if '"state":"completed"' in text:
                break
    return [block for block in text.split("\n\n") if block]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A filesystem of four megabytes."""
    place = tmp_path / "disk"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(place)], check=False).returncode:
        pytest.skip("needs the right to mount a small filesystem")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def fill(disk: Path) -> Path:
    """Leave no room; return the file to remove."""
    filler = disk / "filler"
    descriptor = os.open(filler, os.O_WRONLY | os.O_CREAT)
    with contextlib.suppress(OSError):
        while True:
            os.write(descriptor, bytes(4096))
    os.close(descriptor)
    return filler


def test_a_server_that_starts_on_a_full_disk_goes_on_with_room_again(small_disk: Path) -> None:
    with serving(small_disk / "state") as server:
        assert server.ended(server.submit({"a": task("true")}))["state"] == "completed"
        filler = fill(small_disk)
        server.stop(signal.SIGKILL)
    unwritten = small_disk / "state" / ".address"

    def make_room() -> None:
        deadline = time.monotonic() + 30
        while not unwritten.exists() and time.monotonic() < deadline:
            time.sleep(0.01)  # there is no event of another process to wait for
        filler.unlink()

    room = threading.Thread(target=make_room)
    room.start()
    with serving(small_disk / "state") as server:
        assert server.ended(server.submit({"a": task("true")}))["state"] == "completed"
    room.join()
    assert not unwritten.exists()


def test_a_full_disk_holds_everything_up_says_so_and_goes_on_with_room_again(small_disk: Path) -> None:
    with serving(small_disk / "state") as server:
        first = server.submit({"a": task("true")})
        assert server.ended(first)["state"] == "completed"
        filler = fill(small_disk)
        spec = {"directory": "/", "description": "x" * 500_000, "tasks": {"a": task("true")}}
        waiting = threading.Thread(target=lambda: server.api("POST", "/runs", json=spec))
        waiting.start()
        server.until(lambda: server.http.get("/ready").status_code == 503)
        assert "cannot save state" in server.http.get("/ready").json()["reason"]
        refused = server.api("POST", "/runs", json={"directory": "/", "tasks": {"a": task("true")}})
        assert (refused.status_code, refused.json()["error"]["code"]) == (507, "no_room")
        assert server.get(f"/runs/{first}")["state"] == "completed"
        filler.unlink()
        server.until(lambda: server.http.get("/ready").status_code == 200)
        waiting.join()
        later = server.submit({"a": task("true")})
        assert server.ended(later)["state"] == "completed"


def test_a_run_whose_folder_cannot_be_made_goes_on_once_it_can_and_holds_up_no_other(tmp_path: Path) -> None:
    def held(name: str) -> str:
        return f"touch {tmp_path}/{name}; until test -e {tmp_path}/go; do sleep 0.05; done"

    with serving(tmp_path / "state") as server:
        for name in ("one", "two"):
            server.submit({"a": shell(held(name)), "b": shell("true", ["a"])})
            server.until((tmp_path / name).exists)
        server.stop(signal.SIGTERM)
    folder = tmp_path / "state" / "runs" / "1"
    folder.rename(tmp_path / "aside")
    folder.touch()
    (tmp_path / "go").touch()
    with serving(tmp_path / "state") as server:
        assert server.ended(2)["state"] == "completed"
        answer = server.api("GET", "/runs/1")
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "unavailable")
        assert f"'{folder}' cannot be made: file exists" in answer.json()["error"]["message"]
        server.until(lambda: "run 1 does not go on: " in server.errors.read_text())
        folder.unlink()
        server.until(lambda: server.api("GET", "/runs/1").status_code == 200)
        assert server.ended(1)["state"] == "completed"
        server.until(lambda: "run 1 goes on again" in server.errors.read_text())
