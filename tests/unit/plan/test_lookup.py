"""Where values of one parameter are among those of another, against looking each up."""

from decimal import Decimal

import numpy as np
from attrs import evolve
from hypothesis import given, strategies as st

from daggy.plan import plan
from daggy.plan.blocks import Axis
from daggy.plan.lookup import lookup, missing
from daggy.plan.rows import same_set
from daggy.spec.model import Dependency, RunSpec, Template, Values
from daggy.spec.parameters import ListValues, RangeValues
from tests.unit.plan.naive import ECHO

STEPS = st.integers(-3, 3).filter(bool)


@st.composite
def values(draw: st.DrawFn) -> Values:
    start, step, size = draw(st.integers(-5, 5)), draw(STEPS), draw(st.integers(1, 6))
    match draw(st.sampled_from(["integers", "decimals", "list", "huge"])):
        case "integers":
            return RangeValues.of(start, start + step * size, step)
        case "decimals":
            unit = Decimal("0.1")
            return RangeValues.of(start * unit, (start + step * size) * unit, step * unit)
        case "huge":
            return RangeValues.of(start + 10**30, start + 10**30 + step * size, step)
    return ListValues(tuple(range(start, start + step * size, step)))


@given(values(), values())
def test_found_as_if_looked_up_one_by_one(here: Values, there: Values) -> None:
    found = lookup(here, there)
    expected = [there.find(here.text(place)) for place in range(len(here))]
    assert found.find(np.arange(len(here))).tolist() == expected
    assert [found.one(place) for place in range(len(here))] == expected
    assert found.same == (list(here.texts()) == list(there.texts()))
    assert not found.surely_all() or min(expected) >= 0
    lost = [place for part in missing([found]) for place in part.tolist()]
    assert lost == [place for place, position in enumerate(expected) if position < 0]
    assert same_set(Axis(("A",), (here,)), Axis(("A",), (there,))) == (set(here.texts()) == set(there.texts()))


def test_a_range_within_a_range_is_matched_without_a_table() -> None:
    tasks = (
        Template("a", ECHO, uses=("N",)),
        Template("b", ECHO, uses=("N",), parents=(Dependency("a", None),)),
    )
    few = {"N": RangeValues.of(10, 10**8, 2)}
    spec = RunSpec(tasks=(tasks[0], evolve(tasks[1], parameters=few)), parameters={"N": RangeValues.of(0, 10**8)})
    made = plan(spec)
    (array,) = made.arrays
    assert array.size == 49_999_995
    assert array.gates(np.array([9, 10, 11, 12, 99_999_998, 99_999_999])).tolist() == [0, 1, 49_999_994]
    assert (list(array.gates_of(10)), list(array.gates_of(11))) == ([0], [])
    assert made.names(list(array.parents(1))) == ["a.N:12"]
    assert made.names(list(array.children_of(1))) == ["b.N:12"]
