"""What the fork executor says of itself before it runs anything."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import pytest

from daggy.errors import Problem
from daggy.executor import Site, Work
from daggy.launcher.numbers import claim
from daggy_fork import ForkExecutor, ForkSettings


def executor(settings: ForkSettings) -> ForkExecutor:
    return ForkExecutor(settings, Site("default", Path("/nowhere"), "tests", durable=False))


@pytest.mark.parametrize(("cores", "workers"), [(1, 1), (2, 2), (3, 1), (16, 14)])
def test_workers_default_to_the_cores_less_two(cores: int, workers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(cores)))
    assert ForkSettings().workers == workers


def test_one_machine_with_its_workers_and_memory() -> None:
    one = executor(ForkSettings(workers=3, memory_mb=100))
    (machine,) = one.capacity()
    assert machine.name == socket.gethostname()
    assert machine.totals == {"cores": 3, "memory_mb": 100}
    assert one.fixed


@pytest.mark.parametrize("wrong", [{"workers": 0}, {"memory_mb": -1}, {"output_bytes": -5}])
def test_settings_that_make_no_sense_are_named(wrong: dict[str, Any]) -> None:
    (name,) = wrong
    with pytest.raises(ValueError, match=f"'{name}' must be at least"):
        ForkSettings(**wrong)


def test_options_and_unknown_ways_of_running_are_problems() -> None:
    one = executor(ForkSettings())
    assert not [*one.check(Work("shell", {"cores": 1}, None, is_generator=True))]
    (problem,) = one.check(Work("command", {}, {"x": 1}, is_generator=False))
    assert problem == Problem("details.options.fork", "the executor 'fork' has no options", "remove them")
    (problem,) = one.check(Work("beam", {}, None, is_generator=False))
    assert problem.path == "details.beam"


def test_numbers_of_launchers_grow_and_empty_folders_go(tmp_path: Path) -> None:
    assert [claim(tmp_path) for _ in range(3)] == [1, 2, 3]
    for number in (1, 2):
        (tmp_path / "launchers" / str(number) / "lock").unlink()
    assert claim(tmp_path) == 4
    assert sorted(entry.name for entry in (tmp_path / "launchers").iterdir()) == ["3", "4"]


def test_a_directory_whose_numbers_are_used_up_says_so(tmp_path: Path) -> None:
    (tmp_path / "launchers" / str(2**32 - 1)).mkdir(parents=True)
    with pytest.raises(ValueError, match="begin a new state directory"):
        claim(tmp_path)
