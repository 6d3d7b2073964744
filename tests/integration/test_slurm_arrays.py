"""Arrays on a real Slurm: each task is a job, or a part of one; manifests go out, files come back."""

from __future__ import annotations

import collections
import json
import signal
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.integration.serve_rig import DAGGY, PATIENCE, command, environment, shell, task
from tests.integration.slurm_rig import CAUSES, POOL, Site, Slurm, cluster, lines, runs_again, site

pytestmark = pytest.mark.slurm


@pytest.fixture(scope="module")
def slurm() -> Iterator[Slurm]:
    with cluster() as found:
        yield found


def arrays(slurm: Slurm, place: Path, **settings: Any) -> Any:
    chosen = {"mode": "arrays", "shared_is_local": True, "most": 1000, "cores": 1, "interval": "1s", **settings}
    return site(slurm, place, **chosen)


def marked(path: Path, script: str = "", parents: Sequence[str] = (), **keys: Any) -> Any:
    """A task that appends its index to a file, and then does something."""
    return shell(f'echo "$DAGGY_TASK_INDEX" >> {path}; {script or "true"}', parents, **keys)


def once(path: Path) -> set[int]:
    """How often tasks have run."""
    return set(collections.Counter(lines(path)).values())


def left(one: Site) -> list[Path]:
    """What is left of parcels."""
    return [*one.place.glob(f"shared/*/{POOL}/*"), *one.state.glob("parcels/*/*")]


def test_a_run_of_dependent_tasks_ends_and_leaves_nothing_behind(slurm: Slurm, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    with arrays(slurm, tmp_path, tasks_per_job=10) as one, one.serving() as server:
        run = server.submit(
            {
                "first": marked(ran, 'echo "out $I"; echo err >&2', expand=["I"]),
                "then": marked(ran, parents=["first"], expand=["I"]),
                "end": marked(ran, parents=["then"]),
            },
            parameters={"I": {"range": [0, 250]}},
        )
        assert server.ended(run)["state"] == "completed"
        assert once(ran) == {1}
        assert len(lines(ran)) == 501
        assert server.api("GET", f"/runs/{run}/tasks/249/logs/stdout").text == "out \n"
        assert server.api("GET", f"/runs/{run}/tasks/249/logs/stderr").text == "err\n"
        server.until(lambda: not left(one))


def test_large_outputs_answers_timeouts_and_failures_come_home(slurm: Slurm, tmp_path: Path) -> None:
    answer = json.dumps({"tasks": {"more": {"details": {"shell": "echo generated"}}}})
    with arrays(slurm, tmp_path) as one, one.serving() as server:
        run = server.submit(
            {
                "large": shell("head -c 3000000 /dev/zero | tr '\\0' x"),
                "makes": task("echo", answer, is_generator=True),
                "late": {"details": {"shell": "sleep 1000", "timeout": 1}},
                "bad": shell("exit 3"),
                "gone": task("/nowhere/at/all"),
            }
        )
        assert server.ended(run)["state"] == "errored"
        rows = {row["name"]: row for row in server.get(f"/runs/{run}/tasks")["items"]}
        assert rows["makes/more"]["state"] == "completed"
        data = server.api("GET", f"/runs/{run}/tasks/{rows['large']['index']}/logs/stdout", params={"limit": 4_000_000})
        assert data.text == "x" * 3_000_000
        reasons = {
            name: server.get(f"/runs/{run}/tasks/{row['index']}")["attempts"][-1]["reason"]
            for name, row in rows.items()
        }
        assert (reasons["late"], reasons["bad"], reasons["gone"]) == ("timeout", "exit", "spawn")
        server.until(lambda: not left(one))


def test_the_server_may_be_dead_while_tasks_end(slurm: Slurm, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    with arrays(slurm, tmp_path, tasks_per_job=3) as one:
        with one.serving() as server:
            run = server.submit(
                {"a": marked(ran, "sleep 1; echo out", expand=["I"])}, parameters={"I": {"range": [0, 150]}}
            )
            server.until(lambda: len(lines(ran)) >= 10)
            server.process.kill()
            server.process.wait()
        slurm.until(lambda: len(lines(ran)) >= 60)
        with one.serving() as server:
            assert server.ended(run)["state"] == "completed"
            assert once(ran) == {1}
            assert server.api("GET", f"/runs/{run}/tasks/3/logs/stdout").text == "out\n"
            server.until(lambda: not left(one))


def test_a_controller_killed_right_after_a_submission_costs_nothing(slurm: Slurm, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    with arrays(slurm, tmp_path) as one, one.serving() as server:
        run = server.submit({"a": marked(ran, expand=["I"])}, parameters={"I": {"range": [0, 40]}})
        server.until(one.jobs)
        slurm.signal("slurmctld", signal.SIGKILL)
        slurm.start_controller()
        assert server.ended(run)["state"] == "completed"
        assert once(ran) == {1}


def test_a_ghost_that_arrives_after_it_was_taken_back_does_nothing(slurm: Slurm, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    with arrays(slurm, tmp_path) as one, one.serving() as server:
        slurm.signal("slurmctld", signal.SIGSTOP)
        try:
            run = server.submit({"a": marked(ran, expand=["I"])}, parameters={"I": {"range": [0, 40]}})
            server.until(lambda: "sbatch" in server.errors.read_text())  # its answer does not come
        finally:
            slurm.signal("slurmctld", signal.SIGCONT)
        assert server.ended(run)["state"] == "completed"
        assert once(ran) == {1}
        server.until(lambda: not left(one) and not one.jobs())


@pytest.mark.parametrize("cause", CAUSES)
def test_what_ends_with_its_job_is_lost_and_runs_again(slurm: Slurm, tmp_path: Path, cause: str) -> None:
    with arrays(slurm, tmp_path) as one:
        runs_again(one, cause)


def test_a_node_daemon_that_is_killed_costs_nothing(slurm: Slurm, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    with arrays(slurm, tmp_path, tasks_per_job=4) as one, one.serving() as server:
        run = server.submit({"a": marked(ran, "sleep 1", expand=["I"])}, parameters={"I": {"range": [0, 4]}})
        server.until(lambda: lines(ran))
        (job,) = one.jobs("RUNNING")
        number = slurm.node_of(job)
        slurm.signal(f"slurmd.n{number}", signal.SIGKILL)
        try:
            assert server.ended(run)["state"] == "completed"
        finally:
            slurm.revive(number)
        assert collections.Counter(lines(ran)) == {str(index): 1 for index in range(4)}


def test_a_kill_ends_what_runs_and_takes_back_what_waits(slurm: Slurm, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    with arrays(slurm, tmp_path, tasks_per_job=2) as one, one.serving() as server:
        run = server.submit({"a": marked(ran, "exec sleep 1000", expand=["I"])}, parameters={"I": {"range": [0, 100]}})
        server.until(lambda: len(lines(ran)) >= 20)
        began = {int(line) for line in lines(ran)}
        assert server.api("POST", f"/runs/{run}/kill").status_code < 300
        assert server.ended(run)["counts"]["killed"] == 100
        first = min(began)
        assert server.get(f"/runs/{run}/tasks/{first}")["attempts"][-1]["reason"] == "killed"
        slurm.until(lambda: not one.jobs())
        assert len(set(lines(ran))) < 60


def test_a_kill_of_one_task_that_waits_leaves_its_array_alone(slurm: Slurm, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    with arrays(slurm, tmp_path) as one, one.serving() as server:
        slurm.call("scontrol", "update", "PartitionName=main", "State=DOWN")
        try:
            run = server.submit({"a": marked(ran, expand=["I"])}, parameters={"I": {"range": [0, 10]}})
            server.until(lambda: len(one.jobs()) == 10)
            assert server.api("POST", f"/runs/{run}/kill", json={"selector": "a.I:4"}).status_code < 300
            server.until(lambda: len(one.jobs()) == 9)
        finally:
            slurm.call("scontrol", "update", "PartitionName=main", "State=UP")
        assert server.ended(run)["counts"]["completed"] == 9
        assert sorted(map(int, lines(ran))) == [0, 1, 2, 3, 5, 6, 7, 8, 9]
        assert server.get(f"/runs/{run}/tasks/3")["attempts"][-1]["attempt"] == 1


def test_more_tasks_than_an_array_may_have_go_out_in_several(slurm: Slurm, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    with arrays(slurm, tmp_path, most=5000, tasks_per_job=2) as one, one.serving() as server:
        run = server.submit({"a": marked(ran, expand=["I"])}, parameters={"I": {"range": [0, 2100]}})
        server.until(lambda: len({job.partition("_")[0] for job in one.jobs()}) >= 2)
        assert server.api("POST", f"/runs/{run}/kill").status_code < 300
        server.ended(run)
        assert once(ran) <= {1}


def test_slurms_own_reason_explains_a_wait(slurm: Slurm, tmp_path: Path) -> None:
    with arrays(slurm, tmp_path) as one, one.serving() as server:
        slurm.call("scontrol", "update", "PartitionName=main", "State=DOWN")
        try:
            run = server.submit({"a": shell("true")})
            place = ("--dir", str(one.state))
            server.until(lambda: "PartitionDown" in command("explain", str(run), *place, cwd=tmp_path).stdout)
        finally:
            slurm.call("scontrol", "update", "PartitionName=main", "State=UP")
        assert server.ended(run)["state"] == "completed"


def test_what_is_held_says_what_to_do(slurm: Slurm, tmp_path: Path) -> None:
    with arrays(slurm, tmp_path, sbatch=["--hold"]) as one, one.serving() as server:
        run = server.submit({"a": shell("true")})
        place = ("--dir", str(one.state))
        words = "it is held; release it with 'scontrol release'"
        server.until(lambda: words in command("explain", str(run), *place, cwd=tmp_path).stdout)
        slurm.call("scontrol", "release", one.jobs()[0].partition("_")[0])
        assert server.ended(run)["state"] == "completed"


def test_jobs_that_cannot_begin_say_why_and_cost_no_attempt(slurm: Slurm, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    with arrays(slurm, tmp_path, interval="1s", setup=[f"[ -e {gate} ] || exit 9"]) as one, one.serving() as server:
        run = server.submit({"a": shell("true")})
        server.until(lambda: len({job for job in slurm.failed() if one.instance in job}) >= 3)
        said = server.errors.read_text()
        assert "it began no task: see that nodes find the pool's 'python', can run its 'setup'" in said
        assert "can start tasks again" not in said
        gate.touch()
        assert server.ended(run)["state"] == "completed"
        assert [one["reason"] for one in server.get(f"/runs/{run}/tasks/0")["attempts"]] == ["ok"]


def test_want_of_memory_is_told_apart(slurm: Slurm, tmp_path: Path) -> None:
    script = "exec python3 -c 'import time; data = bytearray(400_000_000); time.sleep(1000)'"
    with arrays(slurm, tmp_path) as one, one.serving() as server:
        run = server.submit({"a": shell(script, resources={"cores": 1, "memory_mb": 100})})
        assert server.ended(run)["state"] == "errored"
        assert server.get(f"/runs/{run}/tasks/0")["attempts"][-1]["reason"] == "memory"
        assert one.state.exists()


def test_ctrl_c_ends_the_jobs_of_a_run(slurm: Slurm, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    with arrays(slurm, tmp_path) as one:
        spec = tmp_path / "spec.json"
        spec.write_text(json.dumps({"tasks": {"a": marked(ran, "exec sleep 1000")}}))
        order = [*DAGGY, "run", str(spec), "--config", str(one.config), "--dir", str(one.state)]
        process = subprocess.Popen(order, cwd=tmp_path, env=environment(**one.variables), stderr=subprocess.DEVNULL)
        slurm.until(lambda: lines(ran))
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 130
        slurm.until(lambda: not one.jobs())


def test_daggy_run_leaves_nothing_behind(slurm: Slurm, tmp_path: Path) -> None:
    with arrays(slurm, tmp_path) as one:
        spec = tmp_path / "spec.json"
        spec.write_text(json.dumps({"tasks": {"a": shell("echo $SLURM_JOB_NAME")}}))
        done = command("run", str(spec), "--config", str(one.config), "--output", "all", cwd=tmp_path, **one.variables)
    assert done.returncode == 0, done.stderr
    assert f".{POOL}." in done.stdout
    assert not list((tmp_path / "shared").iterdir())


def test_a_task_has_the_nodes_that_it_asks_for_in_a_pool_of_any_name(slurm: Slurm, tmp_path: Path) -> None:
    task = {"details": {"shell": "echo $SLURM_JOB_NUM_NODES", "options": {"slurm": {"nodes": 3}}}}
    with arrays(slurm, tmp_path, name="größe: 50%j") as one:
        spec = tmp_path / "spec.json"
        spec.write_text(json.dumps({"tasks": {"a": task}}))
        done = command("run", str(spec), "--config", str(one.config), "--output", "all", cwd=tmp_path, **one.variables)
    assert done.returncode == 0, done.stderr
    assert "3" in done.stdout.split()


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"resources": {"cores": 99}}, "resources.cores: needs 99, no node of 'main' has more than 8"),
        ({"resources": {"lic": 1}}, "resources.lic: this pool does not know how to ask Slurm for 'lic'"),
        ({"timeout": "5h"}, "timeout: 18000 s is more than partition 'main' allows (4:00:00)"),
        ({"options": {"slurm": {"sbatch": ["--array=1"]}}}, "sbatch: --array is Daggy's own; remove it"),
        ({"options": {"slurm": {"queue": "x"}}}, "no setting named 'queue'"),
    ],
)
def test_what_no_job_can_do_is_refused_when_it_is_submitted(
    slurm: Slurm, tmp_path: Path, keys: dict[str, Any], words: str
) -> None:
    details: dict[str, Any] = {"command": ["true"], **{key: keys[key] for key in ("timeout", "options") if key in keys}}
    rest: dict[str, Any] = {"resources": keys.get("resources", {})}
    with arrays(slurm, tmp_path) as one, one.serving() as server:
        response = server.api("POST", "/runs", json={"directory": "/", "tasks": {"a": {"details": details, **rest}}})
    assert response.status_code == 422
    assert words in response.text.replace('\\"', '"')


def test_a_directory_that_nodes_cannot_see_is_refused(slurm: Slurm, tmp_path: Path) -> None:
    with arrays(slurm, tmp_path, shared_is_local=False) as one:
        ended = command(
            "serve", "--port", "0", "--dir", str(one.state), "--config", str(one.config), cwd=tmp_path, **one.variables
        )
    assert ended.returncode == 2
    assert 'say "shared_is_local": true for a cluster of one machine' in ended.stderr
