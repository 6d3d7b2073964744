"""The command line against a real server: what each command says, and what it ends with."""

from __future__ import annotations

import getpass
import json
import os
import pty
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.serve_rig import DAGGY, Server, command, environment, serving, shell, task

CompletedProcess = subprocess.CompletedProcess


class Shell:
    """Somebody at a keyboard beside a server."""

    def __init__(self, server: Server, path: Path) -> None:
        self.server, self.path = server, path

    def __call__(self, *arguments: str, code: int = 0, **more: Any) -> CompletedProcess[str]:
        done = command(*arguments, cwd=self.path, DAGGY_DIR=str(self.server.directory), **more)
        assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
        assert "Traceback" not in done.stderr
        return done

    def json(self, *arguments: str, **more: Any) -> Any:
        return json.loads(self(*arguments, "--json", **more).stdout)

    def write(self, tasks: Any, name: str = "spec.json", **keys: Any) -> str:
        (self.path / name).write_text(json.dumps({"tasks": tasks, **keys}))
        return name


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("cli") / "state") as one:
        yield one


@pytest.fixture
def sh(server: Server, tmp_path: Path) -> Shell:
    return Shell(server, tmp_path)


def test_a_spec_is_submitted_waited_for_and_looked_at(sh: Shell) -> None:
    spec = sh.write({"a": shell("echo {{ N }}"), "b": task("true", parents=["a"])}, parameters={"N": ["1"]})
    run = sh("submit", spec, "-p", "N=1,2", "--tag", "env=test").stdout.strip()
    assert sh("wait", run).stderr.endswith("3 completed\n")
    assert sh("wait", "-q", run).stderr == ""
    shown = sh.json("show", "last")
    assert (shown["run_id"], shown["name"], shown["tags"]) == (int(run), "spec", {"env": "test"})
    assert "spec" in sh("show", run).stdout
    assert sh.json("ls", "--tag", "env=test")["items"][0]["run_id"] == int(run)
    assert sh.json("ls", "--since", "1h", "--state", "completed", "--limit", "1")["next"] != ""
    tasks = sh.json("tasks", run, "--template", "a", "--param", "N=2")["items"]
    assert [one["name"] for one in tasks] == ["a.N:2"]
    assert sh("logs", run, "a.N:2").stdout == "2\n"
    assert sh.json("logs", run, "a", "--param", "N=1")[0]["stdout"] == "1\n"
    assert "==> a.N:1 attempt 1 exit 0 <==\n1\n" in sh("logs", run, "a").stdout
    assert sh("explain", run, "b").stdout.startswith("b: completed")
    assert 't0["a<br/>2 tasks"]' in sh("graph", run).stdout
    assert json.loads(sh("graph", run, "--format", "json").stdout)["tasks"] == 3


def test_submit_waits_and_tells_what_failed(sh: Shell) -> None:
    spec = sh.write({"bad": shell("echo what went wrong >&2; exit 7"), "next": task("true", parents=["bad"])})
    done = sh("submit", "--wait", spec, code=1)
    assert "bad errored: exit 7" in done.stderr
    assert "    what went wrong" in done.stderr
    assert sh.json("submit", "--wait", spec, code=1)["state"] == "errored"


def test_relative_directories_and_line_files_are_the_callers(sh: Shell) -> None:
    (sh.path / "inputs.txt").write_text("x\ny\n")
    (sh.path / "deep").mkdir()
    where = {"details": {"shell": "pwd", "directory": "deep"}}
    spec = sh.write({"a": where, "b": task("echo", "{{ LINE }}")}, parameters={"LINE": {"lines": "inputs.txt"}})
    run = sh("submit", spec).stdout.strip()
    sh("wait", run)
    assert sh("logs", run, "a").stdout == f"{sh.path}/deep\n"
    assert sh.json("show", run)["counts"]["completed"] == 3


def test_a_key_submits_once(sh: Shell) -> None:
    spec = sh.write({"a": task("true")})
    first = sh("submit", spec, "--key", "k1").stdout
    assert sh("submit", spec, "--key", "k1").stdout == first
    sh.write({"a": task("false")})
    assert "another body" in sh("submit", spec, "--key", "k1", code=2).stderr


def test_an_edit_is_shown_and_done(sh: Shell) -> None:
    spec = sh.write({"a": task("true"), "b": task("false", parents=["a"])})
    run = sh("submit", spec).stdout.strip()
    sh("wait", run, code=1)
    sh.write({"a": task("true"), "b": task("true", parents=["a"]), "c": task("true")})
    planned = sh("plan", run, spec).stdout
    assert "command changed (1)" in planned
    assert {row["name"]: row["added"] for row in sh.json("plan", run, spec)["templates"]}["c"] == 1
    assert "command changed (1)" in sh("edit", "-n", run, spec).stdout
    assert sh.json("show", run)["version"] == 1
    assert "command changed (1)" in sh("edit", run, spec).stdout
    assert sh.json("wait", run)["version"] == 2


def test_tasks_are_requeued_killed_and_resumed(sh: Shell) -> None:
    spec = sh.write({"a": shell("sleep {{ N }}"), "b": task("true", parents=["a"])}, parameters={"N": ["0", "1000"]})
    run = sh("submit", spec).stdout.strip()
    sh.server.until(lambda: sh.server.get(f"/runs/{run}")["counts"]["running"] == 1)
    sh("kill", run, "a", "--param", "N=1000")
    assert sh.json("wait", run, code=1)["counts"]["upstream_failed"] == 1
    assert "1 of 2 'a' failed" in sh("explain", run, "b").stdout
    sh("resume", run)
    sh.server.until(lambda: sh.server.get(f"/runs/{run}")["counts"]["running"] == 1)
    sh("kill", run)
    assert sh.json("wait", run, code=1)["state"] == "killed"
    assert f"run killed by {getpass.getuser()}" in sh("explain", run, "a", "--param", "N=1000").stdout
    dry = sh("requeue", run, "a", "--param", "N=0", "-n").stdout
    assert "requeued (1)" in dry
    assert sh.json("requeue", run, "a", "--param", "N=0")["state"] in ("queued", "running")
    sh("kill", run)
    assert "name the tasks to run again" in sh("requeue", run, code=2).stderr
    for name in ("kill", "requeue"):
        assert "no task has N '9'" in sh(name, run, "--param", "N=9", code=2).stderr


def test_output_is_followed_until_the_task_ends(sh: Shell) -> None:
    gate = sh.path / "gate"
    spec = sh.write({"a": shell(f"echo one; while ! test -e {gate}; do sleep 0.05; done; echo two")})
    run = sh("submit", spec).stdout.strip()
    sh.server.until(lambda: sh.server.get(f"/runs/{run}")["counts"]["running"] == 1)
    with subprocess.Popen(
        [*DAGGY, "logs", run, "a", "-f"],
        stdout=subprocess.PIPE,
        text=True,
        env=environment(DAGGY_DIR=str(sh.server.directory)),
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "one\n"
        gate.touch()
        assert process.stdout.read() == "two\n"
        assert process.wait(30) == 0


def test_watching_draws_and_ctrl_c_only_detaches(sh: Shell) -> None:
    run = sh("submit", sh.write({"a": task("sleep", "1000")})).stdout.strip()
    sh.server.until(lambda: sh.server.get(f"/runs/{run}")["counts"]["running"] == 1)
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*DAGGY, "watch", run], stderr=theirs, stdout=theirs,
        env=environment(DAGGY_DIR=str(sh.server.directory), TERM="xterm"),
    )  # fmt: skip
    os.close(theirs)
    seen = b""
    while b"running" not in seen:
        seen += os.read(ours, 4096)
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 130
    rest = b""
    while b"continues" not in rest:
        rest += os.read(ours, 4096)
    os.close(ours)
    assert sh.json("show", run)["counts"]["running"] == 1
    sh("kill", run)


def test_what_is_wrong_is_said_in_a_line_with_the_right_code(sh: Shell, tmp_path: Path) -> None:
    spec = sh.write({"a": {"detials": {}}})
    assert sh("submit", spec, code=2).stderr.startswith("spec.json: tasks.a.detials: ")
    assert "no run 99999" in sh("show", "99999", code=2).stderr
    assert "no run 'x'" in sh("show", "x", code=2).stderr
    assert "no state named 'done'" in sh("tasks", "1", "--state", "done", code=2).stderr
    assert "'nobody'" in sh("explain", "1", "nobody", code=2).stderr
    refused = sh("ls", "--token", "wrong", code=3)
    assert "token" in refused.stderr
    assert "does not answer" in sh("ls", "--server", "http://127.0.0.1:1", code=3).stderr
    assert "is not a server address" in sh("ls", "--server", "nowhere", code=2).stderr
    gone = command("submit", "spec.json", "--dir", str(tmp_path / "none"), cwd=tmp_path)
    assert gone.returncode == 3
    assert "daggy serve --dir" in gone.stderr


def test_a_directory_whose_server_was_killed_is_read_as_it_is(tmp_path: Path) -> None:
    with serving(tmp_path / "state") as server:
        run = server.submit({"a": task("true")})
        server.ended(run)
        server.process.kill()
        server.process.wait()
        told = command("show", "last", "--dir", "state", "--json", cwd=tmp_path)
        assert json.loads(told.stdout)["state"] == "completed"
        refused = command("kill", "last", "--dir", "state", cwd=tmp_path)
        assert refused.returncode == 3
        assert "no server uses" in refused.stderr


def test_a_server_in_memory_is_found_without_a_word(tmp_path: Path) -> None:
    with serving(tmp_path / "any", keep=False) as server:
        assert "in memory" in server.errors.read_text()
        (tmp_path / "spec.json").write_text(json.dumps({"tasks": {"a": task("echo", "hello")}}))
        place = {"XDG_STATE_HOME": str(tmp_path)}
        done = command("submit", "--wait", "spec.json", cwd=tmp_path, **place)
        assert done.returncode == 0, done.stderr
        assert command("logs", "last", "a", cwd=tmp_path, **place).stdout == "hello\n"
        token = command("token", cwd=tmp_path, **place).stdout.strip()
        assert token == server.token


def test_wait_and_logs_follow_a_run_across_a_restart_of_the_server(tmp_path: Path) -> None:
    gate, place = tmp_path / "gate", {"DAGGY_DIR": str(tmp_path / "state")}
    script = f"echo begun; while ! test -e {gate}; do sleep 0.05; done; echo over"
    with serving(tmp_path / "state") as server:
        run = str(server.submit({"a": shell(script)}))
        server.until(lambda: server.get(f"/runs/{run}")["counts"]["running"] == 1)
        waiting = subprocess.Popen([*DAGGY, "wait", run], env=environment(**place))
        logs = subprocess.Popen(
            [*DAGGY, "logs", run, "-f"], env=environment(**place), stdout=subprocess.PIPE, text=True
        )
        assert logs.stdout is not None
        assert logs.stdout.readline() == "begun\n"
        server.until(lambda: "\ndaggy_followers 1.0\n" in server.http.get("/metrics").text)
    with serving(tmp_path / "state") as server:
        server.until(lambda: server.get(f"/runs/{run}")["counts"]["running"] == 1)
        gate.touch()
        assert waiting.wait(60) == 0
        assert logs.communicate(timeout=60)[0].endswith("over\n")
        assert logs.returncode == 0


def test_logs_follow_a_run_that_has_not_begun_and_each_task_as_it_starts(sh: Shell) -> None:
    gates = [sh.path / name for name in ("first", "second")]
    scripts = [
        f"printf {gate.name}; while ! test -e {gate}; do sleep 0.05; done; echo gone >&2; exit 3" for gate in gates
    ]
    tasks = {"a": shell(scripts[0]), "b": shell(scripts[1], parents=[{"task": "a", "on": "ended"}])}
    run = sh("submit", sh.write(tasks)).stdout.strip()
    with subprocess.Popen(
        [*DAGGY, "logs", run, "-f"], env=environment(DAGGY_DIR=str(sh.server.directory)), stdout=subprocess.PIPE
    ) as following:
        assert following.stdout is not None
        seen = b""
        for gate in gates:
            while gate.name.encode() not in seen:
                seen += os.read(following.stdout.fileno(), 4096)
            gate.touch()
        seen += following.stdout.read()
        assert following.wait(30) == 0
    assert seen == (b"==> a attempt 1 running <==\nfirstgone\n==> b attempt 1 running <==\nsecondgone\n")


def test_headers_start_on_a_line_of_their_own_and_a_running_attempt_has_a_tail(sh: Shell) -> None:
    gate = sh.path / "gate"
    script = f"seq 1 5; while ! test -e {gate}; do sleep 0.05; done"
    tasks = {"a": shell("printf x"), "b": shell("printf y", parents=["a"]), "c": shell(script, parents=["b"])}
    run = sh("submit", sh.write(tasks)).stdout.strip()
    sh.server.until(lambda: sh.server.get(f"/runs/{run}")["counts"]["running"] == 1)
    sh.server.until(lambda: "5" in sh("logs", run, "c").stdout)
    assert sh("logs", run, "c", "--tail", "2").stdout == "4\n5\n"
    shown = sh("logs", run, "--tail", "1").stdout
    assert shown == ("==> c attempt 1 running <==\n5\n==> a attempt 1 exit 0 <==\nx\n==> b attempt 1 exit 0 <==\ny")
    gate.touch()
    sh("wait", run)


def test_output_that_is_gone_is_no_success(sh: Shell) -> None:
    run = sh("submit", "--wait", sh.write({"a": shell("echo said")})).stdout.strip()
    for pack in (sh.server.directory / "runs" / run / "packs").iterdir():
        pack.unlink()
    assert "stdout of a: " in sh("logs", run, "a", code=1).stderr
