"""Reports say by number where they come from, and each machine of each pool keeps its number."""

from __future__ import annotations

import numpy as np
import pytest

from daggy.attempt import REPORT
from daggy.engine.places import Places
from daggy.tracker import Place


def filled(places: Places, pool: str, machines: list[str], given: list[int]) -> list[str]:
    rows = np.zeros(len(given), REPORT)
    rows["row"]["place"] = given
    rows.flags.writeable = False
    placed = places.placed(pool, lambda: machines, rows)
    assert rows["row"]["place"].tolist() == given, "the executor's own rows have changed"
    assert placed.flags.writeable
    return [places.host(number) for number in placed["row"]["place"].tolist()]


def test_each_report_gets_the_place_of_its_machine() -> None:
    kept: list[Place] = []
    places = Places.of({1: ("p", "b")}, kept.append)
    machines = ["a", "b"]
    assert filled(places, "p", machines, [0, 1, 0]) == ["a", "b", "a"]
    machines.append("c")
    assert filled(places, "p", machines, [2, 0]) == ["c", "a"]
    places.begin("p")
    assert filled(places, "p", ["c", "a"], [0, 1]) == ["c", "a"]
    assert filled(places, "q", ["a"], [0]) == ["a"]
    assert kept == [Place(2, "p", "a"), Place(3, "p", "c"), Place(4, "q", "a")]
    assert not filled(places, "r", [], [])


def test_a_machine_that_was_never_named_is_an_error() -> None:
    with pytest.raises(ValueError, match="place 1, and the executor has named 1 machines"):
        filled(Places.of({}, list[Place]().append), "p", ["a"], [1])
