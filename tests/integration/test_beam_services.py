"""Beam programs whose jobs a job service has: followed, cancelled, left alone, found again."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.integration.beam_rig import EMBEDDED, GATED, PATIENCE, Attempt, JobService, beam_python, job_service, until

pytestmark = pytest.mark.slow

COUNT = 20

Start = Callable[..., Attempt]


@pytest.fixture
def service(tmp_path: Path) -> Iterator[JobService]:
    beam_python()
    with job_service(tmp_path / "service") as service:
        yield service


@pytest.fixture
def start(tmp_path: Path, service: JobService) -> Iterator[Start]:
    """Return a function that starts an attempt at a pipeline of twenty elements, on the service."""
    attempts: list[Attempt] = []
    (tmp_path / "program.py").write_text(GATED)

    def run(before: Attempt | None = None, environment: str = EMBEDDED, **settings: Any) -> Attempt:
        options = {"job_endpoint": service.endpoint, "environment_type": environment}
        given: Mapping[str, Any] = {
            "file": "program.py", "arguments": [str(tmp_path), str(COUNT)], "runner": "PortableRunner",
            "options": options, **settings,
        }  # fmt: skip
        attempts.append(Attempt(tmp_path, given, len(attempts) + 1, before))
        return attempts[-1]

    yield run
    (tmp_path / "gate").touch()
    for attempt in attempts:
        attempt.kill()


def elements(tmp_path: Path) -> list[int]:
    """Return what the pipeline has worked on, in order."""
    return [int(line) for line in (tmp_path / "lines").read_text().split()]


def begun(attempt: Attempt, tmp_path: Path) -> None:
    """Wait until the first element is worked on and the job is noted."""
    attempt.until((tmp_path / "lines").exists)
    attempt.until_state("RUNNING")


def test_a_job_is_followed_to_its_end(start: Start, service: JobService, tmp_path: Path) -> None:
    attempt = start()
    begun(attempt, tmp_path)
    assert attempt.note["endpoint"] == service.endpoint
    assert attempt.note["job_id"].startswith(attempt.name)
    assert service.jobs() == {attempt.name: "RUNNING"}
    (tmp_path / "gate").touch()
    assert attempt.ended() == 0, attempt.err
    assert attempt.result == {"state": "DONE", "runner": "PortableRunner", "metrics": {"test/elements": COUNT}}
    assert (attempt.note["state"], attempt.note["metrics"]) == ("DONE", {"test/elements": COUNT})
    assert attempt.out == "after the pipeline\n"


@pytest.mark.parametrize("environment", [EMBEDDED, "LOOPBACK"])
def test_a_function_that_fails_at_the_service_is_shown_without_beams_frames(
    start: Start, tmp_path: Path, environment: str
) -> None:
    broken = GATED.replace('metrics.Metrics.counter("test", "elements").inc()', "nonsense")
    (tmp_path / "program.py").write_text(broken)
    (tmp_path / "gate").touch()
    attempt = start(environment=environment)
    assert attempt.ended() == 1
    assert "AttributeError: module 'apache_beam' has no attribute 'nonsense' [while running" in attempt.err
    assert 'program.py", line 18, in process' in attempt.err
    assert len(attempt.err.splitlines()) < 8, attempt.err
    assert attempt.note["state"] == "FAILED"
    assert attempt.result["state"] == "FAILED"


@pytest.mark.parametrize("loss", ["killed", "stopped"])
def test_a_job_goes_on_without_its_worker_and_is_taken_up(start: Start, tmp_path: Path, loss: str) -> None:
    first = start()
    begun(first, tmp_path)
    if loss == "killed":
        first.kill()
    else:
        assert first.end("stopped") == 143
        assert "goes on, and the next attempt takes it up" in first.err
    second = start(first)
    second.until(lambda: "taking up job" in second.err)
    second.kill()  # a lost attempt that had found it hands it on
    third = start(second)
    third.until(lambda: "taking up job" in third.err)
    (tmp_path / "gate").touch()
    assert third.ended() == 0, third.err
    assert elements(tmp_path) == list(range(COUNT))
    assert third.note["job_id"] == first.note["job_id"]
    assert third.result["metrics"] == {"test/elements": COUNT}
    assert third.out == "after the pipeline\n"


def test_of_several_pipelines_each_is_taken_up_by_itself(start: Start, service: JobService, tmp_path: Path) -> None:
    opened = GATED.replace("while not os.path.exists", "while element and not os.path.exists")
    twice = opened.replace("range(count)", "[0, 0]").replace('__name__ == "__main__"', "True")
    (tmp_path / "program.py").write_text(twice + GATED)
    first = start()
    first.until(lambda: len(elements(tmp_path)) == 3 if (tmp_path / "lines").exists() else False)
    first.until_state("RUNNING")
    first.kill()
    second = start(first)
    second.until(lambda: second.err.count("taking up job") == 2)
    (tmp_path / "gate").touch()
    assert second.ended() == 0, second.err
    assert elements(tmp_path) == [0, 0, *range(COUNT)]
    assert service.jobs() == {first.name: "DONE", f"{first.name}-2": "DONE"}


def test_a_job_that_has_ended_meanwhile_is_not_run_again(start: Start, service: JobService, tmp_path: Path) -> None:
    first = start()
    begun(first, tmp_path)
    first.kill()
    (tmp_path / "gate").touch()
    until(lambda: service.jobs() == {first.name: "DONE"})
    second = start(first)
    assert second.ended() == 0, second.err
    assert elements(tmp_path) == list(range(COUNT))
    assert second.result["state"] == "DONE"


def test_a_job_is_found_if_its_worker_died_before_it_knew_the_id(
    start: Start, service: JobService, tmp_path: Path
) -> None:
    service.hold("run")
    first = start()
    until(lambda: service.holds("run"), lambda: first.err)
    assert first.note["job_id"] == ""
    first.kill()
    service.let_go("run")
    until((tmp_path / "lines").exists)
    second = start(first)
    second.until(lambda: "taking up job" in second.err)
    (tmp_path / "gate").touch()
    assert second.ended() == 0, second.err
    assert elements(tmp_path) == list(range(COUNT))
    assert service.jobs() == {first.name: "DONE"}


def test_what_was_only_prepared_is_submitted_anew(start: Start, service: JobService, tmp_path: Path) -> None:
    service.hold("prepare")
    first = start()
    until(lambda: service.holds("prepare"), lambda: first.err)
    first.kill()
    service.let_go("prepare")
    until(lambda: service.jobs() == {first.name: "STOPPED"})
    prepared = {"endpoint": service.endpoint, "name": first.name, "preparation_id": "p", "loopback": False}
    told = json.loads((first.place / "note").read_text())["beam"]
    (first.place / "note").write_text(json.dumps({"beam": {**told, "jobs": [prepared]}}))
    (tmp_path / "gate").touch()
    second = start(first)
    assert second.ended() == 0, second.err
    assert "no job of the attempt before is known" in second.err
    assert elements(tmp_path) == list(range(COUNT))


@pytest.mark.parametrize("why", ["killed", "timeout"])
def test_a_pipeline_that_never_ends_is_cancelled(start: Start, service: JobService, tmp_path: Path, why: str) -> None:
    attempt = start()
    begun(attempt, tmp_path)
    assert attempt.end(why) == 143
    assert service.jobs() == {attempt.name: "CANCELLED"}
    assert attempt.note["state"] == "CANCELLED"
    assert f"daggy: {why}: job {attempt.note['job_id']}: it was cancelled; what its workers have begun" in attempt.err
    assert attempt.result is None


def test_a_kill_before_a_job_is_taken_up_cancels_it(start: Start, service: JobService, tmp_path: Path) -> None:
    first = start()
    begun(first, tmp_path)
    first.kill()
    early = 'import os, time\nwhile os.path.exists("early"):\n    time.sleep(0.05)\n'
    (tmp_path / "program.py").write_text(early + GATED)
    (tmp_path / "early").touch()
    second = start(first)
    second.until_state("STARTING")
    assert second.end("killed") == 143
    assert service.jobs() == {first.name: "CANCELLED"}


def test_what_can_be_drained_is_drained(start: Start, service: JobService, tmp_path: Path) -> None:
    (service.folder / "drains").touch()
    attempt = start(on_kill="drain")
    begun(attempt, tmp_path)
    assert attempt.end("killed") == 143
    assert attempt.err.endswith(": it was drained\n")
    assert (attempt.note["state"], service.jobs()) == ("DRAINED", {attempt.name: "DRAINED"})


def test_what_cannot_be_drained_is_cancelled(start: Start, service: JobService, tmp_path: Path) -> None:
    attempt = start(on_kill="drain")
    begun(attempt, tmp_path)
    assert attempt.end("killed") == 143
    assert "its service cannot drain, so it was cancelled" in attempt.err
    assert service.jobs() == {attempt.name: "CANCELLED"}


@pytest.mark.parametrize(("request_", "left"), [("prepare", "STOPPED"), ("run", "CANCELLED")])
def test_a_kill_during_submission_leaves_no_job(
    start: Start, service: JobService, tmp_path: Path, request_: str, left: str
) -> None:
    service.hold(request_)
    attempt = start()
    until(lambda: service.holds(request_), lambda: attempt.err)
    (attempt.place / "note.end").write_text("killed")
    attempt.process.terminate()
    attempt.until(lambda: attempt.note["state"] != "")
    service.let_go(request_)
    assert attempt.ended() == 143
    until(lambda: set(service.jobs().values()) <= {left})


def test_a_job_that_somebody_else_cancels_is_a_failure_that_says_so(
    start: Start, service: JobService, tmp_path: Path
) -> None:
    first = start()
    begun(first, tmp_path)
    second = start(first)  # as if the first were lost, and somebody with the same note cancelled the job
    second.until(lambda: "taking up job" in second.err)
    assert second.end("killed") == 143
    assert first.ended() == 1
    assert first.err == f"job {first.note['job_id']} was cancelled, not by Daggy\n"


def test_workers_in_the_submitting_process_are_not_waited_for_once_it_is_dead(
    start: Start, service: JobService, tmp_path: Path
) -> None:
    first = start(environment="LOOPBACK")
    begun(first, tmp_path)
    first.kill()
    assert service.jobs() == {first.name: "RUNNING"}
    (tmp_path / "gate").touch()
    (tmp_path / "lines").unlink()
    second = start(first, environment="LOOPBACK")
    assert second.ended() == 0, second.err
    assert "has lost its workers and was cancelled: submitting" in second.err
    assert elements(tmp_path) == list(range(COUNT))
    assert service.jobs() == {first.name: "CANCELLED", second.name: "DONE"}


def test_a_stop_cancels_what_cannot_go_on(start: Start, service: JobService, tmp_path: Path) -> None:
    attempt = start(environment="LOOPBACK")
    begun(attempt, tmp_path)
    assert attempt.end("stopped") == 143
    assert service.jobs() == {attempt.name: "CANCELLED"}


def test_a_service_that_is_started_again_has_forgotten_the_job(
    start: Start, service: JobService, tmp_path: Path
) -> None:
    attempt = start()
    begun(attempt, tmp_path)
    service.stop()
    attempt.until_state("unreachable")
    service.start()
    assert attempt.ended() == 1
    assert attempt.err.startswith(f"the job service at {service.endpoint} does not know job {attempt.note['job_id']}")
    assert len(attempt.err.splitlines()) == 1


def test_the_next_attempt_waits_for_a_service_and_submits_what_that_has_forgotten(
    start: Start, service: JobService, tmp_path: Path
) -> None:
    first = start()
    begun(first, tmp_path)
    first.kill()
    service.stop()
    second = start(first)
    second.until_state("unreachable")
    (tmp_path / "lines").unlink()
    (tmp_path / "gate").touch()
    service.start()
    assert second.ended() == 0, second.err
    assert "no job of the attempt before is known" in second.err
    assert elements(tmp_path) == list(range(COUNT))


def test_no_service_is_one_line(start: Start, service: JobService) -> None:
    service.stop()
    attempt = start()
    assert attempt.process.wait(PATIENCE) == 1
    said = f"no job service answers at {service.endpoint}; is it running? `options.job_endpoint` says where it is"
    assert attempt.err == f"daggy: {said}\n"


def test_a_program_that_fails_after_its_submission_leaves_no_job(
    start: Start, service: JobService, tmp_path: Path
) -> None:
    begins = "    pipeline = beam.Pipeline()\n    pipeline |"
    text = GATED.replace("    with beam.Pipeline() as pipeline:\n        pipeline |", begins)
    ends = '    pipeline.run()\n    raise RuntimeError("too late")'
    (tmp_path / "program.py").write_text(text.replace('    print("after the pipeline")', ends))
    attempt = start()
    assert attempt.ended() == 1
    assert "RuntimeError: too late" in attempt.err
    assert "the program has failed: job" in attempt.err
    assert list(service.jobs().values()) == ["CANCELLED"]
    (tmp_path / "gate").touch()


def test_a_job_of_other_settings_is_cancelled_and_not_taken_up(
    start: Start, service: JobService, tmp_path: Path
) -> None:
    first = start()
    begun(first, tmp_path)
    first.kill()
    second = start(first, environment="LOOPBACK")
    second.until(lambda: "has other settings: it was cancelled" in second.err)
    (tmp_path / "gate").touch()
    assert second.ended() == 0, second.err
    assert len(service.jobs()) == 2
