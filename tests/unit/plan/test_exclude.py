"""Blocks whose axes leave combinations out, beyond what is drawn for all plans."""

import numpy as np
import pytest
from attrs import evolve

from daggy.errors import SpecError, UsageError
from daggy.plan import Plan, difference, plan
from daggy.plan.grouped import GroupedGates
from daggy.plan.matched import EqualGates
from daggy.spec.model import Combination, Dependency, RunSpec, Template
from daggy.spec.parameters import RangeValues
from tests.unit.plan.naive import ECHO, edges_in

HOLE: tuple[Combination, ...] = ((("A", "0"), ("B", "2")),)


def study(
    size: int, first: tuple[Combination, ...], second: tuple[Combination, ...], match: tuple[str, ...]
) -> RunSpec:
    """Two templates of all A and B, the second behind the first, and one of all A behind the second."""
    values = {name: RangeValues.of(0, size) for name in "AB"}
    tasks = (
        Template("make", ECHO, uses=("A", "B"), exclude=first),
        Template("check", ECHO, uses=("A", "B"), exclude=second, parents=(Dependency("make", match),)),
        Template("sum", ECHO, uses=("A",), parents=(Dependency("check", ("A",)),)),
    )
    return RunSpec(tasks, parameters=values)


def test_a_million_tasks_less_one_are_matched_one_by_one() -> None:
    made = plan(study(1000, HOLE, HOLE, ("A", "B")))
    assert [block.size for block in made.blocks] == [999_999, 999_999, 1000]
    one, group = made.arrays
    assert isinstance(one, EqualGates)
    assert isinstance(group, GroupedGates)
    assert (group.size, group.edges()) == (1000, 999_999)
    assert np.asarray(group.total).tolist() == [999, *[1000] * 999]


def test_a_value_that_the_parents_leave_out_is_told() -> None:
    with pytest.raises(SpecError, match="no task of 'make' has A '0' with B '2'; give it these values too"):
        plan(study(3, HOLE, (), ("A", "B")))
    assert len(edges_in(plan(study(3, (), HOLE, ("A", "B"))))) == 8 + 8


def test_tasks_are_chosen_by_value() -> None:
    made = plan(study(3, HOLE, HOLE, ("A", "B")))
    assert made.names(made.select("make", {"A": "0"})) == ["make.A:0.B:0", "make.A:0.B:1"]
    assert made.names(made.select("make", {"B": "2"})) == ["make.A:1.B:2", "make.A:2.B:2"]
    assert not len(made.select("make", {"A": "0", "B": "2"}))
    with pytest.raises(UsageError, match="it has '0', '1', '2'"):
        made.select("make", {"B": "3"})
    with pytest.raises(KeyError, match="its values are excluded"):
        made.index("make.A:0.B:2")


def rows(old: Plan, new: Plan) -> list[tuple[str, int, int, int, int]]:
    return [(row.name, row.kept, row.added, row.removed, row.changed) for row in difference(old, new).rows()]


def test_only_children_of_what_is_left_out_change() -> None:
    whole, holed = plan(study(3, (), (), ("A", "B"))), plan(study(3, HOLE, HOLE, ("A", "B")))
    assert rows(whole, holed) == [("make", 8, 0, 1, 0), ("check", 8, 0, 1, 0), ("sum", 2, 0, 0, 1)]
    assert rows(holed, whole) == [("make", 8, 1, 0, 0), ("check", 8, 1, 0, 0), ("sum", 2, 0, 0, 1)]
    assert difference(whole, holed).changed[2].tolist() == [True, False, False]  # type: ignore[union-attr]


def test_other_combinations_are_another_digest() -> None:
    digests = set()
    for b in range(100):
        made = study(100, ((("A", "50"), ("B", str(b))),), (), ())
        digests.add(plan(evolve(made, tasks=made.tasks[:1])).digest)
    assert len(digests) == 100
