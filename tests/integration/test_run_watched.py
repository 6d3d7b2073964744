"""A `daggy run --dir` seen from another terminal: watched, listed, killed, and never changed."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.integration.command_rig import DEADLINE, Start, starting, wait_for
from tests.integration.serve_rig import events_of, serving, shell, task

Daggy = Callable[..., subprocess.CompletedProcess[str]]

HELD = "touch began; echo begun; while ! test -e go; do sleep 0.05; done; echo over"


class Terminals:
    """A run in one terminal, and what others do meanwhile."""

    def __init__(self, daggy: Daggy, start: Start, path: Path) -> None:
        self.daggy, self.start, self.path = daggy, start, path
        self.state = path / "state"

    def write(self, tasks: Any) -> str:
        (self.path / "held.json").write_text(json.dumps({"tasks": tasks}))
        return "held.json"

    def run(self, tasks: Any) -> subprocess.Popen[bytes]:
        """Start the run in the first terminal; return once it can be asked, and a task of it has begun."""
        process: subprocess.Popen[bytes] = self.start(
            "run", "--dir", "state", self.write(tasks), stderr=subprocess.PIPE
        )
        wait_for(lambda: (self.state / "address").exists() and (self.path / "began").exists(), process)
        return process

    def __call__(self, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        """Give a command in a second terminal."""
        done = self.daggy(*arguments, "--dir", "state")
        assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
        assert "Traceback" not in done.stderr
        return done

    def json(self, *arguments: str) -> Any:
        return json.loads(self(*arguments, "--json").stdout)

    def beside(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start a command in a second terminal."""
        process: subprocess.Popen[bytes] = self.start(
            *arguments, "--dir", "state", stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        return process

    def http(self) -> httpx.Client:
        token = (self.state / "token").read_text().strip()
        return httpx.Client(
            base_url=(self.state / "address").read_text().strip(),
            headers={"Authorization": f"Bearer {token}"},
            timeout=DEADLINE,
            trust_env=False,
        )

    def followed_by(self, count: int, process: subprocess.Popen[bytes]) -> None:
        """Return once as many follow its events."""
        with self.http() as http:
            wait_for(lambda: f"\ndaggy_followers {count}.0\n" in http.get("/metrics").text, process)

    def go(self) -> None:
        (self.path / "go").touch()


@pytest.fixture
def terminals(daggy: Daggy, tmp_path: Path) -> Iterator[Terminals]:
    with starting(tmp_path, NO_COLOR="1") as start:
        yield Terminals(daggy, start, tmp_path)


def test_a_run_is_listed_watched_and_waited_for_until_its_end(terminals: Terminals) -> None:
    process = terminals.run({"a": shell(HELD), "b": shell("echo what went wrong >&2; exit 7", parents=["a"])})
    logs = terminals.beside("logs", "last", "a", "-f")
    assert logs.stdout is not None
    assert logs.stdout.readline() == b"begun\n"
    assert [(run["state"], run["counts"]["running"]) for run in terminals.json("ls")["items"]] == [("running", 1)]
    assert [one["state"] for one in terminals.json("tasks", "last")["items"]] == ["running", "waiting"]
    assert "a is running" in terminals("explain", "last", "b").stdout
    others = [terminals.beside(command, "last") for command in ("watch", "wait")]
    terminals.followed_by(2, process)
    terminals.go()
    told = "held: run 1 errored: 1 completed, 1 errored\nb errored: exit 7\n    what went wrong\n"
    for other in others:
        _, said = other.communicate(timeout=DEADLINE)
        assert (other.returncode, said.decode()) == (1, told)
    assert logs.communicate(timeout=DEADLINE)[0] == b"over\n"
    assert logs.returncode == 0
    _, said = process.communicate(timeout=DEADLINE)
    assert process.returncode == 1
    assert b"cannot" not in said
    assert not (terminals.state / "address").exists()
    assert terminals("wait", "last", code=1).stderr == told


def test_a_run_that_is_killed_from_another_terminal_ends_as_a_killed_run(terminals: Terminals) -> None:
    process = terminals.run({"a": shell(HELD), "b": task("true", parents=["a"])})
    assert "1 killed" in terminals("kill", "last", "b").stderr
    waiting = terminals.beside("wait", "last")
    terminals.followed_by(1, process)
    terminals("kill", "last")
    _, said = process.communicate(timeout=DEADLINE)
    assert process.returncode == 1
    assert b"held: killed after " in said
    assert b"2 killed" in said
    assert said.endswith(b"the same command continues the run\n")
    _, told = waiting.communicate(timeout=DEADLINE)
    assert (waiting.returncode, told) == (1, b"held: run 1 killed: 2 killed\n")
    assert "killed by" in terminals("explain", "last", "a").stdout


def test_what_would_change_a_run_is_refused_with_the_mend(terminals: Terminals) -> None:
    process = terminals.run({"a": shell(HELD), "b": task("true", parents=["a"])})
    (terminals.path / "other.json").write_text(json.dumps({"tasks": {"a": task("true")}}))
    for command in (("submit", "other.json"), ("edit", "last", "other.json"), ("requeue", "last", "b")):
        refused = terminals(*command, code=2)
        assert f"a 'daggy run' (process {process.pid}) uses '{terminals.state}'" in refused.stderr
        assert "give the same command again, with an edited spec or --rerun" in refused.stderr
    with terminals.http() as http:
        assert http.patch("/api/v1/runs/1").status_code == 409
        assert http.delete("/api/v1/runs/1", params={"forget": True}).status_code == 409
        assert http.get("/ready").json() == {"ready": True, "reason": "", "takes_runs": False}
        assert http.patch("/api/v1/runs/1", params={"dry_run": True}).status_code == 200
    second = terminals("run", "held.json", code=3)
    assert f"is in use by process {process.pid}; 'daggy watch last --dir {terminals.state}' watches" in second.stderr
    terminals.go()
    process.communicate(timeout=DEADLINE)
    assert process.returncode == 0
    shown = terminals.json("show", "last")
    assert (shown["version"], shown["counts"]["completed"], len(terminals.json("ls")["items"])) == (1, 2, 1)


def test_who_watches_a_run_that_is_interrupted_is_told_so(terminals: Terminals) -> None:
    process = terminals.run({"a": shell(HELD)})
    others = terminals.beside("wait", "last"), terminals.beside("logs", "last", "-f")
    terminals.followed_by(1, process)
    assert others[1].stdout is not None
    assert others[1].stdout.readline() == b"begun\n"
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=DEADLINE)
    assert process.returncode == 130
    said = [other.communicate(timeout=DEADLINE)[1] for other in others]
    assert [other.returncode for other in others] == [3, 0]
    assert said == [
        b"run 1 was interrupted: its 'daggy run' is gone; the same command continues it\n",
        b"run 1 was interrupted\n",
    ]
    assert not (terminals.state / "address").exists()


def test_the_address_that_a_killed_run_left_misleads_nobody(terminals: Terminals, tmp_path: Path) -> None:
    process = terminals.run({"a": shell(HELD)})
    process.kill()
    process.communicate(timeout=DEADLINE)
    assert (terminals.state / "address").exists()
    (tmp_path / "elsewhere").mkdir()
    with serving(tmp_path / "elsewhere" / "state") as server:
        (terminals.state / "address").write_text(f"{server.address}\n")  # the port is another's by now
        assert [run["state"] for run in terminals.json("ls")["items"]] == ["interrupted"]
        assert f"no server uses '{terminals.state}'" in terminals("kill", "last", code=3).stderr
        assert "no server uses" in terminals("token", "--url", code=3).stderr
    terminals.go()
    assert terminals("run", "held.json").returncode == 0
    assert not (terminals.state / "address").exists()


def test_who_stays_connected_may_ask_how_it_ended_and_does_not_hold_it_up(terminals: Terminals) -> None:
    process = terminals.run({"a": shell(HELD)})
    address = (terminals.state / "address").read_text().strip().removeprefix("http://")
    host, _, port = address.rpartition(":")
    with (
        terminals.http() as http,
        http.stream("GET", "/api/v1/runs/1/events") as stream,
        socket.create_connection((host, int(port))) as silent,
    ):
        terminals.go()
        told = events_of("".join(stream.iter_text()))
        assert told[-1]["data"]["state"] == "completed"
        assert http.get("/api/v1/runs/1").json()["state"] == "completed"
        assert events_of(http.get("/api/v1/runs/1/events").text)[-1]["data"]["state"] == "completed"
        assert http.get("/api/v1/runs/1/tasks/0").json()["attempts"][0]["reason"] == "ok"
        assert http.get("/api/v1/runs/1/tasks/0/logs/stdout").text == "begun\nover\n"
        process.communicate(timeout=DEADLINE)
        assert process.returncode == 0
        assert silent.recv(1) == b""


def test_another_run_of_the_directory_is_not_begun_by_a_look_at_it(terminals: Terminals, daggy: Daggy) -> None:
    with serving(terminals.state) as server:
        server.submit({"began": shell("touch other-began; sleep 60")}, name="other")
        server.submit({"a": shell(HELD)}, name="held")
        wait_for((terminals.path / "other-began").exists, server.process)
        server.stop()
    (terminals.path / "other-began").unlink()
    process = terminals.run({"a": shell(HELD), "b": task("true", parents=["a"])})
    assert "run 1 has not ended, and this 'daggy run' continues another one" in terminals("show", "1", code=2).stderr
    assert terminals("kill", "1", code=2).stderr.startswith("run 1 has not ended")
    terminals.go()
    process.communicate(timeout=DEADLINE)
    assert process.returncode == 0
    assert not (terminals.path / "other-began").exists()
    assert [run["state"] for run in terminals.json("ls")["items"]] == ["completed", "interrupted"]


def test_a_run_that_cannot_be_watched_says_so_and_goes_on(terminals: Terminals) -> None:
    terminals("run", terminals.write({"a": task("true")}))
    (terminals.state / "token").chmod(0o644)
    done = terminals("run", "held.json", "--rerun", "a")
    assert "the run cannot be watched from other terminals: " in done.stderr
    assert "can be read by others; remove it" in done.stderr


def test_nothing_is_loaded_or_served_for_nobody(terminals: Terminals, daggy: Daggy, tmp_path: Path) -> None:
    held = terminals.write({"a": shell("ls state/address; exit 3")})
    unkept = daggy("run", held)
    assert "No such file" in unkept.stderr
    with starting(tmp_path, PYTHONPROFILEIMPORTTIME="1") as start:
        process = start("run", "--dir", "state", terminals.write({"a": task("true")}), stderr=subprocess.PIPE)
        _, said = process.communicate(timeout=DEADLINE)
    assert process.returncode == 0
    assert b"daggy.server.one_run" in said
    assert [name for name in (b"hypercorn", b"litestar", b"httpx") if name in said] == []


def test_a_run_without_a_directory_listens_nowhere(terminals: Terminals) -> None:
    held = terminals.write({"a": shell(HELD)})
    process = terminals.start("run", held, stderr=subprocess.PIPE)
    wait_for((terminals.path / "began").exists, process)
    sockets = {str(path.readlink()) for path in Path(f"/proc/{process.pid}/fd").iterdir()}
    listening = {line.split()[9] for line in Path("/proc/net/tcp").read_text().splitlines() if line.split()[3] == "0A"}
    assert [one for one in sockets if one.removeprefix("socket:[").removesuffix("]") in listening] == []
    terminals.go()
    process.communicate(timeout=DEADLINE)
    assert process.returncode == 0
