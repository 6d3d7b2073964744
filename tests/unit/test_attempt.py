"""Batches of reports: joined and picked from, with their texts."""

from __future__ import annotations

import numpy as np
from hypothesis import given, strategies as st

from daggy.attempt import REPORT, Reports, Texts, chosen, joined

SAID = st.lists(st.lists(st.none() | st.text(min_size=1), max_size=5), max_size=5)


def batch(said: list[str | None], first: int) -> Reports:
    """Reports numbered from `first`; those with a text say it, and have it as a result and as a note, too."""
    rows = np.zeros(len(said), REPORT)
    rows["seq"] = np.arange(first, first + len(said))
    texts = {at: text for at, text in enumerate(said) if text is not None}
    return Reports(rows, texts, *({at: mark + text for at, text in texts.items()} for mark in "rn"))


def told(reports: Reports) -> list[tuple[int, str | None, Texts]]:
    seqs = enumerate(reports.rows["seq"].tolist())
    return [(int(seq), reports.messages.get(at), reports.texts(at)) for at, seq in seqs]


@given(SAID)
def test_joined_batches_keep_order_and_texts(said: list[list[str | None]]) -> None:
    batches = [batch(one, 100 * number) for number, one in enumerate(said)]
    assert told(joined(batches)) == [pair for one in batches for pair in told(one)]


@given(st.lists(st.none() | st.text(min_size=1), min_size=1), st.data())
def test_chosen_reports_keep_their_texts_and_are_copies(said: list[str | None], data: st.DataObject) -> None:
    reports = batch(said, 1)
    places = data.draw(st.lists(st.integers(0, len(said) - 1), unique=True))
    picked = chosen(reports, places)
    assert told(picked) == [told(reports)[place] for place in places]
    picked.rows["seq"] = 0
    assert (reports.rows["seq"] > 0).all()
