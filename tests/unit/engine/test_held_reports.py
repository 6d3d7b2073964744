"""What executors knew at the start is given to each run once, and acknowledged when every run has had its part."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
from hypothesis import given, strategies as st

from daggy.attempt import REPORT, Reports
from daggy.engine.held_reports import HeldReports

ROWS = st.lists(st.tuples(st.integers(1, 3), st.integers(1, 2)), max_size=6)


def reports(rows: list[tuple[int, int]], first: int) -> Reports:
    """Reports of (run, version), numbered from `first`; each message is its number."""
    made = np.zeros(len(rows), REPORT)
    made["run"], made["version"] = [run for run, _ in rows], [version for _, version in rows]
    made["seq"] = np.arange(first, first + len(rows))
    return Reports(made, {place: str(first + place) for place in range(len(rows))})


@given(
    st.lists(st.tuples(st.sampled_from("pq"), ROWS), max_size=5), st.permutations([1, 2, 3]), st.sets(st.integers(1, 3))
)
def test_all_is_given_and_acknowledged_last(
    batches: list[tuple[str, list[tuple[int, int]]]], order: list[int], known: set[int]
) -> None:
    recovered, first = HeldReports(), 1
    by_run: dict[int, set[int]] = defaultdict(set)
    waiting: list[tuple[str, set[int], set[int]]] = []
    for pool, rows in batches:
        recovered.add(pool, reports(rows, first))
        for place, (run, _) in enumerate(rows):
            by_run[run].add(first + place)
        waiting.append((pool, {run for run, _ in rows} & known, set(range(first, first + len(rows)))))
        first += len(rows)
    recovered.drop_unknown(known.__contains__)
    for applied in [None, *order]:
        if applied is not None:
            mine = recovered.of_run(applied)
            assert applied not in known or set(mine.rows["seq"].tolist()) == by_run[applied]
            assert all(mine.messages[place] == str(seq) for place, seq in enumerate(mine.rows["seq"].tolist()))
            recovered.applied(applied)
        done = [(pool, set(rows["seq"].tolist())) for pool, rows in recovered.take_done()]
        expected = [(pool, seqs) for pool, runs, seqs in waiting if not runs - {applied}]
        waiting = [(pool, runs - {applied}, seqs) for pool, runs, seqs in waiting if runs - {applied}]
        assert done == expected
        assert all(bool(recovered.waiting(pool)) == any(pool == one for one, _, _ in waiting) for pool in "pq")
    assert not waiting
