"""A machine is looked at again after something changed there, and not before; tasks are spread evenly."""

from __future__ import annotations

from hypothesis import given, strategies as st

from daggy.engine.rooms import Rooms, spread

COUNT = 2
MOVES = st.lists(
    st.tuples(st.sampled_from(["of", "close", "change"]), st.sampled_from("ab"), st.integers(0, COUNT - 1)), max_size=60
)


@given(MOVES, st.integers(0, 30))
def test_each_kind_has_the_machines_that_were_not_closed_or_have_changed_since(
    moves: list[tuple[str, str, int]], noise: int
) -> None:
    rooms = Rooms()
    rooms.reset(COUNT)
    closed: dict[str, set[int]] = {"a": set(), "b": set()}
    for what, kind, position in moves:
        if what == "change":
            rooms.change(position)
            for one in closed.values():
                one.discard(position)
            continue
        wanted = [at for at in range(COUNT) if at not in closed[kind]]
        assert rooms.of(kind, position) == [at for at in wanted if at >= position] + [
            at for at in wanted if at < position
        ]
        if what == "close":
            rooms.close(kind, position)
            closed[kind].add(position)
    for number in range(noise * 100):
        rooms.change(number % COUNT)
    assert not noise or rooms.of("a") == list(range(COUNT))


@given(
    st.lists(st.tuples(st.sampled_from(["free", "change"]), st.sampled_from("ab"), st.integers(0, 2)), max_size=60),
    st.lists(st.integers(0, 3), min_size=60, max_size=60),
)
def test_how_much_is_free_is_asked_of_each_machine_once_and_again_when_it_has_changed(
    moves: list[tuple[str, str, int]], amounts: list[int]
) -> None:
    rooms, is_free = Rooms(), [2, 0, 1]
    rooms.reset(3)
    unheard: dict[str, set[int]] = {"a": {0, 1, 2}, "b": {0, 1, 2}}
    for (what, kind, position), amount in zip(moves, amounts, strict=False):
        if what == "change":
            is_free[position] = amount
            rooms.change(position)
            for one in unheard.values():
                one.add(position)
            continue
        asked: list[int] = []

        def fits(at: int, asked: list[int] = asked) -> int:
            asked.append(at)
            return is_free[at]

        assert rooms.free(kind, fits) == {at: room for at, room in enumerate(is_free) if room}
        assert set(asked) == unheard[kind]
        assert len(asked) == len(set(asked))
        unheard[kind] = set()


@given(st.dictionaries(st.integers(0, 20), st.integers(1, 9), max_size=8), st.integers(0, 60))
def test_each_task_goes_where_there_is_most_room(rooms: dict[int, int], tasks: int) -> None:
    given_ = spread(rooms, tasks)
    assert sum(given_.values()) == min(tasks, sum(rooms.values()))
    left = {position: room - given_.get(position, 0) for position, room in rooms.items()}
    assert all(room >= 0 for room in left.values())
    most = max(left.values(), default=0)
    assert all(left[position] + 1 >= most for position in given_)
    assert all(given_.values())
