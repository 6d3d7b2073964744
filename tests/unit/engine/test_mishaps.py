"""Which machines are put aside because attempts go wrong on them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from hypothesis import given, strategies as st

from daggy.attempt import REPORT, Kind, Reason, Rows
from daggy.engine.mishaps import FIRST_PAUSE, LONGEST_PAUSE, MOST, Mishaps

ENDS = st.tuples(st.integers(1, 3), st.sampled_from([Reason.OK, Reason.EXIT, Reason.SPAWN, Reason.LOST, Reason.KILLED]))


def ends(*told: tuple[int, Reason], kind: Kind = Kind.FINISHED) -> Rows:
    rows = np.zeros(len(told), REPORT)
    rows["kind"] = kind
    rows["row"]["place"], rows["row"]["reason"] = [place for place, _ in told], [reason for _, reason in told]
    return rows


@given(st.lists(st.lists(ENDS, max_size=20), max_size=10))
def test_a_machine_is_named_after_so_many_in_a_row(batches: Sequence[Sequence[tuple[int, Reason]]]) -> None:
    mishaps, streaks = Mishaps(), dict.fromkeys((1, 2, 3), 0)
    for batch in batches:
        named = mishaps.note(ends(*batch))
        for place, reason in batch:
            streaks[place] = streaks[place] + 1 if reason in (Reason.SPAWN, Reason.LOST) else 0
        wrong = any(reason in (Reason.SPAWN, Reason.LOST) for _, reason in batch)
        assert sorted(named) == sorted({place for place, _ in batch if streaks[place] >= MOST and wrong})
        assert all(not mishaps.is_sound(place) for place, count in streaks.items() if count)


def test_starts_are_no_ends() -> None:
    mishaps = Mishaps()
    assert mishaps.note(ends(*[(1, Reason.LOST)] * MOST, kind=Kind.STARTED)) == []
    assert not mishaps.is_sound(1)


def test_pauses_grow_until_an_attempt_works_again() -> None:
    mishaps = Mishaps()
    mishaps.note(ends(*[(1, Reason.SPAWN)] * MOST))
    assert [mishaps.pause(1), mishaps.pause(1)] == [FIRST_PAUSE, 2 * FIRST_PAUSE]
    assert mishaps.note(ends((1, Reason.SPAWN))) == [1]
    assert [mishaps.pause(1) for _ in range(8)][-1] == LONGEST_PAUSE
    assert mishaps.note(ends((1, Reason.EXIT))) == []
    mishaps.note(ends(*[(1, Reason.SPAWN)] * MOST))
    assert mishaps.pause(1) == FIRST_PAUSE
