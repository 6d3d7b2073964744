"""Selectors and names that once kept a server from its work for as long as their sender liked."""

from __future__ import annotations

import json
import random

import pytest

from daggy.errors import UsageError
from daggy.plan import plan
from daggy.plan.names import suggest
from daggy.run.run import Run
from daggy.spec import parse
from daggy.view.selectors import select, states_named
from tests.hostile.test_hostile_targets import patience

SIZE = 100_000


@pytest.fixture(scope="module")
def run() -> Run:
    spec = {"parameters": {"N": {"range": [0, SIZE]}}, "tasks": {"a": {"details": {"command": ["x", "{{ N }}"]}}}}
    return Run(1, plan(parse(json.dumps(spec).encode(), directory="/")), created=0.0, epoch=1)


def test_a_selector_that_is_given_again_and_again_selects_once(run: Run) -> None:
    with patience():
        assert len(select(run, ["a"] * 200_000)) == SIZE


def test_a_state_that_is_named_again_and_again_is_one_state() -> None:
    assert len(states_named(["errored," * 100_000 + "errored"])) == 1


@pytest.mark.parametrize("length", [100, 199])
def test_names_alike_are_compared_for_as_long_as_anybody_waits(length: int) -> None:
    letters = random.Random(1).choices("abcdefgh", k=length)
    alike = ["".join(random.Random(number).sample(letters, length)) for number in range(20_000)]
    with patience(5):
        suggest("".join(letters), alike)


def test_what_was_meant_is_said_among_many_names(run: Run) -> None:
    assert suggest("tsak19999", (f"task{number}" for number in range(20_000))) == "did you mean 'task19999'?"
    assert suggest("x" * 999 + "y", ["x" * 1000]) == f"did you mean '{'x' * 1000}'?"
    with pytest.raises(UsageError, match="did you mean 'a'"):
        select(run, ["a."])
