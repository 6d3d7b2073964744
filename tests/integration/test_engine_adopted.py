"""What an engine hears of adopted tasks before their run has been read back."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
import trio.testing

from daggy.attempt import Kind, Reason, Reports, Ticket
from daggy.errors import TrackerError
from daggy.tracker import RunState
from tests.integration.engine_rig import KeptTracker, Scene, at_work, report, submit, template

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
