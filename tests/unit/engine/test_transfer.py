"""What is handed from process to process arrives as it was: specs, plans, and what runs and edits make of them."""

import json
import os
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given, reject, settings, strategies as st

from daggy.attempt import REPORT, Kind, Reports
from daggy.engine.intake import transfer
from daggy.engine.intake.transfer import make_memory, pack, pieces_of, unpack
from daggy.errors import Problem, SpecError
from daggy.plan import Plan, difference, grow, plan
from daggy.run.reports import on_reports
from daggy.run.run import Run
from daggy.run.states import Now
from daggy.spec import parse, parse_fragment, source
from daggy.spec.packed import MergedTemplates, PackedTemplates, PackedValues
from daggy.spec.parameters import ListValues
from daggy.spec.texts import PackedNames, Texts
from daggy.tracker import RunState

Json = dict[str, Any]

PLAIN = st.fixed_dictionaries(
    {
        "details": st.sampled_from(
            [{"command": ["echo", "é"]}, {"shell": "x", "timeout": 3, "environment": {"E1": "1"}}]
        )
    },
    optional={
        "description": st.sampled_from(["", "says"]),
        "priority": st.integers(0, 2),
        "is_generator": st.booleans(),
        "resources": st.just({"gpus": 1}),
    },
)
UNUSUAL = st.sampled_from(
    [
        {"details": {"command": ["{{ run.id }}"]}},
        {"details": {"shell": "a", "options": {"slurm": {"a": [1, 2.5]}}}, "retry_on": ["exit", 3]},
        {"details": {"command": ["a"]}, "templating": "none", "parameters": {"A": [1]}},
    ]
)
USING = st.sampled_from(
    [
        {"details": {"command": ["{{ A }}"]}},
        {"details": {"command": ["{{ B }}", "{{ run.tags.t }}"]}},
        {"details": {"shell": "{{ N }}"}, "expand": ["A"]},
        {"details": {"shell": "{{ A }}"}, "parameters": {"A": ["x", "1", 2.50]}},
    ]
)
WAYS: list[Callable[[str], Any]] = [
    lambda other: other,
    lambda other: {"task": other, "on": "ended"},
    lambda other: {"task": other, "match": ["A"]},
]
NAMES = ["a", "b", "ü", "d.d", "e", "f" * 40, "g"]


@st.composite
def documents(draw: st.DrawFn) -> Json:
    """Specs with hand-written tasks of all kinds, and templates with parameters."""
    names = draw(st.lists(st.sampled_from(NAMES), min_size=1, unique=True))
    tasks: Json = {}
    for place, name in enumerate(names):
        tasks[name] = dict(draw(st.one_of(PLAIN, PLAIN, UNUSUAL, USING)))
        earlier = draw(st.lists(st.sampled_from(names[:place]), max_size=2, unique=True)) if place else []
        if earlier:
            tasks[name]["parents"] = [draw(st.sampled_from(WAYS))(other) for other in earlier]
    rest = draw(
        st.fixed_dictionaries(
            {"tags": st.just({"t": "v"}), "directory": st.sampled_from(["/", "/x"])},
            optional={
                "zip": st.just([["A", "B"]]),
                "defaults": st.sampled_from([{"description": "d", "details": {"environment": {"Z": "0"}}}]),
                "limits": st.just({"gpus": 3}),
            },
        )
    )
    values = {"A": ["1", 1.50, 7], "B": ["p", "q", "r"], "N": {"range": [0, 4]}}
    return {"parameters": values, "tasks": tasks, **rest}


@pytest.fixture(autouse=True, scope="module")
def _pack_whatever_there_is() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(source, "SMALL", 0)
        patch.setattr(transfer, "LARGE", 1)
        yield


def planned(document: Json) -> Plan:
    try:
        return plan(parse(json.dumps(document, ensure_ascii=False).encode(), directory=None))
    except SpecError as error:
        if all(part not in str(error) for part in ("cannot match", "no task of")):  # what else is written is right
            raise
        reject()


def sent(made: Plan) -> Plan:
    descriptor = make_memory("test")
    try:
        pack(descriptor, *pieces_of(made))
        *_, last = unpack(descriptor)
    finally:
        os.close(descriptor)
    assert isinstance(last, Plan)
    return last


def same(one: Any, other: Any) -> bool:
    if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
        return one.dtype == other.dtype and bool(np.array_equal(one, other))
    if isinstance(one, (tuple, list)):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


@settings(max_examples=60)
@given(documents())
def test_a_plan_arrives_as_it_was(document: Json) -> None:
    one = planned(document)
    other = sent(one)
    assert other.spec == one.spec
    assert one.spec == other.spec
    assert (other.size, other.digest, other.starts, other.order) == (one.size, one.digest, one.starts, one.order)
    assert same(other.need, one.need)
    for mine, theirs in zip(other.blocks, one.blocks, strict=True):
        numbers = [(block.number, block.start, block.size, block.sizes, block.depth) for block in (mine, theirs)]
        assert numbers[0] == numbers[1]
        assert list(mine.templates) == list(theirs.templates)
        assert list(mine.rows.items()) == list(theirs.rows.items())
        assert same((mine.policies, mine.policy_of, mine.depths), (theirs.policies, theirs.policy_of, theirs.depths))
        assert isinstance(mine.templates, PackedTemplates) == mine.explicit
    names = one.names(range(one.size))
    assert other.names(range(one.size)) == names
    assert [other.index(name) for name in names] == list(range(one.size))
    assert [other.parameters(index) for index in range(one.size)] == [one.parameters(i) for i in range(one.size)]
    assert [other.values(index) for index in range(one.size)] == [one.values(index) for index in range(one.size)]


@settings(max_examples=30)
@given(documents())
def test_the_gates_arrive_as_they_were(document: Json) -> None:
    one = planned(document)
    other = sent(one)
    for mine, theirs in zip(other.arrays, one.arrays, strict=True):
        assert type(mine) is type(theirs)
        assert mine.parent is other.blocks[mine.source]
        assert mine in other.out[mine.source]
        assert all(mine in other.into[target] for target in mine.targets)
        assert (mine.source, mine.targets, mine.on, mine.match) == (
            theirs.source, theirs.targets, theirs.on, theirs.match
        )  # fmt: skip
        assert mine.content() == theirs.content()
        parents = range(mine.parent.start, mine.parent.stop)
        assert [list(mine.gates_of(index)) for index in parents] == [list(theirs.gates_of(i)) for i in parents]
        assert [list(mine.children_of(gate)) for gate in range(mine.size)] == [
            list(theirs.children_of(gate)) for gate in range(theirs.size)
        ]


def drained(made: Plan) -> list[list[int]]:
    """Indexes in the order in which they are handed out, a round at a time."""
    run, now, rounds = Run(1, made, created=0.0, epoch=1), Now(0.0, 0.0), []
    run.begin()
    run.change(RunState.RUNNING, now)
    while run.frontier.ready:
        taken = [index for queue in sorted(run.frontier.ready) for index in _take(run, queue)]
        rounds.append(taken)
        rows = np.zeros(len(taken), REPORT)
        rows["kind"], rows["run"], rows["version"], rows["epoch"] = Kind.FINISHED, 1, 1, 1
        rows["row"]["index"], rows["row"]["attempt"] = taken, 1
        on_reports(run, Reports(rows), now)
    return rounds  # children of generators, which are never heard, are in none


def _take(run: Run, number: int) -> list[int]:
    queue, taken = run.frontier.queues[number], []
    while (index := run.frontier.take_one(queue)) >= 0:
        taken.append(index)
    return taken


@settings(max_examples=30)
@given(documents())
def test_a_run_drains_in_the_same_order(document: Json) -> None:
    one = planned(document)
    assert drained(sent(one)) == drained(one)


@settings(max_examples=80)
@given(documents(), documents())
def test_versions_differ_as_they_did(before: Json, after: Json) -> None:
    old, new = planned(before), planned(after)
    wanted = difference(old, new)
    packed = sent(old), sent(new)
    for found in (difference(*packed), difference(old, packed[1]), difference(packed[0], new)):
        assert same(found.changed, wanted.changed)
        assert found.why == wanted.why
        assert found.rows() == wanted.rows()
        assert found.translate(np.arange(old.size)).tolist() == wanted.translate(np.arange(old.size)).tolist()
        assert found.back(np.arange(new.size)).tolist() == wanted.back(np.arange(new.size)).tolist()


def test_what_changes_in_one_entry_is_seen() -> None:
    tasks: Json = {f"t{number}": {"details": {"command": ["echo", str(number)]}} for number in range(20)}
    old = sent(planned({"directory": "/", "tasks": tasks}))
    tasks["t7"] = {"details": {"command": ["echo", "other"]}}
    tasks["t9"] = {"details": {"command": ["echo", "9"], "timeout": 5}}
    found = difference(old, sent(planned({"directory": "/", "tasks": tasks})))
    assert np.flatnonzero(found.changed[0]).tolist() == [7]
    moved = dict(reversed(tasks.items()))
    found = difference(old, sent(planned({"directory": "/", "tasks": moved})))
    assert np.flatnonzero(found.changed[0]).tolist() == [12]
    defaults = {"is_generator": True}
    found = difference(old, sent(planned({"directory": "/", "tasks": tasks, "defaults": defaults})))
    assert np.count_nonzero(found.changed[0]) == 20


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=5), unique=True), st.text(max_size=3))
def test_rows_are_found_by_name(names: list[str], other: str) -> None:
    rows = {name: row for row, name in enumerate(names)}
    packed = PackedNames.of(names)
    assert list(packed.items()) == list(rows.items())
    assert (packed.get(other, -1), other in packed) == (rows.get(other, -1), other in rows)


@given(
    st.lists(st.sampled_from("abcdefgh"), unique=True),
    st.lists(st.sampled_from("abcdefgh"), unique=True),
    st.integers(1, 8),
)
def test_names_that_share_a_hash_are_told_apart(mine: list[str], others: list[str], hashes: int) -> None:
    def packed(names: list[str]) -> PackedNames:
        values = np.array([ord(name) % hashes for name in names], np.uint64)
        order = np.argsort(values, kind="stable").astype(np.uint32)
        return PackedNames(Texts.of([name.encode() for name in names]), order, values[order])

    def find(self: PackedNames, name: str) -> int:
        return mine.index(name) if name in mine else -1

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PackedNames, "find", find)  # its own hashes are not these
        rows = packed(mine).rows_of(packed(others))
    assert rows.tolist() == [mine.index(name) if name in mine else -1 for name in others]


@given(st.lists(st.binary(max_size=4), max_size=12), st.data())
def test_texts_are_compared_pair_by_pair(parts: list[bytes], data: st.DataObject) -> None:
    others = data.draw(st.permutations(parts) | st.just(parts) | st.lists(st.binary(max_size=4), min_size=len(parts)))
    one, other = Texts.of(parts), Texts.of(list(others))
    assert list(one) == parts
    count = len(parts)
    places = data.draw(st.just(list(range(count))) | st.lists(st.integers(0, max(0, count - 1)), max_size=count))
    places = places if count else []
    chosen = np.array(places, np.int64)
    wanted = [parts[place] == others[place] for place in places]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("daggy.spec.texts.PIECE", data.draw(st.integers(1, 5)))
        assert one.same(chosen, other, chosen).tolist() == wanted


VALUES = st.lists(
    st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=3)
    | st.integers()
    | st.sampled_from([0.5, 1.25, 1e20]),
    min_size=1,
    unique_by=str,
)


@given(VALUES, VALUES)
def test_values_arrive_as_they_were(written: list[Any], others: list[Any]) -> None:
    one, other = read_values(written), read_values(others)
    packed = PackedValues.of(one)
    places = range(len(one))
    assert [packed.value(place) for place in places] == list(one.values)
    assert [type(packed.value(place)) for place in places] == [type(value) for value in one.values]
    assert (list(packed.texts()), [packed.text(place) for place in places]) == (list(one.texts()), list(one.texts()))
    assert [packed.find(text) for text in (*one.texts(), "none", *other.texts())] == [
        one.find(text) for text in (*one.texts(), "none", *other.texts())
    ]
    assert packed == one
    assert one == packed
    assert packed == PackedValues.of(one)
    assert (packed == PackedValues.of(other)) == (packed == other) == (list(one.values) == list(other.values))


def read_values(written: list[Any]) -> ListValues:
    document = {"directory": "/", "parameters": {"A": written}, "tasks": {"a": {"details": {"shell": "{{ A }}"}}}}
    values = parse(json.dumps(document).encode(), directory=None).parameters["A"]
    assert isinstance(values, ListValues)
    assert all(isinstance(value, (str, int, Decimal)) for value in values.values)
    return values


def test_large_arrays_and_lists_are_mapped_and_small_ones_travel() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(transfer, "LARGE", 3)
        few = sent(planned({"directory": "/", "tasks": {name: {"details": {"shell": "x"}} for name in "ab"}}))
        many = sent(planned({"directory": "/", "tasks": {name: {"details": {"shell": "x"}} for name in "abc"}}))
    assert isinstance(few.spec.tasks, tuple)
    assert isinstance(many.spec.tasks, PackedTemplates)
    assert many.spec.tasks is many.blocks[0].templates
    assert not many.spec.tasks.entries.blob.flags.owndata
    assert many.spec.tasks[1:] == list(many.spec.tasks)[1:]
    assert many.spec.tasks[-1].name == "c"


def test_templates_with_parameters_are_the_blocks_own() -> None:
    tasks = {"a": {"details": {"shell": "x"}}, "b": {"details": {"shell": "{{ A }}"}}, "c": {"details": {"shell": "y"}}}
    made = sent(planned({"directory": "/", "parameters": {"A": ["1"]}, "tasks": tasks}))
    assert isinstance(made.spec.tasks, MergedTemplates)
    assert [template.name for template in made.spec.tasks] == ["a", "b", "c"]
    assert made.spec.tasks[1] is made.blocks[1].templates[0]
    assert [template.name for template in made.spec.tasks[::2]] == ["a", "c"]


@pytest.mark.parametrize("value", [SpecError([Problem("a", "b", "c")], "file"), {"a": (1, None)}, b"x" * 100])
def test_other_values_arrive_too(value: object) -> None:
    descriptor = make_memory("test")
    pack(descriptor, [value, value], {})
    found = list(unpack(descriptor))
    os.close(descriptor)
    assert [(type(one), str(one)) for one in found] == [(type(value), str(value))] * 2


@settings(max_examples=30)
@given(documents(), documents())
def test_a_plan_grows_as_it_would_have(document: Json, answer: Json) -> None:
    document["tasks"]["maker"] = {"details": {"shell": "x"}, "is_generator": True}
    made = planned(document)
    tasks = {name: task for name, task in answer["tasks"].items() if "parents" not in task}
    fragment = parse_fragment(json.dumps({"tasks": tasks}).encode(), made.spec)
    grown = [grow(one, one.index("maker"), fragment) for one in (made, sent(made))]
    assert len({one.digest for one in grown}) == 1
    assert len({tuple(one.names(range(one.size))) for one in grown}) == 1
