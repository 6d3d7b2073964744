"""Jobs of a job service under a real server: taken up by the next one, cancelled when their task is killed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.beam_rig import EMBEDDED, GATED, JobService, beam_python, job_service, until
from tests.integration.serve_rig import Server, command, serving

pytestmark = pytest.mark.slow

COUNT = 5


@pytest.fixture
def service(tmp_path: Path) -> Iterator[JobService]:
    beam_python()
    with job_service(tmp_path / "service") as service:
        yield service


FAILING = """\
import os, sys
import apache_beam as beam


def fail(element, place=sys.argv[1]):
    import os
    if not os.path.exists(os.path.join(place, "mended")):
        open(os.path.join(place, "mended"), "w").close()
        raise ValueError("not yet")
    return element


if __name__ == "__main__":
    with beam.Pipeline() as pipeline:
        pipeline | beam.Create([1]) | beam.Map(fail)
"""
"""Fails the first time."""


def submitted(server: Server, service: JobService, tmp_path: Path) -> int:
    """Submit a gated pipeline, and wait until its note says that it runs; return the run."""
    (tmp_path / "program.py").write_text(GATED)
    beam = {
        "file": "program.py", "arguments": [str(tmp_path), str(COUNT)], "runner": "PortableRunner",
        "python": beam_python(), "options": {"job_endpoint": service.endpoint, "environment_type": EMBEDDED},
    }  # fmt: skip
    run = server.submit({"count": {"details": {"beam": beam, "directory": str(tmp_path)}}})
    until((tmp_path / "lines").exists)
    until(lambda: note(server, run).get("state") == "RUNNING")
    return run


def note(server: Server, run: int) -> Any:
    """Return what the note of the run's task says of its job."""
    return (server.get(f"/runs/{run}/tasks/0")["note"] or {}).get("beam", {})


def test_a_server_that_stops_leaves_the_job_to_the_next(service: JobService, tmp_path: Path) -> None:
    state = tmp_path / "state"
    with serving(state) as server:
        run = submitted(server, service, tmp_path)
        server.process.terminate()
        server.process.wait()
    (name,) = service.jobs()
    assert service.jobs() == {name: "RUNNING"}
    with serving(state) as server:
        logs = ("logs", "--dir", str(state), "last")
        server.until(lambda: "taking up job" in command(*logs, cwd=tmp_path).stdout)
        (tmp_path / "gate").touch()
        assert server.ended(run)["state"] == "completed"
        assert note(server, run)["state"] == "DONE"
        result = command("result", "--dir", str(state), "last", cwd=tmp_path).stdout
    assert '"test/elements": 5' in result
    assert service.jobs() == {name: "DONE"}
    assert (tmp_path / "lines").read_text().split() == [str(number) for number in range(COUNT)]


def test_a_killed_task_cancels_its_job(service: JobService, tmp_path: Path) -> None:
    with serving(tmp_path / "state") as server:
        run = submitted(server, service, tmp_path)
        command("kill", "--dir", str(tmp_path / "state"), "last", cwd=tmp_path)
        assert server.ended(run)["state"] == "killed"
        assert note(server, run)["state"] == "CANCELLED"
    assert list(service.jobs().values()) == ["CANCELLED"]
    (tmp_path / "gate").touch()


def test_what_has_ended_is_run_anew_when_its_task_runs_again(service: JobService, tmp_path: Path) -> None:
    with serving(tmp_path / "state") as server:
        run = submitted(server, service, tmp_path)
        command("kill", "--dir", str(tmp_path / "state"), "last", cwd=tmp_path)
        assert server.ended(run)["state"] == "killed"
        (tmp_path / "gate").touch()
        for again in ("resume", "requeue"):
            wanted = ["count"] if again == "requeue" else []
            done = command(again, "--dir", str(tmp_path / "state"), "last", *wanted, cwd=tmp_path)
            assert done.returncode == 0, done.stderr
            assert server.ended(run)["state"] == "completed"
    assert len(service.jobs()) == 3
    assert (tmp_path / "lines").read_text().split().count(str(COUNT - 1)) >= 2


def test_a_pipeline_that_has_failed_is_submitted_again_by_a_retry(service: JobService, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(FAILING)
    beam = {
        "file": "program.py", "arguments": [str(tmp_path)], "runner": "PortableRunner", "python": beam_python(),
        "options": {"job_endpoint": service.endpoint, "environment_type": EMBEDDED},
    }  # fmt: skip
    with serving(tmp_path / "state") as server:
        details = {"beam": beam, "directory": str(tmp_path)}
        run = server.submit({"count": {"details": details, "max_retries": 1}})
        assert server.ended(run)["state"] == "completed"
        assert [one["reason"] for one in server.get(f"/runs/{run}/tasks/0")["attempts"]] == ["exit", "ok"]
    assert sorted(service.jobs().values()) == ["DONE", "FAILED"]
