"""A pool's scheduling: which ready tasks go out next, and where. Pure: `now` is a parameter."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from attrs import define, field

from daggy.engine.shares import MachineUse, Needs, Share
from daggy.executor import Machine
from daggy.run.ready import ReadyQueue
from daggy.run.run import Run

PATIENCE = 30.0
"""Seconds that a task may be passed over for smaller ones before a machine is kept free for it."""

AHEAD_SECONDS = 0.2
"""Work that may wait at a launcher: short enough that nobody minds, long enough to hide the way there."""

AHEAD_TASKS = 128
"""Tasks a slot that may wait at a launcher, however short they are."""

MOST = 1_000
"""Tasks handed out in one turn: bounds how long a turn takes, at 3 to 8 µs a task."""

WRITTEN_COST = 4
"""A hand-written task counts as so many of those: it is read, compiled and rendered all for itself."""


class Candidate(NamedTuple):
    """A queue of a run that has ready tasks for this pool."""

    run: Run
    queue: ReadyQueue


class Grant(NamedTuple):
    """Hand out so many `tasks` of a candidate's tasks here; at most `share.width` of the share run at once.

    `ahead`: there is no room for them yet, they wait at the launcher.
    """

    candidate: Candidate
    machine: MachineUse
    share: Share
    tasks: int
    ahead: bool


@define(eq=False)
class Pool:
    """Machines of one executor and what is in use of them.

    Args:
        name: As configured.
        machines: By name.
        lanes: The executor's number for each vector of needs.
        passed: Since when (steady clock) a candidate (run, queue) has found no room.
        seconds: Mean duration of recent attempts, by needs: what waits ahead is measured by it.
        turn: The run that was served last: of equal priority the next one goes first.
        is_cut: Whether the last choice ended at its bound, so that there may be room for more at once.
    """

    name: str
    machines: dict[str, MachineUse] = field(factory=dict)
    lanes: dict[Needs, int] = field(factory=dict)
    passed: dict[tuple[int, int], float] = field(factory=dict)
    seconds: dict[Needs, float] = field(factory=dict)
    turn: int = 0
    is_cut: bool = False

    def set_capacity(self, machines: Sequence[Machine]) -> None:
        """Take over the executor's machines; what is in use on those that stay is kept."""
        old, self.machines = self.machines, {}
        for machine in machines:
            use = old.get(machine.name) or MachineUse(machine.name, machine.totals)
            use.totals = machine.totals
            self.machines[machine.name] = use

    def share(self, machine: MachineUse, needs: Needs) -> Share:
        """Return the share of these needs on a machine, made when it is first asked for."""
        found = machine.shares.get(needs)
        if found is None:
            found = machine.shares[needs] = Share(self.lanes.setdefault(needs, len(self.lanes)), needs)
        return found

    def learn(self, needs: Needs, seconds: float, count: int) -> None:
        """Take note that `count` attempts with these needs took `seconds` each, on average."""
        weight = min(0.5, 0.05 * count)
        known = self.seconds.get(needs, seconds)
        self.seconds[needs] = known + weight * (seconds - known)

    def wait(self, share: Share) -> float:
        """Return the seconds that the last of what waits on a share may expect to wait there."""
        return self.seconds.get(share.needs, 0.0) * share.waiting / max(1, share.width)

    def choose(self, candidates: Iterable[Candidate], now: float) -> Iterator[Grant]:
        """Yield what is to be handed out, first for free resources, then ahead; the caller hands it out at once."""
        for machine in self.machines.values():
            machine.held = False
        ordered = self._order(list(candidates), now)
        budget = MOST
        unmet: list[Candidate] = []
        self.is_cut = False
        for candidate in ordered:
            cost = WRITTEN_COST if candidate.run.plan.blocks[candidate.queue.block].explicit else 1
            for grant in self._fill(candidate, max(1, budget // cost)):
                budget -= grant.tasks * cost
                self.passed.pop((candidate.run.id, candidate.queue.number), None)
                yield grant
            self._note(candidate, now, unmet)
            if budget <= 0:
                self.is_cut = True
                return
        needs = {candidate.queue.policy.resources for candidate in unmet}
        if len(needs) <= 1:
            for candidate in unmet:
                yield from self._ahead(candidate)

    def _order(self, candidates: list[Candidate], now: float) -> list[Candidate]:
        """Sort by priority, then who was passed over too long, then by turn, then the deeper ones first."""

        def key(candidate: Candidate) -> tuple[int, bool, bool, int, int]:
            run, queue = candidate
            since = self.passed.get((run.id, queue.number), now)
            return (-queue.policy.priority, now - since < PATIENCE, run.id <= self.turn, run.id, -queue.depth)

        return sorted(candidates, key=key)

    def _fill(self, candidate: Candidate, budget: int) -> Iterator[Grant]:
        run, queue = candidate
        needs = queue.policy.resources
        for machine in self.machines.values():
            if machine.held or not queue.tasks:
                continue
            most = min(queue.room, len(queue.tasks), budget)
            count = min(machine.fits(pool_needs(run, needs)), run_room(run, needs), most)
            if count <= 0:
                continue
            share = self.share(machine, pool_needs(run, needs))
            share.width = (share.width if share.waiting else share.running) + count
            budget -= count
            self.turn = run.id
            yield Grant(candidate, machine, share, count, ahead=False)

    def _note(self, candidate: Candidate, now: float, unmet: list[Candidate]) -> None:
        """Keep in mind who found no room; keep the machine free that fits whoever was passed over too long."""
        run, queue = candidate
        key = (run.id, queue.number)
        if not queue.tasks or queue.room <= 0 or run_room(run, queue.policy.resources) <= 0:
            self.passed.pop(key, None)
            return
        unmet.append(candidate)
        since = self.passed.setdefault(key, now)
        if now - since >= PATIENCE:
            needs = pool_needs(run, queue.policy.resources)
            fitting = [machine for machine in self.machines.values() if not machine.held and machine.could_fit(needs)]
            if fitting:
                soonest = min(fitting, key=lambda machine: sum(share.reserved for share in machine.shares.values()))
                soonest.held = True

    def _ahead(self, candidate: Candidate) -> Iterator[Grant]:
        """Yield what may wait at launchers: a little work in advance, renewed when half of it is used up."""
        run, queue = candidate
        needs = pool_needs(run, queue.policy.resources)
        seconds = self.seconds.get(needs)
        if seconds is None or queue.policy.max_parallel is not None or needs != queue.policy.resources:
            return
        slots = min(AHEAD_TASKS, int(AHEAD_SECONDS / seconds)) if seconds > 0 else AHEAD_TASKS
        for machine in self.machines.values():
            share = machine.shares.get(needs)
            if share is None or machine.held or share.recalling or not queue.tasks:
                continue
            width = share.width if share.waiting else share.running
            most = slots * width
            count = min(most - share.waiting, len(queue.tasks), MOST, run.failures_left() - share.waiting)
            if share.waiting * 2 <= most and count > 0:
                share.width = width
                yield Grant(candidate, machine, share, count, ahead=True)


def pool_needs(run: Run, needs: Needs) -> Needs:
    """Return what tasks need of the pool's machines: without what only the run limits."""
    limits = run.plan.spec.limits
    return tuple(need for need in needs if need[0] not in limits) if limits else needs


def run_room(run: Run, needs: Needs) -> int:
    """Return how many more tasks with these needs the run's own limits allow in flight."""
    limits = run.plan.spec.limits
    if not limits:
        return MOST
    used = run.frontier.used()
    rooms = [
        int((limits[name] - used.get(name, 0.0)) / amount + 1e-9) for name, amount in needs if name in limits and amount
    ]
    return max(0, min(rooms, default=MOST))
