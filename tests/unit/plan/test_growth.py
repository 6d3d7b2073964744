"""Plans grown by what generators answer, against the same written out."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
from attrs import evolve
from hypothesis import assume, given, settings, strategies as st

from daggy.errors import SpecError
from daggy.plan import Plan, grow, plan, plan_as_json
from daggy.spec.model import Dependency, Policy, RunSpec, Template
from daggy.spec.parameters import ListValues
from tests.unit.plan.naive import ECHO, Edge, Task, edges_in, edges_of, expand, lacking, specs

ANSWERED = ["x", "y", "clean", "report"]


def behind(spec: RunSpec, start: str) -> set[str]:
    """Names of the templates that wait for one, directly or not."""
    pairs = {(entry.task, template.name) for template in spec.tasks for entry in template.parents}
    pairs |= {(template.name, entry.task) for template in spec.tasks for entry in template.children}
    found = {start}
    while more := {child for parent, child in pairs if parent in found} - found:
        found |= more
    return found


@settings(max_examples=30)
@given(specs(), st.data())
def test_a_grown_plan_is_the_old_one_and_the_answer(spec: RunSpec, data: st.DataObject) -> None:
    tasks = expand(spec)
    before = edges_of(spec, tasks)
    assume(not lacking(spec, tasks, before))
    old = plan(spec)
    origin = data.draw(st.integers(0, old.size - 1))
    forbidden = behind(spec, tasks[origin].template)
    allowed = [template for template in spec.tasks if template.name not in forbidden]
    answer = data.draw(specs(ANSWERED, spec, allowed))
    new_tasks = expand(answer, old.name(origin))
    added = edges_of(answer, new_tasks, old.name(origin), tasks)
    assume(not _lacks(answer, old.name(origin), new_tasks, tasks, added))
    new = grow(old, origin, answer)
    assert new.names(range(new.size)) == [task.name for task in [*tasks, *new_tasks]]
    assert [new.index(name) for name in new.names(range(new.size))] == list(range(new.size))
    assert all(one is other for one, other in zip(old.blocks, new.blocks, strict=False))
    assert all(one is other for one, other in zip(old.arrays, new.arrays, strict=False))
    assert Counter(edges_in(new)) == Counter(before | added)
    assert new.edges() == len(before | added)
    assert new.generated[origin] == tuple(range(len(old.blocks), len(new.blocks)))
    in_front = Counter(child for a in new.arrays for gate in range(a.size) for child in a.children_of(gate))
    for block in new.blocks[len(old.blocks) :]:
        assert new.lineage(block) == (origin,)
        assert min([block.depth] if block.depths is None else block.depths.tolist()) > _depth(old, origin)
        need = np.broadcast_to(np.asarray(new.need[block.number]), block.size)
        assert need.tolist() == [in_front[index] for index in range(block.start, block.stop)]
    assert sorted(new.order) == list(range(len(new.blocks)))


def _depth(made: Plan, index: int) -> int:
    block, row = made.locate(index)
    return block.depth if block.depths is None else int(block.depths[row])


def _lacks(answer: RunSpec, scope: str, tasks: Sequence[Task], around: Sequence[Task], edges: set[Edge]) -> bool:
    """Whether a new task has a matched dependency none of whose parents has its values."""
    template_of = {task.name: task.template for task in [*tasks, *around]}
    linked = {(child, template_of[parent]) for child, parent, _ in edges}
    siblings = {template.name for template in answer.tasks}
    pairs = [(template.name, entry.task) for template in answer.tasks for entry in template.parents]
    pairs += [(entry.task, template.name) for template in answer.tasks for entry in template.children]
    return any(
        (task.name, f"{scope}/{parent}" if parent in siblings else parent) not in linked
        for child, parent in pairs
        for task in tasks
        if task.template == f"{scope}/{child}"
    )


def generator(*parents: str, name: str = "g", uses: tuple[str, ...] = ()) -> Template:
    return Template(name, ECHO, parents=tuple(map(Dependency, parents)), uses=uses)


def waiting(name: str, *parents: str) -> Template:
    return Template(name, ECHO, parents=tuple(map(Dependency, parents)))


def answer(*tasks: Template) -> RunSpec:
    return RunSpec(tasks=tasks)


def refused(plan: Plan, origin: str, *tasks: Template) -> str:
    with pytest.raises(SpecError) as caught:
        grow(plan, plan.index(origin), answer(*tasks))
    return str(caught.value)


def test_an_empty_answer_adds_nothing() -> None:
    old = plan(answer(generator()))
    new = grow(old, 0, answer())
    assert (new.size, new.blocks, new.generated) == (1, old.blocks, {0: ()})
    assert new.index("g") == 0


def test_siblings_come_before_the_run_and_scopes_nest() -> None:
    made = plan(answer(generator(), waiting("a"), waiting("b")))
    made = grow(made, 0, answer(generator(), waiting("a"), waiting("n", "a", "b")))
    assert set(edges_in(made)) == {("g/n", "g/a", 0), ("g/n", "b", 0)}
    made = grow(made, made.index("g/g"), answer(waiting("m", "n", "b", "a")))
    assert {edge[:2] for edge in edges_in(made)} >= {("g/g/m", "g/n"), ("g/g/m", "b"), ("g/g/m", "g/a")}
    assert made.lineage(made.block_of(made.index("g/g/m"))) == (made.index("g/g"), 0)
    assert made.parameters(made.index("g/g/m")) == {}


def test_the_scope_of_a_generator_with_parameters_reads_back() -> None:
    spec = RunSpec(tasks=(generator(uses=("A",)),), parameters={"A": ListValues(("a/b.c", "x"))})
    made = plan(spec)
    made = grow(made, 0, evolve(spec, tasks=(Template("t", ECHO, uses=("A",)),)))
    assert made.names([2, 3]) == ["g.A:a%2Fb.c/t.A:a%2Fb.c", "g.A:a%2Fb.c/t.A:x"]
    assert made.index("g.A:a%2Fb.c/t.A:x") == made.index("g.A:a%2Fb%2Ec/t.A:x") == 3
    assert made.select("g.A:a%2Fb%2Ec/t", {"A": "x"}).tolist() == [3]


def test_children_that_exist_are_refused() -> None:
    made = plan(answer(generator(), waiting("a")))
    text = refused(made, "g", Template("n", ECHO, children=(Dependency("a"),)))
    assert text.startswith("tasks.n.children[0]: 'a' exists already")


def test_waiting_for_what_waits_for_the_generator_is_refused() -> None:
    made = plan(answer(generator(), waiting("after", "g"), waiting("later", "after"), waiting("free")))
    for name in ("after", "later"):
        text = refused(made, "g", waiting("n", name))
        assert text.startswith(f"tasks.n.parents[0]: '{name}' waits for the generator")
    made = grow(made, 0, answer(waiting("n", "free")))
    assert edges_in(made)[2:] == [("g/n", "free", 0)]


def test_waiting_for_the_own_generator_is_implied() -> None:
    made = grow(plan(answer(generator())), 0, answer(waiting("n", "g")))
    assert edges_in(made) == []
    assert made.need[1].tolist() == [0]  # type: ignore[union-attr]


def test_waiting_for_other_tasks_of_the_generators_template_is_refused() -> None:
    spec = RunSpec(tasks=(generator(uses=("A",)),), parameters={"A": ListValues(("1", "2"))})
    with pytest.raises(SpecError, match="'g' waits for the generator"):
        grow(plan(spec), 0, evolve(spec, tasks=(waiting("n", "g"),)))


def test_two_answers_cannot_wait_for_each_other_through_the_run() -> None:
    made = plan(answer(generator(name="g"), generator(name="h"), waiting("z", "g"), waiting("w", "h")))
    made = grow(made, made.index("g"), answer(waiting("n", "w")))
    assert "'z' waits for the generator" in refused(made, "h", waiting("m", "z"))


def test_cycles_among_the_new_tasks_are_found() -> None:
    text = refused(plan(answer(generator())), "g", waiting("a", "b"), waiting("b", "a"))
    assert "a → b → a" in text


def test_a_new_answer_takes_the_place_of_the_old_one() -> None:
    made = grow(plan(answer(generator())), 0, answer(generator(name="x"), waiting("y")))
    made = grow(made, made.index("g/x"), answer(waiting("deep")))
    made = grow(made, 0, answer(waiting("y")))
    assert made.size == 5
    assert made.index("g/y") == 4
    assert made.generated[0] == (3,)
    for gone in ("g/x", "g/x/deep"):
        with pytest.raises(KeyError, match="no task named"):
            made.index(gone)


def test_generated_blocks_stand_before_what_waits_for_their_generator() -> None:
    tasks = (Template("g", ECHO, uses=("A",)), Template("after", ECHO, uses=("A",), parents=(Dependency("g"),)))
    made = plan(RunSpec(tasks=tasks, parameters={"A": ListValues(("1",))}))
    made = grow(made, 0, answer(waiting("n")))
    assert made.order == (0, 2, 1)


def test_a_thousand_generators_grow_a_plan_quickly_enough_to_test() -> None:
    values = {"A": ListValues(tuple(map(str, range(1000))))}
    made = plan(RunSpec(tasks=(Template("g", ECHO, uses=("A",)), waiting("free")), parameters=values))
    for origin in range(1000):
        made = grow(made, origin, answer(waiting("n", "free"), waiting("m", "n")))
    assert made.size == 3001
    assert made.edges() == 2000


def test_a_graph_shows_generated_templates_once_with_what_they_wait_for_and_what_waits_for_them() -> None:
    asks = Policy(is_generator=True)
    tasks = (Template("g", ECHO, asks), Template("q", ECHO, asks, uses=("A",)), waiting("end", "g", "q"))
    made = plan(RunSpec(tasks=tasks, parameters={"A": ListValues(("1", "2"))}))
    made = grow(made, 0, answer(Template("x", ECHO, asks), waiting("old")))
    made = grow(made, made.index("g/x"), answer(waiting("deep")))
    made = grow(made, 0, answer(Template("x", ECHO, asks), waiting("y", "x")))
    made = grow(made, made.index("g/x"), answer(waiting("deep")), made.blocks[3].start)
    made = grow(made, made.index("q.A:2"), answer(waiting("z")))
    shown = plan_as_json(made)
    found = {row["name"]: {parent["task"]: parent["edges"] for parent in row["parents"]} for row in shown["templates"]}
    assert found == {
        "g": {},
        "q": {},
        "end": {"g": 1, "q": 2, "g/x": 1, "g/y": 1, "g/x/deep": 1, "q.A:2/z": 1},
        "g/x": {"g": 1},
        "g/y": {"g": 1, "g/x": 1, "g/x/deep": 1},
        "g/x/deep": {"g/x": 1},
        "q.A:2/z": {"q": 1},
    }
    assert (shown["tasks"], shown["edges"]) == (8, 13)
    assert len(shown["templates"]) == 7
    assert made.edges() == 4
