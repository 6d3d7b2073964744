"""Runs are forgotten wholly, whatever comes between, and without being in anybody's way."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from daggy.engine import retention
from daggy.engine.configuration import Retention
from daggy.engine.engine import Engine
from daggy.engine.retention import retain
from daggy.errors import NotFoundError
from daggy.tracker import RunFilter, RunRecord
from tests.integration.engine_rig import KeptTracker, Scene, at_work, submit, template

pytestmark = pytest.mark.trio


async def ended(engine: Engine, count: int) -> None:
    """Let runs 1 to `count` end."""
    await engine.runs.take_up()
    for number in range(1, count + 1):
        await submit(engine, {"a": template("a")})
        await engine.runs.ended(number)


@pytest.mark.parametrize("page", [1, 2, 1000])
async def test_what_runs_wrote_that_were_half_forgotten_is_removed_at_the_next_start(
    tmp_path: Path, autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch, page: int
) -> None:
    monkeypatch.setattr(retention, "PAGE", page)
    tracker, folder = KeptTracker(), tmp_path / "state/runs"
    async with at_work(tmp_path, Scene(), tracker, follow=True) as engine:
        await ended(engine, 8)
        await trio.sleep(1)
    for run in (1, 4, 5, 8):
        tracker.forget(run)  # and the process is killed
    (folder / "99").mkdir()  # nobody forgot it: it was never known here
    (folder / "notes").mkdir()
    shutil.rmtree(folder / "6")
    async with at_work(tmp_path, Scene(), tracker, follow=True) as engine, trio.open_nursery() as nursery:
        nursery.start_soon(retain, engine, Retention(100, 1e9))
        await trio.sleep(1)
        nursery.cancel_scope.cancel()
    assert {path.name for path in folder.iterdir()} == {"2", "3", "7", "99", "notes"}


async def test_others_find_a_thread_while_many_runs_are_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remove, may_go, waiting = shutil.rmtree, threading.Event(), threading.Semaphore(0)

    def slow(path: Path, **more: Any) -> None:
        waiting.release()
        assert may_go.wait(10)
        remove(path, **more)

    scene = Scene()
    scene.seconds["a"] = 0.0
    async with at_work(tmp_path, scene, KeptTracker(), follow=True) as engine, trio.open_nursery() as nursery:
        await ended(engine, 60)
        monkeypatch.setattr(retention, "PAUSE", 0.01)
        engine.state.threads = True
        monkeypatch.setattr(shutil, "rmtree", slow)
        nursery.start_soon(retain, engine, Retention(1, 1e9))
        try:
            with trio.fail_after(5):
                for _ in range(retention.SIDE_BY_SIDE):
                    await trio.to_thread.run_sync(waiting.acquire)
        finally:
            may_go.set()
        nursery.cancel_scope.cancel()


async def test_what_is_kept_too_long_is_found_page_by_page_so_that_others_are_answered_in_between(
    tmp_path: Path, autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "PAGE", 3)
    tracker = KeptTracker()
    runs, asked = tracker.runs, []

    def noted(matching: RunFilter) -> Sequence[RunRecord]:
        asked.append(matching.limit)
        return runs(matching)

    async with at_work(tmp_path, Scene(), tracker, follow=True) as engine:
        await ended(engine, 10)
        await trio.sleep(1)
        monkeypatch.setattr(tracker, "runs", noted)
        for kept in range(12):
            found = await retention.overdue(engine, Retention(kept, 1e9), 0.0)
            assert [record.run for record in found] == [*range(10 - kept, 0, -1)]
    assert {limit for limit in asked if limit != retention.AT_ONCE} == {1, 2, 3}


async def test_attempts_of_a_run_that_is_forgotten_meanwhile_are_not_found(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with at_work(tmp_path, Scene(), KeptTracker(), follow=True) as engine:
        await ended(engine, 1)
        await trio.sleep(1)
        run = await engine.runs.find(1)
        await engine.commands.forget(1)
        with pytest.raises(NotFoundError, match="no run 1"):
            await engine.archive.attempts(run, 0)


async def _fails() -> None:
    await trio.lowlevel.checkpoint()
    raise RuntimeError("the far disk is away")


@pytest.mark.parametrize(
    ("forget", "told"),
    [
        (trio.lowlevel.checkpoint, []),
        (_fails, ["RuntimeError: the far disk is away"]),
        (trio.sleep_forever, ["not done within 10 s"]),
    ],
)
async def test_executors_remove_what_lies_elsewhere_before_a_run_is_gone(
    tmp_path: Path,
    forget: Callable[[], Awaitable[None]],
    told: list[str],
    autojump_clock: trio.testing.MockClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    scene, there = Scene(near=1.0, far=1.0), []

    async def look() -> None:
        there.append((tmp_path / "state/runs/1").exists())
        await forget()

    scene.forget = look
    async with at_work(tmp_path, scene) as engine:
        await ended(engine, 1)
        await engine.commands.forget(1)
        assert sorted(scene.forgotten) == [("far", 1), ("near", 1)]
        assert there == [True, True]
        assert not (tmp_path / "state/runs/1").exists()
    pools = ("far", "near") if told else ()
    wanted = [f"pool '{pool}' may keep output of run 1, which was removed: {what}" for pool in pools for what in told]
    assert sorted(caplog.messages) == wanted


class SlowToForget(KeptTracker):
    """Forgets a run only when it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.begun, self.may_go = threading.Event(), threading.Event()

    def forget(self, run: int) -> None:
        self.begun.set()
        assert self.may_go.wait(30)
        super().forget(run)


async def test_a_run_that_is_being_forgotten_is_not_read_back(tmp_path: Path) -> None:
    scene, tracker = Scene(), SlowToForget()
    scene.seconds["a"] = 0.0
    async with at_work(tmp_path, scene, tracker, threads=True, follow=True) as engine:
        await ended(engine, 1)
        while engine.runs.is_busy(engine.runs[1]):
            await trio.lowlevel.checkpoint()

        async def look() -> None:
            with pytest.raises(NotFoundError, match="no run 1"):
                await engine.runs.find(1)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(engine.commands.forget, 1)
            await trio.to_thread.run_sync(tracker.begun.wait)
            nursery.start_soon(look)
            await trio.testing.wait_all_tasks_blocked(0.05)
            assert 1 not in engine.runs
            tracker.may_go.set()
        assert 1 not in engine.runs
