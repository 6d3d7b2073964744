"""A small part of the simulation, and that it sees what is wrong."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from daggy.run import reconcile, reports
from daggy.run.run import Run
from daggy.tracker import Attempts, Entry
from tests.simulation import story
from tests.simulation.command import play, played

pytestmark = pytest.mark.slow
SEEDS = range(0, 80, 40)
"""The first of forty each; CI plays ten thousand."""


@pytest.mark.parametrize("first", SEEDS)
def test_whatever_happens_the_promises_hold(first: int) -> None:
    for seed in range(first, first + 40):
        said, _ = play(seed)
        assert not said, f"seed {seed}: {said}"


def test_a_seed_is_the_same_story_each_time() -> None:
    for seed in range(6):
        one, other = played(seed)[0], played(seed)[0]
        assert [str(happened) for happened in one.world.log] == [str(happened) for happened in other.world.log]
        assert one.asked == other.asked


def found(seeds: range) -> set[str]:
    """Return the first words of what is wrong."""
    return {said.split(":")[0] for said, _ in map(play, seeds) if said}


def test_a_tracker_that_loses_attempts_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def forgetful(self: story.Kept, entries: Sequence[Entry]) -> None:
        super(story.Kept, self).append([one for one in entries if not isinstance(one, Attempts) or len(one.rows) != 2])

    monkeypatch.setattr(story.Kept, "append", forgetful)
    assert "invariant 'every start is known'" in found(range(40))


def test_an_engine_that_forgets_what_runs_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconcile, "_is_next", lambda run, index, row: False)
    monkeypatch.setattr(reconcile, "RESUMABLE", np.zeros(10, np.bool_))
    assert found(range(40)) & {"invariant 'every start is known'", "invariant 'once'", "invariant 'room'"}


def test_a_number_that_is_given_to_two_attempts_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    recalled = reports.on_recalled

    def careless(run: Run, index: int) -> None:
        run.spent.pop(index, None)
        recalled(run, index)

    monkeypatch.setattr(reports, "on_recalled", careless)
    assert "invariant 'numbers'" in found(range(40))
