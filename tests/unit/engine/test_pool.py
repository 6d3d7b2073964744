"""A pool never has more running than its machines hold, packs what fits, and starves nobody."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import numpy as np
import pytest
from attrs import define, evolve, field
from hypothesis import given, settings, strategies as st

from daggy.attempt import REPORT, Kind, Reports, Rows
from daggy.engine.flights import Flights, Slot
from daggy.engine.pool import MOST, PATIENCE, WRITTEN_COST, Candidate, Grant, Pool
from daggy.executor import Machine
from daggy.plan import plan
from daggy.run.reports import on_reports
from daggy.run.run import Run
from daggy.run.states import Now
from daggy.spec.model import Details, Policy, RunSpec, Template
from daggy.spec.parameters import RangeValues

RESOURCES = ("cores", "memory_mb")


@define
class SimulatedLauncher:
    """Keeps one queue a lane, and starts a task only while fewer than the lane's width run, as launchers do."""

    waiting: dict[int, deque[tuple[int, int]]] = field(factory=dict)
    width: dict[int, int] = field(factory=dict)
    running: list[tuple[int, int, int]] = field(factory=list)  # lane, task, attempt
    unsaid: list[tuple[int, int, int]] = field(factory=list)  # kind, task, attempt
    accepted: int = 0

    def launch(self, lane: int, width: int, tasks: list[tuple[int, int]]) -> None:
        self.width[lane] = width
        self.accepted += len(tasks)
        self.waiting.setdefault(lane, deque()).extend(tasks)
        self.start()

    def start(self) -> None:
        for lane, queue in self.waiting.items():
            while queue and sum(one[0] == lane for one in self.running) < self.width[lane]:
                task, attempt = queue.popleft()
                self.running.append((lane, task, attempt))
                self.unsaid.append((Kind.STARTED, task, attempt))

    def end(self, position: int) -> None:
        _, task, attempt = self.running.pop(position % len(self.running))
        self.unsaid.append((Kind.FINISHED, task, attempt))
        self.start()

    def say(self, most: int) -> Rows:
        """Return the oldest reports; a start whose end is said in the same breath may be left out."""
        said, self.unsaid = self.unsaid[:most], self.unsaid[most:]
        ended = {task for kind, task, _ in said if kind == Kind.FINISHED}
        told = [one for one in said if one[0] == Kind.FINISHED or one[1] not in ended]
        rows = np.zeros(len(told), REPORT)
        for position, (kind, task, attempt) in enumerate(told):
            rows[position]["kind"] = kind
            rows[position]["row"]["index"] = task
            rows[position]["row"]["attempt"] = attempt
        rows["run"], rows["version"], rows["epoch"] = 1, 1, 1
        return rows


@define
class World:
    """One run, one pool, one simulated launcher a machine; the clock is a number."""

    run: Run
    pool: Pool
    flights: Flights = field(factory=Flights)
    launchers: dict[str, SimulatedLauncher] = field(factory=dict)
    slots: dict[int, Slot] = field(factory=dict)
    clock: float = 0.0

    def dispatch(self) -> list[Grant]:
        """Hand out what is ready; return what was granted."""
        grants = []
        candidates = [Candidate(self.run, self.run.frontier.queues[number]) for number in self.run.frontier.ready]
        for grant in self.pool.choose(candidates, Now(self.clock, self.clock)):
            taken = self.run.frontier.take(grant.candidate.queue, grant.tasks)
            if not grant.ahead:
                grant.share.widen(len(taken))
            slot = self.slots.setdefault(id(grant.share), Slot(self.pool, grant.machine, grant.share))
            self.flights.sent((1, 1), taken.tolist(), slot)
            attempts = self.run.frontier.attempt[taken].tolist()
            launcher = self.launchers.setdefault(grant.machine.name, SimulatedLauncher())
            launcher.launch(grant.share.lane, grant.share.width, list(zip(taken.tolist(), attempts, strict=True)))
            grants.append(grant)
        return grants

    def report(self, launcher: SimulatedLauncher, most: int) -> None:
        rows = launcher.say(most)
        if len(rows):
            self.flights.reported((1, 1), rows, self.clock)
            on_reports(self.run, Reports(rows), Now(self.clock, self.clock))

    def check_totals(self) -> None:
        for name, launcher in self.launchers.items():
            if not launcher.running:
                continue
            needs = {share.lane: share.needs for share in self.pool.machines[name].shares.values()}
            slots = self.pool.machines[name].machine.slots
            assert slots is None or len(launcher.running) <= slots
            for resource in RESOURCES:
                used = sum(dict(needs[lane]).get(resource, 0.0) for lane, _, _ in launcher.running)
                assert used <= self.pool.machines[name].most(resource) + 1e-6


def make_run(templates: Sequence[tuple[int, dict[str, float], int, int | None, *tuple[float, ...]]]) -> Run:
    """Return a run of templates given as (tasks, needs, priority, max_parallel and perhaps timeout), none waiting for
    another.
    """
    made = tuple(
        Template(
            f"t{number}",
            Details(command=("true",)),
            Policy(resources=tuple(sorted(needs.items())), priority=priority, max_parallel=most, timeout=sum(timeout)),
            parameters={"N": RangeValues.of(0, tasks)},
            uses=("N",),
        )
        for number, (tasks, needs, priority, most, *timeout) in enumerate(templates)
    )
    run = Run(1, plan(RunSpec(made, parameters={"N": RangeValues.of(0, 1)})), created=0.0, epoch=1)
    run.begin()
    return run


needs = st.fixed_dictionaries(
    {"cores": st.sampled_from([0.5, 1.0, 2.0, 3.0]), "memory_mb": st.sampled_from([0.0, 100.0, 900.0])}
)
template = st.tuples(st.integers(1, 12), needs, st.integers(-1, 1), st.sampled_from([None, 1, 3]))


@settings(deadline=None)
@given(
    templates=st.lists(template, min_size=1, max_size=5),
    machines=st.integers(1, 3),
    moves=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 50), st.integers(1, 6)), max_size=80),
    is_spread=st.booleans(),
)
def test_what_runs_never_exceeds_the_totals_and_everything_runs(
    templates: list[tuple[int, dict[str, float], int, int | None]],
    machines: int,
    moves: list[tuple[int, int, int]],
    is_spread: bool,
) -> None:
    world = World(make_run(templates), Pool("p", is_spread=is_spread))
    world.pool.set_capacity([Machine(f"m{n}", {"cores": 3.0, "memory_mb": 1000.0}) for n in range(machines)])
    world.pool.seconds.update(dict.fromkeys({tuple(sorted(one[1].items())) for one in templates}, 0.001))
    for which, position, most in [*moves, *[(n % 3, n, 100) for n in range(4000)]]:
        world.clock += 1.0
        world.dispatch()
        world.check_totals()
        for queue in world.run.frontier.queues:
            assert queue.in_flight <= (queue.policy.max_parallel or 1 << 30)
        launchers = list(world.launchers.values())
        launcher = launchers[which % len(launchers)]
        if launcher.running:
            launcher.end(position)
            world.check_totals()
        world.report(launcher, most)
        if world.run.is_ended:
            break
    assert world.run.counts()["completed"] == world.run.plan.size


def test_a_task_passed_over_too_long_gets_a_machine() -> None:
    # Small tasks would keep the machine busy for ever; after PATIENCE it is kept free until the large one fits.
    world = World(
        make_run([(500, {"cores": 1.0, "memory_mb": 0.0}, 0, None), (1, {"cores": 3.0, "memory_mb": 0.0}, 0, None)]),
        Pool("p"),
    )
    world.pool.set_capacity([Machine("m", {"cores": 3.0, "memory_mb": 0.0})])
    large = world.run.plan.size - 1
    while world.clock < PATIENCE + 20:
        world.dispatch()
        launcher = world.launchers["m"]
        if any(task == large for _, task, _ in launcher.running):
            break
        world.clock += 1.0
        launcher.end(0)
        world.report(launcher, 100)
    assert PATIENCE <= world.clock < PATIENCE + 5


def test_the_machine_that_will_be_free_first_is_kept_for_a_task_that_was_passed_over_too_long() -> None:
    # One machine runs one long task, the other three short ones: the latter has more to end, and is free first.
    long, short, large = (("cores", 2.0),), (("cores", 1.0),), (("cores", 3.0),)
    world = World(
        make_run([(1, dict(long), 2, None), (400, dict(short), 0, None), (1, dict(large), 0, None)]), Pool("p")
    )
    world.pool.seconds.update({long: 1000.0, short: 1.0})
    world.pool.set_capacity([Machine(name, {"cores": 3.0}) for name in ("long", "short")])
    while world.run.plan.size - 1 not in [task for one in launchers(world) for _, task, _ in one.running]:
        world.dispatch()
        world.clock += 1.0
        for launcher in launchers(world):
            if short_ones := [at for at, (lane, _, _) in enumerate(launcher.running) if lane == 1]:
                launcher.end(short_ones[0])
            world.report(launcher, 100)
        assert world.clock < 2 * PATIENCE
    assert world.launchers["short"].running


def test_tasks_are_spread_over_machines_or_packed_as_the_executor_says() -> None:
    for is_spread, wanted in ((True, [1] * 16), (False, [16])):
        world = World(make_run([(16, {"cores": 1.0}, 0, None)]), Pool("p", is_spread=is_spread))
        world.pool.set_capacity([Machine(f"m{n}", {"cores": 16.0}) for n in range(16)])
        world.dispatch()
        assert [len(launcher.running) for launcher in launchers(world)] == wanted


def test_the_machine_with_most_free_of_the_scarcest_need_goes_first() -> None:
    world = World(make_run([(3, {"cores": 1.0, "memory_mb": 100.0}, 0, None)]), Pool("p", is_spread=True))
    thin, fat = {"cores": 64.0, "memory_mb": 200.0}, {"cores": 4.0, "memory_mb": 9000.0}
    world.pool.set_capacity([Machine("thin", thin), Machine("fat", fat)])
    world.dispatch()
    assert {name: len(launcher.running) for name, launcher in world.launchers.items()} == {"fat": 3}


def test_the_deeper_and_the_more_urgent_go_first() -> None:
    world = World(make_run([(3, {"cores": 3.0}, 0, None), (3, {"cores": 3.0}, 5, None)]), Pool("p"))
    world.pool.set_capacity([Machine("m", {"cores": 3.0, "memory_mb": 0.0})])
    world.dispatch()
    assert [task for _, task, _ in world.launchers["m"].running] == [3]


def test_nothing_waits_at_a_launcher_when_tasks_are_long() -> None:
    world = World(make_run([(50, {"cores": 1.0}, 0, None)]), Pool("p"))
    world.pool.set_capacity([Machine("m", {"cores": 3.0, "memory_mb": 0.0})])
    world.pool.seconds[(("cores", 1.0),)] = 5.0
    world.dispatch()
    assert len(world.launchers["m"].running) == 3
    assert not world.launchers["m"].waiting[0]


def test_short_tasks_wait_ahead_at_the_launcher() -> None:
    world = World(make_run([(50, {"cores": 1.0}, 0, None)]), Pool("p"))
    world.pool.set_capacity([Machine("m", {"cores": 2.0, "memory_mb": 0.0})])
    world.pool.seconds[(("cores", 1.0),)] = 0.02
    world.dispatch()
    assert len(world.launchers["m"].running) == 2
    assert next(iter(world.pool.machines["m"].shares.values())).waiting == 20  # 2 of them not heard to have started


def in_one_turn(run: Run, machines: int, cores: float) -> int:
    """Return how many tasks one turn hands out to so many machines with so many cores each."""
    world = World(run, Pool("p"))
    world.pool.set_capacity([Machine(f"m{n}", {"cores": cores, "memory_mb": 0.0}) for n in range(machines)])
    world.dispatch()
    return sum(len(launcher.running) for launcher in world.launchers.values())


@pytest.mark.parametrize(("machines", "cores"), [(1, 1e9), (2, 1e9), (7, 300.0)])
def test_a_turn_hands_out_no_more_than_its_bound_to_however_many_machines(machines: int, cores: float) -> None:
    assert in_one_turn(make_run([(5 * MOST, {"cores": 1.0}, 0, None)]), machines, cores) == MOST


@pytest.mark.parametrize("machines", [1, 16, 256])
def test_a_turn_sends_ahead_no_more_than_its_bound_and_each_machine_gets_its_part(machines: int) -> None:
    world = World(make_run([(100_000, {"cores": 1.0}, 0, None)]), Pool("p"))
    world.pool.set_capacity([Machine(f"m{n}", {"cores": 2.0, "memory_mb": 0.0}) for n in range(machines)])
    world.pool.seconds[(("cores", 1.0),)] = 0.001
    before, world.pool.is_cut = 0, True
    while world.pool.is_cut:
        world.dispatch()
        sent = sum(len(launcher.running) + sum(map(len, launcher.waiting.values())) for launcher in launchers(world))
        assert sent <= before + MOST
        before = sent
    ahead = [len(launcher.waiting[0]) for launcher in launchers(world)]
    assert len(ahead) == machines
    most = Machine("m", None).ahead
    assert most - 2 < min(ahead) <= max(ahead) == 2 * most - 2


@pytest.mark.parametrize(("ahead", "waiting"), [(0, 0), (2, 6)])
def test_no_more_wait_at_a_machine_than_it_says(ahead: int, waiting: int) -> None:
    world = World(make_run([(1000, {"cores": 1.0}, 0, None)]), Pool("p"))
    world.pool.set_capacity([Machine("m", {"cores": 3.0, "memory_mb": 0.0}, ahead=ahead)])
    world.pool.seconds[(("cores", 1.0),)] = 0.001
    world.dispatch()
    launcher = world.launchers["m"]
    world.report(launcher, 3)
    world.dispatch()
    assert (len(launcher.running), len(launcher.waiting[0])) == (3, waiting)


def launchers(world: World) -> list[SimulatedLauncher]:
    return list(world.launchers.values())


MACHINES = (
    Machine("m0", {"cores": 3.0, "memory_mb": 1000.0}, labels=frozenset({"ssd"})),
    Machine("m1", {"cores": 3.0, "memory_mb": 1000.0}, slots=2),
    Machine("m2", None, slots=3, labels=frozenset({"ssd"})),
)
PRESENCE = st.tuples(*[st.none() | st.tuples(st.booleans(), st.none() | st.integers(0, 60)) for _ in MACHINES])
"""Of each machine whether it is named, is open, and for how many more seconds it is there."""

a_task = st.tuples(
    st.integers(1, 12),
    st.fixed_dictionaries(
        {"cores": st.sampled_from([0.5, 1.0, 3.0]), "memory_mb": st.sampled_from([0.0, 900.0])},
        optional={"ssd": st.just(1.0)},
    ),
    st.integers(-1, 1),
    st.sampled_from([None, 3]),
    st.sampled_from([0.0, 5.0, 30.0]),
)


@settings(deadline=None)
@given(
    templates=st.lists(a_task, min_size=1, max_size=4),
    moves=st.lists(
        st.tuples(st.integers(0, 2), st.integers(0, 50), st.integers(1, 6), st.none() | PRESENCE), max_size=60
    ),
    is_spread=st.booleans(),
)
def test_machines_that_come_and_go_never_run_more_than_they_have(
    templates: list[tuple[int, dict[str, float], int, int | None, float]],
    moves: list[tuple[int, int, int, tuple[tuple[bool, int | None] | None, ...] | None]],
    is_spread: bool,
) -> None:
    """One that is away or closed keeps what it runs, gets nothing, and has that room less when it comes back; nothing
    goes where it would outlast the machine.
    """
    world = World(make_run(templates), Pool("p", is_spread=is_spread))
    world.pool.seconds.update({tuple(sorted(one[1].items())): 10.0 for one in templates})
    there: dict[str, Machine] = {}
    everything: tuple[tuple[bool, int | None] | None, ...] = ((True, None),) * 3
    ends = [(n % 3, n, 100, everything if not n else None) for n in range(4000)]
    for which, position, most, presence in [*moves, *ends]:
        world.clock += 1.0
        if presence is not None:
            there = {
                machine.name: evolve(machine, open=said[0], until=None if said[1] is None else world.clock + said[1])
                for machine, said in zip(MACHINES, presence, strict=True)
                if said is not None
            }
            world.pool.set_capacity(list(there.values()))
        before = {name: launcher.accepted for name, launcher in world.launchers.items()}
        for grant in world.dispatch():
            until = there[grant.machine.name].until
            assert until is None or world.clock + (grant.candidate.queue.policy.timeout or 10.0) <= until
            labels = {name for name, _ in grant.share.needs} - set(RESOURCES)
            assert labels <= there[grant.machine.name].labels
        for name, launcher in world.launchers.items():
            assert (name in there and there[name].open) or launcher.accepted == before[name]
            assert not launcher.running or name in world.pool.machines
        world.check_totals()
        found = launchers(world)
        if found:
            launcher = found[which % len(found)]
            if launcher.running:
                launcher.end(position)
            world.check_totals()
            world.report(launcher, most)
        if world.run.is_ended:
            break
    assert world.run.counts()["completed"] == world.run.plan.size


def test_a_machine_that_was_away_knows_what_it_runs() -> None:
    world = World(make_run([(9, {"cores": 1.0}, 0, None)]), Pool("p"))
    machine = Machine("m", {"cores": 4.0, "memory_mb": 0.0})
    world.pool.set_capacity([machine])
    world.dispatch()
    world.pool.set_capacity([])
    assert world.pool.machines["m"].fits((("cores", 1.0),)) == 0
    world.pool.set_capacity([machine])
    world.dispatch()
    assert len(world.launchers["m"].running) == 4


def test_a_turn_hands_out_fewer_hand_written_tasks_for_each_takes_longer() -> None:
    policy = Policy(resources=(("cores", 1.0),))
    written = tuple(Template(f"t{number}", Details(command=("true",)), policy) for number in range(MOST))
    run = Run(1, plan(RunSpec(written)), created=0.0, epoch=1)
    run.begin()
    assert in_one_turn(run, 2, 1e9) == MOST // WRITTEN_COST


@given(
    st.lists(st.tuples(st.sampled_from([Kind.STARTED, Kind.FINISHED, Kind.RECALLED]), st.integers(0, 5)), max_size=4)
)
def test_few_reports_and_many_leave_the_same_account(said: list[tuple[Kind, int]]) -> None:
    def account(few: int) -> tuple[int, int, set[int], set[int], float]:
        pool, flights = Pool("p"), Flights()
        pool.set_capacity([Machine("m", {"cores": 4.0})])
        share = pool.share(pool.machines["m"], (("cores", 1.0),))
        flights.sent((1, 1), range(4), Slot(pool, pool.machines["m"], share))
        order = sorted(dict.fromkeys(said), key=lambda one: one[0])  # a start comes before its end
        rows = np.zeros(len(order), REPORT)
        for position, (kind, task) in enumerate(order):
            rows[position]["kind"] = kind
            rows[position]["row"]["index"] = task
            rows[position]["row"]["started"], rows[position]["row"]["ended"] = 1.0, 3.0
        with pytest.MonkeyPatch.context() as monkeypatch:
            monkeypatch.setattr("daggy.engine.flights.FEW", few)
            flights.reported((1, 1), rows, 5.0)
        seconds = pool.seconds.get(share.needs, 0.0)
        return share.waiting, share.running, set(flights.waiting[1, 1]), set(flights.running.get((1, 1), ())), seconds

    assert account(0) == account(9)
