"""The machines of all pools as people see them: what they are doing, who drains them, who gives them up."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import trio
from attrs import define, field, frozen

from daggy import files
from daggy.attempt import Rows
from daggy.engine.dispatch import PoolLink
from daggy.engine.mishaps import MOST, Mishaps
from daggy.engine.shares import MachineUse
from daggy.engine.state import EngineState
from daggy.errors import ConflictError, NoRoomError, NotFoundError
from daggy.executor import Arrival, GiveUp, JoinError, Machine, Node, NodeState, Visit
from daggy.run.run import Run

LOG = logging.getLogger("daggy.engine")

DRAINED = "drained.json"
"""File in the state directory: names of drained nodes, by pool."""


@frozen
class NodeStatus:
    """A node.

    Args:
        pool: The pool that it belongs to.
        name: Unique in its pool.
        state: `up`, `draining` (takes nothing new), `silent`, `refused`, or `pending` (its place has not started it).
        since: When it came into this state, seconds since 1970; 0: it has not changed since the server started.
        why: Why it is silent or refused, or what is wrong with its clock; empty otherwise.
        lost_in: Seconds until what a silent node runs counts as lost; None: it is not silent, or runs nothing.
        totals: The resources that it has in all; empty if its place decides what fits, or it is away.
        used: What is in use of them.
        labels: What tasks may ask for and is not used up.
        until: When it goes away, seconds since 1970; None: never.
        running: Tasks that run there.
        waiting: Tasks that wait there.
    """

    pool: str
    name: str
    state: str
    since: float
    why: str
    lost_in: float | None
    totals: Mapping[str, float]
    used: Mapping[str, float]
    labels: Sequence[str]
    until: float | None
    running: int
    waiting: int


@define(eq=False)
class Nodes:
    """Lists nodes, drains them and gives them up.

    Args:
        state: The engine's.
    """

    state: EngineState
    _mishaps: Mishaps = field(factory=Mishaps)
    _told: dict[tuple[str, str], tuple[str, str]] = field(factory=dict)  # state and reason, as last told to followers

    def __attrs_post_init__(self) -> None:
        """Read which nodes are drained."""
        for pool, names in _read(self._file).items():
            if link := self.state.dispatcher.links.get(pool):
                link.pool.drained.update(names)

    @property
    def _file(self) -> Path:
        return self.state.directory.path / DRAINED

    def listed(self, pool: str = "") -> list[NodeStatus]:
        """Return all nodes, or those of one pool.

        Raises:
            NotFoundError: there is no such pool.
        """
        links = self.state.dispatcher.links
        chosen = links.values() if not pool else [self._link(pool)]
        return [node for link in chosen for node in _nodes(link)]

    def _link(self, pool: str) -> PoolLink:
        links = self.state.dispatcher.links
        if pool not in links:
            raise NotFoundError(f"no pool '{pool}'; there are: {', '.join(sorted(links))}")
        return links[pool]

    def find(self, pool: str, name: str) -> NodeStatus:
        """Return one node.

        Raises:
            NotFoundError: there is no such pool or node.
        """
        nodes = {node.name: node for node in self.listed(pool)}
        if name not in nodes:
            raise NotFoundError(
                f"pool '{pool}' has no node '{name}'; 'daggy nodes --pool {pool}' lists those there are"
            )
        return nodes[name]

    def has(self, run: Run, node: str) -> set[int]:
        """Return the tasks of a run that are at a node, which is named by its name or as POOL/NAME."""
        flights = self.state.flights
        return {
            index
            for link in self.state.dispatcher.links.values()
            for (run_id, version), index, name in flights.of_pool(link.pool)
            if (run_id, version) == (run.id, run.version) and node in (name, f"{link.pool.name}/{name}")
        }

    def drain(self, pool: str, name: str, *, on: bool) -> NodeStatus:
        """Have a node take nothing new, until it may again: what runs there goes on, what waits there comes back.

        Raises:
            NotFoundError: there is no such pool or node.
            NoRoomError: it cannot be written down; nothing has changed.
        """
        if on:
            self.find(pool, name)
        link = self._link(pool)
        drained = link.pool.drained
        if (name in drained) != on:
            self._keep(pool, drained | {name} if on else drained - {name})
            (drained.add if on else drained.discard)(name)
            self.state.dispatcher.reopen(link, name)
            self.state.wake()
            self.tell()
        return self.find(pool, name)

    def _keep(self, pool: str, drained: Iterable[str]) -> None:
        """Write down which nodes are drained, if those of a pool are these; NoRoomError: it cannot be."""
        kept = {one: sorted(other.pool.drained) for one, other in self.state.dispatcher.links.items()}
        kept[pool] = sorted(drained)
        _write(self._file, {one: names for one, names in kept.items() if names})

    def give_up(self, pool: str, name: str, by: str) -> NodeStatus:
        """Count what a node runs as lost, because somebody says so. What it still runs is ended should it come back.

        Args:
            pool: The node's pool.
            name: The node.
            by: Who says so.

        Raises:
            NotFoundError: there is no such pool or node.
            ConflictError: it is up.
        """
        node = self.find(pool, name)
        if node.state not in (NodeState.SILENT.value, NodeState.REFUSED.value):
            raise ConflictError(
                f"node '{name}' is {node.state}; drain it and let it finish, or stop what runs it, first"
            )
        self._link(pool).ask(GiveUp(name, f"node {name} was given up by {by}" if by else f"node {name} was given up"))
        return node

    def agent_pools(self) -> list[str]:
        """Return the pools whose machines call in."""
        links = self.state.dispatcher.links
        return [name for name, link in links.items() if link.executor is not None and link.executor.takes_agents]

    async def join(self, pool: str, arrival: Arrival, visit: Visit) -> None:
        """Take a machine that calls in to a pool, for as long as its connection lasts.

        Raises:
            JoinError: it is not taken.
        """
        link = self._link(pool)
        if link.executor is None or link.requests is None:
            raise JoinError(f"pool '{pool}' is starting", is_final=False)
        await link.executor.join(arrival, visit)

    def watch(self, pool: str, rows: Rows) -> None:
        """Put machines aside for a while on which attempts go wrong one after the other while others work.

        Args:
            pool: The machines' pool.
            rows: Array of REPORT, with the numbers of places in it.
        """
        for place in self._mishaps.note(rows):
            link, name = self._link(pool), self.state.places.host(place)
            others = [self.state.places.number(pool, one.name) for one in link.pool.machines.values() if one.is_open]
            if name in link.pool.aside or not any(map(self._mishaps.is_sound, others)):
                continue
            seconds = self._mishaps.pause(place)
            why = f"{MOST} attempts in a row could not be started there or were lost; tried again in {seconds:.0f} s"
            LOG.warning("pool '%s': %s is put aside: %s", pool, name, why)
            link.pool.aside[name] = why
            self.state.dispatcher.reopen(link, name)
            self.tell()
            if self.state.nursery is not None:
                self.state.nursery.start_soon(self._take_back, link, name, seconds)

    async def _take_back(self, link: PoolLink, name: str, seconds: float) -> None:
        await trio.sleep(seconds)
        del link.pool.aside[name]
        self.state.dispatcher.reopen(link, name)
        self.state.wake()
        self.tell()

    def _forget_left(self, link: PoolLink) -> None:
        drained = link.pool.drained
        if drained and link.executor is not None and link.requests is not None and link.executor.takes_agents:
            left = drained - {node.name for node in link.executor.nodes()}
            if left:
                with contextlib.suppress(NoRoomError):  # then it is drained once more if it comes back
                    self._keep(link.pool.name, drained - left)
                    drained -= left

    def tell(self) -> None:
        """Tell followers which nodes have changed; one that has left for good is not drained any more."""
        for link in self.state.dispatcher.links.values():
            self._forget_left(link)
        for node in self.listed():
            place, now = (node.pool, node.name), (node.state, node.why)
            if self._told.get(place, ("up", "")) != now:
                self._told[place] = now
                self.state.news.note_node(node.pool, node.name, node.state, node.why)


def _nodes(link: PoolLink) -> Iterator[NodeStatus]:
    if link.executor is None:
        return
    machines = {machine.name: machine for machine in link.executor.capacity()}
    for node in link.executor.nodes():
        machine = machines.get(node.name, Machine(node.name, {}, open=False))
        use = link.pool.machines.get(node.name, MachineUse(machine))
        yield _status(link, node, machine, use)


def _status(link: PoolLink, node: Node, machine: Machine, use: MachineUse) -> NodeStatus:
    shares = list(use.all_shares())
    is_up = node.state == NodeState.UP
    aside = link.pool.aside.get(node.name, "") if is_up else ""
    is_drained = is_up and node.name in link.pool.drained
    state = NodeState.DRAINING if is_drained else NodeState.REFUSED if aside else node.state
    used = {name: round(amount, 6) for name, amount in use.used().items()}
    why, totals = aside or node.why, dict(machine.totals or {})
    return NodeStatus(
        link.pool.name, node.name, state.value, node.since, why, node.lost_in, totals, used,
        sorted(machine.labels), machine.until, sum(one.running for one in shares), sum(one.waiting for one in shares),
    )  # fmt: skip


def _read(path: Path) -> dict[str, list[str]]:
    """Return drained nodes by pool; what cannot be read is as if it were not there."""
    try:
        kept = json.loads(path.read_bytes())
        return {str(pool): [str(name) for name in names] for pool, names in kept.items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}


def _write(path: Path, kept: Mapping[str, Sequence[str]]) -> None:
    try:
        files.replace(path, json.dumps(kept).encode())
    except OSError as error:
        raise NoRoomError(f"'{path}' cannot be written: {error.strerror}") from None
