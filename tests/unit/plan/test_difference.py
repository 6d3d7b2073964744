"""Differences of plans against the same by names."""

from collections.abc import Sequence

import numpy as np
from attrs import evolve
from hypothesis import assume, given, settings, strategies as st

from daggy.plan import Difference, DifferenceRow, Plan, difference, grow, plan
from daggy.spec.model import Dependency, Details, Policy, RunSpec, Template, Templating
from daggy.spec.parameters import ListValues, RangeValues
from tests.unit.plan.naive import ECHO, TEXTS, Words, edges_of, exclusions, expand, fitting, lacking, specs

OTHER = Details(command=("printf",))


@st.composite
def edits(draw: st.DrawFn, spec: RunSpec) -> RunSpec:
    """The same spec with a few things changed."""
    tasks = list(spec.tasks)
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.integers(0, len(tasks) - 1))
        match draw(
            st.sampled_from(["details", "parents", "drop", "values", "values", "values", "zip", "exclude", "order"])
        ):
            case "details":
                tasks[place] = evolve(tasks[place], details=OTHER)
            case "parents":
                tasks[place] = evolve(tasks[place], parents=tasks[place].parents[1:])
            case "drop" if len(tasks) > 1:
                gone = tasks.pop(place).name
                tasks = [without(template, gone) for template in tasks]
            case "values":
                free = [name for name in spec.parameters if not any(name in group for group in spec.zip)]
                values = draw(st.lists(st.sampled_from(TEXTS), min_size=1, max_size=3, unique=True))
                spec = evolve(spec, parameters={**spec.parameters, draw(st.sampled_from(free)): Words(tuple(values))})
            case "zip" if not any(map(spec.is_sheet, spec.zip)):
                spec = evolve(spec, zip=())
            case "exclude":
                tasks[place] = evolve(tasks[place], exclude=())
                tasks[place] = evolve(tasks[place], exclude=draw(exclusions(spec, tasks[place])))
            case "order":
                tasks = draw(st.permutations(tasks))
    return evolve(spec, tasks=tuple(fitting(spec, template) for template in tasks))


def without(template: Template, name: str) -> Template:
    parents = tuple(entry for entry in template.parents if entry.task != name)
    return evolve(template, parents=parents, children=tuple(e for e in template.children if e.task != name))


def good(spec: RunSpec) -> bool:
    tasks = expand(spec)
    return not lacking(spec, tasks, edges_of(spec, tasks))


@st.composite
def versions(draw: st.DrawFn) -> tuple[RunSpec, RunSpec]:
    old = draw(specs())
    assume(good(old))
    new = draw(st.one_of(edits(old), specs()))
    assume(good(new))
    return old, new


@given(versions())
def test_indexes_are_translated_as_names_are(case: tuple[RunSpec, RunSpec]) -> None:
    old, new = (expand(spec) for spec in case)
    found = difference(plan(case[0]), plan(case[1]))
    place = {task.name: index for index, task in enumerate(new)}
    assert found.translate(np.arange(len(old))).tolist() == [place.get(task.name, -1) for task in old]
    place = {task.name: index for index, task in enumerate(old)}
    assert found.back(np.arange(len(new))).tolist() == [place.get(task.name, -1) for task in new]


def flags(found: Difference) -> list[bool]:
    made: list[bool] = []
    for block, changed in zip(found.new.blocks, found.changed, strict=True):
        made += changed.tolist() if isinstance(changed, np.ndarray) else [bool(changed)] * block.size
    return made


@settings(max_examples=150)
@given(versions())
def test_what_differs_for_a_task_changes_it_and_nothing_else_does(case: tuple[RunSpec, RunSpec]) -> None:
    old, new = ({task.name: task for task in expand(spec)} for spec in case)
    parents = [
        {task.name: {edge[1:] for edge in edges if edge[0] == task.name} for task in tasks}
        for tasks, edges in ((expand(spec), edges_of(spec, expand(spec))) for spec in case)
    ]
    found = difference(plan(case[0]), plan(case[1]))
    matches = [{array.match for array in made.arrays} for made in (found.old, found.new)]
    rewritten = case[0].zip != case[1].zip or matches[0] != matches[1]
    differs: dict[str, bool] = {
        name: old[name].written.details != new[name].written.details or parents[0][name] != parents[1][name]
        for name in new
        if name in old
    }
    by_template: dict[str, bool] = {}
    for name, differ in differs.items():
        by_template[new[name].template] = differ or by_template.get(new[name].template, False)
    one_by_one = [
        isinstance(found.changed[block.number], np.ndarray) for block in found.new.blocks for _ in range(block.size)
    ]
    for name, changed, single in zip(new, flags(found), one_by_one, strict=True):
        if name not in old:
            assert not changed or new[name].texts
        elif new[name].texts:
            assert changed or not differs[name]
            assert rewritten or changed == (differs[name] if single else by_template[new[name].template])
        else:
            assert changed == differs[name] or (changed and rewritten)


@given(versions())
def test_what_changed_says_why(case: tuple[RunSpec, RunSpec]) -> None:
    found = difference(plan(case[0]), plan(case[1]))
    for block, changed, why in zip(found.new.blocks, found.changed, found.why, strict=True):
        if block.explicit:
            assert isinstance(changed, np.ndarray)
            assert set(why) == set(np.flatnonzero(changed).tolist())
        else:
            assert set(why) == ({None} if np.any(changed) else set())
        assert bool(found.cause(block.number)) == bool(np.any(changed))
        assert all(why.values())


@given(versions())
def test_rows_count_every_task_once(case: tuple[RunSpec, RunSpec]) -> None:
    old, new = ({task.name for task in expand(spec)} for spec in case)
    found = difference(plan(case[0]), plan(case[1]))
    rows = found.rows()
    assert sum(row.added for row in rows) == len(new - old)
    assert sum(row.removed for row in rows) == len(old - new)
    assert sum(row.kept + row.changed for row in rows) == len(old & new)


@given(specs(), st.data())
def test_the_same_spec_in_another_order_changes_nothing(spec: RunSpec, data: st.DataObject) -> None:
    assume(good(spec))
    other = evolve(spec, tasks=tuple(data.draw(st.permutations(spec.tasks))))
    found = difference(plan(spec), plan(other))
    assert not any(flags(found))
    assert not any(found.why)


def run(*tasks: Template, tags: dict[str, str] | None = None, **values: Sequence[str]) -> Plan:
    parameters = {name: ListValues(tuple(texts)) for name, texts in values.items()}
    return plan(RunSpec(tasks=tasks, parameters=parameters, tags=tags or {}))


def why(old: Plan, new: Plan) -> list[str]:
    found = difference(old, new)
    return [found.cause(block.number) for block in new.blocks]


def echo(text: str, **rest: object) -> Details:
    return Details(command=("echo", text), **rest)  # type: ignore[arg-type]


def test_causes_name_what_changed() -> None:
    def one(details: Details, **rest: object) -> Plan:
        return run(Template("t", details, uses=("A",), **rest), A=["1"], tags=rest.pop("tags", {}))  # type: ignore[arg-type]

    before = one(echo("{{ A }}"))
    assert why(before, one(echo("{{A}}"))) == [""]
    assert why(before, one(echo("{{ A }}", timeout=5.0, grace=1.0))) == [""]
    assert why(before, one(echo("{{ A }}"), policy=Policy(priority=3, max_retries=1))) == [""]
    assert why(before, one(echo("{{ A }}!"))) == ["command changed"]
    assert why(before, one(Details(shell="echo {{ A }}"))) == ["command changed, shell changed"]
    assert why(before, one(echo("{{ A }}", stdin="x"))) == ["stdin changed"]
    assert why(before, one(echo("{{ A }}", environment={"K": "v"}))) == ["environment 'K' changed"]
    assert why(before, one(echo("{{ A }}", directory="/tmp"))) == ["directory changed"]
    assert why(before, one(echo("{{ A }}"), policy=Policy(is_generator=True))) == ["is_generator changed"]
    assert why(before, one(echo("{{A}}"), templating=Templating.NONE)) == ["templating changed"]


def test_a_project_that_moves_changes_nothing_and_another_directory_within_it_does() -> None:
    tasks = (Template("a", ECHO), Template("b", Details(command=("b",), directory="inner"), uses=("N",)))
    parameters = {"N": ListValues((1, 2))}
    here = RunSpec(tasks, parameters=parameters, directory="/here/work", called_from="/here")
    moved = evolve(here, directory="/there/work", called_from="/there")
    for new, changed in (
        (moved, False),
        (evolve(moved, directory="/there/play"), True),
        (evolve(moved, called_from=""), True),
    ):
        rows = difference(plan(here), plan(new)).rows()
        assert [(row.kept, row.changed) for row in rows] == [(0, 1), (0, 2)] if changed else [(1, 0), (2, 0)]


def test_a_tag_counts_where_it_is_used() -> None:
    uses, other = Template("uses", echo("{{ run.tags.env }}")), Template("other", echo("x"))
    found = difference(run(uses, other, tags={"env": "a", "x": "1"}), run(uses, other, tags={"env": "b", "x": "1"}))
    assert found.why == ({0: "tag 'env' changed"},)
    found = difference(run(uses, other, tags={"env": "a", "x": "1"}), run(uses, other, tags={"env": "a", "x": "2"}))
    assert found.why == ({},)


def test_parents_are_named() -> None:
    a, b, p = Template("a", ECHO), Template("b", ECHO), Template("p", ECHO, uses=("A",))
    child = Template("c", ECHO)
    old = run(a, b, p, evolve(child, parents=(Dependency("a"), Dependency("p"))), A=["1"])
    new = run(a, b, p, evolve(child, parents=(Dependency("b"), Dependency("p"))), A=["1", "2"])
    found = difference(old, new)
    assert list(found.why[0]) == [2]
    found = difference(old, run(a, b, p, evolve(child, parents=(Dependency("b"), Dependency("p"))), A=["1"]))
    assert found.why[0] == {2: "parents changed: +b -a"}
    wide = Template("c", ECHO, uses=("A",))
    old = run(a, p, evolve(wide, parents=(Dependency("p", ("A",)),)), A=["1"])
    new = run(a, p, evolve(wide, parents=(Dependency("p", ("A",)), Dependency("a"))), A=["1"])
    assert why(old, new) == ["", "", "parents changed: +a"]


def test_a_parent_that_vanished_changes_the_rows_that_waited_for_it() -> None:
    a, b = Template("a", ECHO), Template("b", ECHO)
    child, other = evolve(b, name="c", parents=(Dependency("a"), Dependency("b"))), Template("d", ECHO)
    found = difference(run(a, b, child, other), run(b, evolve(child, parents=(Dependency("b"),)), other))
    assert flags_of(found) == [[False, True, False]]
    assert found.why[0] == {1: "parents changed: -a"}


def test_other_values_of_what_is_not_matched_change_the_children() -> None:
    p = Template("p", ECHO, uses=("A", "B"))
    matched = Template("m", ECHO, uses=("A",), parents=(Dependency("p", ("A",)),))
    whole = Template("w", ECHO, uses=("C",), parents=(Dependency("p"),))
    row = Template("e", ECHO, parents=(Dependency("p"),))

    def of(a: str, b: str) -> Plan:
        return run(p, matched, whole, row, A=list(a), B=list(b), C=["1"])

    told = "parents changed: 'p' has other values"
    assert why(of("12", "xy"), of("12", "xyz")) == ["", told, told, told]
    assert why(of("12", "xy"), of("21", "yx")) == ["", "", "", ""]
    assert why(of("12", "xy"), of("123", "xy")) == ["", "", told, told]


def test_rows_by_template() -> None:
    p = Template("p", ECHO, uses=("A",))
    found = difference(run(p, Template("x", ECHO), A=["1", "2"]), run(p, Template("y", ECHO), A=["2", "3"]))
    assert found.rows() == [
        DifferenceRow("p", 1, 1, 1, 0),
        DifferenceRow("y", 0, 1, 0, 0),
        DifferenceRow("x", 0, 0, 1, 0),
    ]


def test_generated_tasks_are_found_again_by_scope_and_name() -> None:
    spec = RunSpec(tasks=(Template("g", ECHO, Policy(is_generator=True)), Template("z", ECHO)))
    first = RunSpec(tasks=(Template("x", ECHO), Template("y", ECHO)))
    second = RunSpec(tasks=(Template("y", OTHER), Template("x", ECHO)))
    old = grow(plan(spec), 0, first)
    new = grow(plan(evolve(spec, tasks=spec.tasks[::-1])), 1, second)
    found = difference(old, new)
    assert found.translate(np.arange(4)).tolist() == [1, 0, 3, 2]
    assert flags(found) == [False, False, True, False]
    assert found.rows()[-2:] == [DifferenceRow("g/y", 0, 0, 0, 1), DifferenceRow("g/x", 1, 0, 0, 0)]


def test_tasks_of_an_earlier_answer_are_those_of_the_last_one() -> None:
    spec = RunSpec(tasks=(Template("g", ECHO, Policy(is_generator=True)),))
    first, last = RunSpec(tasks=(Template("x", ECHO), Template("y", ECHO))), RunSpec(tasks=(Template("x", ECHO),))
    old = grow(grow(plan(spec), 0, first), 0, last)
    found = difference(old, grow(plan(spec), 0, last))
    assert found.translate(np.arange(4)).tolist() == [0, 1, -1, 1]
    assert found.back(np.arange(2)).tolist() == [0, 3]
    assert found.rows() == [DifferenceRow("g", 1, 0, 0, 0), DifferenceRow("g/x", 1, 0, 0, 0)]
    assert difference(old, old).rows() == found.rows()


def test_a_range_is_extended_without_writing_it_out() -> None:
    def of(size: int) -> Plan:
        values = {"N": RangeValues.of(0, size)}
        return plan(RunSpec(tasks=(Template("a", ECHO), Template("t", ECHO, uses=("N",))), parameters=values))

    found = difference(of(10**8), of(10**8 + 5))
    assert found.translate(np.array([0, 1, 10**8])).tolist() == [0, 1, 10**8]
    assert found.back(np.array([10**8, 10**8 + 1, 10**8 + 5])).tolist() == [10**8, -1, -1]
    assert flags_of(found) == [[False], False]


def flags_of(found: Difference) -> list[object]:
    return [changed.tolist() if isinstance(changed, np.ndarray) else bool(changed) for changed in found.changed]
