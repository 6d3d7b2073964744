"""The ssh executor over real SSH servers on loopback, as users see it: runs, servers that die, logs, removal."""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.integration.serve_rig import Server, command, serving, shell
from tests.integration.sshd_rig import Sshd, sshd

GATED = "echo {{ N }} >> log; until [ -e gate ]; do sleep 0.05; done; echo end {{ N }} >> log; echo out {{ N }}"


@pytest.fixture
def far(tmp_path: Path) -> Iterator[Sshd]:
    with sshd(tmp_path / "sshd") as server:
        yield server


def configured(directory: Path, **pools: object) -> str:
    path = directory / "daggy.json"
    path.write_text(json.dumps({"pools": pools}))
    return str(path)


def many(script: str, count: int) -> dict[str, Any]:
    return {"many": shell(script) | {"parameters": {"N": {"range": [0, count]}}}}


def lines(path: Path) -> list[str]:
    return sorted(path.read_text().splitlines()) if path.exists() else []


def test_a_run_over_ssh(tmp_path: Path, far: Sshd) -> None:
    script = 'echo {{ N }} >> log; echo out {{ N }}; echo "$SSH_CONNECTION" >> ways'
    spec = {
        "parameters": {"N": {"range": [0, 60]}},
        "tasks": {"many": shell(script), "last": shell("sort -n log > sorted", parents=["many"])},
    }
    (tmp_path / "spec.json").write_text(json.dumps(spec))
    config = configured(tmp_path, lab={"executor": "ssh", **far.settings()})
    ran = command("run", "--config", config, "spec.json", cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert (tmp_path / "sorted").read_text().split() == [str(number) for number in range(60)]
    assert Counter(line.split()[3] for line in (tmp_path / "ways").read_text().splitlines()) == {str(far.port): 60}
    assert not list((far.directory / "far").glob("**/launchers/*/*"))


def at_least(path: Path, count: int) -> bool:
    return len(lines(path)) >= count


def test_directories_of_tasks_are_below_the_pools_own(tmp_path: Path, far: Sshd) -> None:
    there = tmp_path / "there"
    (there / "below").mkdir(parents=True)
    tasks = {"a": shell("pwd > a"), "b": shell("pwd > b"), "c": shell(f"pwd > {there}/c")}
    tasks["b"]["details"]["directory"] = "below"
    tasks["c"]["details"]["directory"] = "/usr"
    (tmp_path / "spec.json").write_text(json.dumps({"tasks": tasks}))
    config = configured(tmp_path, lab={"executor": "ssh", **far.settings(work=str(there))})
    ran = command("run", "--config", config, "spec.json", cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert [(there / "a").read_text(), (there / "below" / "b").read_text()] == [f"{there}\n", f"{there}/below\n"]
    assert (there / "c").read_text() == "/usr\n"


def test_many_tasks_over_two_machines_while_connections_die(tmp_path: Path, far: Sshd) -> None:
    with sshd(tmp_path / "other") as other:
        hosts = [far.host("one", resources={"cores": 2}), other.host("two", resources={"cores": 2})]
        known = tmp_path / "known"
        known.write_text(far.known.read_text() + other.known.read_text())
        ssh = ["-F", "none", "-o", f"UserKnownHostsFile={known}"]
        config = configured(tmp_path, lab={"executor": "ssh", **far.settings(hosts=hosts, ssh=ssh)})
        with serving(tmp_path / "state", "--config", config) as server:
            run = server.submit(many('echo {{ N }} >> log; echo "$SSH_CONNECTION" >> ways; sleep 0.02', 300))
            for count in (30, 90):
                server.until(partial(at_least, tmp_path / "log", count))
                for one in (far, other):
                    for pid in one.sessions:
                        os.kill(pid, signal.SIGKILL)
            assert server.ended(run)["state"] == "completed"
            nodes = server.get("/nodes")["items"]
            assert {one["name"]: one["state"] for one in nodes} == {"one": "up", "two": "up"}
        ways = Counter(line.split()[3] for line in lines(tmp_path / "ways"))
        assert set(ways) == {str(far.port), str(other.port)}
    assert sorted(map(int, lines(tmp_path / "log"))) == list(range(300))


def test_tasks_go_on_when_the_server_is_killed_and_the_next_takes_them_up(tmp_path: Path, far: Sshd) -> None:
    hosts = [far.host(resources={"cores": 3})]
    config = configured(tmp_path, lab={"executor": "ssh", **far.settings(hosts=hosts)})
    with serving(tmp_path / "state", "--config", config) as server:
        run = server.submit(many(GATED, 5))
        server.until(lambda: len(lines(tmp_path / "log")) == 3)
        server.until(lambda: running(server, run) == 3)
        server.stop(signal.SIGKILL)
    with serving(tmp_path / "state", "--config", config) as server:
        server.until(lambda: server.get("/nodes")["items"][0]["state"] == "up")
        assert len(lines(tmp_path / "log")) == 3
        (tmp_path / "gate").touch()
        assert server.ended(run)["state"] == "completed"
        assert lines(tmp_path / "log") == sorted(f"{word}{at}" for word in ("", "end ") for at in range(5))
        outputs = list((far.directory / "far").glob("**/runs/1/packs/*"))
        assert outputs
        assert server.api("DELETE", f"/runs/{run}", params={"forget": "true"}).status_code < 300
        server.until(lambda: not any(path.exists() for path in outputs))


def test_outputs_of_a_run_that_is_removed_while_its_machine_is_away_go_when_it_is_back(
    tmp_path: Path, far: Sshd
) -> None:
    config = configured(tmp_path, lab={"executor": "ssh", **far.settings()})
    with serving(tmp_path / "state", "--config", config) as server:
        run = server.submit({"a": shell("echo out")})
        assert server.ended(run)["state"] == "completed"
        (output,) = (far.directory / "far").glob("**/runs/1/packs/*")
        sessions = far.sessions
        far.stop()
        for pid in sessions:
            os.kill(pid, signal.SIGKILL)
        server.until(lambda: server.get("/nodes")["items"][0]["state"] == "silent")
        assert server.api("DELETE", f"/runs/{run}", params={"forget": "true"}).status_code < 300
        assert output.exists()
        far.start()
        server.until(lambda: not output.exists())


def running(server: Server, run: int) -> int:
    return int(server.get(f"/runs/{run}")["counts"].get("running", 0))


def test_a_host_whose_key_is_not_known_is_refused_with_the_command_that_accepts_it(tmp_path: Path, far: Sshd) -> None:
    nothing = tmp_path / "nothing"
    ssh = ["-F", "none", "-o", f"UserKnownHostsFile={nothing}"]
    accept = f"ssh -F none -o UserKnownHostsFile={nothing} -p {far.port}"
    config = configured(tmp_path, lab={"executor": "ssh", **far.settings(ssh=ssh)})
    with serving(tmp_path / "state", "--config", config) as server:
        server.until(lambda: server.get("/nodes")["items"][0]["state"] == "refused")
        assert accept in server.http.get("/ready").text
        (node,) = server.get("/nodes")["items"]
        assert node["why"].startswith(f"its host key is not known; look at it and accept it: {accept}")
        run = server.submit({"a": shell("echo out")})
        assert (
            accept
            in command("explain", str(run), cwd=tmp_path, DAGGY_SERVER=server.address, DAGGY_TOKEN=server.token).stdout
        )
    config = configured(tmp_path, lab={"executor": "ssh", **far.settings(ssh=ssh, host_keys="accept-new")})
    with serving(tmp_path / "state", "--config", config) as server:
        assert server.ended(run)["state"] == "completed"
