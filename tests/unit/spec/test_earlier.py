"""What DaggyR's specs say of Slurm's jobs is read."""

from __future__ import annotations

import json
from typing import Any

import pytest

from daggy.errors import SpecError
from daggy.spec import RunSpec, parse
from daggy.spec.earlier import UNUSED, translated
from daggy.spec.problems import Problems


def read(**keys: Any) -> RunSpec:
    document = {"tasks": {"a": {"details": {"command": ["x"], **keys}}}}
    return parse(json.dumps(document).encode(), source="s.json", directory="/base")


def test_what_a_job_needs_becomes_resources_and_a_timeout() -> None:
    task = read(min_cpus=4, min_memory_mb=200, time_limit_seconds=90).tasks[0]
    assert dict(task.policy.resources) == {"cores": 4.0, "memory_mb": 200.0}
    assert task.policy.timeout == 90
    assert task.details.command == ("x",)


def test_what_is_said_in_daggys_own_words_counts_before_it() -> None:
    task = read(min_cpus=4, resources={"cores": 2}, time_limit_seconds=90, timeout="2m").tasks[0]
    assert dict(task.policy.resources) == {"cores": 2.0}
    assert task.policy.timeout == 120


@pytest.mark.parametrize("key", ["min_tmp_disk_mb", "priority", "user", "logdir"])
def test_what_has_no_use_here_is_said(key: str) -> None:
    (warning,) = read(**{key: 1}).warnings
    assert warning.startswith(f"tasks.a.details.{key}: has no use here; ")


def test_a_secret_is_refused() -> None:
    with pytest.raises(SpecError, match=r"tasks\.a\.details\.jwt_token: a secret in a spec; remove it"):
        read(jwt_token="x")


def test_what_has_no_use_is_told_in_the_same_order_each_time() -> None:
    problems = Problems()
    translated(dict.fromkeys(reversed(UNUSED), "x"), "details", problems)
    assert [one.partition(":")[0] for one in problems.warnings] == [f"details.{key}" for key in UNUSED]
