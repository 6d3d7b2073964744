"""The small parts of a run against lists and arithmetic: rings, ledger, delays, retries, ranges."""

from __future__ import annotations

from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, strategies as st

from daggy.attempt import ATTEMPT, Reason, Rows, State
from daggy.errors import SpecError
from daggy.run import ledger as ledgers, retry
from daggy.run.delays import WIDTH, Delays
from daggy.run.indexes import indexes_of, shifted, where_of
from daggy.run.ledger import Ledger
from daggy.run.ready import Fifo
from daggy.run.run import as_ranges, from_ranges
from daggy.spec.model import Policy
from daggy.spec.task import RETRIED
from tests.unit.run.kit import spec_of


@given(st.sets(st.integers(0, 60), min_size=1))
def test_ranges_are_the_indexes(chosen: set[int]) -> None:
    indexes = np.array(sorted(chosen), np.int64)
    ranges = as_ranges(indexes)
    assert from_ranges(ranges).tolist() == sorted(chosen)
    assert all(stop < start for (_, stop), (start, _) in zip(ranges.tolist(), ranges.tolist()[1:], strict=False))


@given(st.lists(st.integers(0, 9), unique=True), st.integers(0, 5))
def test_where_holds_the_indexes_in_their_order(chosen: list[int], by: int) -> None:
    where = where_of(np.array(chosen, np.int64))
    assert indexes_of(where).tolist() == chosen
    assert indexes_of(shifted(where, by)).tolist() == [index + by for index in chosen]
    assert isinstance(where, slice) == (bool(chosen) and chosen == list(range(chosen[0], chosen[0] + len(chosen))))


@given(st.lists(st.tuples(st.sampled_from(["one", "some", "range", "take", "take one"]), st.integers(1, 6000))))
def test_a_queue_returns_its_entries_in_order(steps: list[tuple[str, int]]) -> None:
    queue, inside, number = Fifo(), [], 0
    for step, count in steps:
        fresh = list(range(number, number + count))
        if step == "one":
            queue.push(number)
            inside.append(number)
            number += 1
        elif step == "some":
            queue.push_many(np.array(fresh[::-1], np.int64))
            inside += fresh
            number += count
        elif step == "range":
            queue.push_many(slice(number, number + count))
            inside += fresh
            number += count
        else:
            taken = [queue.take_one()] if step == "take one" else indexes_of(queue.take(count)).tolist()
            for index in taken:
                if index >= 0:
                    inside.remove(index)
            assert len(taken) <= count
            assert inside or len(queue) == 0
        assert len(queue) == len(inside)
        assert bool(queue) == bool(inside)


@patch.multiple(ledgers, CHUNK=5, FIRST=2, GROWTH=2)
@given(st.lists(st.tuples(st.booleans(), st.integers(1, 7)), max_size=12))
def test_ledger_keeps_rows_in_order(steps: list[tuple[bool, int]]) -> None:
    ledger = Ledger()
    expected: list[tuple[int, ...]] = []
    given_out: list[Rows] = []
    for one_by_one, count in steps:
        rows = np.zeros(count, ATTEMPT)
        rows["index"] = np.arange(len(expected), len(expected) + count)
        if one_by_one:
            for row in rows:
                ledger.append_bytes(row.tobytes(), int(State.ERRORED), 3, 4)
        else:
            ledger.append_successes(rows.view(f"V{ATTEMPT.itemsize}"))
        state = State.ERRORED if one_by_one else State.COMPLETED
        expected += [(int(row["index"]), state, 3 * one_by_one, 4 * one_by_one) for row in rows]
        if count % 2:
            given_out += [piece for _, piece in ledger.take_pending()]
    everything = np.concatenate([*ledger.pieces(0, len(ledger)), np.zeros(0, ATTEMPT)])
    assert everything[["index", "outcome", "failures", "crashes"]].tolist() == expected
    given_out += [piece for _, piece in ledger.take_pending()]
    assert [int(row["index"]) for piece in given_out for row in piece] == [row[0] for row in expected]
    numbers = np.arange(len(ledger))[::-2]
    assert ledger.rows(numbers)["index"].tolist() == numbers.tolist()


def test_a_ledger_of_few_attempts_is_small() -> None:
    ledger = Ledger()
    ledger.append_bytes(bytes(ATTEMPT.itemsize), int(State.COMPLETED), 0, 0)
    (view,) = ledger.pieces(0, 1)
    assert view.base is not None
    assert view.base.nbytes < 4096


@given(st.lists(st.tuples(st.integers(0, 5), st.floats(0, 3)), max_size=20), st.floats(0, 4))
def test_delays_are_over_neither_early_nor_late(added: list[tuple[int, float]], now: float) -> None:
    delays, last = Delays(), {}
    for index, due in added:
        delays.add(index, due)
        last[index] = due
    taken = delays.take_due(now)
    assert len(set(taken)) == len(taken)
    assert {index for index, due in last.items() if due + WIDTH <= now} <= set(taken)
    assert set(taken) <= {index for index, due in last.items() if due <= now + 1e-9}
    assert set(taken) | {index for index in last if index in delays.due_of} == set(last)


@given(st.floats(0.01, 1e6), st.floats(1, 1e6), st.integers(1, 400), st.integers(0, 2**32 - 1))
def test_a_delay_grows_with_jitter_up_to_an_hour(first: float, backoff: float, failures: int, task: int) -> None:
    policy = Policy(retry_delay=first, retry_backoff=backoff)
    seconds = retry.delay(policy, failures, (1, task, failures))
    assert seconds == retry.delay(policy, failures, (1, task, failures))
    if failures == 1:
        assert min(retry.LONGEST_DELAY, first * 0.5) <= seconds <= min(retry.LONGEST_DELAY, first * 1.5)
    assert 0 < seconds <= retry.LONGEST_DELAY


def test_jitter_spreads() -> None:
    policy = Policy(retry_delay=1.0)
    delays = [retry.delay(policy, 1, (1, task, 1)) for task in range(1000)]
    assert abs(np.mean(delays) - 1.0) < 0.05
    assert min(delays) < 0.55
    assert max(delays) > 1.45


@pytest.mark.parametrize("reason", list(Reason), ids=str)
def test_what_retry_on_may_name_is_what_is_retried(reason: Reason) -> None:
    name = reason.name.lower()
    written = {"tasks": {"a": {"max_retries": 1, "retry_on": [name], "details": {"shell": "x"}}}}
    if name in RETRIED:
        (template,) = spec_of(written).tasks
        assert retry.is_retriable(template.policy, reason, 1)
        assert retry.is_retriable(Policy(), reason, 1)
    else:
        with pytest.raises(SpecError, match="never retried"):
            spec_of(written)
        assert not retry.is_retriable(Policy(), reason, 1)


@pytest.mark.parametrize(
    ("only", "reason", "code", "expected"),
    [
        (None, Reason.EXIT, 1, True),
        (None, Reason.TEMPLATE, 0, False),
        (None, Reason.OUTPUT, 0, False),
        (None, Reason.LOST, 0, False),
        (None, Reason.MEMORY, -9, True),
        (frozenset({"memory"}), Reason.MEMORY, -9, True),
        (frozenset({"memory"}), Reason.SIGNAL, -9, False),
        (frozenset({"signal", 137}), Reason.MEMORY, 137, False),
        (frozenset({"signal"}), Reason.EXIT, 1, False),
        (frozenset({"signal"}), Reason.SIGNAL, -9, True),
        (frozenset({75}), Reason.EXIT, 75, True),
        (frozenset({75}), Reason.EXIT, 1, False),
        (frozenset({75}), Reason.SIGNAL, 75, False),
        (frozenset({"template"}), Reason.TEMPLATE, 0, False),
    ],
)
def test_what_is_retried(only: frozenset[str | int] | None, reason: Reason, code: int, expected: bool) -> None:
    assert retry.is_retriable(Policy(retry_on=only), reason, code) is expected
