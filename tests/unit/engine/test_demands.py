"""An executor is told how much is wanted: soon, not too often, and never far from what it is."""

from __future__ import annotations

import math

from hypothesis import given, strategies as st

from daggy.engine.demands import PART, PAUSE, Demands
from daggy.engine.shares import Needs

KINDS: list[Needs] = [(("cores", 1.0),), (("cores", 1.0), ("gpus", 1.0))]
LACKING = st.dictionaries(
    st.sampled_from(KINDS), st.tuples(st.integers(1, 1000), st.sampled_from([0.0, 60.0, 62.0, 3600.0]))
)


@given(st.lists(st.tuples(LACKING, st.floats(0, 2)), max_size=40))
def test_what_is_told_is_soon_within_a_tenth_of_what_is_wanted(
    steps: list[tuple[dict[Needs, tuple[int, float]], float]],
) -> None:
    demands, told, at, now = Demands(), dict[Needs, tuple[int, float]](), -math.inf, 0.0
    for lacking, passes in steps:
        now += passes
        news = demands.news(lacking, now)
        if news is not None:
            assert now >= at + PAUSE
            at = now
            told = {tuple(one.needs.items()): (one.tasks, one.longest) for one in news.demands}
            assert told == lacking
        is_near = told.keys() == lacking.keys() and all(
            abs(new - old) <= PART * old for needs in told for old, new in zip(told[needs], lacking[needs], strict=True)
        )
        assert demands.due == (math.inf if is_near else at + PAUSE)
        assert news is None or is_near
        assert is_near or now < demands.due
