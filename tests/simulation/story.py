"""One story: engines that come, go and are killed, a user who asks for things, and all of it from one seed."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, ClassVar, Protocol

import numpy as np
import trio
from attrs import define, field

from daggy.engine.directory import StateDirectory
from daggy.engine.engine import Engine
from daggy.engine.retention import ENDED
from daggy.errors import ConflictError, FencedError, NotFoundError, SpecError, TrackerError
from daggy.executor import Executor, Site
from daggy.run.run import Run
from daggy.run.states import REMOVED
from daggy.spec import parse
from daggy.tracker import Entry, Moved, Place, RunChanged, Tracker
from daggy_memory import MemorySettings, MemoryTracker
from daggy_sqlite import SqliteSettings, SqliteTracker
from tests.simulation import specs
from tests.simulation.counts import miscounted
from tests.simulation.executor import SimExecutor
from tests.simulation.queue import QueueExecutor
from tests.simulation.world import World

Json = dict[str, Any]


class Checker(Protocol):
    """What looks at a story that has come to its end, and raises if something is wrong."""

    def whole(self) -> None:
        """Look at what is about no single run."""

    def run(self, run: Run, copy: Run) -> None:
        """Look at one run, and at the same as it is read back."""


MakeChecks = Callable[["Story", Engine], Checker]

PATIENCE = 4000.0
"""Simulated seconds in which every run must have come to its end."""


PAUSES = [0.0, 0.0, 0.01, 0.5, 3.0]
"""Seconds between two things that the user asks for, mostly."""


class Kept(MemoryTracker):
    """A memory tracker that outlives engines, though not the story."""

    durable: ClassVar[bool] = True


@define(eq=False)
class Life:
    """One engine, and how it is killed: nothing that it does afterwards reaches anybody."""

    engine: Engine
    scope: trio.CancelScope
    executors: list[SimExecutor] = field(factory=list)
    is_dead: bool = False

    def crash(self) -> None:
        """Kill it where it stands."""
        if not self.is_dead:
            self.is_dead = True
            for executor in self.executors:
                executor.die()
            self.scope.cancel()


class Fragile:
    """A tracker as an engine sees it: it may refuse, not know whether it has kept something, or be another engine's by
    now; and its engine may be killed just before or after it has kept something.
    """

    def __init__(self, inner: Tracker, story: Story) -> None:
        """Pass everything on to `inner`."""
        self.inner, self.story = inner, story
        self.again: Sequence[Entry] = ()  # what the next append has to begin with
        self.kept = 0  # how much of that is kept

    def __getattr__(self, name: str) -> Any:
        """Return what the inner one has."""
        return getattr(self.inner, name)

    def append(self, entries: Sequence[Entry]) -> None:
        """Keep these, unless something happens."""
        story = self.story
        story.appends += 1
        when = story.plan.appends.get(story.appends)
        if when == "before":
            story.crash()
        if story.life is not None and story.life.is_dead:
            raise TrackerError("the engine is dead")
        if story.is_fenced:
            raise FencedError("another engine has taken over")
        if [*map(id, entries[: len(self.again)])] != [*map(id, self.again)]:
            story.world.broken.append(f"again: an append that raised was followed by another one at {story.appends}")
        self.again = entries
        if story.is_full:
            raise TrackerError("no space left on device")
        fresh, self.kept = entries[self.kept :], len(entries)
        self.inner.append(fresh)
        story.entries += fresh
        story.kept_at += [trio.current_time()] * len(fresh)
        if when is None and story.doubts.random() < story.doubt:
            raise TrackerError("the answer to COMMIT is lost")
        self.again, self.kept = (), 0
        if when == "after":
            story.crash()
            raise TrackerError("the engine is dead")


@define(eq=False)
class Plot:
    """What is going to go wrong.

    Args:
        lives: Seconds that each engine is given, and how it goes: "crash", "stop", "leave", "fenced".
        appends: At the how manieth commit the engine is killed, before or after it.
        launchers: When a launcher dies.
        executors: When an executor fails.
        full: When the tracker's disk is full, and for how long.
        jumps: When the wall clock is set, and by how much.
        commands: How many things the user asks for.
        lingers: Whether launchers outlive engines.
        is_sqlite: Whether the tracker is that one, in memory.
        follows: Whether events are told.
        threads: Whether commits and reads take their time while the loop goes on, as in threads.
        relapses: How likely an engine that has just begun sees an executor fail or its disk fill up: it may still be
            taking up what its predecessor left.
        reckless: How likely an engine is killed soon after a command, while that is being carried out.
    """

    lives: list[tuple[float, str]]
    appends: dict[int, str]
    launchers: list[float]
    executors: list[float]
    full: list[tuple[float, float]]
    jumps: list[tuple[float, float]]
    commands: int
    lingers: bool
    is_sqlite: bool
    follows: bool
    threads: bool
    relapses: float
    reckless: float

    @classmethod
    def draw(cls, rng: Random) -> Plot:
        """Return a random one; a quarter of all stories are peaceful."""
        end = rng.choice([2.0, 8.0, 30.0])
        grim = rng.random() < 0.75

        def some(most: int) -> list[float]:
            return sorted(rng.uniform(0, end) for _ in range(rng.randint(0, most) if grim else 0))

        return cls(
            lives=[(at, rng.choice(["crash", "crash", "stop", "leave", "fenced"])) for at in some(4)],
            appends={rng.randint(1, 60): rng.choice(["before", "after"]) for _ in some(3)},
            launchers=some(3),
            executors=some(2) if rng.random() < 0.3 else [],
            full=[(at, rng.uniform(0.01, 3)) for at in some(2)] if rng.random() < 0.3 else [],
            jumps=[(at, rng.choice([-1e6, -3.0, 5.0, 1e6])) for at in some(2)] if rng.random() < 0.3 else [],
            commands=rng.randint(1, 12),
            lingers=rng.random() < 0.75,
            is_sqlite=rng.random() < 0.15,
            follows=rng.random() < 0.7,
            threads=rng.random() < 0.7,
            relapses=rng.choice([0.0, 0.2, 0.6]) if grim else 0.0,
            reckless=rng.choice([0.0, 0.1, 0.3]) if grim else 0.0,
        )


class Story:
    """Plays one seed in a directory of its own.

    `entries` is what was kept, in order, at the times `kept_at`; `acknowledged` the runs of which the user was told
    that they exist, with the version that was answered last; `asked` what the user asked for; `requeued` run, name
    and time of what was requeued.
    """

    def __init__(self, seed: int, path: Path) -> None:
        """Decide everything that chance decides."""
        self.seed, self.path = seed, path
        self.rng = Random(seed)
        self.plan = Plot.draw(self.rng)
        self.world = World(Random(seed + 1))
        self.entries: list[Entry] = []
        self.kept_at: list[float] = []
        self.appends = 0
        self.is_full = self.is_fenced = False
        self.doubts = Random(seed + 2)
        self.doubt = self.doubts.choice([0.0, 0.0, 0.02, 0.3])
        self.crowds = Random(seed + 3)
        self.is_crowded = self.crowds.random() < specs.CROWDED
        self.life: Life | None = None
        self.left = self.plan.commands
        self.deaths = 0
        self.acknowledged: dict[int, int] = {}
        self.forgotten: set[int] = set()
        self.leaving: set[int] = set()
        self.keeping: set[int] = set()
        self.requeued: list[tuple[int, str, float]] = []
        self.asked: list[tuple[float, str, int]] = []
        self.documents: dict[int, Json] = {}
        self.tracker = self._tracker()

    def _tracker(self) -> Tracker:
        if self.plan.is_sqlite:
            (self.path / "state").mkdir(mode=0o700, exist_ok=True)
            return SqliteTracker(SqliteSettings(), self.path / "state")
        return Kept(MemorySettings(), self.path)

    def say(self, said: str, run: int = 0) -> None:
        """Write down what is done to runs; 0: to all."""
        self.asked.append((trio.current_time(), said, run))

    def crash(self) -> None:
        """Kill the engine."""
        if self.life is not None and not self.life.is_dead:
            self.deaths += 1
            self.say("killed: engine")
            self.life.crash()

    async def play(self, make: MakeChecks) -> None:
        """Let it all happen, then check what came of it, by the last engine."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.world.run)
            self._arrange()
            with trio.fail_after(PATIENCE):
                for seconds, how in self.plan.lives:
                    await self._live(seconds, how)
                while not await self._live(float("inf"), "end", make):
                    pass
            nursery.cancel_scope.cancel()
        self.tracker.close()

    def _arrange(self) -> None:
        world, plan = self.world, self.plan
        for at in plan.launchers:
            world.at(at, self._kill_launcher)
        for at in plan.executors:
            world.at(at, self._fail_executor)
        for at, seconds in plan.full:
            world.at(at, partial(setattr, self, "is_full", True))
            world.at(at + seconds, partial(setattr, self, "is_full", False))
        for at, jump in plan.jumps:
            world.at(at, partial(self._jump, jump))

    def _jump(self, seconds: float) -> None:
        self.world.shift += seconds

    def _kill_launcher(self) -> None:
        alive = [one for one in self.world.launchers.values() if one.is_alive]
        if alive:
            chosen = self.rng.choice(alive)
            self.say(f"killed: launcher {chosen.number}")
            chosen.die()

    def _fail_executor(self) -> None:
        if self.life is not None and self.life.executors:
            self.say("failed: executor")
            self.rng.choice(self.life.executors).failed.set()

    def _relapse(self) -> None:
        """Let something fail while an engine takes up what its predecessor left."""
        rng = self.rng
        if rng.random() >= self.plan.relapses:
            return
        begins = trio.current_time()
        if rng.random() < 0.7:
            self.world.at(begins + rng.uniform(0, 0.4), self._fail_executor)
        if rng.random() < 0.5:
            full = begins + rng.uniform(0, 0.1)
            self.world.at(full, partial(setattr, self, "is_full", True))
            self.world.at(full + rng.uniform(0.01, 2), partial(setattr, self, "is_full", False))

    def _make(self, life: list[Life], site: Site) -> Executor:
        executor = QueueExecutor(self.world, site) if site.pool == specs.QUEUE else SimExecutor(self.world, site)
        if life:
            life[0].executors.append(executor)
        else:
            self._early.append(executor)
        return executor

    async def _live(self, seconds: float, how: str, make: MakeChecks | None = None) -> bool:
        """Let one engine live; return whether it came to the end of the story."""
        if self.plan.is_sqlite and self.deaths:
            self.tracker.close()
            self.tracker = self._tracker()
        self.world.broken += miscounted(self.tracker)
        self._early: list[SimExecutor] = []
        self.is_fenced = False
        born: list[Life] = []
        with trio.CancelScope() as scope, StateDirectory.open(self.path / "state") as directory:
            engine = Engine(
                Fragile(self.tracker, self),  # type: ignore[arg-type]  # as one by what it has
                dict.fromkeys((*specs.POOLS, specs.QUEUE), partial(self._make, born)),
                directory,
                threads=self.plan.threads,
                linger=self.plan.lingers,
                follow=self.plan.follows,
                clock=self.world.wall,
            )
            self.life = Life(engine, scope, self._early)
            self.say(f"engine {engine.epoch} begins")
            born.append(self.life)
            self._relapse()
            try:
                async with engine.open():
                    await self._use(engine, seconds, how, make)
                    return how == "end" and not self.life.is_dead
            except FencedError:
                if left := [process.ticket for _, process in self.world.running()]:
                    self.world.broken.append(f"fenced: {left} still run")
            except TrackerError:
                pass
        return False

    async def _use(self, engine: Engine, seconds: float, how: str, make: MakeChecks | None) -> None:
        await engine.runs.take_up()
        for run in engine.runs.values():
            self._note(run)
        with trio.move_on_after(seconds):
            await self._ask_for_things(engine)
            for run_id in list(engine.runs):
                await engine.runs.ended(run_id)
                self._check_announced(run_id)
            if make is not None:
                await trio.sleep(30)
                await self._check(engine, make)
                return
            await trio.sleep_forever()
        if how == "crash":
            self.crash()
        elif how == "fenced":
            self.say("another engine takes over")
            self.is_fenced = True
            engine.writer.give([Place(0, "", "")])
            await trio.sleep_forever()
        else:
            self.say(f"engine told to {how}")
            engine.stop(leave=how == "leave")

    async def _check(self, engine: Engine, make: MakeChecks) -> None:
        self.world.broken += miscounted(self.tracker)
        checks = make(self, engine)
        checks.whole()
        for run_id in self.acknowledged:
            if run_id in self.forgotten:
                continue
            try:
                checks.run(await engine.runs.find(run_id), await engine.archive.copy(run_id))
            except NotFoundError:
                assert run_id in self.leaving, f"run {run_id} was submitted, and is gone"

    # What the user asks for.

    async def _ask_for_things(self, engine: Engine) -> None:
        while self.left:
            self.left -= 1
            await trio.sleep(self.crowds.uniform(0, 0.2) if self.is_crowded else self.rng.choice(PAUSES))
            known = [run for run in self.acknowledged if run not in self.forgotten]
            ask = self._submit if not known else self.rng.choice(
                [self._submit, self._kill, self._kill_some, self._resume, self._requeue, self._requeue, self._edit,
                 self._edit, self._forget, self._look]
            )  # fmt: skip
            run = self.rng.choice(known) if known else 0
            self.say(f"asked: {ask.__name__.strip('_')}", run)
            with contextlib.suppress(SpecError, ConflictError, NotFoundError):
                await ask(engine, run)
                self._check_answered(engine, run)
            self._check_shown(engine)
            if self.rng.random() < self.plan.reckless:
                self.world.later(self.rng.uniform(0, 1), partial(self._crash_life, self.life))

    def _crash_life(self, life: Life | None) -> None:
        if life is self.life:
            self.crash()

    def _check_answered(self, engine: Engine, run_id: int) -> None:
        """Note it if what was asked last of a run is answered and not kept."""
        run = engine.runs.get(run_id)
        asked = [one for one in run.moves if one.actor == "user"][-1:] if run is not None else []
        kept = [(one.run, one.version, one.cause, one.at) for one in self.entries if isinstance(one, Moved)]
        if self._lives() and any((one.run, one.version, one.cause, one.at) not in kept for one in asked):
            self.world.broken.append(f"answered: what the user asked of run {run_id} is not kept: {asked}")

    def _check_announced(self, run_id: int) -> None:
        """Note it if a run's end was announced and not kept."""
        changes = [one for one in self.entries if isinstance(one, RunChanged) and one.run == run_id]
        if self._lives() and run_id not in self.leaving and (not changes or changes[-1].state not in ENDED):
            self.world.broken.append(f"announced: the end of run {run_id} is not kept")

    def _check_shown(self, engine: Engine) -> None:
        """Note it if the end of a run can be seen and is not kept."""
        for run in engine.runs.values():
            if engine.commits.shown(run)[0] in ENDED:
                self._check_announced(run.id)

    def _lives(self) -> bool:
        return self.life is not None and not self.life.is_dead

    async def _submit(self, engine: Engine, _: int) -> None:
        if len(self.acknowledged) >= 4:
            return
        made = specs.crowd(self.crowds) if self.is_crowded else specs.document(self.rng)
        raw = json.dumps(made).encode()
        spec = parse(raw, directory="/")
        expected = engine.tracker.last_run() + 1
        self.world.parameters[expected, 1] = made["parameters"]
        run = await engine.commands.submit(spec, raw)
        assert run == expected
        self.acknowledged[run] = 1
        self.documents[run] = made

    async def _edit(self, engine: Engine, run_id: int) -> None:
        made = specs.edited(self.rng, self.documents[run_id])
        raw = json.dumps(made).encode()
        run = await engine.runs.find(run_id)
        self.world.parameters[run_id, run.version + 1] = made["parameters"]
        await engine.commands.edit(run_id, parse(raw, directory="/"), raw, keep_downstream=self._keeps(run_id))
        self.acknowledged[run_id] = run.version
        self.documents[run_id] = made

    def _note(self, run: Run) -> None:
        """An engine has read a run back: what was asked for last may have been kept though nobody was told."""
        self.documents[run.id] = json.loads(self._spec(run.id, run.version))
        for version in range(1, run.version + 1):
            self.world.parameters[run.id, version] = json.loads(self._spec(run.id, version))["parameters"]
        self.acknowledged.setdefault(run.id, run.version)

    def _spec(self, run: int, version: int) -> bytes:
        return next(one.spec for one in self.tracker.history(run).versions if one.version == version)

    def _keeps(self, run_id: int) -> bool:
        """Decide whether what is downstream is to be kept, however its parents run again."""
        if self.rng.random() < 0.1:
            self.keeping.add(run_id)
        return run_id in self.keeping

    async def _kill(self, engine: Engine, run_id: int) -> None:
        await engine.commands.kill(run_id, None, "user")

    def _some(self, run: Run) -> Any:
        return np.array(
            sorted(self.rng.sample(range(run.plan.size), min(run.plan.size, self.rng.randint(1, 3)))), np.int64
        )

    async def _kill_some(self, engine: Engine, run_id: int) -> None:
        await engine.commands.kill(run_id, self._some(await engine.runs.find(run_id)), "user")

    async def _resume(self, engine: Engine, run_id: int) -> None:
        await engine.commands.resume(run_id, "user")

    async def _requeue(self, engine: Engine, run_id: int) -> None:
        run = await engine.runs.find(run_id)
        chosen, at = self._some(run), trio.current_time()
        if run.answers and self.rng.random() < 0.3:
            chosen = np.array([self.rng.choice(sorted(run.answers))], np.int64)
        elif self.rng.random() < 0.4:  # a whole template, as people do
            block = run.plan.block_of(int(chosen[0]))
            chosen = np.arange(block.start, block.start + block.size, dtype=np.int64)
        there = chosen[run.frontier.state[chosen] != REMOVED]  # not what a generator's later answer took away
        names = [run.plan.name(index) for index in there.tolist()]
        await engine.commands.requeue(run_id, chosen, "user", keep_downstream=self._keeps(run_id))
        self.requeued += [(run_id, name, at) for name in names]

    async def _forget(self, engine: Engine, run_id: int) -> None:
        if self.rng.random() < 0.3:
            self.leaving.add(run_id)
            await engine.commands.forget(run_id)
            self.forgotten.add(run_id)

    async def _look(self, engine: Engine, run_id: int) -> None:
        run = await engine.runs.find(run_id)
        for index in self._some(run).tolist():
            await engine.archive.attempts(run, index)
        copy = await engine.archive.copy(run_id)
        assert copy.version <= run.version
