"""How many pilots are asked for and let go, whatever a place and its queue do."""

from __future__ import annotations

from attrs import evolve
from hypothesis import given, settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from daggy.executor import Demand
from daggy.launcher.pilots.plan import PATIENCE, Pilot, Plan, Size
from daggy.launcher.queues import LONGEST_PAUSE

MOST, IDLE = 3, 10.0
SIZE = Size(MOST, {"cores": 4.0, "memory_mb": 1000.0}, 3600.0, IDLE)


def demand(tasks: int, longest: float = 0.0, **needs: float) -> Demand:
    return Demand(needs or {"cores": 1.0}, tasks, longest)


def test_as_many_are_needed_as_tasks_fill() -> None:
    assert SIZE.needed([demand(1)]) == 1
    assert SIZE.needed([demand(4)]) == 1
    assert SIZE.needed([demand(5)]) == 2
    assert SIZE.needed([demand(2), demand(2, cores=2.0)]) == 2
    assert SIZE.needed([demand(3, cores=1.0, memory_mb=1000.0)]) == 3
    assert SIZE.needed([Demand({}, 256, 0.0)]) == 1


def test_what_never_fits_needs_none() -> None:
    assert SIZE.needed([demand(9, cores=5.0)]) == 0
    assert SIZE.needed([demand(9, gpus=1.0)]) == 0
    assert SIZE.needed([demand(9, longest=3601.0)]) == 0


def test_nothing_is_asked_for_before_tasks_have_waited() -> None:
    plan = Plan(SIZE)
    plan.want([demand(8)], 0.0)
    assert plan.to_ask([], PATIENCE - 0.1) == []
    assert plan.to_ask([], PATIENCE) == [0, 1]
    assert plan.to_ask([0], PATIENCE) == [1, 2]


def test_a_pilot_that_ended_before_it_joined_makes_the_pool_wait_ever_longer() -> None:
    plan, now, pauses = Plan(SIZE), 0.0, []
    plan.want([demand(1)], now)
    for number in range(12):
        now += PATIENCE
        began = now
        while not (slots := plan.to_ask([], now)):
            now += 1.0
        pauses.append(now - began)
        plan.asked(slots, now)
        plan.see([Pilot(f"{number}_0", 0, is_queued=False, said="RUNNING")], now)
        plan.see([], now)
        plan.failed(now)
    assert pauses == sorted(pauses)
    assert LONGEST_PAUSE - 2 * PATIENCE <= pauses[-1] <= LONGEST_PAUSE
    plan.join("9_9", now)
    assert plan.to_ask([], now + PATIENCE) == [0]


def test_it_is_known_that_a_pilot_had_joined_until_it_is_done_with() -> None:
    plan, pilot = Plan(SIZE), Pilot("1_0", 0, is_queued=False, said="RUNNING")
    plan.see([pilot], 0.0)
    plan.join("1_0", 0.0)
    assert plan.see([], 10.0) == [pilot]
    plan.see([], 20.0)  # its agent may still be heard: the place may have forgotten it
    assert plan.joined == {"1_0"}


class AnyPlace(RuleBasedStateMachine):
    """A place that preempts, forgets, gives ids twice, and starts late what it seemed not to have heard."""

    def __init__(self) -> None:
        super().__init__()
        self.plan = Plan(SIZE)
        self.now = 0.0
        self.jobs: dict[str, Pilot] = {}  # those that the place has
        self.ghosts: list[list[int]] = []  # submissions that may still arrive
        self.agents: set[str] = set()
        self.tasks = 0
        self.number = 0

    def arrive(self, slots: list[int]) -> list[Pilot]:
        self.number += 1
        made = [Pilot(f"{self.number}_{slot}", slot, is_queued=True, said="PENDING") for slot in slots]
        self.jobs.update((one.job, one) for one in made)
        return made

    def taken(self) -> list[int]:
        return [int(job.partition("_")[2]) for job in self.agents]

    def ask(self) -> list[int]:
        slots = self.plan.to_ask(self.taken(), self.now)
        known = {one.slot for one in self.plan.pilots.values()}
        assert not known & set(slots)
        assert not set(self.taken()) & set(slots)
        assert all(0 <= slot < MOST for slot in slots)
        if slots:
            self.plan.asked(slots, self.now)
        return slots

    def look(self) -> None:
        for gone in self.plan.see(self.jobs.values(), self.now):
            if gone.job not in self.plan.joined and not gone.is_queued:
                self.plan.failed(self.now)
            self.plan.joined.discard(gone.job)

    def leave(self, job: str) -> None:
        self.jobs.pop(job, None)
        self.agents.discard(job)

    @rule(tasks=st.integers(0, 40))
    def want(self, tasks: int) -> None:
        self.tasks = tasks
        self.plan.want([demand(tasks)] if tasks else [], self.now)

    @rule(seconds=st.sampled_from([0.5, 3.0, 30.0, 100.0]))
    def time(self, seconds: float) -> None:
        self.now += seconds

    @rule(how=st.sampled_from(["heard", "refused", "unheard"]))
    def submit(self, how: str) -> None:
        if not (slots := self.ask()):
            return
        if how == "heard":
            self.plan.see([*self.plan.pilots.values(), *self.arrive(slots)], self.now)
        elif how == "refused":
            self.plan.refused(slots, self.now)
        else:
            self.ghosts.append(slots)

    @precondition(lambda self: self.ghosts)
    @rule()
    def thaw(self) -> None:
        self.arrive(self.ghosts.pop())

    @precondition(lambda self: self.jobs)
    @rule(data=st.data(), how=st.sampled_from(["starts", "joins", "ends", "is forgotten"]))
    def change(self, data: st.DataObject, how: str) -> None:
        job = data.draw(st.sampled_from(sorted(self.jobs)))
        if how == "starts":
            self.jobs[job] = evolve(self.jobs[job], is_queued=False)
        elif how == "joins" and not self.jobs[job].is_queued and self.jobs[job].slot not in self.taken():
            self.agents.add(job)
            self.plan.join(job, self.now)
        elif how == "ends":
            self.leave(job)
        elif how == "is forgotten":
            del self.jobs[job]  # the agent goes on

    @rule()
    def sees(self) -> None:
        self.look()

    @rule()
    def cancels(self) -> None:
        for one in self.plan.to_cancel(self.now):
            if one.job in self.jobs:
                self.leave(one.job)

    @invariant()
    def one_owner_a_slot_keeps_it(self) -> None:
        doomed = {one.job for one in self.plan.to_cancel(self.now)}
        kept = [one.slot for one in self.plan.pilots.values() if one.job not in doomed]
        assert len(kept) == len(set(kept))

    @invariant()
    def what_runs_is_never_cancelled_for_want_of_tasks(self) -> None:
        slots = [one.slot for one in self.plan.pilots.values()]
        for one in self.plan.to_cancel(self.now):
            assert one.is_queued or slots.count(one.slot) > 1

    def teardown(self) -> None:
        """Once the place is well again there are as many pilots as are needed, and none if none are."""
        self.ghosts.clear()
        for tasks in (self.tasks, 0):
            self.plan.want([demand(tasks)] if tasks else [], self.now)
            for _ in range(400):
                self.now += 1.0
                self.agents &= self.jobs.keys()
                self.look()
                for one in self.plan.to_cancel(self.now):
                    self.leave(one.job)
                if slots := self.ask():
                    self.plan.see([*self.plan.pilots.values(), *self.arrive(slots)], self.now)
            coming = [job for job in self.jobs if job not in self.agents]
            needed = min(SIZE.needed([demand(tasks)]), MOST - len(self.agents))
            assert len(coming) >= needed
            assert len([job for job in coming if self.jobs[job].is_queued]) <= needed


TestAnyPlace = AnyPlace.TestCase
TestAnyPlace.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


@given(st.lists(st.tuples(st.integers(1, 500), st.sampled_from([1.0, 2.0, 3.0, 4.0])), max_size=4))
def test_what_is_needed_has_room_for_all(found: list[tuple[int, float]]) -> None:
    demands = [demand(tasks, cores=cores) for tasks, cores in found]
    needed = SIZE.needed(demands)
    assert needed * 4.0 >= sum(one.tasks * one.needs["cores"] for one in demands) - 1e-6
