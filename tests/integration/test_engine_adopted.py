"""What an engine hears of adopted tasks before their run has been read back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import trio
import trio.testing

from daggy.attempt import Kind, Reason, Reports, Ticket
from daggy.errors import TrackerError
from daggy.run.states import SENT
from daggy.spec import parse
from daggy.tracker import RunState
from tests.integration.engine_rig import KeptTracker, Scene, at_work, document, reasons, report, submit, template

pytestmark = pytest.mark.trio


async def test_an_end_that_is_heard_before_its_run_is_read_back_counts(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    tracker = KeptTracker()
    async with at_work(tmp_path, Scene(default=1.0), tracker) as engine:
        await submit(engine, {"a": template("a"), "b": template("b", "a")})
        tracker.fault = TrackerError("it is dead")
    tracker.fault = None
    scene, ticket = Scene(default=1.0), Ticket(1, 1, 0, 1, 1)
    scene.recovered = {"default": [Reports(report(Kind.STARTED, ticket, started=4e9, launcher=1))]}
    async with at_work(tmp_path, scene, tracker) as engine:
        await scene.until(lambda: scene.lives)
        scene.lives[0].report(
            Reports(report(Kind.FINISHED, ticket, Reason.OK, seq=1, launcher=1, started=4e9, ended=4e9 + 1))
        )
        await trio.sleep(1)
        assert not scene.acks, "nobody has taken it"
        run = await engine.runs.load(1)
        with trio.move_on_after(100):
            await engine.runs.ended(1)
        assert run.state is RunState.COMPLETED
        await scene.until(lambda: ("default", 1, 1) in scene.acks)
    assert scene.words == ["b"]


async def killed_while_it_runs(tmp_path: Path, tracker: KeptTracker, **tasks: list[str]) -> None:
    """An engine that dies when it has submitted a run and its tasks run."""
    async with at_work(tmp_path, Scene(default=1.0), tracker) as engine:
        await submit(engine, {name: template(name, *parents) for name, parents in tasks.items()})
        tracker.fault = TrackerError("it is dead")
    tracker.fault = None


async def test_an_end_that_only_the_successor_of_a_failed_executor_hears_of_counts(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    tracker = KeptTracker()
    await killed_while_it_runs(tmp_path, tracker, a=[], b=["a"])
    scene, ticket = Scene(default=1.0), Ticket(1, 1, 0, 1, 1)
    ended = report(Kind.FINISHED, ticket, Reason.OK, seq=1, launcher=1, started=4e9, ended=4e9 + 1)
    scene.recovered = {
        "default": [Reports(report(Kind.STARTED, ticket, started=4e9, launcher=1)), Reports(ended), Reports(ended)]
    }
    async with at_work(tmp_path, scene, tracker) as engine:
        for number in (1, 2):
            await scene.until(lambda number=number: len(scene.lives) == number)  # type: ignore[misc]
            scene.life().fail(OSError("no more processes"))
        await scene.until(lambda: len(scene.lives) == 3)
        assert not scene.acks, "the run has not been read back"
        run = await engine.runs.load(1)
        await engine.runs.ended(1)
        assert run.state is RunState.COMPLETED
        await scene.until(lambda: ("default", 1, 1) in scene.acks)
    assert scene.words == ["b"]
    assert reasons(tracker) == [(0, 1, Reason.OK), (1, 1, Reason.OK)]


async def test_nothing_above_an_end_that_is_not_applied_yet_is_acknowledged(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    tracker = KeptTracker()
    await killed_while_it_runs(tmp_path, tracker, a=[])
    await killed_while_it_runs(tmp_path, tracker, a=[])
    scene = Scene(default=2.0)
    first, second = (
        report(Kind.FINISHED, Ticket(run, 1, 0, run, 1), seq=run, launcher=1, started=4e9, ended=4e9 + 1)
        for run in (1, 2)
    )
    both = Reports(np.concatenate([first, second]))
    scene.recovered = {"default": [both, Reports(both.rows.copy())]}
    async with at_work(tmp_path, scene, tracker) as engine:
        await scene.until(lambda: scene.lives)
        await engine.runs.load(2)
        scene.life().fail(OSError("no more processes"))
        await scene.until(lambda: len(scene.lives) == 2)
        await trio.sleep(1)
        assert not scene.acks, "the launcher would forget what it has reported of the first run"
        await engine.runs.load(1)
        await scene.until(lambda: ("default", 1, 2) in scene.acks)


async def test_a_task_that_nobody_wants_and_that_ends_unheard_does_not_keep_its_pool_from_work(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    tracker = KeptTracker()
    async with at_work(tmp_path, Scene(default=1.0), tracker) as engine:
        run = await submit(engine, {"a": template("a"), "b": template("b", "a")})
        raw = document({"a": template("z"), "b": template("b", "a")})
        await trio.sleep(1.5)  # `a` has completed, `b` runs
        await engine.commands.edit(1, parse(raw, directory="/"), raw)
        await engine.runs.ended(1)
        assert run.state is RunState.COMPLETED
    scene, stray = Scene(default=1.0), Ticket(1, 1, 1, 1, 1)
    ended = report(Kind.FINISHED, stray, Reason.KILLED, seq=7, launcher=9, started=4e9, ended=4e9 + 1)
    scene.recovered = {
        "default": [Reports(report(Kind.STARTED, stray, started=4e9, launcher=9)), Reports(ended)],
    }
    async with at_work(tmp_path, scene, tracker) as engine:
        await scene.until(lambda: scene.lives)
        run = await engine.runs.load(1)
        await engine.commands.requeue(1, np.array([0], np.int64))
        scene.life().fail(OSError("no more processes"))
        with trio.fail_after(100):
            await engine.runs.ended(1)
        assert run.state is RunState.COMPLETED
        assert len(scene.lives) == 2
        await scene.until(lambda: ("default", 9, 7) in scene.acks)


async def test_a_number_that_a_command_has_recorded_is_given_to_no_other_attempt(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    tracker, scene = KeptTracker(), Scene(default=1.0)
    scene.seconds = {"a": 0.001}
    tasks = {"a": template("a", expand=["N"])}
    async with at_work(tmp_path, scene, tracker) as engine:
        run = await submit(engine, tasks, parameters={"N": {"range": [0, 40]}})
        await scene.until(lambda: len(scene.finished) == 5)
        sent = np.flatnonzero(run.frontier.state == SENT)
        assert len(sent) > 1, "some wait at the launcher"
        await engine.commands.requeue(1, sent)
        numbers = {int(index): int(attempt) for move in run.moves for index, attempt in move.flying.tolist()}
        assert sorted(numbers) == sent.tolist()
        await engine.runs.ended(1)
        assert run.state is RunState.COMPLETED
    started = {index: attempt for index, attempt, _ in reasons(tracker)}
    assert [index for index, number in numbers.items() if started[index] <= number] == []
