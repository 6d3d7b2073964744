"""What earlier launchers still know when an engine begins: applied once, and before anything is launched."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import trio
import trio.testing

from daggy.engine.engine import Engine
from daggy.errors import SpecError, TrackerError
from daggy.executor import Kind, Reason, Reports, Rows, Ticket
from daggy.run.run import Run
from daggy.spec import parse
from daggy.tracker import Generated, RunState
from tests.integration.engine_rig import (
    Json,
    KeptTracker,
    Scene,
    at_work,
    document,
    reasons,
    report,
    state_of,
    submit,
    template,
)

pytestmark = pytest.mark.trio
FOREVER = float("inf")


def finish(index: int, seq: int, attempt: int = 1, reason: Reason = Reason.OK, run: int = 1, version: int = 1) -> Rows:
    ticket = Ticket(run, version, index, 1, attempt)
    return report(Kind.FINISHED, ticket, reason, seq=seq, launcher=1, started=4e9, ended=4e9 + 1)


def said(*rows: Rows) -> list[Reports | Exception]:
    return [Reports(np.concatenate(rows))]


async def killed_after_submission(tmp_path: Path, tracker: KeptTracker, tasks: Json, **pools: float) -> None:
    """An engine that dies when it has kept a run and handed out what is ready."""
    scene = Scene(**pools)
    async with at_work(tmp_path, scene, tracker) as engine:
        await submit(engine, tasks)
        tracker.fault = TrackerError("it is dead")
    tracker.fault = None


async def test_parents_and_children_from_pools_and_launchers_in_any_order_count(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    tracker = KeptTracker()
    tasks = {"a": template("a"), "b": template("b", "a", pool="two"), "c": template("c", "b")}
    await killed_after_submission(tmp_path, tracker, tasks, two=1.0, one=1.0)
    tasks["b"]["pool"], scene = "two", Scene(one=1.0, two=1.0)
    scene.recovered = {"one": said(finish(2, 1), finish(0, 2)), "two": said(finish(1, 1))}
    async with at_work(tmp_path, scene, tracker) as engine:
        run = await engine.runs.load(1)
        await engine.runs.ended(1)
        assert run.state is RunState.COMPLETED
        await scene.until(lambda: len(scene.acks) == 2)
    assert not scene.launched
    assert sorted(scene.acks) == [("one", 1, 2), ("two", 1, 1)]
    assert [index for index, _, _ in reasons(tracker)] == [0, 1, 2]


async def test_nothing_is_launched_while_a_generators_answer_is_read(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    tracker = KeptTracker()
    tasks = {"g": template("g", is_generator=True), "h": template("h", "g"), "r": template("r", "h")}
    await killed_after_submission(tmp_path, tracker, tasks)
    scene = Scene(default=4.0)
    scene.answers = {0: b'{"x": {"details": {"command": ["x"]}}, "y": {"details": {"command": ["y"]}}}'}
    scene.answer_seconds = 100.0
    scene.recovered = {"default": said(finish(1, 1), finish(4, 2), finish(3, 3), finish(0, 4))}
    async with at_work(tmp_path, scene, tracker) as engine:
        run = await engine.runs.load(1)
        assert [run.plan.name(index) for index in (3, 4)] == ["g/x", "g/y"]
        await engine.runs.ended(1)
        assert run.state is RunState.COMPLETED
        await scene.until(lambda: scene.acks == [("default", 1, 4)])
    assert scene.words == ["r"]
    assert sum(isinstance(entry, Generated) for entry in tracker.entries) == 1


async def test_growth_is_read_back_with_the_same_indexes(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    tracker = KeptTracker()
    answer = document({name: template(name) for name in ("x", "y")})
    tasks = {"g": template("g", is_generator=True), "f": template("f", is_generator=True), "z": template("z", "f")}
    scene = Scene(default=4.0)
    scene.answers = dict.fromkeys((0, 1), answer.replace(b'"directory": "/", ', b""))
    scene.seconds = {"g": 5.0, "x": FOREVER, "y": FOREVER}
    async with at_work(tmp_path, scene, tracker) as engine:
        run = await submit(engine, tasks)
        await scene.until(lambda: len(scene.launched) == 6)
        names = [run.plan.name(index) for index in range(run.plan.size)]
        tracker.fault = TrackerError("it is dead")
    tracker.fault = None
    again = Scene(default=4.0)
    async with at_work(tmp_path, again, tracker) as engine:
        run = await engine.runs.load(1)
        assert [run.plan.name(index) for index in range(run.plan.size)] == names
        assert names[3:] == ["f/x", "f/y", "g/x", "g/y"]
        await engine.runs.ended(1)
        assert run.state is RunState.COMPLETED
    assert sorted(again.words) == ["x", "x", "y", "y", "z"]


async def test_new_attempts_are_numbered_above_every_ticket_seen(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    tracker = KeptTracker()
    await killed_after_submission(tmp_path, tracker, {"a": template("a"), "b": template("b", "a")})
    scene = Scene(default=1.0)
    scene.recovered = {"default": said(finish(0, 1, 3, Reason.LOST), finish(1, 2, 7))}
    async with at_work(tmp_path, scene, tracker) as engine:
        await engine.runs.load(1)
        await engine.runs.ended(1)
    assert scene.launched == [("default", "a", 4), ("default", "b", 8)], "its parent's completion was lost"
    assert scene.acks[0] == ("default", 1, 2)


async def test_what_belongs_to_no_run_is_forgotten_and_believed_by_nobody(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """The database was removed, and launchers' spools are still there."""
    scene = Scene(default=1.0)
    scene.recovered = {"default": said(finish(0, 5))}
    async with at_work(tmp_path, scene) as engine:
        run = await submit(engine, {"a": template("a")})
        await engine.runs.ended(run.id)
        await scene.until(lambda: ("default", 1, 5) in scene.acks)
    assert scene.words == ["a"]


async def test_a_launcher_is_acknowledged_when_all_its_runs_have_heard(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    tracker = KeptTracker()
    first = Scene(default=1.0)
    async with at_work(tmp_path, first, tracker) as engine:
        await submit(engine, {"a": template("a")})
        await submit(engine, {"b": template("b"), "c": template("c", "b")})
        tracker.fault = TrackerError("it is dead")
    tracker.fault = None
    scene = Scene(default=1.0)
    scene.recovered = {"default": said(finish(0, 1, run=2), finish(0, 2, run=1))}
    async with at_work(tmp_path, scene, tracker) as engine:
        await engine.runs.load(1)
        await trio.sleep(10)
        assert not scene.acks
        await engine.runs.load(2)
        await engine.runs.ended(2)
        assert scene.acks[0] == ("default", 1, 2)
    assert scene.words == ["c"]


async def held(tmp_path: Path, tracker: KeptTracker, scene: Scene, act: Callable[[Engine, Run], object]) -> None:
    async with at_work(tmp_path, scene, tracker) as engine:
        run = await engine.runs.load(1, hold=True)
        await trio.sleep(100)
        assert not scene.launched
        await act(engine, run)  # type: ignore[misc]
        await engine.runs.ended(1)
        assert run.state is RunState.COMPLETED


async def test_what_an_edit_changes_is_not_launched_as_it_was(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    tracker, scene = KeptTracker(), Scene(default=1.0)
    await killed_after_submission(tmp_path, tracker, {"a": template("wrong")})
    raw = document({"a": template("right")})
    await held(tmp_path, tracker, scene, lambda engine, _: engine.commands.edit(1, parse(raw, directory="/"), raw))
    assert scene.words == ["right"]


async def test_a_resume_takes_up_what_was_held(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    tracker, scene = KeptTracker(), Scene(default=1.0)
    await killed_after_submission(tmp_path, tracker, {"a": template("a")})
    await held(tmp_path, tracker, scene, lambda engine, _: engine.commands.resume(1))
    assert scene.words == ["a"]


async def test_an_edit_mends_a_run_whose_pool_is_gone(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    tracker = KeptTracker()
    tasks = {"a": template("a", pool="large"), "b": template("b", "a")}
    await killed_after_submission(tmp_path, tracker, tasks, small=1.0, large=2.0)
    scene = Scene(small=1.0)
    async with at_work(tmp_path, scene, tracker) as engine:
        run = await engine.runs.load(1, hold=True)
        with pytest.raises(SpecError, match=r"tasks\.a\.pool: no pool named 'large'"):
            await engine.commands.resume(1)
        assert state_of(run, "a") == "queued"
        del tasks["a"]["pool"]
        raw = document(tasks)
        await engine.commands.edit(1, parse(raw, directory="/"), raw)
        await engine.runs.ended(1)
        assert run.state is RunState.COMPLETED
    assert scene.words == ["a", "b"]


async def test_a_finish_of_an_earlier_version_counts_if_the_edit_kept_its_task(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    tracker = KeptTracker()
    tasks = {"a": template("a"), "b": template("b"), "c": template("c", "a", "b")}
    scene = Scene(default=2.0)
    scene.seconds = {"a": FOREVER, "b": FOREVER}
    async with at_work(tmp_path, scene, tracker) as engine:
        await submit(engine, tasks)
        await scene.until(lambda: len(scene.words) == 2)
        raw = document({"new": template("new"), **tasks, "b": template("other")})
        await engine.commands.edit(1, parse(raw, directory="/"), raw)
        tracker.fault = TrackerError("it is dead")
    tracker.fault = None
    scene = Scene(default=1.0)
    scene.recovered = {"default": said(finish(0, 1), finish(1, 2))}
    async with at_work(tmp_path, scene, tracker) as engine:
        run = await engine.runs.load(1)
        assert state_of(run, "a") == "completed"
        await engine.runs.ended(1)
        assert run.state is RunState.COMPLETED
    assert scene.words[-1] == "c"
    assert sorted(scene.words) == ["c", "new", "other"]


async def test_a_run_that_is_read_back_gives_no_number_to_two_attempts(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """Its task was sent ahead when the run was killed, and had not started."""
    tracker, scene = KeptTracker(), Scene(default=1.0)
    scene.is_full = True
    async with at_work(tmp_path, scene, tracker) as engine:
        run = await submit(engine, {"a": template("a")})
        await trio.sleep(1)
        await engine.commands.kill(run.id)
        await engine.runs.ended(run.id)
    scene = Scene(default=1.0)
    async with at_work(tmp_path, scene, tracker) as engine:
        run = await engine.runs.find(1)
        await engine.commands.requeue(1, np.array([0]))
        await engine.runs.ended(1)
        assert scene.launched == [("default", "a", 2)]
        assert run.state is RunState.COMPLETED
