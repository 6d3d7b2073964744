"""The wire: both ends agree, streams may be cut anywhere, and nonsense is an error of ours, never a crash."""

from __future__ import annotations

import contextlib
import json

import numpy as np
import pytest
from hypothesis import given, strategies as st

from daggy.attempt import ATTEMPT, REPORT, Kind, Ticket
from daggy.executor import Launch, Launches
from daggy.launcher import frames
from daggy.launcher.program import wire

NUMBERS = st.integers(0, 2**32 - 1)
TEXT = st.text(st.characters(exclude_categories=()))  # lone surrogates too: file names that are not Unicode


def rows_of(data: bytes) -> np.ndarray[tuple[int], np.dtype[np.void]]:
    return np.frombuffer(data.ljust(-(-len(data) // REPORT.itemsize) * REPORT.itemsize, b"\0"), REPORT)


def told(data: bytes, *texts: dict[int, str]) -> bytes:
    rows = rows_of(data)
    extra = json.dumps(texts).encode() if any(texts) else b""
    payload = len(rows).to_bytes(4, "little") + rows.tobytes() + extra
    return wire.FRAME.pack(len(payload), ord("R")) + payload


def test_both_ends_have_the_same_layout_of_a_report() -> None:
    assert wire.REPORT.size == REPORT.itemsize
    values = range(1, 25)
    row = np.frombuffer(wire.REPORT.pack(*values), REPORT)[0]
    assert [row[name].item() for name in REPORT.names[:-1]] == list(values)[:5]  # type: ignore[index]
    assert [row["row"][name].item() for name in ATTEMPT.names] == list(values)[5:]  # type: ignore[union-attr]


TEXTS = st.dictionaries(st.integers(0, 3), st.text())


@given(st.lists(st.tuples(st.binary(max_size=400), TEXTS, TEXTS, TEXTS)), st.data())
def test_a_stream_may_be_cut_anywhere(
    batches: list[tuple[bytes, dict[int, str], dict[int, str], dict[int, str]]], data: st.DataObject
) -> None:
    stream = b"".join(told(*batch) for batch in batches)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    cutter = frames.Frames()
    answers = [
        answer
        for start, stop in zip([0, *cuts], [*cuts, len(stream)], strict=True)
        for answer in cutter.feed(stream[start:stop])
    ]
    assert len(answers) == len(batches)
    for answer, (raw, *texts) in zip(answers, batches, strict=True):
        assert isinstance(answer, frames.Reported)
        assert answer.reports.rows.tobytes() == rows_of(raw).tobytes()
        assert [answer.reports.messages, answer.reports.results, answer.reports.notes] == texts
        for key, row in zip(answer.keys, answer.reports.rows, strict=True):
            ticket = (row["run"], row["version"], row["row"]["index"], row["epoch"], row["row"]["attempt"])
            assert key == (row["kind"], *ticket)


@given(st.binary(max_size=300))
def test_nonsense_is_an_error_that_says_so(data: bytes) -> None:
    with contextlib.suppress(frames.WireError):
        assert isinstance(frames.Frames().feed(data), list)


@given(st.sampled_from("RWDTH"), st.binary(max_size=200))
def test_a_frame_with_a_damaged_payload_is_an_error_that_says_so(kind: str, payload: bytes) -> None:
    with contextlib.suppress(frames.WireError):
        assert isinstance(frames.answer(ord(kind), payload), frames.Answer)


@given(st.lists(TEXT, max_size=3), st.dictionaries(TEXT, TEXT | st.none(), max_size=3), st.none() | TEXT)
def test_a_launch_arrives_as_it_was_sent(
    argv: list[str], environment: dict[str, str | None], stdin: str | None
) -> None:
    launch = Launch(4, 2, argv, environment, "/somewhere", stdin, 1.5, 2.5, True, options={"not": object()})
    frame = frames.launch(Launches(1, 2, 3, "m", 5, 9, [launch]), [launch], 6)
    length, kind = wire.FRAME.unpack_from(frame)
    order = json.loads(frame[wire.FRAME.size :])
    assert (length, kind) == (len(frame) - wire.FRAME.size, ord("l"))
    assert order == {
        "run": 1,
        "version": 2,
        "epoch": 3,
        "lane": 5,
        "width": 6,
        "needs": {},
        "tasks": [list(launch[:11])],
    }


@given(NUMBERS, NUMBERS, NUMBERS, NUMBERS, NUMBERS)
def test_tickets_go_through_reports_unchanged(run: int, version: int, index: int, epoch: int, attempt: int) -> None:
    key = frames.key(Ticket(run, version, index, epoch, attempt))
    rows = frames.about(Kind.RECALLED, key, 3)
    assert frames.kinds_and_keys(rows.tobytes()) == [(Kind.RECALLED, *key)]
    assert rows["row"]["launcher"][0] == 3


def test_reports_may_be_written_to() -> None:
    (answer,) = frames.Frames().feed(told(b"x", {}))
    assert isinstance(answer, frames.Reported)
    answer.reports.rows["row"]["place"] = 7
    assert answer.reports.rows["row"]["place"][0] == 7


def test_an_unknown_kind_of_frame_is_named() -> None:
    with pytest.raises(frames.WireError, match="122"):
        frames.answer(ord("z"), b"")
