"""A machine is looked at again after something changed there, and not before."""

from __future__ import annotations

from hypothesis import given, strategies as st

from daggy.engine.rooms import Rooms

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
