"""Agents as users see them: machines that call in, run tasks, vanish, come back, and leave."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil
import pytest
import trio

from daggy.agent.socket import Address, connected
from daggy.launcher.program.wire import VERSION
from tests.chaos.faults import Board, build
from tests.integration.agent_rig import POOL, Agent, Field, field, state
from tests.integration.linger_rig import launchers
from tests.integration.serve_rig import Server, command, shell

LOG = "echo {{ N }} >> %s/log; "
GATED = LOG + "until [ -e %s/gate ]; do sleep 0.05; done; echo end {{ N }} >> %s/log; echo out {{ N }}"


def many(script: str, count: int, **keys: Any) -> dict[str, Any]:
    return {"many": shell(script, **keys) | {"parameters": {"N": {"range": [0, count]}}}}


def gated(place: Path, count: int, **keys: Any) -> dict[str, Any]:
    return many(GATED % (place, place, place), count, **keys)


def lines(place: Path) -> list[str]:
    path = place / "log"
    return sorted(path.read_text().splitlines()) if path.exists() else []


def whole(count: int) -> list[str]:
    return sorted(f"{word}{at}" for word in ("", "end ") for at in range(count))


def running(server: Server, run: int) -> int:
    return int(server.get(f"/runs/{run}")["counts"].get("running", 0))


def test_a_run_over_two_agents_with_what_they_say_they_have(tmp_path: Path) -> None:
    with field(tmp_path) as place, place.serving() as server:
        one = place.joined(server, "--resource", "cores=2", "--label", "fast", name="one")
        place.joined(server, "--resource", "cores=2", "--resource", "licence=1", name="two")
        spec = {
            **many("echo {{ N }} >> log; echo out {{ N }}", 40),
            "fast": shell("pwd", resources={"fast": 1}),
            "licensed": shell("pwd; echo $DAGGY_AGENT_TOKEN", resources={"licence": 1}),
        }
        run = server.submit(spec)
        assert server.ended(run)["state"] == "completed"
        assert sorted(map(int, lines(place.place / "one-work") + lines(place.place / "two-work"))) == list(range(40))
        tasks = {task["name"]: task for task in server.get(f"/runs/{run}/tasks", limit=100)["items"]}
        for name, said in (("fast", f"{one.work}\n"), ("licensed", f"{tmp_path}/two-work\n\n")):
            path = f"/runs/{run}/tasks/{tasks[name]['index']}/logs/stdout"
            assert server.api("GET", path).text == said
        nodes = {node["name"]: node for node in server.get("/nodes")["items"]}
        assert nodes["two"]["totals"]["licence"] == 1
        assert nodes["one"]["labels"] == ["fast"]


def test_an_agent_that_is_killed_kills_nothing_and_the_next_finds_what_runs(tmp_path: Path) -> None:
    with field(tmp_path) as place, place.serving() as server:
        agent = place.joined(server, "--resource", "cores=3")
        run = server.submit(gated(tmp_path, 5))
        server.until(lambda: len(lines(tmp_path)) == 3)
        agent.send(signal.SIGKILL)
        server.until(lambda: state(server, "box") == "silent")
        place.joined(server, "--resource", "cores=3")
        (tmp_path / "gate").touch()
        assert server.ended(run)["state"] == "completed"
        assert lines(tmp_path) == whole(5)


def test_a_relay_that_is_killed_costs_nothing(tmp_path: Path) -> None:
    with field(tmp_path) as place, place.serving() as server:
        agent = place.joined(server, "--resource", "cores=3")
        run = server.submit(gated(tmp_path, 5))
        server.until(lambda: len(lines(tmp_path)) == 3)
        (relay,) = agent.children()
        os.kill(relay, signal.SIGKILL)
        agent.until(lambda: agent.children() not in ([], [relay]))
        (tmp_path / "gate").touch()
        assert server.ended(run)["state"] == "completed"
        assert lines(tmp_path) == whole(5)


def test_tasks_go_on_when_the_server_is_killed_and_the_next_takes_them_up(tmp_path: Path) -> None:
    with field(tmp_path) as place:
        with place.serving() as server:
            place.joined(server, "--resource", "cores=3")
            run = server.submit(gated(tmp_path, 5))
            server.until(lambda: running(server, run) == 3)
            server.stop(signal.SIGKILL)
        with place.serving() as server:
            server.until(lambda: state(server, "box") == "up")
            (tmp_path / "gate").touch()
            assert server.ended(run)["state"] == "completed"
            assert lines(tmp_path) == whole(5)


def test_an_agent_that_is_to_leave_lets_what_runs_end_and_gives_back_the_rest(tmp_path: Path) -> None:
    with field(tmp_path) as place, place.serving() as server:
        first = place.joined(server, "--resource", "cores=2", "--grace", "1h", name="first")
        run = server.submit(gated(tmp_path, 8))
        server.until(lambda: running(server, run) == 2)
        first.send()
        server.until(lambda: state(server, "first") == "draining")
        place.joined(server, "--resource", "cores=6", name="second")
        server.until(lambda: running(server, run) == 8)
        (tmp_path / "gate").touch()
        assert first.ended() == 0, first.said
        assert server.ended(run)["state"] == "completed"
        assert lines(tmp_path) == whole(8)
        assert not list(first.directory.glob("*/*/*/launchers/*/*"))
        server.until(lambda: state(server, "first") == "")


def test_at_a_second_signal_what_runs_is_stopped_and_runs_elsewhere_without_a_retry_spent(tmp_path: Path) -> None:
    with field(tmp_path) as place, place.serving() as server:
        first = place.joined(server, "--resource", "cores=2", "--grace", "1h", name="first")
        run = server.submit(gated(tmp_path, 2))
        server.until(lambda: running(server, run) == 2)
        first.send()
        server.until(lambda: state(server, "first") == "draining")
        first.send()
        assert first.ended() == 0, first.said
        place.joined(server, "--resource", "cores=2", name="second")
        (tmp_path / "gate").touch()
        assert server.ended(run)["state"] == "completed"
        attempts = server.get(f"/runs/{run}/tasks/0")["attempts"]
        assert [one["reason"] for one in attempts] == ["killed", "ok"]


def test_an_agent_leaves_when_it_has_had_nothing_to_do(tmp_path: Path) -> None:
    with field(tmp_path) as place, place.serving() as server:
        agent = place.joined(server, "--idle-exit", "1s")
        run = server.submit(many("sleep 0.3", 10))
        assert server.ended(run)["state"] == "completed"
        assert agent.ended() == 0, agent.said
        assert state(server, "box") == ""


def test_a_task_that_waits_for_agents_says_how_one_comes(tmp_path: Path) -> None:
    with field(tmp_path) as place, place.serving() as server:
        run = server.submit({"a": shell("true")})
        said = command("explain", "--dir", str(place.state), str(run), cwd=tmp_path)
        assert f"no agent has joined it; start one on a machine: daggy agent --server URL --pool {POOL}" in said.stdout
        assert server.http.get("/ready").status_code == 200
        place.joined(server)
        assert server.ended(run)["state"] == "completed"


def test_an_agent_leaves_at_its_time(tmp_path: Path) -> None:
    with field(tmp_path) as place, place.serving() as server:
        agent = place.agent("--until", "4s", "--grace", "0")
        assert agent.ended() == 0, agent.said
        assert "joined" in agent.said
        assert state(server, "box") == ""


def test_an_agent_without_a_server_leaves_when_it_has_nothing(tmp_path: Path) -> None:
    with field(tmp_path) as place:
        agent = place.agent("--idle-exit", "1s", token="dga_x_y")
        assert agent.ended() == 0
        assert "cannot connect" in agent.said
        waiting = place.agent(token="dga_x_y", name="other")
        waiting.until(lambda: "trying again" in waiting.said)
        waiting.send()
        assert waiting.ended() == 0


def test_tokens_of_other_kinds_and_revoked_ones_are_refused(tmp_path: Path) -> None:
    with field(tmp_path) as place, place.serving() as server:
        refused = place.agent(token=server.token)
        assert refused.ended() == 2
        assert "the server's own token" in refused.said
        unknown = place.agent(token="dga_12345678_unknown")
        assert unknown.ended() == 2
        assert "not known here, or was revoked" in unknown.said
        token = place.token()
        assert server.http.get("/api/v1/runs", headers={"Authorization": f"Bearer {token}"}).status_code == 401
        agent = place.joined(server, token=token)
        assert revoke(place, token) == 0
        assert agent.ended() == 2
        assert "revoked" in agent.said
        assert revoke(place, token) == 2


def revoke(place: Field, token: str) -> int:
    return command("token", "--revoke", token, "--dir", str(place.state), cwd=place.place).returncode


@pytest.mark.parametrize(
    ("made", "asked", "said"),
    [
        ((), ("--pool", "other"), "no pool 'other' takes agents here; there are: field"),
        (("--pool", POOL), ("--pool", "other"), "this token is for pool 'field', not for 'other'"),
        (("--pool", "gone"), (), "no pool 'gone' takes agents here"),
        ((), ("--name", "a b"), "choose another with --name"),
    ],
)
def test_an_agent_of_the_wrong_pool_or_name_is_refused(
    tmp_path: Path, made: tuple[str, ...], asked: tuple[str, ...], said: str
) -> None:
    with field(tmp_path) as place, place.serving():
        agent = place.agent(*asked, token=place.token(*made))
        assert agent.ended() == 2
        assert said in agent.said


def test_a_second_agent_of_a_name_waits_until_the_first_has_gone(tmp_path: Path) -> None:
    with field(tmp_path) as place, place.serving() as server:
        first = place.joined(server, name="first")
        second = place.agent("--name", "first", name="second")
        second.until(lambda: "another machine is called 'first'" in second.said)
        first.send(signal.SIGKILL)
        second.until(lambda: "joined" in second.said)
        server.until(lambda: state(server, "first") == "up")


def test_two_agents_of_one_directory_are_refused(tmp_path: Path) -> None:
    with field(tmp_path) as place, place.serving() as server:
        first = place.joined(server)
        second = place.agent("--directory", str(first.directory), name="second")
        assert second.ended() == 3
        assert "another agent uses" in second.said


def test_a_silent_agent_is_given_up_and_what_it_runs_runs_elsewhere(tmp_path: Path) -> None:
    with field(tmp_path) as place, place.serving() as server:
        agent = place.joined(server, "--resource", "cores=2")
        run = server.submit(gated(tmp_path, 2))
        server.until(lambda: running(server, run) == 2)
        agent.send(signal.SIGKILL)
        server.until(lambda: state(server, "box") == "silent")
        assert server.api("DELETE", f"/nodes/{POOL}/box").status_code == 202
        server.until(lambda: state(server, "box") == "")
        (tmp_path / "gate").touch()
        place.joined(server, "--resource", "cores=2", name="other")
        assert server.ended(run)["state"] == "completed"


def test_pools_whose_agents_are_called_by_the_server_are_refused_with_the_mend(tmp_path: Path) -> None:
    config = tmp_path / "daggy.json"
    config.write_text(json.dumps({"pools": {POOL: {"executor": "agent", "targets": [{"base_url": "http://a:2503"}]}}}))
    refused = command("serve", "--config", str(config), "--dir", str(tmp_path / "state"), "--port", "0", cwd=tmp_path)
    assert refused.returncode == 2
    assert "remove 'targets', and start 'daggy agent --server URL'" in refused.stderr


def test_what_no_machine_of_the_pool_may_have_is_refused_at_submission(tmp_path: Path) -> None:
    with field(tmp_path, resources=["cores"]) as place, place.serving() as server:
        spec = {"tasks": {"a": shell("true", resources={"gpus": 1})}, "directory": str(tmp_path)}
        response = server.api("POST", "/runs", json=spec)
        assert response.status_code == 422
        assert 'its pool\'s \\"resources\\" are: cores' in response.text


@pytest.fixture
def board(tmp_path: Path) -> Iterator[Board]:
    """What moves the clock of an agent's machine, and starts it anew."""
    made = Board(tmp_path / "board", build(tmp_path))
    yield made
    made.close()


def power_off(place: Field, agent: Agent) -> None:
    """End everything that an agent's machine runs, at once."""
    processes = psutil.Process(agent.process.pid).children(recursive=True)
    for launcher in map(psutil.Process, launchers(place.place)):
        processes += [launcher, *launcher.children(recursive=True)]
    agent.send(signal.SIGKILL)
    for one in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            one.kill()
    agent.process.wait()


def test_what_ran_on_a_machine_that_is_started_anew_runs_again_and_what_had_ended_counts(
    tmp_path: Path, board: Board
) -> None:
    with field(tmp_path) as place, place.serving() as server:
        agent = place.joined(server, "--resource", "cores=2", **board.environment())
        run = server.submit(gated(tmp_path, 2) | {"first": shell("echo first", priority=9)})
        server.until(lambda: len(lines(tmp_path)) == 2)
        power_off(place, agent)
        board.boot("another")
        place.joined(server, "--resource", "cores=2", **board.environment())
        (tmp_path / "gate").touch()
        assert server.ended(run)["state"] == "completed"
        tasks = server.get(f"/runs/{run}/tasks")["items"]
        assert {one["name"]: one["attempts"] for one in tasks} == {"many.N:0": 2, "many.N:1": 2, "first": 1}
        index = next(one["index"] for one in tasks if one["name"] == "many.N:0")
        lost, _ = server.get(f"/runs/{run}/tasks/{index}")["attempts"]
        assert (lost["reason"], lost["message"]) == ("lost", "its machine was started anew")


@pytest.mark.parametrize("seconds", [7200, -7200])
def test_times_of_a_machine_whose_clock_is_wrong_are_corrected_and_people_are_told(
    tmp_path: Path, board: Board, seconds: int
) -> None:
    board.move_clock(seconds)
    with field(tmp_path) as place, place.serving() as server:
        place.joined(server, **board.environment())
        (node,) = server.get("/nodes")["items"]
        assert re.fullmatch(r"its clock is 7[12]\d\d s (ahead|behind)", node["why"])
        began = time.time()
        run = server.submit({"a": shell("true")})
        assert server.ended(run)["state"] == "completed"
        (attempt,) = server.get(f"/runs/{run}/tasks/0")["attempts"]
        started = datetime.fromisoformat(attempt["started"]).timestamp()
        assert began - 30 < started < time.time() + 30


def test_two_servers_share_a_machine_and_leave_each_other_alone(tmp_path: Path) -> None:
    """Also if their agents use directories below the same one: each server has a folder of its own."""
    one, other = tmp_path / "one", tmp_path / "other"
    one.mkdir()
    other.mkdir()
    with field(one) as first, field(other) as second, first.serving() as mine, second.serving() as theirs:
        for place, server in ((first, mine), (second, theirs)):
            place.joined(server, "--resource", "cores=2")
        runs = [server.submit(gated(place.place, 2)) for place, server in ((first, mine), (second, theirs))]
        theirs.until(lambda: running(theirs, runs[1]) == 2)
        mine.until(lambda: running(mine, runs[0]) == 2)
        assert mine.api("POST", f"/runs/{runs[0]}/kill", json={}).status_code < 300
        assert mine.ended(runs[0])["state"] == "killed"
        assert mine.stop() == 0
        (other / "gate").touch()
        assert theirs.ended(runs[1])["state"] == "completed"
        assert lines(other) == whole(2)


def test_who_lets_launchers_end_with_the_agent_is_told(tmp_path: Path) -> None:
    with field(tmp_path) as place, place.serving() as server:
        run = server.submit(gated(tmp_path, 1, crash_limit=9))
        for count in (1, 2):
            agent = place.joined(server)
            server.until(lambda count=count: lines(tmp_path) == ["0"] * count)  # type: ignore[misc]
            power_off(place, agent)
            server.until(lambda: state(server, "box") == "silent")
        place.joined(server)
        (node,) = server.get("/nodes")["items"]
        assert "KillMode=process" in node["why"]
        (tmp_path / "gate").touch()
        assert server.ended(run)["state"] == "completed"


async def knock(address: str, token: str, message: str) -> Any:
    """What a server answers to an introduction."""
    async with connected(Address.of(address), token, None) as connection:
        await connection.send(message)
        return await connection.receive(60)


@pytest.mark.parametrize(("protocol", "older"), [(1, "agent"), (99, "server")])
def test_an_agent_of_another_protocol_is_told_which_side_to_upgrade(tmp_path: Path, protocol: int, older: str) -> None:
    with field(tmp_path) as place, place.serving() as server:
        answer = trio.run(knock, server.address, place.token(), json.dumps({"protocol": protocol}))
        assert answer["final"] is True
        assert answer["refused"].endswith(f"upgrade the {older}")


def test_what_makes_no_sense_is_refused_and_the_server_goes_on(tmp_path: Path) -> None:
    good = {"protocol": VERSION, "name": "x", "instance": "i", "directory": "/d", "work": "/w"}
    with field(tmp_path) as place, place.serving() as server:
        token = place.token()
        for wrong in ({"name": 3}, {"labels": "a"}, {"resources": {"cores": -1}}, {"until": "soon"}, {"name": "a/b"}):
            answer = trio.run(knock, server.address, token, json.dumps(good | wrong))
            assert answer["final"] is True, answer
        for text in ("[]", "{", '"a"'):
            answer = trio.run(knock, server.address, token, text)
            assert answer["final"] is True, answer
        assert server.get("/nodes")["items"] == []
        assert "Traceback" not in server.errors.read_text()


def test_a_machine_that_has_left_and_comes_again_is_not_drained_any_more(tmp_path: Path) -> None:
    with field(tmp_path) as there, there.serving() as server:
        agent = there.joined(server)
        assert server.api("PATCH", f"/nodes/{POOL}/box", json={"state": "draining"}).status_code == 200
        server.until(lambda: state(server, "box") == "draining")
        agent.send()
        assert agent.ended() == 0
        server.until(lambda: not state(server, "box"))
        there.joined(server)
        assert state(server, "box") == "up"
