"""Plans and their gates against the same written out task by task."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import assume, given, strategies as st

from daggy.errors import SpecError
from daggy.plan import Plan, plan
from daggy.spec.model import RunSpec
from tests.unit.plan.naive import edges_in, edges_of, expand, lacking, specs


@st.composite
def planned(draw: st.DrawFn) -> tuple[RunSpec, Plan]:
    spec = draw(specs())
    tasks = expand(spec)
    assume(not lacking(spec, tasks, edges_of(spec, tasks)))
    return spec, plan(spec)


@given(specs())
def test_a_spec_is_refused_exactly_if_a_child_value_is_missing(spec: RunSpec) -> None:
    tasks = expand(spec)
    if lacking(spec, tasks, edges_of(spec, tasks)):
        with pytest.raises(SpecError, match="no task of"):
            plan(spec)
    else:
        assert plan(spec).size == len(tasks)


@given(planned())
def test_tasks_stand_in_the_documented_order_and_names_read_back(case: tuple[RunSpec, Plan]) -> None:
    spec, made = case
    tasks = expand(spec)
    assert made.names(range(made.size)) == [task.name for task in tasks]
    for index, task in enumerate(tasks):
        assert made.index(task.name) == index
        assert made.parameters(index) == task.texts
        assert {name: str(value) for name, value in made.values(index).items()} == task.texts
        assert made.template_name(index) == task.template
        block = made.block_of(index)
        policy = block.policies[0 if block.policy_of is None else int(block.policy_of[index - block.start])]
        assert policy == task.written.policy


@given(planned())
def test_gates_come_to_the_edges_as_written(case: tuple[RunSpec, Plan]) -> None:
    spec, made = case
    expected = edges_of(spec, expand(spec))
    assert Counter(edges_in(made)) == Counter(expected)
    assert made.edges() == len(expected)


@given(planned())
def test_every_task_waits_behind_as_many_gates_as_need_says(case: tuple[RunSpec, Plan]) -> None:
    _, made = case
    in_front = Counter(child for a in made.arrays for gate in range(a.size) for child in a.children_of(gate))
    for block in made.blocks:
        need = made.need[block.number]
        assert isinstance(need, int) != block.explicit
        for index in range(block.start, block.stop):
            assert in_front[index] == (need if isinstance(need, int) else need[index - block.start])
            before = [array.gate_before(index) for array in made.into[block.number]]
            assert sum(gate >= 0 for gate in before) == in_front[index]


@given(planned(), st.data())
def test_gates_answer_alike_one_by_one_and_at_once(case: tuple[RunSpec, Plan], data: st.DataObject) -> None:
    _, made = case
    for array in made.arrays:
        source = made.blocks[array.source]
        feeders = {gate: [int(parent) for parent in array.parents(gate)] for gate in range(array.size)}
        totals = np.broadcast_to(np.asarray(array.total), array.size)
        assert totals.tolist() == [len(parents) for parents in feeders.values()]
        assert all(len(set(parents)) == len(parents) for parents in feeders.values())
        flags = data.draw(st.lists(st.booleans(), min_size=source.size, max_size=source.size))
        marked = np.array(flags, dtype=np.bool_)
        indexes = np.flatnonzero(marked) + source.start
        expected = Counter(gate for index in indexes.tolist() for gate in array.gates_of(index))
        assert Counter(array.gates(indexes).tolist()) == expected
        counts = array.counts(marked)
        assert counts.dtype == np.int32
        assert counts.tolist() == [expected[gate] for gate in range(array.size)]
        for gate, parents in feeders.items():
            assert all(gate in array.gates_of(parent) for parent in parents)
            assert all(array.gate_before(child) == gate for child in array.children_of(gate))
        if array.whole_target:
            for gate in range(array.size):
                block = made.blocks[array.whole(gate)]
                assert list(array.children_of(gate)) == list(range(block.start, block.stop))
                assert block.number in array.targets
        else:
            gates = np.array(data.draw(st.lists(st.sampled_from(range(array.size)), unique=True)), dtype=np.int64)
            behind = [child for gate in gates.tolist() for child in array.children_of(gate)]
            assert sorted(array.children(gates).tolist()) == sorted(behind)
            assert all(array.whole(gate) == -1 for gate in range(array.size))


@given(planned())
def test_an_array_with_a_shift_is_task_by_task(case: tuple[RunSpec, Plan]) -> None:
    for array in case[1].arrays:
        if array.shift is not None:
            source = case[1].blocks[array.source]
            assert array.size == source.size
            assert array.total == 1
            for index in range(source.start, source.stop):
                assert list(array.gates_of(index)) == [index - source.start]
                assert list(array.children_of(index - source.start)) == [index + array.shift]


@given(planned())
def test_blocks_and_arrays_refer_to_each_other(case: tuple[RunSpec, Plan]) -> None:
    _, made = case
    assert [block.number for block in made.blocks] == list(range(len(made.blocks)))
    assert [array.number for array in made.arrays] == list(range(len(made.arrays)))
    assert [block.start for block in made.blocks[1:]] == [block.stop for block in made.blocks[:-1]]
    for array in made.arrays:
        assert array in made.out[array.source]
        assert all(array in made.into[target] for target in array.targets)
    assert sum(map(len, made.out)) == len(made.arrays)
    assert sum(map(len, made.into)) == sum(len(array.targets) for array in made.arrays)
    for block in made.blocks:
        digits = made.digits(block, np.arange(block.start, block.stop))
        for index in range(block.start, block.stop):
            assert [int(digit[index - block.start]) for digit in digits] == block.positions(index)


@given(planned())
def test_depth_is_the_longest_path_of_templates_above(case: tuple[RunSpec, Plan]) -> None:
    spec, made = case
    parents = {template.name: {entry.task for entry in template.parents} for template in spec.tasks}
    for template in spec.tasks:
        for entry in template.children:
            parents[entry.task].add(template.name)

    def depth(name: str) -> int:
        return max((1 + depth(parent) for parent in parents[name]), default=0)

    for block in made.blocks:
        rows = [depth(template.name) for template in block.templates]
        assert block.depth == max(rows)
        assert block.depths is None or block.depths.tolist() == rows


@given(planned())
def test_the_order_puts_parents_first_where_there_is_one(case: tuple[RunSpec, Plan]) -> None:
    made = case[1]
    assert sorted(made.order) == [block.number for block in made.blocks]
    if sum(block.explicit for block in made.blocks) == 0:
        place = {number: position for position, number in enumerate(made.order)}
        assert all(place[array.source] < place[target] for array in made.arrays for target in array.targets)


@given(planned(), st.data())
def test_select_narrows_by_texts(case: tuple[RunSpec, Plan], data: st.DataObject) -> None:
    spec, made = case
    tasks = expand(spec)
    chosen = data.draw(st.sampled_from(tasks))
    names = data.draw(st.sets(st.sampled_from(sorted(chosen.texts)))) if chosen.texts else set()
    where = {name: chosen.texts[name] for name in names}
    expected = [
        index
        for index, task in enumerate(tasks)
        if task.template == chosen.template and where.items() <= task.texts.items()
    ]
    assert made.select(chosen.template, where).tolist() == expected


@given(specs())
def test_the_digest_is_of_the_plan_alone(spec: RunSpec) -> None:
    tasks = expand(spec)
    assume(not lacking(spec, tasks, edges_of(spec, tasks)))
    assert plan(spec).digest == plan(spec).digest
