"""The executors of all pools: each kept at work by a supervisor, and what they still knew at the start."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial

import numpy as np
import trio
from attrs import define

from daggy.attempt import Kind, Reports, Ticket, chosen
from daggy.engine.dispatch import PoolLink, lost
from daggy.engine.held_reports import tickets_of, unended
from daggy.engine.state import EngineState
from daggy.engine.supervisor import Supervisor
from daggy.executor import Entrance, Executor, Kill, Recall, Site
from daggy.run.run import Doom

MakeExecutor = Callable[[Site], Executor]

NOT_CURRENT = "no longer part of its run"


@define(eq=False)
class Executors:
    """Runs the executors of an engine's pools.

    Args:
        state: The engine's.
        make: What makes a pool's executor, by pool.
        linger: What runs goes on when this engine leaves or dies.
        changed: Called when machines come or go.
        entrance: Where machines call in; None: nowhere.
    """

    state: EngineState
    make: Mapping[str, MakeExecutor]
    linger: bool
    changed: Callable[[], None]
    entrance: Entrance | None = None

    @property
    def are_gone(self) -> bool:
        """Return whether no executor is at work."""
        return all(link.requests is None for link in self.state.dispatcher.links.values())

    async def supervise(self, name: str, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep a pool's executor at work until the engine stops."""
        link, place = self.state.dispatcher.links[name], self.state.directory
        others = frozenset(self.make) - {name}
        site = Site(name, place.path, place.instance, self.state.tracker.durable, others, self.linger, self.entrance)
        supervisor = Supervisor(
            link,
            partial(self.make[name], site),
            self.state.epoch,
            self.state.stopping,
            recovered=partial(self._hold, name),
            succeeded=partial(self._take_over, link),
            report=partial(self.state.hear, name),
            changed=partial(self._on_capacity, link),
        )
        await supervisor.run(task_status)

    def expect(self, is_wanted: Callable[[int], bool]) -> None:
        """Drop what executors know of other runs; end what has not ended of them."""
        for pool, tickets in self.state.held_reports.drop_unknown(is_wanted):
            self.state.dispatcher.link_of(pool).ask(Kill(tickets, NOT_CURRENT))

    def _hold(self, name: str, recovered: Reports) -> None:
        """Hold what a pool's first executor recovered until the runs that it is about are read back."""
        self.state.held_reports.add(name, self.state.placed(name, recovered))

    def _take_over(self, link: PoolLink, recovered: Reports, message: str) -> None:
        """Act on what an executor's successor knows of its launches; all else that it had is lost."""
        state, name = self.state, link.pool.name
        state.places.begin(name)
        recovered = state.placed(name, recovered)
        state.acks.forget_sent(name)
        unheard = state.held_reports.waiting(name)  # runs that have not taken their part of the first report yet
        rows = recovered.rows
        known = state.held_reports.finished(name)
        is_news = np.fromiter(
            (self._is_current(one) and one not in known for one in tickets_of(rows)), np.bool_, len(rows)
        )
        is_held = rows["kind"] == Kind.HELD
        is_known_start = np.isin(rows["run"], list(unheard)) & (rows["kind"] == Kind.STARTED)
        is_wanted = is_news & ~is_known_start & ~is_held  # what is held is in flight already
        state.report(name, chosen(recovered, np.flatnonzero(is_wanted)))
        state.note_applied(name, rows[~is_news], in_order=not unheard)
        alive = set(tickets_of(unended(rows)))
        self._lose(link, alive, unheard, message)
        self._ask_again(link, alive)

    def _ask_again(self, link: PoolLink, alive: Iterable[Ticket]) -> None:
        """Have ended what was to end, and given back what was: the request may have gone with the executor."""
        state = self.state
        kills, recalls = [], []
        for ticket in alive:
            run = state.runs.get(ticket.run)
            doom = None if run is None else run.doomed.get(run.index_of(ticket))
            if doom is Doom.HALT:
                recalls.append(ticket)
            elif doom is not None or ticket in state.flights.strays or (run is not None and ticket in run.orphans):
                kills.append(ticket)
        if kills:
            link.ask(Kill(kills, "killed"))
        if recalls:
            link.ask(Recall(recalls))

    def _lose(self, link: PoolLink, alive: set[Ticket], unheard: set[int], message: str) -> None:
        """Report as lost what a pool's executor had and its successor does not name, but for runs not yet read back."""
        state = self.state
        strays = [one for one, slot in state.flights.strays.items() if slot.pool is link.pool]
        state.flights.release(one for one in strays if one not in alive)
        running = {((one.run, one.version), one.index) for one in alive}
        gone = [
            (key, index, state.places.number(link.pool.name, host))
            for key, index, host in state.flights.of_pool(link.pool)
            if (key, index) not in running and key[0] not in unheard
        ]
        state.report(link.pool.name, lost(gone, state.runs, message, state.clock()))

    def _is_current(self, ticket: Ticket) -> bool:
        """Return whether a report may bring news: a successor repeats what has not been acknowledged."""
        run = self.state.runs.get(ticket.run)
        return run is None or ticket in run.orphans or run.index_of(ticket) >= 0

    def _on_capacity(self, link: PoolLink) -> None:
        if link.executor is not None:
            link.pool.set_capacity(link.executor.capacity())
            self.changed()
        self.state.wake()
