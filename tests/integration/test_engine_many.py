"""Many runs in one engine: taken up, adopted, followed, fair to each other, dropped from memory, forgotten."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import trio
import trio.testing

from daggy.attempt import Kind, Reason, Reports
from daggy.engine import ended_runs
from daggy.engine.configuration import Retention
from daggy.engine.explain import explain
from daggy.engine.retention import overdue, retain
from daggy.errors import ConflictError, NotFoundError, TrackerError
from daggy.executor import Machine, Ticket
from daggy.run.run import Run
from daggy.spec import parse
from daggy.tracker import NewsItem, RunFilter, RunState
from daggy.view.shapes import Filter, tasks
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


def running(index: int, attempt: int = 1, run: int = 1, version: int = 1, epoch: int = 1) -> Reports:
    return Reports(report(Kind.STARTED, Ticket(run, version, index, epoch, attempt), started=4e9))


async def left_running(tmp_path: Path, tracker: KeptTracker, templates: Json) -> Run:
    """A run whose engine left while its first tasks ran."""
    scene = Scene()
    scene.seconds = dict.fromkeys(templates, FOREVER)
    async with at_work(tmp_path, scene, tracker, follow=True) as engine:
        await engine.runs.take_up()
        run = await submit(engine, templates)
        await scene.until(lambda: scene.life().running)
        engine.stop(leave=True)
    assert scene.life().stayed
    assert reasons(tracker) == []
    return run


async def test_what_still_runs_is_adopted_and_its_end_counts(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    tracker = KeptTracker()
    await left_running(tmp_path, tracker, {"a": template("a"), "b": template("b", "a")})
    scene = Scene()
    scene.recovered["default"] = [running(0)]
    async with at_work(tmp_path, scene, tracker, follow=True) as engine:
        await engine.runs.take_up()
        run = await engine.runs.find(1)
        assert state_of(run, "a") == "running"
        assert scene.words == []
        ended = report(Kind.FINISHED, Ticket(1, 1, 0, 1, 1), seq=1, launcher=1, started=4e9, ended=4e9 + 1)
        scene.life().report(Reports(ended))
        await engine.runs.ended(1)
        assert run.state is RunState.COMPLETED
        assert scene.words == ["b"]
    assert reasons(tracker) == [(0, 1, Reason.OK), (1, 1, Reason.OK)]


async def test_what_is_adopted_takes_room_until_it_ends(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    tracker = KeptTracker()
    wide, other = template("a", resources={"cores": 3}), template("b", resources={"cores": 2})
    await left_running(tmp_path, tracker, {"a": wide, "b": other})
    scene = Scene()
    scene.recovered["default"] = [running(0)]
    async with at_work(tmp_path, scene, tracker, follow=True) as engine:
        await engine.runs.take_up()
        run = await engine.runs.find(1)
        await trio.testing.wait_all_tasks_blocked()
        assert scene.words == []
        lacking = explain(engine, run, run.plan.index("b")).because[0]
        assert lacking["lacks"] == [{"name": "cores", "needs": 2, "free": 1, "of": 4}]
        ended = report(Kind.FINISHED, Ticket(1, 1, 0, 1, 1), seq=1, launcher=1, started=4e9, ended=4e9 + 1)
        scene.life().report(Reports(ended))
        await engine.runs.ended(1)
        assert scene.words == ["b"]


async def test_what_is_adopted_takes_room_on_the_machine_that_it_runs_on(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """Also on one that is away: it has that room less when it comes back."""
    tracker = KeptTracker()
    await left_running(tmp_path, tracker, {word: template(word) for word in "abcd"})
    scene = Scene()
    scene.seconds = dict.fromkeys("abcd", FOREVER)
    first, second = (Machine(name, {"cores": 2.0}) for name in ("first", "second"))
    scene.machines["default"], scene.named = [first], ["first", "second"]
    scene.recovered["default"] = [Reports(report(Kind.STARTED, Ticket(1, 1, 1, 1, 1), started=4e9, place=1))]
    async with at_work(tmp_path, scene, tracker, follow=True) as engine:
        await engine.runs.take_up()
        pool = engine.state.dispatcher.link_of("").pool
        await scene.until(lambda: len(scene.launched) == 2)
        assert {name: machine.used() for name, machine in pool.machines.items()} == {
            "first": {"cores": 2.0},
            "second": {"cores": 1.0},
        }
        scene.machines["default"] = [first, second]
        scene.life().changed()
        await trio.sleep(1)
        assert pool.machines["second"].used() == {"cores": 2.0}
        ended = report(Kind.FINISHED, Ticket(1, 1, 1, 1, 1), seq=1, launcher=1, started=4e9, ended=4e9 + 1, place=1)
        scene.life().report(Reports(ended))
        await trio.sleep(1)
        (row,) = [batch.rows[0] for batch in tracker.attempts(1, 0, 9)]
        assert engine.place_names()[int(row["place"])] == ("default", "second")
        engine.stop(leave=True)


async def test_what_is_adopted_takes_the_room_that_it_needed_before_an_edit(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    tracker = KeptTracker()
    tasks = {"a": template("a", resources={"cores": 3}), "b": template("b", resources={"cores": 2})}
    scene = Scene()
    scene.seconds["a"] = float("inf")
    async with at_work(tmp_path, scene, tracker) as engine:
        await submit(engine, tasks)
        await scene.until(lambda: scene.words == ["a"])
        raw = document({**tasks, "a": template("other", resources={"cores": 1})})
        await engine.commands.edit(1, parse(raw, directory="/"), raw)
        tracker.fault = TrackerError("it is dead")
    tracker.fault, scene = None, Scene()
    scene.recovered["default"] = [running(0)]
    async with at_work(tmp_path, scene, tracker, follow=True) as engine:
        await engine.runs.take_up()
        await trio.testing.wait_all_tasks_blocked()
        assert scene.words == []
        ended = report(Kind.FINISHED, Ticket(1, 1, 0, 1, 1), Reason.KILLED, seq=1, launcher=1, started=4e9, ended=4e9)
        scene.life().report(Reports(ended))
        await engine.runs.ended(1)
        assert sorted(scene.words) == ["b", "other"]


async def test_what_is_adopted_can_be_killed(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    tracker = KeptTracker()
    await left_running(tmp_path, tracker, {"a": template("a")})
    scene = Scene()
    scene.recovered["default"] = [running(0)]
    async with at_work(tmp_path, scene, tracker, follow=True) as engine:
        await engine.runs.take_up()
        life = scene.life()
        life.running[Ticket(1, 1, 0, 1, 1)] = 0, "a", trio.CancelScope()
        await engine.commands.kill(1)
        await engine.runs.ended(1)
        assert (await engine.runs.find(1)).state is RunState.KILLED
    assert reasons(tracker) == [(0, 1, Reason.KILLED)]


async def test_what_runs_of_a_run_that_is_no_more_or_of_a_task_not_ready_is_ended(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    tracker = KeptTracker()
    await left_running(tmp_path, tracker, {"a": template("a"), "b": template("b", "a")})
    scene = Scene()
    both = np.concatenate([running(1).rows, running(0, run=7).rows])
    scene.recovered["default"] = [Reports(both)]
    async with at_work(tmp_path, scene, tracker, follow=True) as engine:
        life = scene.life()
        for ticket in (Ticket(1, 1, 1, 1, 1), Ticket(7, 1, 0, 1, 1)):
            life.running[ticket] = -1, f"stray {ticket}", trio.CancelScope()
        await engine.runs.take_up()
        await engine.runs.ended(1)
        assert not [words for _, words, _ in life.running.values() if words.startswith("stray")]
        assert (await engine.runs.find(1)).state is RunState.COMPLETED
    assert sorted(reasons(tracker)) == [(0, 1, Reason.OK), (1, 1, Reason.KILLED), (1, 2, Reason.OK)]


async def test_a_successor_of_the_executor_still_runs_what_it_says_so_of(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    tracker, scene = KeptTracker(), Scene()
    scene.seconds = {"a": FOREVER, "b": FOREVER}
    scene.recovered["default"] = [Reports(running(0).rows[:0]), running(0, epoch=1)]
    async with at_work(tmp_path, scene, tracker, follow=True) as engine:
        await engine.runs.take_up()
        run = await submit(engine, {"a": template("a"), "b": template("b")})
        await scene.until(lambda: len(scene.life().running) == 2)
        scene.life().fail(OSError("broken"))
        await scene.until(lambda: scene.words.count("b") == 2)
        assert state_of(run, "a") == "running"
        scene.life().report(Reports(report(Kind.FINISHED, Ticket(1, 1, 0, 1, 1), seq=1, launcher=1, ended=4e9)))
        scene.life().end(scene.life().ticket("b"))
        await engine.runs.ended(1)
    assert sorted(reasons(tracker)) == [(0, 1, Reason.OK), (1, 1, Reason.LOST), (1, 2, Reason.OK)]


async def test_unfinished_runs_are_taken_up_and_ended_ones_read_back_when_asked_for(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    tracker, scene = KeptTracker(), Scene()
    scene.seconds["slow"] = FOREVER
    async with at_work(tmp_path, scene, tracker, follow=True) as engine:
        await engine.runs.take_up()
        await submit(engine, {"quick": template("quick")})
        await engine.runs.ended(1)
        await submit(engine, {"slow": template("slow")})
    again = Scene()
    async with at_work(tmp_path, again, tracker, follow=True) as engine:
        assert "starting" in engine.readiness()
        await engine.runs.take_up()
        assert engine.readiness() == ""
        assert list(engine.runs) == [2]
        await engine.runs.ended(2)
        await engine.runs.ended(1)
        assert [task.state for task in tasks(await engine.runs.find(1), Filter()).items] == ["completed"]
        with pytest.raises(NotFoundError, match="no run 3"):
            await engine.runs.find(3)
        await engine.commands.requeue(1, np.array([0]))
        await engine.runs.ended(1)
        assert again.words == ["slow", "quick"]
    assert (0, 2, Reason.OK) in reasons(tracker)


async def test_ended_runs_leave_memory_least_recently_asked_for_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock
) -> None:
    monkeypatch.setattr(ended_runs, "MOST_RUNS", 3)
    monkeypatch.setattr(ended_runs, "LEAST_SECONDS", 0.0)
    tracker, scene = KeptTracker(), Scene()
    async with at_work(tmp_path, scene, tracker, follow=True) as engine:
        await engine.runs.take_up()
        for number in range(1, 8):
            await submit(engine, {"a": template("a")})
            await engine.runs.ended(number)
            await trio.sleep(1)
            await engine.runs.find(1)
        assert sorted(engine.runs) == [1, 6, 7]
        records = await engine.runs.records(RunFilter())
        assert [(one.run, one.state) for one in records] == [(n, RunState.COMPLETED) for n in range(7, 0, -1)]
        await engine.commands.resume(3)
        assert (await engine.runs.find(3)).counts()["completed"] == 1


async def test_news_are_numbered_coalesced_kept_and_told_to_who_follows(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    tracker, scene = KeptTracker(), Scene()
    async with at_work(tmp_path, scene, tracker, follow=True) as engine:
        await engine.runs.take_up()
        heard: list[NewsItem] = []
        with engine.news.follow(1) as followed:
            await submit(engine, {"a": template("a", parameters={"N": {"range": [0, 8]}}, expand=["N"])})
            await submit(engine, {"other": template("other")})
            async for item in followed:
                assert item is not None
                heard.append(item)
                if json.loads(item.body)["state"] == "completed":
                    break
        bodies = [json.loads(item.body) for item in heard]
        assert {body["run_id"] for body in bodies} == {1}
        assert bodies[-1]["counts"]["completed"] == 8
        changed = [one for body in bodies for one in body["tasks"].get("completed", [])]
        assert sorted(index for start, stop in changed for index in range(start, stop)) == list(range(8))
        assert len(bodies) < 6
        assert await engine.news.since(0, 1) == heard
        last = engine.news.last
        assert await engine.news.since(last + 1) is None
    async with at_work(tmp_path, Scene(), tracker, follow=True) as engine:
        assert engine.news.last == last
        assert await engine.news.since(heard[0].number, 1) == heard[1:]


async def test_a_slow_follower_is_told_to_look_again(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    async with at_work(tmp_path, Scene(), KeptTracker(), follow=True) as engine:
        await engine.runs.take_up()
        run = await submit(engine, {"a": template("a")})
        with engine.news.follow() as followed:
            for _ in range(1100):
                engine.news.note(run)
                await trio.sleep(0.2)
            heard = [item async for item in followed]
        assert heard[-1] is None
        assert len(heard) == 1001


async def test_a_run_is_forgotten_once_it_has_ended(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    tracker, scene = KeptTracker(), Scene()
    scene.seconds["a"] = 5.0
    async with at_work(tmp_path, scene, tracker, follow=True) as engine:
        await engine.runs.take_up()
        await submit(engine, {"a": template("a")})
        with pytest.raises(ConflictError, match="kill it first"):
            await engine.commands.forget(1)
        await engine.runs.ended(1)
        await trio.sleep(1)
        await engine.commands.forget(1)
        assert not (tmp_path / "state/runs/1").exists()
        for ask in (engine.runs.find, engine.commands.forget, engine.commands.resume, engine.runs.ended):
            with pytest.raises(NotFoundError):
                await ask(1)
        await trio.sleep(1)
        items = await engine.news.since(0)
        assert items is not None
        assert json.loads(items[-1].body)["forgotten"] is True


async def test_retention_keeps_the_newest_and_forgets_the_old(
    tmp_path: Path, autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    tracker, scene = KeptTracker(), Scene()
    scene.seconds["slow"] = FOREVER
    async with at_work(tmp_path, scene, tracker, follow=True) as engine:
        await engine.runs.take_up()
        await submit(engine, {"slow": template("slow")})
        for number in range(2, 8):
            await submit(engine, {"a": template("a")})
            await engine.runs.ended(number)
        assert [one.run for one in await overdue(engine, Retention(3, 30), 0.0)] == [4, 3, 2]
        assert len(await overdue(engine, Retention(100, 1), 2e10)) == 6
        nursery.start_soon(retain, engine, Retention(3, 30))
        await trio.sleep(61)
        left = [one.run for one in await engine.runs.records(RunFilter())]
        assert left == [7, 6, 5, 1]
        nursery.cancel_scope.cancel()


async def test_a_small_run_behind_a_large_one_starts_with_the_next_free_slot(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    scene = Scene(default=2.0)
    async with at_work(tmp_path, scene, follow=True) as engine:
        await engine.runs.take_up()
        await submit(engine, {"big": template("big", parameters={"N": {"range": [0, 1_000_000]}}, expand=["N"])})
        await trio.sleep(10)
        began = trio.current_time()
        await submit(engine, {name: template(name) for name in ("x", "y", "z")})
        await engine.runs.ended(2)
        started = [at - began for at, word in zip(scene.at, scene.words, strict=True) if word in "xyz"]
        assert max(started[:1]) <= 1.0
        assert max(started) <= 3.0
        await engine.commands.kill(1)


async def test_a_small_run_does_not_wait_behind_what_was_sent_ahead_and_turned_out_long(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    scene = Scene(default=2.0)
    quick = {f"big {number}": 0.001 for number in range(100)}
    scene.seconds = quick | {f"big {number}": 1.0 for number in range(100, 5000)}
    long = {"details": {"command": ["big", "{{ N }}"]}, "parameters": {"N": {"range": [0, 5000]}}}
    async with at_work(tmp_path, scene, follow=True) as engine:
        await engine.runs.take_up()
        await submit(engine, {"big": long})
        await trio.sleep(3)
        assert "big 100" in scene.words
        began = trio.current_time()
        await submit(engine, {"x": template("x")})
        await engine.runs.ended(2)
        assert scene.at[scene.words.index("x")] - began <= 10
        await engine.commands.kill(1)


async def test_a_thousand_small_runs_end(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    scene = Scene(default=8.0)
    async with at_work(tmp_path, scene, follow=True) as engine:
        await engine.runs.take_up()
        raw = document({"a": template("a"), "b": template("b", "a")})
        spec = parse(raw, directory="/")
        for _ in range(300):
            await engine.commands.submit(spec, raw)
        for number in range(1, 301):
            await engine.runs.ended(number)
        states = {one.state for one in await engine.runs.records(RunFilter(limit=1000))}
        assert states == {RunState.COMPLETED}
        assert scene.words[:300].count("a") > 250  # by turn, run after run


async def test_a_key_is_recognised_for_a_day(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    async with at_work(tmp_path, Scene(), follow=True) as engine:
        await engine.runs.take_up()
        raw = document({"a": template("a")})
        assert await engine.commands.keyed("k") is None
        assert await engine.commands.submit(parse(raw, directory="/"), raw, key="k", body="digest") == 1
        assert await engine.commands.keyed("k") == (1, "digest")


async def test_readiness_says_what_is_wrong(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    tracker, scene = KeptTracker(), Scene()
    async with at_work(tmp_path, scene, tracker, follow=True) as engine:
        await engine.runs.take_up()
        tracker.fault = TrackerError("disk full: make room")
        waiting = trio.Event()
        async with trio.open_nursery() as nursery:

            async def later() -> None:
                waiting.set()
                await submit(engine, {"a": template("a")})

            nursery.start_soon(later)
            await waiting.wait()
            await trio.sleep(1)
            assert engine.readiness() == "cannot save state: disk full: make room"
            tracker.fault = None
        assert engine.readiness() == ""
        scene.life().fail(OSError("cannot start"))
        await trio.testing.wait_all_tasks_blocked()
        assert "cannot start" in engine.readiness()
        await engine.runs.ended(1)
