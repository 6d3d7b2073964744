"""Nodes of a server: listed, drained and taken into use again, by the commands and by the API."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.serve_rig import Server, command, events_of, serving, shell

NODE = socket.gethostname()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    configuration = tmp_path / "daggy.json"
    configuration.write_text(json.dumps({"pools": {"default": {"executor": "fork", "workers": 1}}}))
    with serving(tmp_path / "state", "--config", str(configuration)) as one:
        yield one


def node_of(server: Server) -> Any:
    (node,) = server.get("/nodes")["items"]
    return node


def gated(server: Server, count: int) -> int:
    """Submit tasks that end when there is a gate; each says in `log` that it began."""
    script = "echo {{ N }} >> log; until [ -e gate ]; do sleep 0.02; done"
    return server.submit({"one": shell(script)}, parameters={"N": list(range(count))})


def began(server: Server) -> int:
    log = server.directory.parent / "log"
    return len(log.read_text().splitlines()) if log.exists() else 0


def test_nodes_say_what_they_are_and_what_is_in_use(server: Server) -> None:
    node = node_of(server)
    assert {name: node[name] for name in ("pool", "name", "state", "why", "lost_in", "running")} == {
        "pool": "default", "name": NODE, "state": "up", "why": "", "lost_in": None, "running": 0,
    }  # fmt: skip
    assert node["totals"]["cores"] == 1.0
    run = gated(server, 1)
    server.until(lambda: began(server) == 1 and node_of(server)["running"] == 1)
    assert node_of(server)["used"]["cores"] == 1.0
    (server.directory.parent / "gate").touch()
    assert server.ended(run)["state"] == "completed"


def test_a_drained_node_gives_back_what_waits_and_ends_what_runs(server: Server) -> None:
    run = gated(server, 20)
    server.until(lambda: began(server) == 1 and node_of(server)["waiting"])
    drained = command("drain", NODE, "--dir", str(server.directory), cwd=server.directory)
    assert (drained.returncode, drained.stderr) == (0, "")
    assert "draining" in drained.stdout
    server.until(lambda: node_of(server)["waiting"] == 0)
    (server.directory.parent / "gate").touch()
    server.until(lambda: server.get(f"/runs/{run}")["counts"]["completed"] == 1 and not node_of(server)["running"])
    index = server.get(f"/runs/{run}/tasks", state="queued")["items"][0]["index"]
    because = server.get(f"/runs/{run}/tasks/{index}/explain")["because"]
    assert any(NODE in json.dumps(one) or "machine" in json.dumps(one) for one in because), because
    assert server.api("PATCH", f"/nodes/default/{NODE}", json={"state": "up"}).json()["state"] == "up"
    assert server.ended(run)["counts"]["completed"] == 20
    assert began(server) == 20


def test_a_drained_node_stays_so_when_the_server_is_started_again(tmp_path: Path) -> None:
    with serving(tmp_path / "state") as server:
        assert server.api("PATCH", f"/nodes/default/{NODE}", json={"state": "draining"}).status_code == 200
        assert server.stop() == 0
    with serving(tmp_path / "state") as server:
        assert node_of(server)["state"] == "draining"
        run = server.submit({"one": shell("true")})
        undrained = command("undrain", f"default/{NODE}", "--dir", str(server.directory), cwd=tmp_path)
        assert undrained.returncode == 0, undrained.stderr
        assert server.ended(run)["state"] == "completed"
        assert server.stop() == 0
    with serving(tmp_path / "state") as server:
        assert node_of(server)["state"] == "up"


def test_followers_of_all_runs_hear_of_nodes(server: Server) -> None:
    server.api("PATCH", f"/nodes/default/{NODE}", json={"state": "draining"})
    with server.http.stream("GET", "/api/v1/events", params={"after": 0}) as stream:
        text = ""
        for piece in stream.iter_text():
            text += piece
            if "event: node" in text and text.endswith("\n\n"):
                break
    (event,) = [one for one in events_of(text) if one["event"] == "node"]
    assert (event["data"]["pool"], event["data"]["node"], event["data"]["state"]) == ("default", NODE, "draining")
    assert 'daggy_nodes{pool="default",state="draining"} 1.0' in server.http.get("/metrics").text


def test_wrong_words_about_nodes_are_refused_with_what_there_is(server: Server) -> None:
    assert server.api("PATCH", f"/nodes/default/{NODE}", json={"state": "gone"}).status_code == 400
    assert server.api("PATCH", "/nodes/default/none", json={"state": "draining"}).status_code == 404
    assert server.api("PATCH", f"/nodes/none/{NODE}", json={"state": "draining"}).status_code == 404
    up = server.api("DELETE", f"/nodes/default/{NODE}")
    assert (up.status_code, up.json()["error"]["message"]) == (
        409, f"node '{NODE}' is up; drain it and let it finish, or stop what runs it, first",
    )  # fmt: skip
    assert server.get("/nodes", pool="default")["items"] == [node_of(server)]
    assert server.api("GET", "/nodes", params={"pool": "none"}).status_code == 404
    refused = command("drain", "none", "--dir", str(server.directory), cwd=server.directory)
    assert (refused.returncode, refused.stderr) == (2, "no node 'none'; 'daggy nodes' lists those there are\n")
    listed = command("nodes", "--dir", str(server.directory), cwd=server.directory)
    assert [line.split()[:3] for line in listed.stdout.splitlines()] == [
        ["POOL", "NODE", "STATE"],
        ["default", NODE, "up"],
    ]


def test_tasks_are_listed_by_where_they_are_or_ended(server: Server) -> None:
    run = server.submit({"done": shell("true")})
    assert server.ended(run)["state"] == "completed"
    gated_run = gated(server, 3)
    server.until(lambda: began(server) == 1 and node_of(server)["running"] == 1)
    assert [one["name"] for one in server.get(f"/runs/{run}/tasks", node=NODE)["items"]] == ["done"]
    there = server.get(f"/runs/{gated_run}/tasks", node=f"default/{NODE}", state="running")["items"]
    assert [one["state"] for one in there] == ["running"]
    assert server.api("GET", f"/runs/{run}/tasks", params={"node": "other"}).status_code == 400
    place = ("--dir", str(server.directory))
    listed = command("tasks", str(run), "--node", NODE, *place, cwd=server.directory)
    assert listed.stdout.splitlines()[1].split()[:3] == ["0", "done", "completed"]
    (server.directory.parent / "gate").touch()
    server.ended(gated_run)
    assert server.stop() == 0
    kept = command("tasks", str(gated_run), "--node", NODE, "--json", *place, cwd=server.directory)
    assert len(json.loads(kept.stdout)["items"]) == 3
    unknown = command("tasks", str(run), "--node", "other", *place, cwd=server.directory)
    assert (unknown.returncode, unknown.stderr) == (
        2, "nothing has run on a node 'other'; 'daggy nodes' lists those there are\n",
    )  # fmt: skip
