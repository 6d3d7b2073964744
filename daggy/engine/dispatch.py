"""Hands ready tasks to executors, pool by pool, in each turn."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
import trio
from attrs import define, field

from daggy.attempt import ATTEMPT, REPORT, Kind, Reason, Reports, RunState, Ticket
from daggy.engine.demands import Demands, without_room
from daggy.engine.flights import Flights, Slot
from daggy.engine.places import Places
from daggy.engine.pool import Candidate, Grant, Pool, pool_needs
from daggy.engine.render import Failure, Renderer
from daggy.engine.shares import Needs
from daggy.executor import Executor, Kill, Launches, Recall, Request, Stop
from daggy.run.run import Run
from daggy.run.states import REMOVED, Now

STUCK_SECONDS = 0.1
"""Seconds without a start or an end at a launcher after which what waits there is recalled if others need the room."""

LONGEST_WAIT = 1.0
"""Seconds that the last task at a launcher may expect to wait there if others could use the room."""


@define(eq=False)
class PoolLink:
    """A pool, its executor and the way to it. `requests` is None while the executor is being made again, for the
    reason `fault`. `stop` is how it was told to stop, if it was: an executor that is made after that is told, too.
    `evals`: whether tasks may be Python source.
    """

    pool: Pool
    executor: Executor | None = None
    requests: trio.MemorySendChannel[Request] | None = None
    fault: str = ""
    stop: Stop | None = None
    demands: Demands = field(factory=Demands)
    evals: bool = False

    @property
    def trouble(self) -> str:
        """Return why nothing can be launched here at this moment; empty if all is well."""
        if self.requests is None:
            return self.fault or f"pool '{self.pool.name}' is starting"
        trouble = self.executor.trouble if self.executor else ""
        return f"pool '{self.pool.name}': {trouble}" if trouble else ""

    def ask(self, request: Request) -> None:
        """Send a request; an executor that is gone has nothing to carry it out on, and its successor is asked anew."""
        if isinstance(request, Stop):
            self.stop = request
        if self.requests is not None:
            with contextlib.suppress(trio.BrokenResourceError):  # it has stopped listening: its end says the rest
                self.requests.send_nowait(request)

    def want(self, candidates: Iterable[Candidate], now: float) -> None:
        """Tell the executor of a pool that is not fixed how much of these finds no room, if that is news."""
        if self.requests is None or self.executor is None or self.executor.fixed:
            return
        if news := self.demands.news(without_room(self.pool, candidates), now):
            self.ask(news)


@define(eq=False)
class Dispatcher:
    """Hands out ready tasks and passes on kills.

    Args:
        links: By pool name.
        default_pool: For templates that name none.
        flights: What is handed out.
        places: Where attempts run.
        epoch: The engine's.
        failed: Takes reports about tasks that could not be rendered.
        folder: Gives the folder of a run's lists of results.
        is_cut: Whether the last turn handed out as much as a turn may, so that there may be room for more at once.
    """

    links: dict[str, PoolLink]
    default_pool: str
    flights: Flights
    places: Places
    epoch: int
    failed: Callable[[Reports], None]
    folder: Callable[[int], Path]
    is_cut: bool = False
    renderers: dict[int, Renderer] = field(factory=dict)
    _slots: dict[int, Slot] = field(factory=dict)

    def link_of(self, pool: str) -> PoolLink:
        """Return the link of a template's pool."""
        return self.links[pool or self.default_pool]

    def dispatch(self, runs: Iterable[Run], now: Now) -> list[Run]:
        """Hand out what is ready in these runs, as far as resources go; return those of which something was."""
        self.is_cut = False
        served: dict[int, Run] = {}
        candidates: dict[str, list[Candidate]] = {}
        for run in runs:
            for number in run.frontier.ready:
                queue = run.frontier.queues[number]
                candidates.setdefault(queue.policy.pool or self.default_pool, []).append(Candidate(run, queue))
        for name, wanting in candidates.items():
            link = self.links[name]
            if link.requests is None:
                continue
            for grant in link.pool.choose(wanting, now):
                self._hand_out(link, grant, now)
                served[grant.candidate.run.id] = grant.candidate.run
            self.is_cut |= link.pool.is_cut
            self._recall_stuck(link, wanting, now)
        for name, link in self.links.items():
            wanting = candidates.get(name, [])
            if not (wanting and link.pool.is_cut):  # else it is not known yet what is left
                link.want(wanting, now.mono)
        return list(served.values())

    def next_due(self) -> float:
        """Return when (steady clock) an executor is to be told how much is wanted; infinity if none is."""
        return min((link.demands.due for link in self.links.values() if link.requests is not None), default=math.inf)

    def _hand_out(self, link: PoolLink, grant: Grant, now: Now) -> None:
        (run, queue), machine, share, _, ahead = grant
        indexes = run.frontier.take(queue, grant.tasks)
        if not len(indexes):
            return
        if run.state is RunState.QUEUED:
            run.change(RunState.RUNNING, now)
        name = link.executor.name if link.executor else ""
        launches, failures = self.renderer(run).launches(run.plan.blocks[queue.block], indexes, name)
        if failures:
            place = self.places.number(link.pool.name, machine.name)
            self.failed(self._unrendered(run, failures, place, now))
        if not launches:
            return
        slot = self._slots.get(id(share))
        if slot is None:
            slot = self._slots[id(share)] = Slot(link.pool, machine, share)
        if not ahead:
            share.widen(len(launches))
        sent = indexes.tolist() if not failures else [launch.index for launch in launches]
        self.flights.sent((run.id, run.version), sent, slot)
        share.moved = now.mono
        needs = dict(share.needs)
        lane, width, own = share.lane, share.width, run.plan.spec.directory
        link.ask(Launches(run.id, run.version, self.epoch, machine.name, lane, width, launches, needs, own))

    def adopt(self, link: PoolLink, run: Run, unended: Iterable[tuple[Ticket, int, bool]]) -> None:
        """Account for tasks that an earlier engine handed out, wanted or not.

        Args:
            link: To whom.
            run: Theirs.
            unended: Ticket, place, and whether it has not begun yet.
        """
        for ticket, place, is_held in unended:
            needs = pool_needs(run, _needs_of(run, ticket))
            machine, share = link.pool.adopting(self.places.host(place), needs)
            slot = Slot(link.pool, machine, share)
            if ticket in run.launched:
                self.renderer(run)  # which leads from what waits to its ticket
                self.flights.adopted((run.id, ticket.version), ticket.index, slot, is_held=is_held)
            else:
                self.flights.strayed(ticket, slot)

    def drop(self, run_id: int) -> None:
        """Forget a run that leaves memory."""
        self.renderers.pop(run_id, None)

    def renderer(self, run: Run) -> Renderer:
        """Return the renderer of a run's present spec."""
        renderer = self.renderers.get(run.id)
        if renderer is None or renderer.spec is not run.plan.spec:
            renderer = self.renderers[run.id] = Renderer(run, self.folder(run.id))
        return renderer

    def _unrendered(self, run: Run, failures: list[Failure], place: int, now: Now) -> Reports:
        """Return the ends of attempts that have no process, because their template has no value."""
        rows = np.zeros(len(failures), REPORT)
        rows["kind"], rows["run"], rows["version"], rows["epoch"] = Kind.FINISHED, run.id, run.version, self.epoch
        attempts = np.zeros(len(failures), ATTEMPT)
        attempts["index"] = [index for index, _, _ in failures]
        attempts["attempt"] = run.frontier.attempt[attempts["index"]]
        attempts["reason"] = [reason for _, _, reason in failures]
        attempts["place"] = place
        attempts["ended"] = now.wall
        rows["row"] = attempts
        return Reports(rows, {position: message for position, (_, message, _) in enumerate(failures)})

    def _recall_stuck(self, link: PoolLink, wanting: list[Candidate], now: Now) -> None:
        """Ask back what waits behind something long while other needs, or other runs, find no room.

        Where all that waits may start, it waits for the place, which may have a queue of its own: it keeps its turn.
        """
        unmet = [candidate for candidate in wanting if candidate.queue.tasks]
        needs = {candidate.queue.policy.resources for candidate in unmet}
        several = len({candidate.run.id for candidate in unmet}) > 1
        for kind, shares in link.pool.waiting.items():
            others = bool(needs - {kind})
            if not others and not several:
                continue
            shares -= {share for share in shares if not share.waiting}
            for share in shares:
                if share.waiting + share.running <= share.width:
                    continue
                stuck = others and now.mono - share.moved > STUCK_SECONDS
                if (stuck or link.pool.wait(share) > LONGEST_WAIT) and not share.recalling:
                    share.recalling = True
                    keys = self.flights.waiting_on(share)
                    link.ask(Recall([self._ticket(runs, index) for runs, index in keys]))

    def _ticket(self, key: tuple[int, int], index: int) -> Ticket:
        return _ticket_of(self.renderers[key[0]].run, key[1], index)

    def reopen(self, link: PoolLink, name: str) -> None:
        """Look again at whether a machine takes tasks; ask back what waits there if it does not."""
        if link.executor is not None:
            link.pool.set_capacity(link.executor.capacity())
        machine = link.pool.machines.get(name)
        for share in [] if machine is None or machine.is_open else machine.all_shares():
            if keys := self.flights.waiting_on(share):
                share.recalling = True
                link.ask(Recall([self._ticket(runs, index) for runs, index in keys]))

    def pass_on(self, run: Run) -> None:
        """Send a run's kills and recalls to the executors that have the tickets."""
        kills, run.outbox.kills = run.outbox.kills, []
        recalls, run.outbox.recalls = run.outbox.recalls, []
        for link, tickets in self._by_link(kills):
            link.ask(Kill(tickets, "killed"))
        for link, tickets in self._by_link(recalls):
            link.ask(Recall(tickets))

    def _by_link(self, tickets: list[Ticket]) -> Iterator[tuple[PoolLink, list[Ticket]]]:
        by_pool: dict[str, list[Ticket]] = {}
        for ticket in dict.fromkeys(tickets):
            pool = self.flights.pool_of(ticket)
            if pool is not None:
                by_pool.setdefault(pool.name, []).append(ticket)
        for name, chosen in by_pool.items():
            yield self.links[name], chosen


def _needs_of(run: Run, ticket: Ticket) -> Needs:
    """Return what a task needed when it was launched, under this or an earlier version; none if it is not known."""
    changes = run.translations.get(ticket.version)
    plan = changes.old if changes is not None else run.plan
    return plan.block_of(ticket.index).template(ticket.index).policy.resources if ticket.index < plan.size else ()


def _ticket_of(run: Run, version: int, index: int) -> Ticket:
    """Return the ticket of what was handed out as this task of this version, whatever has become of the task."""
    if version == run.version and run.frontier.state[index] != REMOVED:
        return run.ticket(index)
    return next(one for one in (*run.launched, *run.orphans) if (one.version, one.index) == (version, index))


def lost(keys: Iterable[tuple[tuple[int, int], int, int]], runs: Mapping[int, Run], message: str, at: float) -> Reports:
    """Return reports that say of each of these (run and version, index, place) that its executor lost it."""
    listed = list(keys)
    rows = np.zeros(len(listed), REPORT)
    for position, ((run_id, version), index, place) in enumerate(listed):
        rows[position]["run"], rows[position]["version"] = run_id, version
        rows[position]["row"]["index"], rows[position]["row"]["place"] = index, place
        ticket = _ticket_of(runs[run_id], version, index)
        rows[position]["epoch"], rows[position]["row"]["attempt"] = ticket.epoch, ticket.attempt
    rows["kind"] = Kind.FINISHED
    rows["row"]["reason"], rows["row"]["ended"] = Reason.LOST, at
    return Reports(rows, dict.fromkeys(range(len(listed)), message))
