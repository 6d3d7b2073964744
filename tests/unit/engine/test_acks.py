"""A launcher may forget exactly what lies before the first finish that waits to be applied."""

from __future__ import annotations

import random

import numpy as np
from hypothesis import given, strategies as st

from daggy.attempt import REPORT, Kind, Reason, Rows, Ticket
from daggy.engine.acks import Acks
from daggy.executor import Ack


def finishes(launcher: int, seqs: list[int]) -> Rows:
    """Finishes of tasks whose index is their launcher times a hundred plus their sequence number."""
    rows = np.zeros(len(seqs), REPORT)
    rows["kind"], rows["seq"], rows["run"], rows["version"], rows["epoch"] = Kind.FINISHED, seqs, 1, 1, 1
    rows["row"]["launcher"], rows["row"]["attempt"] = launcher, 1
    rows["row"]["index"] = [launcher * 100 + seq for seq in seqs]
    return rows


def ticket(launcher: int, seq: int) -> Ticket:
    return Ticket(1, 1, launcher * 100 + seq, 1, 1)


@given(st.lists(st.tuples(st.integers(1, 3), st.lists(st.booleans(), max_size=5)), max_size=12), st.randoms())
def test_never_beyond_what_is_held_and_in_the_end_everything(
    batches: list[tuple[int, list[bool]]], order: random.Random
) -> None:
    acks, seqs = Acks(), dict.fromkeys((1, 2, 3), 0)
    held: set[tuple[int, int]] = set()
    told: dict[int, int] = {}

    def take() -> None:
        for pool, ack in acks.take():
            assert pool == "p"
            assert ack.seq > told.get(ack.launcher, 0), "nothing is said twice"
            told[ack.launcher] = ack.seq
        for launcher, last in seqs.items():
            first = min((seq for one, seq in held if one == launcher), default=last + 1)
            assert told.get(launcher, 0) == first - 1

    for launcher, holds in batches:
        numbers = [seqs[launcher] + place + 1 for place in range(len(holds))]
        for number, hold in zip(numbers, holds, strict=True):
            if hold:
                held.add((launcher, number))
                acks.hold(ticket(launcher, number))
        acks.note("p", finishes(launcher, numbers))
        seqs[launcher] += len(holds)
        take()
    waiting = sorted(held)
    order.shuffle(waiting)
    for one in waiting:
        held.discard(one)
        acks.release(ticket(*one))
        take()
    assert {launcher: seq for launcher, seq in seqs.items() if seq} == told


def test_a_new_executor_is_told_again() -> None:
    acks = Acks()
    acks.note("p", finishes(1, [1, 2]))
    acks.note("q", finishes(1, [1]))
    assert acks.take() == [("p", Ack(1, 2)), ("q", Ack(1, 1))]
    assert acks.take() == []
    acks.forget_sent("p")
    assert acks.take() == [("p", Ack(1, 2))]


def test_reports_without_a_number_need_no_acknowledgement() -> None:
    acks = Acks()
    acks.note("p", finishes(1, [0, 0]))
    acks.note("p", finishes(1, []))
    assert acks.take() == []


def test_a_finish_waits_for_its_answer_though_its_executor_told_its_loss_in_the_same_turn() -> None:
    acks, lost = Acks(), finishes(0, [0])
    lost["row"]["index"], lost["row"]["reason"] = 102, Reason.LOST
    acks.hold(ticket(1, 2))
    acks.note("p", np.concatenate([finishes(1, [1, 2]), lost]))
    assert acks.take() == [("p", Ack(1, 1))]
