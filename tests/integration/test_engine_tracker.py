"""A tracker that raises: launching stops, nothing is dropped, acknowledged or announced, and it goes on by itself."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
import trio
import trio.testing

from daggy.errors import DirectoryError, FencedError, TrackerError
from daggy.executor import Reason, Reports
from daggy.spec import parse
from daggy.tracker import Attempts, Entry, Generated, Moved, RunChanged, RunState, Submitted
from tests.integration.engine_rig import KeptTracker, Scene, at_work, document, reasons, state_of, submit, template

pytestmark = pytest.mark.trio
FULL = TrackerError("'daggy.db': disk full; retrying")
FOREVER = float("inf")


async def until_refused(tracker: KeptTracker) -> None:
    before = tracker.refused
    while tracker.refused == before:  # noqa: ASYNC110 - a tracker that refuses tells nobody
        await trio.sleep(0.01)


@pytest.mark.parametrize("fault", [FULL, OSError("the service is gone")])
async def test_launching_stops_and_goes_on_by_itself(
    tmp_path: Path, fault: Exception, autojump_clock: trio.testing.MockClock
) -> None:
    scene, tracker = Scene(default=1.0), KeptTracker()
    async with at_work(tmp_path, scene, tracker) as engine:
        chain = {"a": template("a"), "b": template("b", "a"), "c": template("c", "b"), "d": template("d", "c")}
        run = await submit(engine, chain)
        await scene.until(lambda: scene.words == ["a", "b"])
        tracker.fault = fault
        await until_refused(tracker)
        await trio.sleep(60)
        assert scene.words == ["a", "b", "c"], "what began before the tracker failed goes on to its end"
        assert scene.acks == [("default", 1, 1)]
        assert state_of(run, "c") == "completed"
        assert engine.trouble in (str(fault), f"the tracker failed: OSError: {fault}")
        tracker.fault = None
        await engine.runs.ended(run.id)
        assert not engine.trouble
        assert scene.words == ["a", "b", "c", "d"]
    assert [index for index, _, _ in reasons(tracker)] == [run.plan.index(name) for name in "abcd"]
    assert scene.acks[-1] == ("default", 1, 4)


async def test_an_end_is_announced_and_shown_after_it_is_kept(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    scene, tracker = Scene(default=1.0), KeptTracker()
    scene.seconds = {"a": 100.0}
    async with at_work(tmp_path, scene, tracker) as engine:
        run = await submit(engine, {"a": template("a")})
        await scene.until(lambda: scene.words == ["a"])
        tracker.fault = FULL
        with trio.move_on_after(1000) as waited:
            await engine.runs.ended(run.id)
        assert run.state is RunState.COMPLETED
        assert waited.cancelled_caught
        assert engine.commits.shown(run) == (RunState.RUNNING, None)
        tracker.fault = None
        await engine.runs.ended(run.id)
        assert engine.commits.shown(run) == (RunState.COMPLETED, run.ended_at)
    assert len(reasons(tracker)) == 1


async def test_a_submission_is_answered_and_launched_after_it_is_kept(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    scene, tracker = Scene(default=1.0), KeptTracker()
    async with at_work(tmp_path, scene, tracker) as engine:
        tracker.fault = FULL
        with trio.move_on_after(100) as waited:
            await submit(engine, {"a": template("a")})
        assert waited.cancelled_caught
        assert not scene.launched
        tracker.fault = None
        run = await submit(engine, {"b": template("b")})
        await engine.runs.ended(run.id)
        assert run.id == 2, "an id is never given twice"
        assert scene.words == ["b"]


async def test_an_edit_is_launched_after_it_is_kept(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    scene, tracker = Scene(default=1.0), KeptTracker()
    async with at_work(tmp_path, scene, tracker) as engine:
        run = await submit(engine, {"a": template("a")})
        await engine.runs.ended(run.id)
        tracker.fault = FULL
        raw = document({"a": template("a"), "b": template("b")})
        async with trio.open_nursery() as nursery:
            nursery.start_soon(engine.commands.edit, run.id, parse(raw, directory="/"), raw)
            await until_refused(tracker)
            await trio.sleep(60)
            assert scene.words == ["a"]
            tracker.fault = None
        await engine.runs.ended(run.id)
        assert scene.words == ["a", "b"]


async def test_what_a_generator_adds_is_launched_and_its_finish_forgotten_after_it_is_kept(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    scene, tracker = Scene(default=2.0), KeptTracker()
    scene.answer_seconds = 50.0
    async with at_work(tmp_path, scene, tracker) as engine:
        run = await submit(engine, {"g": template("g", is_generator=True), "b": template("b"), "c": template("c", "b")})
        scene.answers = {run.plan.index("g"): b'{"x": {"details": {"command": ["x"]}}}'}
        await scene.until(lambda: "c" in scene.words)
        await trio.sleep(10)
        assert {index for index, _, _ in reasons(tracker)} == {run.plan.index("b"), run.plan.index("c")}
        generators = 1 + scene.finished.index("g")
        assert all(seq < generators for _, _, seq in scene.acks), "the generator's finish and all after it are to stay"
        tracker.fault = FULL
        await until_refused(tracker)
        await trio.sleep(60)
        assert "x" not in scene.words
        tracker.fault = None
        await engine.runs.ended(run.id)
        assert sorted(scene.words) == ["b", "c", "g", "x"]
        await scene.until(lambda: scene.acks and scene.acks[-1][2] == 4)
    kept = [entry for entry in tracker.entries if isinstance(entry, Generated | Attempts)]
    grown = next(at for at, entry in enumerate(kept) if isinstance(entry, Generated))
    generated = next(
        at
        for at, entry in enumerate(kept)
        if isinstance(entry, Attempts) and run.plan.index("g") in entry.rows["index"].tolist()
    )
    assert grown < generated, "a generator is not completed before its answer is kept"


async def test_an_answer_of_a_generator_that_an_edit_took_away_is_nobody_elses(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    scene = Scene(default=1.0)
    scene.answer_seconds = 50.0
    scene.answers = {
        at: document({word: template(word)}).replace(b'"directory": "/", ', b"") for at, word in enumerate("xy")
    }
    tasks = {"g": template("g", is_generator=True, expand=["K"])}
    async with at_work(tmp_path, scene) as engine:
        run = await submit(engine, tasks, parameters={"K": ["1", "2"]})
        await scene.until(lambda: len(scene.finished) == 2)
        await trio.sleep(10)
        raw = document(tasks, parameters={"K": ["2"]})
        await engine.commands.edit(run.id, parse(raw, directory="/"), raw)
        assert run.plan.name(0) == "g.K:2"
        await engine.runs.ended(run.id)
    assert scene.words == ["g", "g", "y"]


class SlowTracker(KeptTracker):
    """Keeps what generators answered only when it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.came, self.let = threading.Event(), threading.Event()

    def append(self, entries: Sequence[Entry]) -> None:
        if any(isinstance(entry, Generated) for entry in entries):
            self.came.set()
            assert self.let.wait(30)
        super().append(entries)


async def test_what_a_generator_adds_waits_for_its_commit_and_other_runs_do_not(tmp_path: Path) -> None:
    scene, tracker = Scene(default=4.0), SlowTracker()
    scene.seconds = dict.fromkeys("gpq", FOREVER)
    async with at_work(tmp_path, scene, tracker, threads=True) as engine:
        run = await submit(engine, {"g": template("g", is_generator=True)})
        other = await submit(engine, {"p": template("p"), "q": template("q", "p")})
        scene.answers = {0: b'{"x": {"details": {"command": ["x"]}}}'}
        await scene.until(lambda: {"g", "p"} <= set(scene.words))
        scene.life().end(scene.life().ticket("g"))
        await trio.to_thread.run_sync(tracker.came.wait, 30)
        scene.life().end(scene.life().ticket("p"))
        await scene.until(lambda: "q" in scene.words)
        before = list(scene.words)
        tracker.let.set()
        assert "x" not in before
        scene.life().end(scene.life().ticket("q"))
        for one in (run, other):
            await engine.runs.ended(one.id)
        assert scene.words[-1] == "x"


class SlowEnds(KeptTracker):
    """Keeps a command, and the end of a run, only when it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.begun, self.command, self.end = threading.Event(), threading.Event(), threading.Event()

    def append(self, entries: Sequence[Entry]) -> None:
        if any(isinstance(entry, Moved) for entry in entries):
            self.begun.set()
            assert self.command.wait(30)
        if any(isinstance(entry, RunChanged) and entry.state is RunState.KILLED for entry in entries):
            assert self.end.wait(30)
        super().append(entries)


async def test_an_end_that_came_while_a_command_was_being_kept_is_not_told_before_it_is_kept(tmp_path: Path) -> None:
    scene, tracker = Scene(default=1.0), SlowEnds()
    scene.seconds["a"] = FOREVER
    async with at_work(tmp_path, scene, tracker, threads=True) as engine:
        run = await submit(engine, {"a": template("a")})
        await scene.until(lambda: scene.words == ["a"])
        life, ends = scene.life(), list[Reports]()
        hear, life.report = life.report, ends.append
        async with trio.open_nursery() as nursery:
            nursery.start_soon(engine.commands.kill, run.id, None)
            await trio.to_thread.run_sync(tracker.begun.wait)
            while not ends:
                await trio.lowlevel.checkpoint()
            hear(ends[0])  # not before: it would be kept in one transaction with the command
            while not run.is_ended:
                await trio.lowlevel.checkpoint()
            tracker.command.set()
        with trio.move_on_after(0.05) as waiting:
            await engine.runs.ended(run.id)
        tracker.end.set()
        assert waiting.cancelled_caught
        await engine.runs.ended(run.id)
    assert any(isinstance(entry, RunChanged) and entry.state is RunState.KILLED for entry in tracker.entries)


@pytest.mark.parametrize("answer", [b"", b"{}", b"nonsense"])
async def test_a_run_that_ends_with_a_generator_is_announced(
    tmp_path: Path, answer: bytes, autojump_clock: trio.testing.MockClock
) -> None:
    scene = Scene(default=1.0)
    scene.answers = {0: answer}
    async with at_work(tmp_path, scene) as engine:
        run = await submit(engine, {"g": template("g", is_generator=True)})
        await engine.runs.ended(run.id)
        assert run.state is (RunState.ERRORED if answer == b"nonsense" else RunState.COMPLETED)


async def test_who_waits_for_an_end_is_told_whatever_is_asked_of_the_run_meanwhile(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    scene = Scene(default=1.0)
    async with at_work(tmp_path, scene) as engine:
        run = await submit(engine, {"a": template("a"), "b": template("b")})
        async with trio.open_nursery() as nursery:
            nursery.start_soon(engine.runs.ended, run.id)
            await scene.until(lambda: scene.words == ["a"])
            await engine.commands.resume(run.id)
        assert run.is_ended
        scene.seconds = {"c": 100.0}
        raw = document({"a": template("a"), "b": template("b"), "c": template("c")})
        await engine.commands.edit(run.id, parse(raw, directory="/"), raw)
        with trio.move_on_after(50) as waited:
            await engine.runs.ended(run.id)
        assert waited.cancelled_caught, "a run that was taken up again has not ended"
        await engine.runs.ended(run.id)


async def test_stopping_does_not_wait_for_a_tracker_in_trouble(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    scene, tracker = Scene(default=1.0), KeptTracker()
    scene.seconds = {"a": FOREVER}
    async with at_work(tmp_path, scene, tracker) as engine:
        await submit(engine, {"a": template("a")})
        await scene.until(lambda: scene.words == ["a"])
        tracker.fault = FULL
    assert engine.trouble == str(FULL)
    assert reasons(tracker) == []
    assert scene.acks == []


async def test_what_a_stop_leaves_is_tried_once_more(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    scene, tracker = Scene(default=1.0), KeptTracker()
    scene.seconds = {"a": FOREVER}
    async with at_work(tmp_path, scene, tracker) as engine:
        await submit(engine, {"a": template("a")})
        await scene.until(lambda: scene.words == ["a"])
        tracker.fault = FULL
        scene.life().end(scene.life().ticket("a"))
        await until_refused(tracker)
        tracker.fault = None
    assert not engine.trouble
    assert reasons(tracker) == [(0, 1, Reason.OK)]


async def test_damage_ends_the_engine_with_one_error(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    scene, tracker = Scene(default=1.0), KeptTracker()

    async def work() -> None:
        async with at_work(tmp_path, scene, tracker) as engine:
            run = await submit(engine, {"a": template("a")})
            tracker.fault = DirectoryError("'daggy.db' is damaged")
            await engine.runs.ended(run.id)

    with pytest.raises(DirectoryError, match="is damaged"):
        await work()
    assert [type(entry) for entry in tracker.entries if not isinstance(entry, Attempts)][1] is Submitted


@pytest.mark.parametrize("threads", [True, False])
async def test_an_engine_that_another_one_replaced_ends_what_runs_and_says_so(tmp_path: Path, threads: bool) -> None:
    """Whatever it is doing; also what was to outlive it: the other engine may be on another host."""
    scene, tracker = Scene(default=2.0), KeptTracker()
    scene.seconds = {"a": FOREVER}

    async def work() -> None:
        async with at_work(tmp_path, scene, tracker, threads=threads, follow=True) as engine:
            await engine.runs.take_up()
            await submit(engine, {"a": template("a"), "b": template("b", "a")})
            await scene.until(lambda: scene.words == ["a"])
            tracker.fault = FencedError("'daggy' was taken over by host b")
            await submit(engine, {"c": template("c")})

    with pytest.raises(FencedError, match="was taken over by host b"):
        await work()
    assert (scene.words, scene.finished, scene.life().stayed) == (["a"], ["a"], [])
    assert reasons(tracker) == []
    assert scene.acks == []


async def test_an_engine_that_is_replaced_before_it_begins_starts_nothing(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    scene, tracker = Scene(default=1.0), KeptTracker()
    tracker.fault = FencedError("'daggy' was taken over by host b")
    with pytest.raises(FencedError, match="was taken over by host b"):
        async with at_work(tmp_path, scene, tracker):
            raise AssertionError("it is open")
    assert scene.lives == []


async def test_damage_at_the_very_end_does_not_hang(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    scene, tracker = Scene(default=1.0), KeptTracker()
    scene.seconds = {"a": FOREVER}

    async def work() -> None:
        async with at_work(tmp_path, scene, tracker) as engine:
            await submit(engine, {"a": template("a")})
            await scene.until(lambda: scene.words == ["a"])
            tracker.fault = DirectoryError("'daggy.db' is damaged")

    with pytest.raises(DirectoryError, match="is damaged"):
        await work()
