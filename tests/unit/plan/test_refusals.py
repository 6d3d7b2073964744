"""Every way in which a spec cannot be planned: the place, what is wrong, the mend."""

from collections.abc import Sequence

import pytest

from daggy.errors import SpecError
from daggy.plan import MAX_TASKS, grow, plan
from daggy.spec.model import Dependency, On, RunSpec, Template, Value
from daggy.spec.parameters import ListValues, RangeValues
from tests.unit.plan.naive import ECHO


def task(
    name: str,
    *parents: Dependency | str,
    uses: Sequence[str] = (),
    children: Sequence[str] = (),
    **own: Sequence[Value],
) -> Template:
    entries = tuple(Dependency(parent) if isinstance(parent, str) else parent for parent in parents)
    return Template(
        name,
        ECHO,
        parents=entries,
        children=tuple(map(Dependency, children)),
        uses=tuple(uses),
        parameters={key: ListValues(tuple(values)) for key, values in own.items()},
    )


def problems(*tasks: Template, zip: tuple[tuple[str, ...], ...] = ()) -> list[str]:
    parameters = {name: ListValues(("1", "2")) for name in "ABC"}
    with pytest.raises(SpecError) as caught:
        plan(RunSpec(tasks=tasks, parameters=parameters, zip=zip))
    return str(caught.value).splitlines()


def test_an_unknown_parent_says_what_was_meant() -> None:
    assert problems(task("transform"), task("report", "transfrom")) == [
        "tasks.report.parents[0]: no task named 'transfrom'; did you mean 'transform'?"
    ]


def test_an_unknown_child() -> None:
    assert problems(task("a", children=["b", "zzz"]), task("b")) == ["tasks.a.children[1]: no task named 'zzz'"]


def test_a_task_that_waits_for_itself() -> None:
    assert problems(task("a", "a")) == ["tasks.a.parents[0]: 'a' waits for itself; remove it"]


def test_a_cycle_is_printed_from_its_first_template() -> None:
    (line,) = problems(task("x"), task("a", "c", "x"), task("b", "a"), task("c", "b"), task("after", "c"))
    assert line == "tasks.a: waits for itself: a → b → c → a; remove one of these dependencies"


def test_a_cycle_through_products_and_children() -> None:
    (line,) = problems(task("p", uses=["A"], children=["e"]), task("e", children=["p"]))
    assert "p → e → p" in line


def test_a_long_cycle_is_shortened() -> None:
    size = 3000
    (line,) = problems(*(task(f"t{number}", f"t{(number + 1) % size}") for number in range(size)))
    assert "…" in line
    assert len(line) < 200


def test_separate_cycles_are_all_reported() -> None:
    assert len(problems(task("a", "b"), task("b", "a"), task("c", "d"), task("d", "c"))) == 2


def test_a_dependency_given_twice_must_agree() -> None:
    a = task("a", uses=["A"])
    assert problems(a, task("b", Dependency("a", ("A",)), Dependency("a"), uses=["A"])) == [
        "tasks.b.parents[1]: differs from tasks.b.parents[0], which gives the same dependency; remove one of the two"
    ]
    assert problems(task("a", children=["b"]), task("b", Dependency("a", on=On.ENDED))) == [
        "tasks.a.children[0]: differs from tasks.b.parents[0], which gives the same dependency; remove one of the two"
    ]


def test_a_match_needs_the_parameter_on_both_sides() -> None:
    (line,) = problems(task("a", uses=["A"]), task("b", Dependency("a", ("A", "B")), uses=["A", "B"]))
    assert line.startswith("tasks.b.parents[0]: cannot match on 'B': 'a' does not use it; mention it there")
    (line,) = problems(task("a", uses=["A", "B"]), task("b", Dependency("a", ("B",)), uses=["A"]))
    assert "'b' does not use it" in line


def test_match_true_with_nothing_shared() -> None:
    (line,) = problems(task("a", uses=["A"]), task("b", Dependency("a", None), uses=["B"]))
    assert line == (
        "tasks.b.parents[0]: 'match: true', but the two have no parameter in common; "
        "leave out 'match' to wait for all of them"
    )


def test_tasks_without_parameters_cannot_be_matched() -> None:
    (line,) = problems(task("a"), task("b", Dependency("a", None), uses=["B"]))
    assert line.startswith("tasks.b.parents[0]: cannot match")


def test_a_child_value_that_no_parent_has() -> None:
    (line,) = problems(
        task("a", uses=["A"]), task("b", Dependency("a", ("A",)), uses=["A"], A=["2", "3", "4", "5", "6"])
    )
    assert line.startswith("tasks.b.parents[0]: no task of 'a' has A '3', A '4', A '5' and 1 more; give it")


def test_values_match_by_text_not_by_position_or_type() -> None:
    parent, child = task("a", uses=["A"], A=[1, 2, 3]), task("b", Dependency("a", ("A",)), uses=["A"], A=["3", "1"])
    made = plan(RunSpec(tasks=(parent, child), parameters={"A": ListValues(("9",))}))
    assert made.names(made.arrays[0].parents(made.arrays[0].gate_before(made.index("b.A:3")))) == ["a.A:3"]
    assert made.arrays[0].gates_of(made.index("a.A:2")) == ()


def test_groups_zipped_in_another_way_do_not_match() -> None:
    spec = RunSpec(
        tasks=(task("g"), task("a", uses=["A", "B"])),
        parameters={name: ListValues(("1", "2")) for name in "AB"},
    )
    answer = RunSpec(
        tasks=(task("n", Dependency("a", ("A",)), uses=["A", "B"]),), parameters=spec.parameters, zip=(("A", "B"),)
    )
    with pytest.raises(SpecError, match="zip it differently"):
        grow(plan(spec), 0, answer)


def test_pairs_of_a_zip_group_that_no_parent_has() -> None:
    parent = task("a", uses=["A", "B"], A=["1", "2"], B=["1", "2"])
    child = task("b", Dependency("a", ("A",)), uses=["A", "B"], A=["1", "2"], B=["2", "1"])
    (line,) = problems(parent, child, zip=(("A", "B"),))
    assert "no task of 'a' has A '1' with B '2', A '2' with B '1'" in line


def test_two_tasks_of_one_name() -> None:
    assert problems(task("a"), task("a")) == ["tasks.a: there is another task named 'a'; rename one of the two"]


def test_more_tasks_than_indexes() -> None:
    many = {name: RangeValues.of(0, 10**9) for name in "ABCDE"}
    with pytest.raises(SpecError, match=r"expands to 2(,000){15} tasks"):
        plan(RunSpec(tasks=(task("a", uses="ABCDE"), task("b", Dependency("a", None), uses="ABCDE")), parameters=many))
    with pytest.raises(SpecError) as caught:
        plan(RunSpec(tasks=(task("a", uses=["N"]), task("b")), parameters={"N": RangeValues.of(0, MAX_TASKS)}))
    assert str(caught.value) == (
        "tasks: expands to 4,294,967,296 tasks, 4,294,967,295 of them 'a'; "
        "a run has 4,294,967,295 at most: use fewer values, or 'zip'"
    )


def test_all_problems_are_reported_at_once() -> None:
    lines = problems(
        task("a", "b", uses=["A"]), task("b", "a"), task("c", "nope"), task("d", Dependency("a", ("B",)), uses=["A"])
    )
    assert [line.partition(":")[0] for line in lines] == ["tasks.c.parents[0]", "tasks.a", "tasks.d.parents[0]"]
