"""What a place holds in a queue of its own when an engine comes back stays there: it is in flight, and queued."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import trio
import trio.testing

from daggy.attempt import Kind, Reason, Reports
from daggy.engine.explain import explain
from daggy.errors import TrackerError
from daggy.executor import Machine, Ticket
from daggy.tracker import RunState
from tests.integration.engine_rig import (
    Json,
    KeptTracker,
    Scene,
    Scripted,
    at_work,
    reasons,
    report,
    state_of,
    submit,
    template,
)

pytestmark = pytest.mark.trio


def held(*indexes: int, run: int = 1) -> Reports:
    rows = [report(Kind.HELD, Ticket(run, 1, index, 1, 1)) for index in indexes]
    return Reports(np.concatenate(rows))


async def left(tmp_path: Path, tracker: KeptTracker, tasks: Json) -> Scene:
    """An engine that is killed when it has submitted a run; the scene of the next one."""
    async with at_work(tmp_path, Scene(default=1.0), tracker) as engine:
        await submit(engine, tasks)
        tracker.fault = TrackerError("it is dead")
    tracker.fault = None
    return Scene(default=2.0)


def holding(life: Scripted, *tickets: Ticket) -> None:
    """Have an executor give back what it holds when it is asked to."""
    life.width[-1] = 0
    life.waiting[-1] = [(ticket, "held") for ticket in tickets]


FIRST = Ticket(1, 1, 0, 1, 1)


async def test_what_is_held_is_queued_takes_room_and_is_not_launched_again(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    tracker = KeptTracker()
    scene = await left(tmp_path, tracker, {word: template(word) for word in "abc"})
    scene.recovered["default"] = [held(0)]
    scene.says = lambda ticket: f"job of {ticket}"
    scene.seconds = dict.fromkeys("bc", 10.0)
    async with at_work(tmp_path, scene, tracker, follow=True) as engine:
        await engine.runs.take_up()
        run = await engine.runs.find(1)
        await scene.until(lambda: scene.words)
        await trio.sleep(1)
        assert scene.words == ["b"], "there is room for one beside it"
        assert state_of(run, "a") == "queued"
        told = explain(engine, run, 0).because
        assert [one.get("message", one["kind"]) for one in told] == [f"job of {FIRST}", "handed_out"]
        scene.life().report(Reports(report(Kind.STARTED, FIRST, started=4e9)))
        await trio.sleep(1)
        assert state_of(run, "a") == "running"
        scene.life().report(Reports(report(Kind.FINISHED, FIRST, seq=1, launcher=1, started=4e9, ended=4e9 + 1)))
        await engine.runs.ended(1)
        assert run.state is RunState.COMPLETED
    assert scene.words == ["b", "c"]
    assert sorted(reasons(tracker)) == [(index, 1, Reason.OK) for index in range(3)]


@pytest.mark.parametrize("kind", [Kind.RECALLED, Kind.FINISHED])
async def test_what_is_held_may_come_back_or_end_without_a_start(
    tmp_path: Path, kind: Kind, autojump_clock: trio.testing.MockClock
) -> None:
    tracker = KeptTracker()
    scene = await left(tmp_path, tracker, {"a": template("a")})
    scene.recovered["default"] = [held(0)]
    async with at_work(tmp_path, scene, tracker, follow=True) as engine:
        await engine.runs.take_up()
        scene.life().report(Reports(report(kind, FIRST, ended=4e9)))
        await engine.runs.ended(1)
        assert engine.status()[0].machines[0].used == {}
    assert scene.words == (["a"] if kind is Kind.RECALLED else [])
    assert reasons(tracker) == [(0, 1, Reason.OK)]


async def test_what_is_held_can_be_killed(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    tracker = KeptTracker()
    scene = await left(tmp_path, tracker, {"a": template("a")})
    scene.recovered["default"] = [held(0)]
    async with at_work(tmp_path, scene, tracker, follow=True) as engine:
        await engine.runs.take_up()
        holding(scene.life(), FIRST)
        await engine.commands.kill(1)
        await engine.runs.ended(1)
        assert (await engine.runs.find(1)).state is RunState.KILLED
    assert scene.words == []


async def test_what_is_held_and_requeued_is_taken_back_first(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    tracker = KeptTracker()
    scene = await left(tmp_path, tracker, {"a": template("a")})
    scene.recovered["default"] = [held(0)]
    async with at_work(tmp_path, scene, tracker, follow=True) as engine:
        await engine.runs.take_up()
        await engine.commands.requeue(1, np.array([0]))
        await trio.sleep(10)
        assert scene.words == []
        scene.life().report(Reports(report(Kind.RECALLED, FIRST)))
        await engine.runs.ended(1)
    assert scene.launched[0][1:] == ("a", 2)
    assert [one[2] for one in reasons(tracker)] == [Reason.OK]


async def test_what_is_held_of_a_killed_task_or_of_an_unknown_run_is_given_up(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    tracker, stray = KeptTracker(), Ticket(7, 1, 0, 1, 1)
    async with at_work(tmp_path, Scene(default=1.0), tracker) as engine:
        await submit(engine, {"a": template("a"), "b": template("b")})
        await engine.commands.kill(1, np.array([0]))
        tracker.fault = TrackerError("it is dead")
    tracker.fault, scene = None, Scene(default=1.0)
    scene.recovered["default"] = [Reports(np.concatenate([held(0).rows, held(0, run=7).rows]))]
    async with at_work(tmp_path, scene, tracker, follow=True) as engine:
        holding(scene.life(), FIRST, stray)
        await engine.runs.take_up()
        await engine.runs.ended(1)
        assert not scene.life().waiting[-1]
        assert engine.status()[0].machines[0].used == {}
    assert scene.words == ["b"]


async def test_a_successor_of_the_executor_still_holds_what_it_says_so_of(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    tracker, scene = KeptTracker(), Scene(default=1.0)
    scene.machines["default"] = [Machine("site", None, slots=2)]
    scene.recovered["default"] = [Reports(held(0).rows[:0]), held(0)]
    async with at_work(tmp_path, scene, tracker, follow=True) as engine:
        await engine.runs.take_up()
        scene.is_full = True
        run = await submit(engine, {"a": template("a"), "b": template("b")})
        await scene.until(lambda: len(scene.life().waiting.get(0, [])) == 2)
        scene.is_full = False
        scene.life().fail(OSError("broken"))
        await scene.until(lambda: scene.words == ["b"])
        assert state_of(run, "a") == "queued"
        scene.life().report(Reports(report(Kind.FINISHED, FIRST, seq=1, launcher=1, ended=4e9)))
        await engine.runs.ended(1)
    assert sorted(reasons(tracker)) == [(0, 1, Reason.OK), (1, 1, Reason.LOST), (1, 2, Reason.OK)]


@pytest.mark.parametrize("kind", [Kind.STARTED, Kind.HELD])
async def test_a_kill_that_was_asked_of_an_executor_that_failed_is_asked_of_its_successor(
    tmp_path: Path, kind: Kind, autojump_clock: trio.testing.MockClock
) -> None:
    scene = Scene(default=1.0)
    scene.seconds["a"] = float("inf")
    there = Reports(report(kind, FIRST, started=4e9))
    scene.recovered["default"] = [Reports(there.rows[:0]), there]
    async with at_work(tmp_path, scene, KeptTracker(), follow=True) as engine:
        await engine.runs.take_up()
        scene.is_full = kind is Kind.HELD
        run = await submit(engine, {"a": template("a")})
        await scene.until(lambda: scene.life().running or scene.life().waiting.get(0))
        first = scene.life()
        first.fail(OSError("broken"))
        await trio.sleep(0.05)  # it has gone, and the next one is not there yet
        await engine.commands.kill(1)
        await scene.until(lambda: scene.life() is not first)
        await trio.sleep(10)
        assert scene.life().killed == [FIRST]
        scene.life().report(Reports(report(Kind.FINISHED, FIRST, Reason.KILLED, seq=1, launcher=1, ended=4e9)))
        await engine.runs.ended(1)
        assert run.state is RunState.KILLED


async def test_only_recovery_may_tell_of_what_is_held(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    async with at_work(tmp_path, Scene(default=1.0)):
        pass
    scene = Scene(default=1.0)
    scene.seconds["a"] = float("inf")
    async with at_work(tmp_path, scene) as engine:
        await submit(engine, {"a": template("a")})
        await scene.until(lambda: scene.words)
        with pytest.raises(ValueError, match="HELD is for what recover"):
            scene.life().report(held(0))


async def test_what_waits_for_its_place_keeps_its_turn_there(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """A place with a queue of its own has not started what there is room for: that is not asked back for others."""
    scene = Scene(default=1.0)
    scene.machines["default"] = [Machine("site", None, slots=2)]
    async with at_work(tmp_path, scene) as engine:
        scene.is_full = True
        await submit(engine, {word: template(word, resources={"gpus": number}) for number, word in enumerate("abc")})
        await scene.until(lambda: sum(map(len, scene.life().waiting.values())) == 2)
        await trio.sleep(100)
        assert scene.recalled == []
