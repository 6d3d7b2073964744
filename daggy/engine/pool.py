"""A pool's scheduling: which ready tasks go out next, and where. Pure: `now` is a parameter."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from attrs import define, evolve, field

from daggy.engine.rooms import Rooms, spread
from daggy.engine.shares import ADOPTED, MachineUse, Needs, Share
from daggy.executor import Machine
from daggy.run.ready import ReadyQueue
from daggy.run.run import Run
from daggy.run.states import Now
from daggy.spec.model import Policy

PATIENCE = 30.0
"""Seconds that smaller tasks may overtake a task before a machine is kept free for it."""

AHEAD_SECONDS = 0.2
"""Seconds of work that may wait at a launcher: short, but enough to hide the latency of sending it."""

MOST = 1_000
"""Tasks handed out in one turn: bounds how long a turn takes, at 3 to 8 µs a task."""

WRITTEN_COST = 4
"""Cost of a hand-written task in those: it is read, compiled and rendered separately."""


class Candidate(NamedTuple):
    """A queue of a run that has ready tasks for this pool."""

    run: Run
    queue: ReadyQueue


class Grant(NamedTuple):
    """Hand out so many `tasks` of a candidate's tasks here, and widen the share by those that are handed out.

    `ahead`: there is no room for them yet, they wait at the launcher, and the width stays.
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
        waiting: Shares on which something may wait, by needs.
        drained: Names of machines that take nothing, whatever their executor says.
        aside: Names of others that take nothing for a while, with the reason.
        is_spread: Whether a task goes to the machine with most room for it; else to the first that has any.
    """

    name: str
    machines: dict[str, MachineUse] = field(factory=dict)
    lanes: dict[Needs, int] = field(factory=dict)
    passed: dict[tuple[int, int], float] = field(factory=dict)
    seconds: dict[Needs, float] = field(factory=dict)
    turn: int = 0
    is_cut: bool = False
    waiting: dict[Needs, set[Share]] = field(factory=dict)
    is_spread: bool = False
    drained: set[str] = field(factory=set)
    aside: dict[str, str] = field(factory=dict)
    _order: list[MachineUse] = field(factory=list)
    _rooms: Rooms = field(factory=Rooms)
    _next: int = 0  # position at which tasks ahead go on
    _held: list[MachineUse] = field(factory=list)
    _kept: dict[tuple[int, int], tuple[MachineUse, float]] = field(factory=dict)  # for whom, and since when
    _is_dated: bool = False  # some machine is there for a while only

    def set_capacity(self, machines: Sequence[Machine]) -> None:
        """Take over the executor's machines. What is in use on those that stay is kept; one that is missing takes no
        tasks, and is forgotten when nothing of it is in flight.
        """
        old, self.machines = self.machines, {}
        for machine in machines:
            use = self.machines[machine.name] = old.pop(machine.name, MachineUse(machine))
            is_closed = machine.name in self.drained or machine.name in self.aside
            use.machine = evolve(machine, open=False) if is_closed else machine
        for use in old.values():
            use.machine = evolve(use.machine, open=False)
            if not use.is_empty:
                self.machines[use.name] = use
        self._number()

    def _number(self) -> None:
        self._order = list(self.machines.values())
        for position, machine in enumerate(self._order):
            machine.position = position
        self._rooms.reset(len(self._order))
        self._is_dated = any(use.machine.until is not None for use in self._order)

    def adopting(self, name: str, needs: Needs) -> tuple[MachineUse, Share]:
        """Return a machine and its share of what an earlier engine launched there; it may be one that is away."""
        machine = self.machines.get(name)
        if machine is None:
            machine = self.machines[name] = MachineUse(Machine(name, {}, open=False))
            self._number()
        return machine, machine.adopted.setdefault(needs, Share(ADOPTED, needs))

    def sent(self, share: Share) -> None:
        """Take note that tasks wait on a share."""
        self.waiting.setdefault(share.needs, set()).add(share)

    def changed(self, machine: MachineUse) -> None:
        """Take note that something started or ended on a machine: it may have room."""
        self._rooms.change(machine.position)

    def share(self, machine: MachineUse, needs: Needs) -> Share:
        """Return the share of these needs on a machine, made when it is first asked for."""
        found = machine.shares.get(needs)
        if found is None:
            found = machine.shares[needs] = Share(self.lanes.setdefault(needs, len(self.lanes)), needs)
        return found

    def learn(self, needs: Needs, seconds: float, count: int) -> None:
        """Note that `count` attempts with these needs took `seconds` each, on average."""
        weight = min(0.5, 0.05 * count)
        known = self.seconds.get(needs, seconds)
        self.seconds[needs] = known + weight * (seconds - known)

    def wait(self, share: Share) -> float:
        """Return the seconds that the last of what waits on a share may expect to wait there."""
        return self.seconds.get(share.needs, 0.0) * share.waiting / max(1, share.width)

    def longest(self, policy: Policy, needs: Needs) -> float:
        """Return the seconds that a task may take: its timeout, or what such tasks took of late if it has none."""
        return policy.timeout or self.seconds.get(needs, 0.0)

    def choose(self, candidates: Iterable[Candidate], now: Now) -> Iterator[Grant]:
        """Yield what is to be handed out, first for free resources, then ahead; the caller hands it out at once."""
        for machine in self._held:
            machine.held = False
        self._held.clear()
        ordered = self._sorted(list(candidates), now.mono)
        budget = MOST
        unmet: list[Candidate] = []
        self.is_cut = False
        for candidate in ordered:
            cost = _cost(candidate)
            for grant in self._fill(candidate, max(1, budget // cost), now.wall):
                budget -= grant.tasks * cost
                self.passed.pop((candidate.run.id, candidate.queue.number), None)
                self._kept.pop((candidate.run.id, candidate.queue.number), None)
                yield grant
            self._note(candidate, now, unmet)
            if budget <= 0:
                self.is_cut = True
                return
        if len({candidate.queue.policy.resources for candidate in unmet}) <= 1:
            yield from self._all_ahead(unmet, budget, now.wall)

    def _sorted(self, candidates: list[Candidate], now: float) -> list[Candidate]:
        """Sort by priority, then who was passed over too long, then by turn, then the deeper ones first."""

        def key(candidate: Candidate) -> tuple[int, bool, bool, int, int]:
            run, queue = candidate
            since = self.passed.get((run.id, queue.number), now)
            return (-queue.policy.priority, now - since < PATIENCE, run.id <= self.turn, run.id, -queue.depth)

        return sorted(candidates, key=key)

    def _fill(self, candidate: Candidate, budget: int, wall: float) -> Iterator[Grant]:
        run, queue = candidate
        needs = pool_needs(run, queue.policy.resources)
        longest = self.longest(queue.policy, needs)

        def most() -> int:
            return min(queue.room, len(queue.tasks), budget, run_room(run, queue.policy.resources))

        places = self._spread(needs, longest, wall, most()) if self.is_spread else self._pack(needs, longest, wall)
        for machine, room in places:
            if (count := min(room, most())) <= 0:
                return
            budget -= count
            self.turn = run.id
            yield Grant(candidate, machine, self.share(machine, needs), count, ahead=False)

    def _pack(self, needs: Needs, longest: float, wall: float) -> Iterator[tuple[MachineUse, int]]:
        """Yield machines in their order, and for how many tasks there is room."""
        for position in self._rooms.of(needs):
            machine = self._order[position]
            if machine.held or not machine.lasts(longest, wall):
                continue
            if room := machine.fits(needs):
                yield machine, room
            else:
                self._rooms.close(needs, position)

    def _spread(self, needs: Needs, longest: float, wall: float, tasks: int) -> Iterator[tuple[MachineUse, int]]:
        """Yield machines, and how many of so many tasks each gets so that most room stays even."""
        order = self._order
        rooms = self._rooms.free(needs, lambda position: order[position].fits(needs))
        if self._held or self._is_dated:
            rooms = {
                position: room
                for position, room in rooms.items()
                if not order[position].held and order[position].lasts(longest, wall)
            }
        for position, count in spread(rooms, tasks).items() if rooms and tasks > 0 else ():
            self._rooms.change(position)
            yield order[position], count

    def _note(self, candidate: Candidate, now: Now, unmet: list[Candidate]) -> None:
        """Remember a candidate without room; keep a machine free for one that was passed over too long."""
        run, queue = candidate
        key = (run.id, queue.number)
        if not queue.tasks or queue.room <= 0 or run_room(run, queue.policy.resources) <= 0:
            self.passed.pop(key, None)
            self._kept.pop(key, None)
            return
        unmet.append(candidate)
        since = self.passed.setdefault(key, now.mono)
        if now.mono - since >= PATIENCE and (machine := self._soonest(candidate, now)):
            machine.held = True
            self._held.append(machine)

    def _soonest(self, candidate: Candidate, now: Now) -> MachineUse | None:
        """Return the machine that will be free first for a candidate; the same one for a while, or none ever is."""
        run, queue = candidate
        needs = pool_needs(run, queue.policy.resources)
        longest = self.longest(queue.policy, needs)

        def suits(machine: MachineUse) -> bool:
            return not machine.held and machine.could_fit(needs) and machine.lasts(longest, now.wall)

        key = (run.id, queue.number)
        kept, since = self._kept.get(key, (None, 0.0))
        if kept is not None and now.mono - since < PATIENCE and self.machines.get(kept.name) is kept and suits(kept):
            return kept
        fitting = filter(suits, self.machines.values())
        found = min(fitting, key=lambda machine: (machine.frees(needs, self.seconds), machine.reserved()), default=None)
        if found is not None:
            self._kept[key] = (found, now.mono)
        return found

    def _all_ahead(self, candidates: Iterable[Candidate], budget: int, wall: float) -> Iterator[Grant]:
        """Yield what may wait at launchers, within what is left of the turn's budget."""
        for candidate in candidates:
            cost = _cost(candidate)
            for grant in self._ahead(candidate, max(1, budget // cost), wall):
                budget -= grant.tasks * cost
                yield grant
            if budget <= 0:
                self.is_cut = True
                return

    def _ahead(self, candidate: Candidate, budget: int, wall: float) -> Iterator[Grant]:
        """Yield a little work in advance for each machine, renewed when half of it is used up."""
        run, queue = candidate
        needs = pool_needs(run, queue.policy.resources)
        seconds = self.seconds.get(needs)
        if seconds is None or queue.policy.max_parallel is not None or needs != queue.policy.resources:
            return
        longest = self.longest(queue.policy, needs)
        slots = AHEAD_SECONDS / seconds if seconds > 0 else math.inf
        kind = needs, "ahead"
        for position in self._rooms.of(kind, self._next):
            if not queue.tasks or budget <= 0:
                return
            machine = self._order[position]
            share = machine.shares.get(needs)
            width = share.width if share and share.waiting else share.running if share else 0
            most = int(min(slots, machine.machine.ahead)) * width if machine.is_open else 0
            is_short = share is not None and bool(share.waiting) and share.waiting + share.running < share.width
            if share is None or share.waiting * 2 > most or not most or is_short:  # others may have what is not in use
                self._rooms.close(kind, position)
                continue
            count = min(most - share.waiting, len(queue.tasks), budget, run.failures_left() - share.waiting)
            if count > 0 and not (machine.held or share.recalling) and machine.lasts(AHEAD_SECONDS + longest, wall):
                share.width = width
                budget -= count
                self._next = position + 1
                yield Grant(candidate, machine, share, count, ahead=True)


def _cost(candidate: Candidate) -> int:
    """Return what one of these tasks takes of a turn's budget."""
    return WRITTEN_COST if candidate.run.plan.blocks[candidate.queue.block].explicit else 1


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
