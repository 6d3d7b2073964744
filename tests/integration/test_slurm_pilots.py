"""Pilots on a real Slurm: tasks run in allocations that come when they are wanted and go when they are not."""

from __future__ import annotations

import collections
import json
import os
import re
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest
import trio

from daggy.executor import Site
from daggy_slurm.pilots import SlurmQueue
from daggy_slurm.settings import SlurmSettings
from tests.integration.serve_rig import command, shell
from tests.integration.slurm_rig import CAUSES, POOL, Slurm, cluster, lines, nodes, runs_again, site

pytestmark = pytest.mark.slurm


@pytest.fixture(scope="module")
def slurm() -> Iterator[Slurm]:
    with cluster() as found:
        yield found


def marked(path: Path, script: str = "", parents: Sequence[str] = (), **keys: Any) -> Any:
    """A task that appends its ticket to a file, and then does something."""
    return shell(f'echo "$DAGGY_TASK_INDEX" >> {path}; {script or "true"}', parents, **keys)


def test_a_run_of_dependent_tasks_ends_and_its_allocations_are_given_back(slurm: Slurm, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    with site(slurm, tmp_path, idle="2s") as one, one.serving() as server:
        run = server.submit(
            {
                "first": marked(ran, 'echo "$SLURMD_NODENAME"', expand=["I"]),
                "then": marked(ran, parents=["first"], expand=["I"]),
                "end": marked(ran, parents=["then"]),
            },
            parameters={"I": {"range": [0, 250]}},
        )
        server.until(lambda: any(one["until"] and one["totals"].get("cores") == 4 for one in nodes(server)))
        server.until(lambda: any(re.fullmatch(r"Slurm job \d+_\d on n\d", node["why"]) for node in nodes(server)))
        assert server.ended(run)["state"] == "completed"
        assert collections.Counter(collections.Counter(lines(ran)).values()) == {1: 501}
        assert server.api("GET", f"/runs/{run}/tasks/0/logs/stdout").text.startswith("n")
        server.until(lambda: not nodes(server) and not one.jobs())
        server.until(lambda: not list((tmp_path / "shared").glob("*/*/*.log")))


def test_tasks_go_on_when_the_server_is_killed(slurm: Slurm, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    with site(slurm, tmp_path, most=2) as one:
        with one.serving() as server:
            run = server.submit({"a": marked(ran, "sleep 3", expand=["I"])}, parameters={"I": {"range": [0, 24]}})
            server.until(lambda: len(lines(ran)) >= 6)
            server.process.kill()
            server.process.wait()
        with one.serving() as server:
            assert server.ended(run)["state"] == "completed"
            assert collections.Counter(collections.Counter(lines(ran)).values()) == {1: 24}


def test_tasks_go_on_when_the_controller_is_killed(slurm: Slurm, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    with site(slurm, tmp_path, most=2, interval="1s") as one, one.serving() as server:
        run = server.submit({"a": marked(ran, "sleep 2", expand=["I"])}, parameters={"I": {"range": [0, 24]}})
        server.until(lambda: len(lines(ran)) >= 4)
        slurm.signal("slurmctld", signal.SIGKILL)
        try:
            server.until(lambda: "squeue" in server.errors.read_text())
        finally:
            slurm.start_controller()
        assert server.ended(run)["state"] == "completed"
        assert collections.Counter(collections.Counter(lines(ran)).values()) == {1: 24}


def test_a_controller_that_forgets_what_was_asked_is_asked_again(slurm: Slurm, tmp_path: Path) -> None:
    with site(slurm, tmp_path, most=1, interval="1s") as one, one.serving() as server:
        run = server.submit({"a": shell("true")})
        server.until(one.jobs)
        slurm.signal("slurmctld", signal.SIGKILL)
        slurm.start_controller()
        assert server.ended(run)["state"] == "completed"


def test_a_node_daemon_that_is_killed_costs_nothing(slurm: Slurm, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    with site(slurm, tmp_path, most=1) as one, one.serving() as server:
        run = server.submit({"a": marked(ran, "sleep 1", expand=["I"])}, parameters={"I": {"range": [0, 12]}})
        server.until(lambda: len(lines(ran)) >= 4)
        server.until(lambda: " on n" in nodes(server)[0]["why"])
        number = int(nodes(server)[0]["why"].rpartition(" on n")[2])
        slurm.signal(f"slurmd.n{number}", signal.SIGKILL)
        try:
            assert server.ended(run)["state"] == "completed"
        finally:
            slurm.revive(number)
        assert collections.Counter(collections.Counter(lines(ran)).values()) == {1: 12}


def agents(one: Path) -> list[psutil.Process]:
    """The agents of the site in a directory."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if "agent" in words and any(str(one) in word for word in words):
            found.append(process)
    return found


def test_an_agent_that_is_killed_is_started_anew_and_finds_its_tasks(slurm: Slurm, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    with site(slurm, tmp_path, most=1) as one, one.serving() as server:
        run = server.submit({"a": marked(ran, "sleep 4", expand=["I"])}, parameters={"I": {"range": [0, 4]}})
        server.until(lambda: len(lines(ran)) == 4)
        for agent in agents(tmp_path):
            agent.kill()
        assert server.ended(run)["state"] == "completed"
        assert len(lines(ran)) == 4
        assert len(one.jobs()) == 1


@pytest.mark.parametrize("cause", CAUSES)
def test_what_ends_with_its_job_is_lost_and_runs_again(slurm: Slurm, tmp_path: Path, cause: str) -> None:
    with site(slurm, tmp_path, most=1, interval="1s") as one:
        runs_again(one, cause)


def test_a_pilot_that_is_killed_whole_is_lost_at_once(slurm: Slurm, tmp_path: Path) -> None:
    gate, ran = tmp_path / "gate", tmp_path / "ran"
    with site(slurm, tmp_path, most=1, interval="1s") as one, one.serving() as server:
        run = server.submit({"a": marked(ran, f"[ -e {gate} ] || exec sleep 1000")})
        server.until(lambda: lines(ran))
        gate.touch()
        shells = {agent.ppid() for agent in agents(tmp_path)}
        for pid in shells:
            steps = psutil.Process(pid).parents()
            os.kill(pid, signal.SIGKILL)
            assert steps
        assert server.ended(run)["state"] == "completed"
        attempts = server.get(f"/runs/{run}/tasks/0")["attempts"]
        assert [attempt["reason"] for attempt in attempts] == ["lost", "ok"]
        assert one.jobs()


def test_a_task_that_outlasts_its_allocation_is_lost_and_does_not_circle(slurm: Slurm, tmp_path: Path) -> None:
    with site(slurm, tmp_path, most=1, time="62s", task_time="1s") as one, one.serving() as server:
        run = server.submit({"a": shell("exec sleep 1000", crash_limit=0)})
        assert server.ended(run)["state"] == "errored"
        attempts = server.get(f"/runs/{run}/tasks/0")["attempts"]
        assert attempts[-1]["reason"] == "lost"
        assert "Slurm job" in attempts[-1]["message"]
        assert one.state.exists()


def test_a_job_of_another_name_under_a_known_id_is_left_alone(
    slurm: Slurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_CONF", str(slurm.configuration))
    queue = SlurmQueue(SlurmSettings(shared=str(tmp_path)), Site(POOL, tmp_path, "instance", durable=True))
    order = "sbatch", "--parsable", "--array=0-3", "--output=/dev/null"
    slurm.call("scontrol", "update", "PartitionName=main", "State=DOWN")
    try:
        foreign = slurm.call(*order, "--job-name=somebody", stdin="#!/bin/sh\nsleep 300\n").strip()
        ours = slurm.call(*order, f"--job-name={queue.name}", stdin="#!/bin/sh\nsleep 300\n").strip()
        trio.run(queue.cancel, [f"{foreign}_0", f"{foreign}_1", f"{ours}_1", f"{ours}_2"])
        there = {job for job, _, _ in slurm.jobs()}
        assert there == {*(f"{foreign}_{number}" for number in range(4)), f"{ours}_0", f"{ours}_3"}
    finally:
        slurm.call("scontrol", "update", "PartitionName=main", "State=UP")
        slurm.call("scancel", foreign, ours)


def test_a_closed_partition_is_shown_as_the_reason(slurm: Slurm, tmp_path: Path) -> None:
    with site(slurm, tmp_path, most=1, interval="1s") as one, one.serving() as server:
        slurm.call("scontrol", "update", "PartitionName=main", "State=DOWN")
        try:
            run = server.submit({"a": shell("true")})
            server.until(lambda: any(node["state"] == "pending" for node in nodes(server)))
            place = ("--dir", str(one.state))
            server.until(lambda: "PartitionDown" in command("explain", str(run), *place, cwd=tmp_path).stdout)
            shown = command("nodes", *place, cwd=tmp_path).stdout
            assert "pending" in shown
            assert "PartitionDown" in shown
        finally:
            slurm.call("scontrol", "update", "PartitionName=main", "State=UP")
        assert server.ended(run)["state"] == "completed"


def test_a_frozen_controller_gives_no_more_allocations_than_may_be(slurm: Slurm, tmp_path: Path) -> None:
    with site(slurm, tmp_path, most=2, interval="1s") as one, one.serving() as server:
        slurm.signal("slurmctld", signal.SIGSTOP)
        try:
            run = server.submit({"a": shell("sleep 1", expand=["I"])}, parameters={"I": {"range": [0, 16]}})
            server.until(lambda: "sbatch" in server.errors.read_text())  # its answer does not come
        finally:
            slurm.signal("slurmctld", signal.SIGCONT)
        assert server.ended(run)["state"] == "completed"
        server.until(lambda: len(one.jobs()) <= 2)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"time": "5h"}, "time: 5h is more than partition 'main' allows (4:00:00)"),
        ({"cores": 99}, "cores: 99 is more than any node of 'main' has (8)"),
        ({"partition": "none"}, "partition: there is no 'none'; there are: main, other"),
        ({"most": 1001}, "most: 1001 is more than arrays of this cluster may have"),
        ({"sbatch": ["--array=1-9"]}, "sbatch: --array is Daggy's own; remove it"),
    ],
)
def test_what_the_site_cannot_serve_is_refused(
    slurm: Slurm, tmp_path: Path, settings: dict[str, object], words: str
) -> None:
    with site(slurm, tmp_path, **settings) as one:
        ended = command(
            "serve", "--port", "0", "--dir", str(one.state), "--config", str(one.config), cwd=tmp_path, **one.variables
        )
    assert ended.returncode == 2
    assert words in ended.stderr
    assert "Traceback" not in ended.stderr


def test_pilots_need_an_address_that_nodes_reach(slurm: Slurm, tmp_path: Path) -> None:
    config = tmp_path / "plain.json"
    config.write_text('{"pools": {"hpc": {"executor": "slurm"}}}')
    with site(slurm, tmp_path) as one:
        ended = command(
            "serve", "--port", "0", "--dir", str(one.state), "--config", str(config), cwd=tmp_path, **one.variables
        )
    assert ended.returncode == 2
    assert ended.stderr.count("pool 'hpc'") == 1
    assert "set agents.ip to an address that nodes see" in ended.stderr


def test_a_pilot_that_cannot_start_says_why(slurm: Slurm, tmp_path: Path) -> None:
    with site(slurm, tmp_path, most=1, interval="1s", python="/no/such/python") as one, one.serving() as server:
        run = server.submit({"a": shell("true")})
        words = "/no/such/python: not found; see that nodes find the pool's 'python'"
        server.until(lambda: words in command("explain", str(run), "--dir", str(one.state), cwd=tmp_path).stdout)
        assert server.api("POST", f"/runs/{run}/kill").status_code < 300
        assert server.ended(run)["state"] == "killed"


def test_what_is_held_says_what_to_do(slurm: Slurm, tmp_path: Path) -> None:
    with site(slurm, tmp_path, most=1, interval="1s", sbatch=["--hold"]) as one, one.serving() as server:
        run = server.submit({"a": shell("true")})
        words = "it is held; release it with 'scontrol release'"
        server.until(lambda: words in command("explain", str(run), "--dir", str(one.state), cwd=tmp_path).stdout)
        slurm.call("scontrol", "release", one.jobs()[0])
        assert server.ended(run)["state"] == "completed"


def test_the_end_of_a_large_output_outlives_the_allocation(slurm: Slurm, tmp_path: Path) -> None:
    spec, state = tmp_path / "spec.json", tmp_path / "kept"
    script = "seq 1 200000; echo because >&2; exit 3"
    spec.write_text(json.dumps({"tasks": {"bad": shell(script), "good": shell("seq 1 200000")}}))
    with site(slurm, tmp_path) as one:
        order = ("run", str(spec), "--config", str(one.config), "--dir", str(state))
        assert command(*order, cwd=tmp_path, **one.variables).returncode == 1
    of = ("logs", "last", "--dir", str(state))
    end = command(*of, "bad", "--tail", "2", cwd=tmp_path)
    assert end.returncode == 0
    assert end.stdout.splitlines() == ["199999", "200000", "because"]
    whole = command(*of, "bad", cwd=tmp_path)
    assert "daggy logs --tail 100 shows the end" in whole.stderr
    gone = command(*of, "good", cwd=tmp_path)
    assert gone.returncode == 1
    assert "the machine that had it has left" in gone.stderr


def test_a_pool_may_have_any_name(slurm: Slurm, tmp_path: Path) -> None:
    with site(slurm, tmp_path, name="größe: 50%j") as one:
        spec = tmp_path / "spec.json"
        spec.write_text(json.dumps({"tasks": {"a": shell("echo it ran")}}))
        done = command("run", str(spec), "--config", str(one.config), "--output", "all", cwd=tmp_path, **one.variables)
    assert done.returncode == 0, done.stderr
    assert "it ran" in done.stdout


def test_daggy_run_uses_a_cluster_by_itself(slurm: Slurm, tmp_path: Path) -> None:
    with site(slurm, tmp_path) as one:
        spec = tmp_path / "spec.json"
        spec.write_text('{"tasks": {"a": {"details": {"shell": "echo $SLURM_JOB_NAME"}}}}')
        done = command("run", str(spec), "--config", str(one.config), "--output", "all", cwd=tmp_path, **one.variables)
        assert done.returncode == 0, done.stderr
        assert f".{POOL}" in done.stdout
        assert not list((tmp_path / "shared").iterdir())
        slurm.until(lambda: not [job for job in slurm.jobs() if f".{POOL}" in job[2]])
