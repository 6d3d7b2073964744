"""How answers look on a terminal."""

import datetime as dt
import json

import pytest
from hypothesis import given, strategies as st

from daggy.cli import text
from daggy.cli.ls import moment
from daggy.cli.pace import Pace
from daggy.errors import UsageError


def test_columns_are_aligned_and_numbers_stand_to_the_right() -> None:
    lines = text.columns(("NAME", "TASKS"), [("a", 1), ("longer", 1000)])
    assert lines == ["NAME    TASKS", "a           1", "longer   1000"]


def test_columns_without_rows_are_their_header() -> None:
    assert text.columns(("NAME", "TASKS"), []) == ["NAME  TASKS"]


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.414, "0.41 s"), (12.34, "12.3 s"), (59.96, "60.0 s"), (250, "4 min 10 s"), (7500, "2 h 5 min")],
)
def test_durations_are_said_as_people_write_them(seconds: float, said: str) -> None:
    assert text.duration(seconds) == said


@pytest.mark.parametrize(
    ("attempt", "said"),
    [
        ({"reason": "ok", "exit_code": 0, "message": ""}, "exit 0"),
        ({"reason": "exit", "exit_code": 3, "message": ""}, "exit 3"),
        ({"reason": "signal", "signal": 9, "message": ""}, "signal 9"),
        ({"reason": "timeout", "signal": 15, "message": "after 10 s"}, "timeout: after 10 s"),
        ({"reason": "spawn", "message": "no such file"}, "spawn: no such file"),
    ],
)
def test_an_outcome_is_a_code_a_signal_or_a_reason_with_its_message(attempt: dict[str, object], said: str) -> None:
    assert text.outcome(attempt) == said


def test_counts_leave_out_what_there_is_none_of() -> None:
    assert text.counts({"waiting": 0, "completed": 1200, "errored": 1}) == "1,200 completed, 1 errored"
    assert text.counts({"waiting": 0}) == "nothing"


@pytest.mark.parametrize(("said", "seconds"), [("90s", 90), ("2h", 7200), ("1.5d", 129_600), ("1w", 604_800)])
def test_since_takes_an_age(said: str, seconds: float) -> None:
    assert moment(said, 1_000_000.0) == 1_000_000.0 - seconds


def test_since_takes_a_date_with_its_zone() -> None:
    expected = dt.datetime(2026, 1, 2, 3, 4, tzinfo=dt.UTC).timestamp()
    assert moment("2026-01-02T04:04+01:00", 0.0) == expected


def test_since_refuses_what_is_no_time() -> None:
    with pytest.raises(UsageError, match="'yesterday' is neither an age nor a date; write an age"):
        moment("yesterday", 0.0)


@given(st.lists(st.tuples(st.floats(0.01, 5), st.integers(0, 1000)), min_size=1, max_size=40))
def test_pace_is_never_negative_and_exact_for_a_steady_run(steps: list[tuple[float, int]]) -> None:
    steady, uneven, now, ended = Pace(0, 0.0), Pace(0, 0.0), 0.0, 0
    for seconds, more in steps:
        now, ended = now + seconds, ended + more
        assert uneven.take(ended, now) >= 0
        assert steady.take(round(now * 1e6), now) == pytest.approx(1e6, rel=1e-3)


@given(st.recursive(st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=5))
def test_a_line_of_json_steers_no_terminal_and_is_the_value(value: object) -> None:
    line = text.json_line(value)
    assert line.isprintable()
    assert json.loads(line) == value
