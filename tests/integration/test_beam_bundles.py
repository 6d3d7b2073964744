"""Pools of the Beam executor on real Beam: parcels are pipelines, and what their elements claim runs once."""

from __future__ import annotations

import collections
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest

import daggy_beam
from tests.integration.beam_rig import EMBEDDED, JobService, beam_python, job_service, until as patiently
from tests.integration.serve_rig import DAGGY, PATIENCE, Server, command, environment, serving, shell, task, until

pytestmark = pytest.mark.slow

POOL = "flow"

REPEATING = """\
import os, threading
from apache_beam.runners.portability.fn_api_runner import FnApiRunner


class Twice(FnApiRunner):
    def run_pipeline(self, pipeline, options):
        FnApiRunner().run_pipeline(pipeline, options).wait_until_finish()
        self.tell()
        return FnApiRunner().run_pipeline(pipeline, options)

    def tell(self):
        with open(os.environ["REPEATED"], "a") as file:
            file.write("again\\n")


class AtOnce(Twice):
    def run_pipeline(self, pipeline, options):
        other = threading.Thread(target=lambda: FnApiRunner().run_pipeline(pipeline, options) and self.tell())
        other.start()
        result = FnApiRunner().run_pipeline(pipeline, options)
        other.join()
        return result
"""
"""Stand-ins for runners that run bundles again: FnApiRunner never does, so these have it run whole pipelines twice."""


class Site:
    """A server with a pool of a runner."""

    def __init__(self, place: Path, **settings: Any) -> None:
        self.place, self.state, self.ran = place, place / "state", place / "ran"
        pool = {"executor": "beam", "python": beam_python(), "staging": str(place / "staging"), **settings}
        if "runner" not in settings:
            pool = {"workers": 2, **pool}
        self.config = place / "daggy.json"
        self.config.write_text(json.dumps({"pools": {POOL: pool}}))

    @contextlib.contextmanager
    def serving(self, *arguments: str, **variables: Any) -> Iterator[Server]:
        with serving(self.state, "--config", str(self.config), *arguments, **variables) as server:
            yield server

    def marked(self, script: str = "", parents: Sequence[str] = (), **keys: Any) -> Any:
        """A task that appends its index to a file, and then does something."""
        return shell(f'echo "$DAGGY_TASK_INDEX" >> {self.ran}; {script or "true"}', parents, **keys)

    def lines(self) -> list[str]:
        """What those have written."""
        return self.ran.read_text().splitlines() if self.ran.exists() else []

    def once(self) -> set[int]:
        """How often they have run."""
        return set(collections.Counter(self.lines()).values())

    def left(self) -> list[Path]:
        """What is left of parcels."""
        parcels = [path for path in self.place.glob(f"staging/*/{POOL}/*") if path.name.isdigit()]
        return [*parcels, *self.state.glob("parcels/*/*")]

    def carriers(self) -> list[psutil.Process]:
        """The processes that have a runner run parcels."""
        found = []
        for path in self.state.glob("carriers/*/*/carrier"):
            with contextlib.suppress(psutil.Error, ValueError, OSError):
                process = psutil.Process(int(path.read_text()))
                if process.environ().get("DAGGY_NOTE", "").startswith(str(self.state)):
                    found.append(process)
        return found


@pytest.fixture
def one(tmp_path: Path) -> Iterator[Site]:
    yield from at(tmp_path)


def at(place: Path, **settings: Any) -> Iterator[Site]:
    """Make a site; the processes of its pool are ended at the end."""
    made = Site(place, **settings)
    try:
        yield made
    finally:
        for process in made.carriers():
            with contextlib.suppress(psutil.Error):
                process.kill()


site = contextlib.contextmanager(at)


def test_a_run_of_dependent_tasks_ends_and_leaves_nothing_behind(one: Site) -> None:
    with one.serving() as server:
        run = server.submit(
            {
                "first": one.marked('echo "out $I"; echo err >&2', expand=["I"]),
                "then": one.marked(parents=["first"]),
            },
            parameters={"I": {"range": [0, 90]}},
        )
        assert server.ended(run)["state"] == "completed"
        assert one.once() == {1}
        assert len(one.lines()) == 91
        assert server.api("GET", f"/runs/{run}/tasks/89/logs/stdout").text == "out \n"
        assert server.api("GET", f"/runs/{run}/tasks/89/logs/stderr").text == "err\n"
        server.until(lambda: not one.left())


def test_large_outputs_answers_timeouts_and_failures_come_home(tmp_path: Path) -> None:
    answer = json.dumps({"tasks": {"more": {"details": {"shell": "echo generated"}}}})
    with site(tmp_path, tasks_per_shard=1) as one, one.serving() as server:
        run = server.submit(
            {
                "large": shell("head -c 3000000 /dev/zero | tr '\\0' x"),
                "makes": task("echo", answer, is_generator=True),
                "late": {"details": {"shell": "sleep 1000", "timeout": 1}},
                "bad": shell("exit 3"),
                "gone": task("/nowhere/at/all"),
                "result": {"details": {"shell": "echo 5 > $DAGGY_RESULT"}, "result": True},
            }
        )
        assert server.ended(run)["state"] == "errored"
        rows = {row["name"]: row for row in server.get(f"/runs/{run}/tasks")["items"]}
        assert rows["makes/more"]["state"] == "completed"
        data = server.api("GET", f"/runs/{run}/tasks/{rows['large']['index']}/logs/stdout", params={"limit": 4_000_000})
        assert data.text == "x" * 3_000_000
        last = {
            name: server.get(f"/runs/{run}/tasks/{row['index']}")["attempts"][-1]["reason"]
            for name, row in rows.items()
        }
        assert (last["late"], last["bad"], last["gone"], last["result"]) == ("timeout", "exit", "spawn", "ok")
        server.until(lambda: not one.left())


def test_the_server_may_be_dead_while_tasks_end(tmp_path: Path) -> None:
    with site(tmp_path, tasks_per_shard=3) as one:
        with one.serving() as server:
            run = server.submit(
                {"a": one.marked("sleep 1; echo out", expand=["I"])}, parameters={"I": {"range": [0, 20]}}
            )
            server.until(lambda: len(one.lines()) >= 3)
            server.process.kill()
            server.process.wait(PATIENCE)
        ran = len(one.lines())
        until(lambda: len(one.lines()) >= ran + 2)
        with one.serving() as server:
            assert server.ended(run)["state"] == "completed"
            assert one.once() == {1}
            assert len(one.lines()) == 20
            assert server.api("GET", f"/runs/{run}/tasks/3/logs/stdout").text == "out\n"
            server.until(lambda: not one.left())


def test_a_server_that_leaves_takes_up_what_runs(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    with site(tmp_path, tasks_per_shard=1) as one:
        with one.serving("--leave-running") as server:
            script = f"while [ ! -e {gate} ]; do sleep 0.1; done"
            run = server.submit({"a": one.marked(script, expand=["I"])}, parameters={"I": {"range": [0, 6]}})
            server.until(lambda: len(one.lines()) == 2)
            server.stop()
        with one.serving() as server:
            gate.touch()
            assert server.ended(run)["state"] == "completed"
            assert collections.Counter(one.lines()) == {str(index): 1 for index in range(6)}


@pytest.mark.parametrize("runner", ["Twice", "AtOnce"])
def test_what_a_runner_repeats_runs_once(tmp_path: Path, runner: str) -> None:
    (tmp_path / "repeating.py").write_text(REPEATING)
    repeated = tmp_path / "repeated"
    variables = {"PYTHONPATH": str(tmp_path), "REPEATED": str(repeated)}
    options = {"direct_num_workers": 2, "direct_running_mode": "multi_threading"}
    with (
        site(tmp_path, runner=f"repeating.{runner}", options=options, tasks_per_shard=5) as one,
        one.serving(**variables) as server,
    ):
        run = server.submit({"a": one.marked("sleep 0.05", expand=["I"])}, parameters={"I": {"range": [0, 60]}})
        assert server.ended(run)["state"] == "completed"
        server.until(repeated.exists)
        server.until(lambda: not one.left())
        assert one.once() == {1}
        assert len(one.lines()) == 60
        found = server.get(f"/runs/{run}/tasks", limit=60)["items"]
        assert {row["state"] for row in found} == {"completed"}


def test_a_kill_ends_what_runs_and_takes_back_what_waits(tmp_path: Path) -> None:
    with site(tmp_path, tasks_per_shard=2) as one, one.serving() as server:
        run = server.submit({"a": one.marked("exec sleep 1000", expand=["I"])}, parameters={"I": {"range": [0, 30]}})
        server.until(lambda: len(one.lines()) >= 2)
        began = {int(line) for line in one.lines()}
        assert server.api("POST", f"/runs/{run}/kill").status_code < 300
        assert server.ended(run)["counts"]["killed"] == 30
        assert server.get(f"/runs/{run}/tasks/{min(began)}")["attempts"][-1]["reason"] == "killed"
        server.until(lambda: not one.left())
        server.until(lambda: not one.carriers())
        assert len(one.lines()) < 10


def test_a_kill_of_one_task_leaves_the_others_of_its_job_alone(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    with site(tmp_path, tasks_per_shard=1) as one, one.serving() as server:
        script = f"while [ ! -e {gate} ]; do sleep 0.1; done"
        run = server.submit({"a": one.marked(script, expand=["I"])}, parameters={"I": {"range": [0, 4]}})
        server.until(lambda: len(one.lines()) == 2)
        chosen = int(one.lines()[0])
        assert server.api("POST", f"/runs/{run}/kill", json={"selector": f"a.I:{chosen}"}).status_code < 300
        server.until(lambda: server.get(f"/runs/{run}/tasks/{chosen}")["state"] == "killed")
        gate.touch()
        assert server.ended(run)["counts"]["completed"] == 3
        assert one.once() == {1}


def test_what_ends_with_its_carrier_is_lost_and_runs_again(one: Site) -> None:
    gate = one.place / "gate"
    script = f"for old in $(cat {one.ran}.pids); do kill -0 $old && exit 7; done; echo $$ >> {one.ran}.pids; "
    with one.serving() as server:
        (one.place / "ran.pids").touch()
        run = server.submit({"a": one.marked(f"{script} [ -e {gate} ] || exec sleep 1000")})
        server.until((one.place / "ran.pids").read_text)
        gate.touch()
        (carrier,) = one.carriers()
        carrier.kill()
        assert server.ended(run)["state"] == "completed"
        attempts = server.get(f"/runs/{run}/tasks/0")["attempts"]
        assert [attempt["reason"] for attempt in attempts] == ["lost", "ok"]
        assert "Beam job" in attempts[0]["message"]


def test_an_element_that_is_killed_takes_one_task_with_it(one: Site) -> None:
    script = '[ "$DAGGY_TASK_INDEX$DAGGY_ATTEMPT" != 11 ] || kill -9 $PPID'
    with one.serving() as server:
        run = server.submit({"a": one.marked(script, expand=["I"])}, parameters={"I": {"range": [0, 6]}})
        assert server.ended(run)["state"] == "completed"
        reasons = [
            [attempt["reason"] for attempt in server.get(f"/runs/{run}/tasks/{index}")["attempts"]]
            for index in range(6)
        ]
        assert reasons == [["ok"], ["lost", "ok"], ["ok"], ["ok"], ["ok"], ["ok"]]
        assert collections.Counter(one.lines()) == {**{str(index): 1 for index in range(6)}, "1": 2}


@pytest.fixture
def service(tmp_path: Path) -> Iterator[JobService]:
    beam_python()
    with job_service(tmp_path / "service") as found:
        yield found


def portable(service: JobService, place: Path, **settings: Any) -> Any:
    options = {"job_endpoint": service.endpoint, "environment_type": EMBEDDED}
    return site(place, runner="PortableRunner", options=options, **settings)


def test_a_job_that_goes_on_without_its_carrier_is_taken_up(service: JobService, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    script = f"while [ ! -e {gate} ]; do sleep 0.1; done"
    with portable(service, tmp_path, tasks_per_shard=2) as one, one.serving() as server:
        run = server.submit({"a": one.marked(script, expand=["I"])}, parameters={"I": {"range": [0, 6]}})
        server.until(one.lines)
        (carrier,) = one.carriers()
        carrier.kill()
        carrier_log = one.state / "carriers" / POOL / "1" / "log"
        server.until(lambda: "taking up job" in carrier_log.read_text())
        gate.touch()
        assert server.ended(run)["state"] == "completed"
        assert collections.Counter(one.lines()) == {str(index): 1 for index in range(6)}
        assert [row["attempt"] for row in server.get(f"/runs/{run}/tasks/0")["attempts"]] == [1]
    assert len(service.jobs()) == 1


def test_a_job_service_that_is_away_costs_time_and_no_attempt(service: JobService, tmp_path: Path) -> None:
    with portable(service, tmp_path) as one, one.serving() as server:
        service.stop()
        run = server.submit({"a": one.marked()})
        server.until(lambda: "no job service answers at" in server.errors.read_text())
        explained = command("explain", str(run), "--dir", str(one.state), cwd=tmp_path).stdout
        service.start()
        patiently(lambda: server.get(f"/runs/{run}")["ended"])  # it may be tried in vain once more
        assert server.ended(run)["state"] == "completed"
        assert [attempt["reason"] for attempt in server.get(f"/runs/{run}/tasks/0")["attempts"]] == ["ok"]
    assert "no job service answers at" in explained


def test_what_ends_with_its_job_service_is_lost_and_runs_again(service: JobService, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    with portable(service, tmp_path) as one, one.serving() as server:
        run = server.submit({"a": one.marked(f"[ -e {gate} ] || exec sleep 1000")})
        server.until(one.lines)
        gate.touch()
        service.stop()
        service.start()
        assert server.ended(run)["state"] == "completed"
        attempts = server.get(f"/runs/{run}/tasks/0")["attempts"]
        assert [attempt["reason"] for attempt in attempts] == ["lost", "ok"]


def test_ctrl_c_ends_the_jobs_of_a_run(one: Site) -> None:
    spec = one.place / "spec.json"
    spec.write_text(json.dumps({"tasks": {"a": one.marked("exec sleep 1000")}}))
    order = [*DAGGY, "run", str(spec), "--config", str(one.config), "--dir", str(one.state)]
    process = subprocess.Popen(order, cwd=one.place, env=environment(), stderr=subprocess.DEVNULL)
    until(one.lines)
    carriers = one.carriers()
    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE) == 130
    assert psutil.wait_procs(carriers, PATIENCE)[1] == []


def test_daggy_run_leaves_nothing_behind(one: Site) -> None:
    spec = one.place / "spec.json"
    spec.write_text(json.dumps({"tasks": {"a": shell("echo here")}}))
    done = command("run", str(spec), "--config", str(one.config), "--output", "all", cwd=one.place)
    assert done.returncode == 0, done.stderr
    assert "here" in done.stdout
    assert not list((one.place / "staging").iterdir())


def without_beam(place: Path) -> str:
    """Return an interpreter that has no Beam."""
    script = place / "python"
    script.write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')
    script.chmod(0o755)
    return str(script)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"staging": "gs://bucket/daggy"}, "staging: 'gs://bucket/daggy' is not a directory"),
        ({"staging": "/proc/daggy"}, "staging: '/proc/daggy"),
        ({"runner": "DirectRunner"}, "name FnApiRunner"),
        ({"runner": "PortableRunner", "workers": 3}, "workers: PortableRunner decides itself"),
        ({"runner": "NoRunner"}, "Beam has no runner 'NoRunner'; there are: "),
        ({"options": {"direct_num_wokers": 3}}, "did you mean 'direct_num_workers'?"),
        ({"options": {"job_name": "mine"}}, "options.job_name: 'job_name' is Daggy's"),
        ({"python": "/nowhere/python"}, "python: '/nowhere/python' cannot be started: no such file or directory"),
        ({"python": without_beam}, "has no Apache Beam: pip install 'daggy[beam]', or name another `python`"),
    ],
)
def test_what_cannot_work_is_said_when_the_server_starts(tmp_path: Path, settings: dict[str, Any], words: str) -> None:
    found = {name: value(tmp_path) if callable(value) else value for name, value in settings.items()}
    with site(tmp_path, **found) as one:
        ended = command("serve", "--port", "0", "--dir", str(one.state), "--config", str(one.config), cwd=tmp_path)
    assert ended.returncode == 2, ended.stderr
    assert words in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"resources": {"cores": 4}}, "resources.cores: asks for 4, but all workers of a Beam runner are alike"),
        ({"resources": {"gpus": 1}}, "resources.gpus: asks for 1"),
        ({"options": {"beam": {"queue": "x"}}}, "details.options.beam: the executor 'beam' has no options"),
    ],
)
def test_what_no_worker_can_do_is_refused_when_it_is_submitted(one: Site, keys: dict[str, Any], words: str) -> None:
    details = {"command": ["true"], **{key: keys[key] for key in ("options",) if key in keys}}
    with one.serving() as server:
        response = server.api(
            "POST",
            "/runs",
            json={"directory": "/", "tasks": {"a": {"details": details, "resources": keys.get("resources", {})}}},
        )
    assert response.status_code == 422
    assert words in response.text


RUN = """\
import runpy, sys
from apache_beam.options.pipeline_options import StandardOptions
StandardOptions.DEFAULT_RUNNER = "apache_beam.runners.portability.fn_api_runner.FnApiRunner"
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def test_a_worker_that_does_not_see_the_staging_folder_says_so(tmp_path: Path) -> None:
    program = Path(daggy_beam.__file__).parent / "bundle.py"
    ended = subprocess.run(
        [beam_python(), "-c", RUN, str(program), "/nowhere/to/be/seen/1", "1", "1", "/nowhere", "/nowhere"],
        capture_output=True, text=True, timeout=PATIENCE, cwd=tmp_path, env=environment(), check=False,
    )  # fmt: skip
    assert ended.returncode == 1
    assert "does not see '/nowhere/to/be/seen'; let `staging` of the pool be a directory" in ended.stderr
    assert os.listdir(tmp_path) == []  # noqa: PTH208 - names
