"""What was ended together with its machine was lost."""

from __future__ import annotations

import numpy as np
import pytest

from daggy.attempt import REPORT, STOPPED, Kind, Reason, Reports
from daggy.launcher.preemption import Preemption, terminated


def reports(kind: Kind, reason: Reason, code: int, flags: int = 0) -> Reports:
    rows = np.zeros(1, REPORT)
    rows["kind"], rows["row"]["reason"], rows["row"]["code"], rows["row"]["flags"] = kind, reason, code, flags
    return Reports(rows, {})


@pytest.mark.parametrize(
    ("kind", "reason", "code", "flags", "is_lost"),
    [
        (Kind.FINISHED, Reason.SIGNAL, -15, 0, True),
        (Kind.FINISHED, Reason.SIGNAL, -9, 0, True),
        (Kind.FINISHED, Reason.EXIT, 143, 0, True),
        (Kind.FINISHED, Reason.KILLED, -15, STOPPED, True),
        (Kind.FINISHED, Reason.KILLED, -15, 0, False),
        (Kind.FINISHED, Reason.TIMEOUT, -15, 0, False),
        (Kind.FINISHED, Reason.SIGNAL, -11, 0, False),
        (Kind.FINISHED, Reason.EXIT, 1, 0, False),
        (Kind.FINISHED, Reason.OK, 0, 0, False),
        (Kind.STARTED, Reason.OK, 0, 0, False),
    ],
)
def test_only_what_its_machine_may_have_ended_was_lost(
    kind: Kind, reason: Reason, code: int, flags: int, *, is_lost: bool
) -> None:
    told = Reports(np.zeros(0, REPORT))

    def take(one: Reports) -> None:
        nonlocal told
        told = one

    preemption = Preemption(take, is_possible=True)
    preemption.begin("its job ended")
    preemption.give(reports(kind, reason, code, flags))
    assert told.rows["row"]["reason"][0] == (Reason.LOST if is_lost else reason)
    assert told.messages == ({0: "its job ended"} if is_lost else {})
    assert not (is_lost and told.rows["row"]["flags"][0] & STOPPED)


def test_what_was_killed_on_purpose_is_not_waited_with() -> None:
    assert not terminated(reports(Kind.FINISHED, Reason.KILLED, -15).rows).any()
    assert terminated(reports(Kind.FINISHED, Reason.SIGNAL, -15).rows).all()


@pytest.mark.trio
async def test_what_daggy_stops_itself_is_not_lost_though_its_machine_was_ending() -> None:
    taken: list[Reports] = []
    preemption = Preemption(taken.append, is_possible=True)
    preemption.give(reports(Kind.FINISHED, Reason.SIGNAL, -15))
    preemption.begin("its job ended")
    preemption.stop()
    preemption.give(reports(Kind.FINISHED, Reason.KILLED, -15, STOPPED))
    assert [one.rows["row"]["reason"][0] for one in taken] == [Reason.LOST, Reason.KILLED]
