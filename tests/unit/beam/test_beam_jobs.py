"""Jobs of runners that have no job service: followed and ended by what `Pipeline.run` returned."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from daggy_beam.hooks import cloud_name
from daggy_beam.jobs import Job


class Result:
    """A result whose states are given, the last one for ever."""

    def __init__(self, *states: str) -> None:
        self.states, self.cancelled = list(states), False

    @property
    def state(self) -> str:
        state = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        if state == "away":
            raise OSError("the runner does not answer")
        return state

    def cancel(self) -> None:
        self.cancelled = True
        self.states = ["CANCELLED"]

    def metrics(self) -> Any:
        return SimpleNamespace(query=lambda: {"counters": []})

    def wait_until_finish(self) -> None:
        pass


def followed(result: Any) -> tuple[Job, list[str]]:
    told: list[str] = []
    job = Job(lambda **changes: told.append(changes["state"]), result)
    job.begin()
    return job, told


def test_a_job_is_followed_to_its_last_state_even_if_the_runner_is_away() -> None:
    job, told = followed(Result("RUNNING", "away", "DONE"))
    job.wait()
    assert told == ["RUNNING", "unreachable", "DONE"]
    assert (job.state, job.metrics) == ("DONE", {"metrics": {}})


def test_a_job_is_cancelled_by_its_result() -> None:
    job, told = followed(Result("RUNNING"))
    assert job.cancel(drain=True) == "its runner does not drain, so it was cancelled"
    assert told[-1] == "CANCELLED"


def test_dataflow_drains() -> None:
    result: Any = Result("RUNNING")
    asked = []

    def modify_job_state(job_id: str, state: str) -> None:
        asked.append((job_id, state))
        result.states = ["DRAINED"]

    result._runner = SimpleNamespace(dataflow_client=SimpleNamespace(modify_job_state=modify_job_state))
    result.job_id = lambda: "2026-j"
    job, told = followed(result)
    assert job.cancel(drain=True) == "it was drained"
    assert (asked, told[-1], result.cancelled) == ([("2026-j", "JOB_STATE_DRAINING")], "DRAINED", False)


def test_metrics_that_a_runner_does_not_give_do_no_harm(capsys: pytest.CaptureFixture[str]) -> None:
    result: Any = Result("DONE")
    result.metrics = lambda: None
    job, _ = followed(result)
    job.wait()
    assert job.state == "DONE"
    assert "the runner gives no metrics" in capsys.readouterr().err


def test_the_name_at_dataflow_is_the_tasks_and_a_valid_one() -> None:
    assert cloud_name("A_b:c-7-31-1", 0) == cloud_name("A_b:c-7-31-2", 0) == "daggy-a-b-c-7-31-1"
    assert cloud_name("0a-7-31-1", 1) == "daggy-0a-7-31-2"
