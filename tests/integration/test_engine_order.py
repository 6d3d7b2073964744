"""What goes first, how much at once and when again, seen through the whole engine under simulated time."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
import trio.testing

from daggy.executor import Reason
from daggy.tracker import RunState
from tests.integration.engine_rig import KeptTracker, Scene, at_work, reasons, state_of, submit, template

pytestmark = pytest.mark.trio
FOREVER = float("inf")


def each(word: str, count: int, **keys: object) -> dict[str, object]:
    return {
        "details": {"command": [word, "{{ N }}"]},
        "parameters": {"N": {"range": [0, count]}},
        **keys,
    }


async def test_higher_priority_goes_first_and_then_the_deeper_ones(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    scene = Scene(default=1.0)
    async with at_work(tmp_path, scene) as engine:
        tasks = {
            "low": template("low", priority=-1),
            "first": template("first", priority=9),
            "flat": each("flat", 2),
            "deep": each("deep", 1, parents=["first"]),
            "high": template("high", priority=5),
        }
        run = await submit(engine, tasks)
        await engine.runs.ended(run.id)
        assert scene.words == ["first", "high", "deep 0", "flat 0", "flat 1", "low"]


async def test_runs_of_equal_priority_take_turns(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    scene = Scene(default=1.0)
    scene.seconds = {f"{word} {number}": 300.0 for word in "abc" for number in range(5)}
    async with at_work(tmp_path, scene) as engine:
        runs = [await submit(engine, {word: each(word, 5)}) for word in "abc"]
        for run in runs:
            await engine.runs.ended(run.id)
    turns = [words[0] for words in scene.words]
    assert len(turns) == 15
    assert turns[0] == "a", "it came first"
    rounds = [sorted(turns[at : at + 3]) for at in range(1, 13)]
    assert rounds == [["a", "b", "c"]] * 12


async def test_no_more_run_at_once_than_max_parallel_and_limits_and_cores_allow(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    scene = Scene(default=6.0)
    async with at_work(tmp_path, scene) as engine:
        tasks = {
            "few": each("few", 12, max_parallel=2),
            "seat": each("seat", 12, resources={"cores": 1, "seats": 2}),
            "many": each("many", 30),
        }
        run = await submit(engine, tasks, limits={"seats": 5})
        most = {"few": 0, "seat": 0, "many": 0}
        while not run.is_ended:
            await scene.bell.wait()
            for word, before in most.items():
                now = sum(said.startswith(word) for _, said, _ in scene.life().running.values())
                most[word] = max(before, now)
        assert run.state is RunState.COMPLETED
    assert most["few"] == 2
    assert most["seat"] == 2
    assert most["many"] >= 2
    assert scene.most == 6


async def test_retries_wait_longer_each_time_and_spend_their_number(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    scene, tracker = Scene(default=1.0), KeptTracker()
    scene.ends = {"a": [Reason.EXIT] * 4}
    async with at_work(tmp_path, scene, tracker) as engine:
        run = await submit(engine, {"a": template("a", max_retries=3, retry_delay=10, retry_backoff=3)})
        await engine.runs.ended(run.id)
        assert run.state is RunState.ERRORED
    pauses = [later - earlier - 1.0 for earlier, later in zip(scene.at, scene.at[1:], strict=False)]
    for pause, plain in zip(pauses, (10, 30, 90), strict=True):
        assert 0.5 * plain <= pause <= 1.5 * plain + 1.1
    assert reasons(tracker) == [(0, number, Reason.EXIT) for number in (1, 2, 3, 4)]


async def test_a_delay_goes_on_after_a_restart(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    scene, tracker = Scene(default=1.0), KeptTracker()
    scene.ends = {"a": [Reason.EXIT]}
    async with at_work(tmp_path, scene, tracker) as engine:
        run = await submit(engine, {"a": template("a", max_retries=1, retry_delay=1000, retry_backoff=1)})
        await trio.sleep(10)
        assert state_of(run, "a") == "queued"
    # attempts carry wall time, of which the scene makes 1970: whatever is left of the delay is over
    again = Scene(default=1.0)
    async with at_work(tmp_path, again, tracker) as engine:
        await engine.runs.load(1)
        await engine.runs.ended(1)
    assert again.launched == [("default", "a", 2)]


async def test_max_failures_starts_nothing_more_and_kills_what_waits(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    scene = Scene(default=2.0)
    scene.ends = {"a 1": [Reason.EXIT]}
    scene.seconds = {"a 0": 50.0}
    async with at_work(tmp_path, scene) as engine:
        tasks = {"a": each("a", 9), "late": template("late", {"task": "a", "on": "ended"})}
        run = await submit(engine, tasks, max_failures=1)
        await engine.runs.ended(run.id)
        counts = {state: count for state, count in run.counts().items() if count}
        assert counts == {"completed": 1, "errored": 1, "killed": 8}
        assert run.state is RunState.ERRORED
    assert scene.words == ["a 0", "a 1"]


async def test_a_kill_ends_what_runs_and_starts_nothing_more(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    scene, tracker = Scene(default=2.0), KeptTracker()
    scene.seconds = {f"a {number}": FOREVER for number in range(9)}
    async with at_work(tmp_path, scene, tracker) as engine:
        run = await submit(engine, {"a": each("a", 9)})
        await scene.until(lambda: len(scene.launched) == 2)
        await engine.commands.kill(run.id)
        await engine.runs.ended(run.id)
        assert run.state is RunState.KILLED
        assert run.counts()["killed"] == 9
    assert [reason for _, _, reason in reasons(tracker)] == [Reason.KILLED] * 2


async def test_stopping_spends_neither_retry_nor_crash_limit(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    tracker = KeptTracker()
    for life in range(1, 4):
        scene = Scene(default=1.0)
        scene.seconds = {"a": FOREVER}
        async with at_work(tmp_path, scene, tracker) as engine:
            tasks = {"a": template("a", crash_limit=0)}
            run = await engine.runs.load(1) if life > 1 else await submit(engine, tasks)
            await scene.until(lambda scene=scene: scene.launched)  # type: ignore[misc]
            assert scene.launched == [("default", "a", life)]
        assert state_of(run, "a") == "queued"
        assert not run.is_ended
    assert reasons(tracker) == [(0, life, Reason.KILLED) for life in (1, 2, 3)]
