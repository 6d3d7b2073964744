"""What executors may do to an engine: raise, leave, forget, come without machines; the runs survive it."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import trio
import trio.testing

from daggy.engine.explain import explain
from daggy.errors import SpecError
from daggy.executor import Demand, Kind, Machine, Reason, Reports, Ticket, Wanted
from daggy.run.run import Run
from daggy.spec import parse
from daggy.tracker import RunState
from tests.integration.engine_rig import (
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


@pytest.mark.parametrize("way", ["raises", "leaves"])
async def test_what_an_executor_had_when_it_failed_is_lost_and_runs_again(
    tmp_path: Path, way: str, autojump_clock: trio.testing.MockClock
) -> None:
    scene, tracker = Scene(default=2.0), KeptTracker()
    scene.seconds = {"a": FOREVER, "b": FOREVER}
    async with at_work(tmp_path, scene, tracker) as engine:
        run = await submit(engine, {"a": template("a"), "b": template("b"), "c": template("c", "a", "b")})
        await scene.until(lambda: len(scene.launched) == 2)
        scene.seconds = {}
        if way == "leaves":
            scene.life().broken.set()
        else:
            scene.life().fail(RuntimeError("no more"))
        await engine.runs.ended(run.id)
        assert run.state is RunState.COMPLETED
        assert scene.words == ["a", "b", "a", "b", "c"]
        assert len(scene.lives) == 2
    lost = [one for one in reasons(tracker) if one[2] is Reason.LOST]
    assert sorted(lost) == [(run.plan.index("a"), 1, Reason.LOST), (run.plan.index("b"), 1, Reason.LOST)]
    message = run.ledger.messages.get(0)
    assert message == (
        "the executor of pool 'default' ended unexpectedly"
        if way == "leaves"
        else "the executor of pool 'default' failed: RuntimeError: no more"
    )


async def test_an_executor_that_stops_listening_before_it_fails_hurts_nobody(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    scene, tracker = Scene(default=2.0), KeptTracker()
    scene.seconds = {"a": FOREVER, "b": FOREVER}
    async with at_work(tmp_path, scene, tracker) as engine:
        run = await submit(engine, {"a": template("a"), "b": template("b")})
        await scene.until(lambda: len(scene.launched) == 2)
        scene.seconds = {}
        scene.life().deaf = True
        scene.life().fail(RuntimeError("no more"))
        await engine.runs.ended(run.id)
        assert run.state is RunState.COMPLETED
        assert scene.words == ["a", "b", "b"]


async def test_an_executor_that_always_fails_spends_the_crash_limit_and_pauses(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    scene = Scene(default=1.0)
    scene.seconds = {"a": FOREVER}
    async with at_work(tmp_path, scene) as engine:
        run = await submit(engine, {"a": template("a", crash_limit=2), "b": template("b", "a")})
        for life in range(3):
            await scene.until(lambda life=life: len(scene.launched) == life + 1)  # type: ignore[misc]
            scene.life().fail(RuntimeError("no more"))
        await engine.runs.ended(run.id)
        assert (state_of(run, "a"), state_of(run, "b")) == ("errored", "upstream_failed")
        assert [attempt for _, _, attempt in scene.launched] == [1, 2, 3]
        assert scene.at[2] - scene.at[1] > scene.at[1] - scene.at[0] > 0.1


async def test_what_the_successor_knows_is_not_lost(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    scene, tracker = Scene(default=2.0), KeptTracker()
    scene.seconds = {"a": FOREVER, "b": FOREVER}
    async with at_work(tmp_path, scene, tracker) as engine:
        run = await submit(engine, {"a": template("a"), "b": template("b"), "c": template("c", "a")})
        await scene.until(lambda: len(scene.launched) == 2)
        known = report(Kind.FINISHED, scene.life().ticket("a"), seq=1, launcher=1, started=1.0, ended=2.0)
        known.flags.writeable = False  # as `np.frombuffer` gives them
        scene.recovered["default"] = [RuntimeError("not yet"), RuntimeError("nor now"), Reports(known)]
        scene.seconds = {}
        scene.life().fail(RuntimeError("no more"))
        await engine.runs.ended(run.id)
        assert run.state is RunState.COMPLETED
        assert sorted(scene.words) == ["a", "b", "b", "c"]
    assert (run.plan.index("b"), 1, Reason.LOST) in reasons(tracker)
    assert ("default", 1, 1) in scene.acks, "the successor may forget what it told"


async def test_an_old_finish_told_again_does_not_hide_that_the_retry_is_lost(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    scene = Scene(default=1.0)
    scene.ends = {"a": [Reason.EXIT]}
    async with at_work(tmp_path, scene) as engine:
        run = await submit(engine, {"a": template("a", max_retries=1)})
        await scene.until(lambda: len(scene.launched) == 1)
        first = scene.life().ticket("a")
        scene.seconds = {"a": 1000.0}
        await scene.until(lambda: len(scene.launched) == 2)
        said = report(Kind.FINISHED, first, Reason.EXIT, seq=1, launcher=1, started=1.0, ended=2.0)
        scene.recovered["default"] = [Reports(said)]
        scene.life().fail(RuntimeError("no more"))
        await engine.runs.ended(run.id)
        assert [attempt for _, _, attempt in scene.launched] == [1, 2, 3]
        assert run.state is RunState.COMPLETED


async def test_stopping_does_not_wait_for_an_executor_that_is_being_made_again(
    tmp_path: Path, autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    scene, tracker = Scene(default=1.0, other=1.0), KeptTracker()
    scene.seconds = {"a": FOREVER, "b": FOREVER}
    async with at_work(tmp_path, scene, tracker) as engine:
        tasks = {"a": template("a"), "b": template("b", pool="other")}
        run = await submit(engine, tasks)
        await scene.until(lambda: len(scene.launched) == 2)
        scene.recovered["other"] = [RuntimeError("still broken")] * 5
        scene.life("other").fail(RuntimeError("no more"))
        await trio.sleep(3)
        began = trio.current_time()
        engine.stop()
        await engine.runs.ended(run.id)
        assert trio.current_time() - began < 0.1
        assert not run.is_ended
    assert "pool 'other' failed: RuntimeError: still broken; Daggy stops, and what runs there may go on" in caplog.text
    assert reasons(tracker) == [(run.plan.index("a"), 1, Reason.KILLED)]
    assert state_of(run, "a") == "queued"


async def test_reports_of_another_kind_are_the_executors_fault(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    scene = Scene(default=1.0)
    scene.seconds = {"a": FOREVER}
    async with at_work(tmp_path, scene) as engine:
        run = await submit(engine, {"a": template("a")})
        await scene.until(lambda: len(scene.launched) == 1)
        scene.seconds = {}
        life = scene.life()
        with pytest.raises(TypeError, match="must be an array of REPORT"):
            life.report(Reports(report(Kind.STARTED, life.ticket("a"))["row"]))
        life.fail(RuntimeError("after that"))
        await engine.runs.ended(run.id)
        assert run.state is RunState.COMPLETED


async def test_templates_go_to_their_pools(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    scene = Scene(small=1.0, large=3.0)
    async with at_work(tmp_path, scene) as engine:
        tasks = {"a": template("a"), "b": template("b", "a", pool="large"), "c": template("c", "b", pool="small")}
        run = await submit(engine, tasks)
        await engine.runs.ended(run.id)
        assert scene.launched == [("small", "a", 1), ("large", "b", 1), ("small", "c", 1)]
        hosts = {name: place for place, name in engine.state.places.numbers.items()}
        told = [hosts[int(run.ledger.row(number)["place"])] for number in range(3)]
        assert told == [("small", "m-small"), ("large", "m-large"), ("small", "m-small")]


async def test_a_pool_without_machines_waits_for_one(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    scene = Scene(default=1.0)
    scene.machines["default"], scene.fixed = [], False
    async with at_work(tmp_path, scene) as engine:
        run = await submit(engine, {"a": template("a", resources={"gpus": 3})})
        await trio.sleep(100)
        assert state_of(run, "a") == "queued"
        scene.machines["default"] = [Machine("m", {"cores": 4.0, "gpus": 2.0})]
        scene.life().changed()
        await trio.sleep(100)
        assert not scene.launched
        scene.machines["default"].append(Machine("n", {"cores": 1.0, "gpus": 4.0}))
        scene.life().changed()
        await engine.runs.ended(run.id)
        assert run.state is RunState.COMPLETED
        assert ("default", "n") in engine.state.places.numbers


async def test_a_task_goes_only_where_it_can_end_before_the_machine_goes(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    scene = Scene(default=1.0)
    async with at_work(tmp_path, scene) as engine:
        soon = engine.clock() + 1000
        scene.machines["default"] = [Machine("m", {"cores": 4.0}, until=soon)]
        scene.life().changed()
        long, short = ({"details": {"command": [word], "timeout": t}} for word, t in (("long", "1h"), ("short", "60s")))
        run = await submit(engine, {"long": long, "short": short, "untimed": template("untimed")})
        await trio.sleep(100)
        assert sorted(scene.words) == ["short", "untimed"]
        scene.machines["default"] = [Machine("m", {"cores": 4.0}, until=soon + 3600)]
        scene.life().changed()
        await engine.runs.ended(run.id)
        assert run.state is RunState.COMPLETED


async def test_executors_are_told_what_tasks_need_and_how_long_they_may_take(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    scene = Scene(default=4.0)
    scene.machines["default"] = [Machine("m", None, slots=2)]
    async with at_work(tmp_path, scene) as engine:
        timed = {"details": {"command": ["b"], "timeout": "1m"}, "resources": {"gpus": 2, "licences": 1}}
        run = await submit(engine, {"a": template("a"), "b": timed}, limits={"licences": 1})
        await engine.runs.ended(run.id)
    assert sorted(scene.needs.values(), key=len) == [{"cores": 1.0}, {"cores": 1.0, "gpus": 2.0}]
    assert [(work.timeout, work.resources.get("gpus")) for work in scene.checked] == [(0.0, None), (60.0, 2.0)]


@pytest.mark.parametrize(
    ("says", "told"),
    [
        (
            lambda ticket: f"job 51_{ticket.index}: held",
            [{"kind": "waits", "pool": "default", "message": "job 51_1: held"}],
        ),
        (
            lambda ticket: 1 / 0,
            [{"kind": "waits", "pool": "default", "message": "ZeroDivisionError: division by zero"}],
        ),
        (lambda ticket: "", []),
    ],
)
async def test_what_the_place_says_of_a_task_that_has_not_begun_explains_it(
    tmp_path: Path, says: Callable[[Ticket], str], told: list[object], autojump_clock: trio.testing.MockClock
) -> None:
    scene = Scene(default=1.0)
    scene.says = says
    async with at_work(tmp_path, scene) as engine:
        engine.state.dispatcher.links["default"].pool.learn((("cores", 1.0),), 0.01, 1)  # so that one goes ahead
        run = await submit(engine, {f"t{number}": template(f"t{number}") for number in range(2)})
        await scene.until(lambda: scene.life().waiting.get(0))
        handed_out = {"kind": "handed_out", "attempt": 1}
        assert explain(engine, run, 1).because == [*told, handed_out]


async def test_a_pool_that_is_not_fixed_is_told_how_much_finds_no_room(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    scene = Scene(default=1.0)
    scene.machines["default"], scene.fixed = [], False
    async with at_work(tmp_path, scene) as engine:
        timed = {"details": {"command": ["b"], "timeout": "1m"}, "resources": {"gpus": 1}, "max_parallel": 1}
        tasks = {"a": template("a", parameters={"N": list(range(9))}, expand=["N"]), "b": timed}
        run = await submit(engine, tasks)
        await trio.sleep(10)
        ((_, first),) = scene.wanted
        wanted = sorted(first.demands, key=lambda demand: demand.tasks)
        assert wanted == [Demand({"cores": 1.0, "gpus": 1.0}, 1, 60.0), Demand({"cores": 1.0}, 9, 0.0)]
        scene.machines["default"] = [Machine("m", {"cores": 9.0})]
        scene.life().changed()
        await trio.sleep(10)
        assert [[demand.tasks for demand in one.demands] for _, one in scene.wanted[1:]] == [[1]]
        scene.life().fail(RuntimeError("the next one knows nothing"))
        await trio.sleep(10)
        assert [[demand.tasks for demand in one.demands] for _, one in scene.wanted[2:]] == [[1]]
        scene.machines["default"] = [Machine("m", {"cores": 9.0, "gpus": 1.0})]
        scene.life().changed()
        await engine.runs.ended(run.id)
        await trio.sleep(10)
        assert scene.wanted[-1][1] == Wanted([])
    times = [at for at, _ in scene.wanted]
    assert all(later >= earlier + 1 for earlier, later in itertools.pairwise(times))


async def test_that_nothing_is_wanted_any_more_is_told_though_nothing_else_happens(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    scene = Scene(default=1.0)
    machines, scene.machines["default"], scene.fixed = scene.machines["default"], [], False
    scene.seconds["a"] = FOREVER
    async with at_work(tmp_path, scene) as engine:
        await submit(engine, {"a": template("a")})
        await trio.sleep(0.1)
        scene.machines["default"] = machines
        scene.life().changed()
        await trio.sleep(100)
        (first, _), (last, nothing) = scene.wanted
        assert nothing == Wanted([])
        assert last == first + 1


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        ({"pool": "larg"}, "tasks.a.pool: no pool named 'larg'; did you mean 'large'?"),
        ({"pool": "xyz"}, "tasks.a.pool: no pool named 'xyz'; there are: large, small"),
        (
            {"resources": {"cores": 2}},
            (
                "tasks.a.resources.cores: needs 2, and no machine of pool 'small' has more than 1; "
                "ask for less, choose another pool, or give the run or the pool more 'cores'"
            ),
        ),
    ],
)
async def test_what_can_never_run_is_refused_and_nothing_is_kept(
    tmp_path: Path, keys: dict[str, object], line: str, autojump_clock: trio.testing.MockClock
) -> None:
    scene, tracker = Scene(small=1.0, large=3.0), KeptTracker()
    async with at_work(tmp_path, scene, tracker) as engine:
        with pytest.raises(SpecError) as caught:
            await submit(engine, {"a": template("a", **keys)})
        assert str(caught.value) == line
    assert tracker.last_run() == 0


async def test_a_generator_that_asks_for_what_no_pool_has_ends_badly(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    scene = Scene(default=1.0)
    scene.answers = {0: b'{"x": {"details": {"command": ["x"]}, "pool": "nowhere"}}'}
    async with at_work(tmp_path, scene) as engine:
        run: Run = await submit(engine, {"g": template("g", is_generator=True)})
        await engine.runs.ended(run.id)
        assert run.state is RunState.ERRORED
        assert run.ledger.messages.get(0) == "tasks.x.pool: no pool named 'nowhere'; there are: default"
        assert run.plan.size == 1


async def test_an_old_finish_told_again_does_not_free_what_the_retry_uses(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    scene = Scene(default=2.0)
    scene.ends = {"a": [Reason.EXIT]}
    async with at_work(tmp_path, scene) as engine:
        two = {"resources": {"cores": 2}}
        run = await submit(engine, {"a": template("a", max_retries=1, priority=1, **two), "b": template("b", **two)})
        await scene.until(lambda: len(scene.launched) == 1)
        first = scene.life().ticket("a")
        scene.seconds = {"a": FOREVER}
        await scene.until(lambda: len(scene.launched) == 2)
        second = scene.life().ticket("a")
        old = report(Kind.FINISHED, first, Reason.EXIT, seq=1, launcher=1, started=1.0, ended=2.0)
        runs = report(Kind.STARTED, second, started=2.0)
        scene.recovered["default"] = [Reports(np.concatenate([old, runs]))]
        scene.life().fail(RuntimeError("no more"))
        await scene.until(lambda: len(scene.lives) == 2)
        await trio.sleep(10)
        assert scene.words == ["a", "a"]
        end = report(Kind.FINISHED, second, seq=2, launcher=1, started=2.0, ended=3.0)
        scene.life().report(Reports(end))
        await engine.runs.ended(run.id)
        assert scene.words == ["a", "a", "b"]


async def test_an_old_finish_told_again_does_not_free_what_the_retry_uses_after_an_edit(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    scene = Scene(default=2.0)
    scene.ends = {"a": [Reason.EXIT]}
    async with at_work(tmp_path, scene) as engine:
        tasks = {"a": template("a", max_retries=1, resources={"cores": 2})}
        run = await submit(engine, tasks)
        await scene.until(lambda: len(scene.launched) == 1)
        first = scene.life().ticket("a")
        scene.seconds = {"a": FOREVER}
        await scene.until(lambda: len(scene.launched) == 2)
        second = scene.life().ticket("a")
        raw = document(tasks | {"b": template("b", resources={"cores": 1})})
        await engine.commands.edit(run.id, parse(raw, directory="/"), raw)
        scene.life().report(Reports(report(Kind.FINISHED, first, Reason.EXIT, seq=1, launcher=1)))
        await trio.sleep(10)
        assert scene.words == ["a", "a"]
        scene.life().end(second)
        await engine.runs.ended(run.id)
        assert scene.words == ["a", "a", "b"]


async def test_an_executor_that_failed_just_before_a_stop_is_made_again_to_end_what_it_left(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    scene, tracker = Scene(default=1.0), KeptTracker()
    scene.seconds = {"a": FOREVER}
    async with at_work(tmp_path, scene, tracker) as engine:
        await submit(engine, {"a": template("a")})
        await scene.until(lambda: scene.launched)
        ticket = scene.life().ticket("a")
        scene.recovered = {"default": [Reports(report(Kind.STARTED, ticket, started=1.0))]}
        scene.life().fail(RuntimeError("no more"))
        await trio.testing.wait_all_tasks_blocked()
        assert len(scene.lives) == 1
    assert len(scene.lives) == 2
    assert scene.life().is_stopped
