"""Plans of a size at which anything made task by task, or edge by edge, would be noticed."""

import tracemalloc

import numpy as np
import pytest

from daggy.plan import Plan, plan, summary
from daggy.spec.model import Dependency, On, RunSpec, Template
from daggy.spec.parameters import RangeValues
from tests.unit.plan.naive import ECHO, Span


def diamond(size: int) -> RunSpec:
    match = ("N",)
    tasks = (
        Template("a", ECHO, uses=("N",)),
        Template("b", ECHO, uses=("N",), parents=(Dependency("a", match),)),
        Template("c", ECHO, uses=("N",), parents=(Dependency("a", match),)),
        Template("d", ECHO, uses=("N",), parents=(Dependency("b", match), Dependency("c"))),
    )
    return RunSpec(tasks=tasks, parameters={"N": Span(0, size // 4)})


def test_nothing_is_kept_for_each_task() -> None:
    tracemalloc.start()
    made = plan(diamond(100_000_000))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert made.size == 100_000_000
    assert made.edges() == 3 * 25_000_000 + 25_000_000**2
    assert peak < 1_000_000
    assert made.name(99_999_999) == "d.N:24999999"
    assert made.index("c.N:12345678") == 50_000_000 + 12_345_678


def test_all_to_all_is_one_gate() -> None:
    tasks = (Template("a", ECHO, uses=("N",)), Template("b", ECHO, uses=("N",), parents=(Dependency("a"),)))
    made = plan(RunSpec(tasks=tasks, parameters={"N": RangeValues.of(0, 10_000)}))
    assert made.edges() == 10**8
    assert sum(array.size for array in made.arrays) == 1


def chain(size: int, forwards: bool) -> Plan:
    step = -1 if forwards else 1
    first = 0 if forwards else size - 1
    names = [f"t{number}" for number in range(size)]
    return plan(
        RunSpec(
            tasks=[
                Template(name, ECHO, parents=() if place == first else (Dependency(names[place + step]),))
                for place, name in enumerate(names)
            ]
        )
    )


@pytest.mark.parametrize("forwards", [True, False])
def test_a_long_explicit_chain(forwards: bool) -> None:
    size = 50_000
    made = chain(size, forwards)
    block = made.blocks[0]
    assert block.depths is not None
    assert block.depths.tolist() == (list(range(size)) if forwards else list(range(size))[::-1])
    assert made.edges() == size - 1
    assert made.arrays[0].total == 1
    counts = made.arrays[0].counts(np.ones(size, dtype=np.bool_))
    assert counts.tolist() == [1] * (size - 1)


def test_a_thousand_explicit_parents_of_one_template_are_one_gate() -> None:
    parents = [Template(f"e{number}", ECHO) for number in range(1000)]
    child = Template("p", ECHO, uses=("N",), parents=tuple(Dependency(parent.name) for parent in parents))
    made = plan(RunSpec(tasks=[child, *parents], parameters={"N": RangeValues.of(0, 5)}))
    (array,) = made.arrays
    assert (array.size, array.total, array.edges()) == (1, 1000, 5000)
    assert array.whole(0) == 0


def test_many_gates_in_front_of_a_row_need_more_than_a_byte() -> None:
    parents = [Template(f"p{number}", ECHO, uses=("N",)) for number in range(300)]
    child = Template("e", ECHO, parents=tuple(Dependency(parent.name) for parent in parents))
    made = plan(RunSpec(tasks=[*parents, child], parameters={"N": RangeValues.of(0, 1)}))
    need = made.need[-1]
    assert isinstance(need, np.ndarray)
    assert need.tolist() == [300]


def test_the_summary_is_by_template() -> None:
    few = [Template("e", ECHO), Template("f", ECHO, parents=(Dependency("e"), Dependency("p", on=On.ENDED)))]
    product = Template("p", ECHO, uses=("N",), parents=(Dependency("e"),))
    values = {"N": RangeValues.of(0, 7)}
    rows = summary(plan(RunSpec(tasks=[*few, product], parameters=values)))
    assert [(row.name, row.parameters, row.tasks) for row in rows] == [("e", (), 1), ("f", (), 1), ("p", ("N",), 7)]
    told = [[(p.task, p.match, p.on, p.edges) for p in row.parents] for row in rows]
    assert told[0] == []
    assert sorted(told[1]) == [("e", (), On.COMPLETED, 1), ("p", (), On.ENDED, 7)]
    assert told[2] == [("e", (), On.COMPLETED, 7)]
    many = [Template(f"e{number}", ECHO) for number in range(1000)]
    product = Template("p", ECHO, uses=("N",), parents=(Dependency("e1"), Dependency("e2")))
    rows = summary(plan(RunSpec(tasks=[*many, product], parameters=values)))
    assert [(row.name, row.tasks) for row in rows] == [("1,000 tasks without parameters", 1000), ("p", 7)]
    assert [(p.task, p.edges) for p in rows[1].parents] == [("1,000 tasks without parameters", 14)]
