"""The hosts of a pool as one executor: each request goes to its host, reports say which host they come from."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from urllib.parse import quote

import trio

from daggy.attempt import chosen, joined
from daggy.errors import UnavailableError
from daggy.executor import (
    Ack,
    Executor,
    GiveUp,
    Kill,
    Launches,
    Machine,
    Node,
    NodeState,
    Recall,
    Reports,
    Request,
    Rows,
    Site,
    Stop,
)
from daggy.launcher import frames, logs
from daggy.launcher.far_host import FarHost
from daggy.launcher.host import Found, Host
from daggy.launcher.launchers import Launchers
from daggy.launcher.ledger import Ledger
from daggy.launcher.line import UnfitError
from daggy.launcher.numbers import LOCK, claim, reserve
from daggy.launcher.outstanding import Outstanding
from daggy.launcher.remote import Remote

LOOK = 1.0
"""Seconds between two looks at machines elsewhere."""

AT_ONCE = 8
"""Connecting costs this machine a process each, and some tenths of a second of its time."""

AFTER_ITS_END = 120.0
"""Seconds after the time at which a machine was to go away, in which it may still be there."""


class Fleet(Executor):
    """Runs tasks at launchers on hosts. A subclass has the settings, makes the hosts, and says what it cannot run."""

    def __init__(self, site: Site, hosts: Sequence[Host], at_once: int = AT_ONCE) -> None:
        """Keep what is given; start nothing.

        Args:
            site: Whose hosts.
            hosts: One a machine, in the order of `machines`.
            at_once: How many machines elsewhere are connected to at the same time.
        """
        self._site = site
        self._hosts: list[Host] = list(hosts)
        self._places = {host.machine.name: place for place, host in enumerate(self._hosts)}
        self._turns = trio.CapacityLimiter(at_once)
        self._epoch = 0
        self._found: dict[int, Found] = {}  # by place, until it runs
        self._remotes: dict[int, Remote] = {}  # by place
        self._place_of: dict[int, int] = {}  # by launcher's number
        self._fleet: list[Launchers | Remote] = []  # by place; empty while it does not run
        self._nursery: trio.Nursery | None = None  # while it runs
        self._stopped = trio.Event()
        self._report: Callable[[Reports], None] = lambda _: None
        self._changed: Callable[[], None] = lambda: None

    def capacity(self) -> Sequence[Machine]:
        """Return the machines of all hosts that take tasks."""
        return [host.machine for place, host in enumerate(self._hosts) if self._is_open(place)]

    def _is_open(self, place: int) -> bool:
        return not isinstance(self._hosts[place], FarHost) or (place in self._remotes and self._remotes[place].is_open)

    def machines(self) -> Sequence[str]:
        """Return the names of all hosts."""
        return [host.machine.name for host in self._hosts]

    def nodes(self) -> Sequence[Node]:
        """Return all hosts as people see them."""
        return [self._node(place, host) for place, host in enumerate(self._hosts) if not self._is_gone(place)]

    def _is_gone(self, place: int) -> bool:
        """Return whether a machine that called in has left, or was forgotten."""
        return place in self._remotes and self._remotes[place].gone.is_set()

    def _node(self, place: int, host: Host) -> Node:
        name, remote = host.machine.name, self._remotes.get(place)
        if remote is None:
            return Node(name)
        standing = remote.standing
        is_away = standing.state in (NodeState.SILENT, NodeState.REFUSED)
        lost_in = max(0.0, remote.lease_left) if is_away and remote.sent.tasks else None
        return Node(name, standing.state, standing.since, standing.why, lost_in)

    @property
    def trouble(self) -> str:
        """Why no task can be started at this moment; empty if all is well."""
        if (
            self._fleet
            and self._remotes
            and not self.capacity()
            and all(one.standing.is_tried for one in self._remotes.values())
        ):
            return "; ".join(f"{one.name} is {one.state.value}: {one.why}" for one in self.nodes()[:3])
        return next((one.trouble for one in self._fleet if one.trouble), "")

    async def recover(self, epoch: int) -> Reports:
        """Return what earlier launchers of this site finished, what those that live on still run, and what dead ones
        did not finish as LOST. Of hosts elsewhere it says what they were sent: they are heard later.
        """
        self._epoch = epoch
        batches = []
        for place, host in enumerate(self._hosts):
            if isinstance(host, FarHost):
                remote = self._remotes[place] = self._remote(place, host)
                reports = remote.sent.held()
                reports.rows["row"]["place"] = place
                batches.append(reports)
                continue
            found = self._found[place] = await host.meet(epoch)
            for number, reports in _reports_of(found):
                self._place_of[number] = place
                reports.rows["row"]["place"] = place
                batches.append(reports)
        return joined(batches)

    def _remote(self, place: int, host: FarHost) -> Remote:
        path = self._site.directory / "hosts" / quote(self._site.pool, "") / quote(host.machine.name, "")
        earlier = self._remotes.get(place)
        return Remote(
            host,
            self._epoch,
            earlier.sent if earlier else Outstanding(Ledger(path if self._site.durable else None)),
            partial(self._on_reports, place),
            lambda: self._changed(),  # noqa: PLW0108 - it is set when the fleet runs
            lambda: self._owns(place, reserve(self._site.directory)),
            partial(self._owns, place),
            self._turns,
        )

    def _on_reports(self, place: int, reports: Reports) -> None:
        """Pass reports on; none is about the launcher of another machine, whose outputs that would name."""
        launchers = reports.rows["row"]["launcher"].tolist()
        if any(one and self._place_of.get(one) != place for one in set(launchers)):
            theirs = [at for at, one in enumerate(launchers) if not one or self._place_of.get(one) == place]
            reports = chosen(reports, theirs)
        reports.rows["row"]["place"] = place
        self._report(reports)

    async def run(
        self,
        requests: trio.MemoryReceiveChannel[Request],
        report: Callable[[Reports], None],
        changed: Callable[[], None],
    ) -> None:
        """Carry out requests until the channel ends or a Stop is done."""
        self._report, self._changed = report, changed
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            fleet = self._fleet = [self._member(place, nursery) for place in range(len(self._hosts))]
            try:
                async with trio.open_nursery() as starting:
                    for one in fleet:
                        if isinstance(one, Remote):
                            nursery.start_soon(self._run_remote, one)
                        else:
                            starting.start_soon(one.start_one)
                await self._listen(requests)
            finally:
                for one in fleet:
                    one.dismiss()
                self._fleet, self._nursery = [], None
            for one in fleet:
                await one.gone.wait()

    async def _run_remote(self, remote: Remote) -> None:
        """Serve a machine elsewhere until it is let go."""
        await remote.run()

    def _add(self, host: FarHost) -> Remote:
        """Take a machine that has come while the fleet runs, again if it has left; it is served from here on."""
        assert self._nursery is not None
        name = host.machine.name
        place = self._places.setdefault(name, len(self._hosts))
        self._hosts[place : place + 1] = [host]
        remote = self._remotes[place] = self._remote(place, host)
        self._fleet[place : place + 1] = [remote]
        self._nursery.start_soon(self._run_remote, remote)
        self._changed()
        return remote

    def _member(self, place: int, nursery: trio.Nursery) -> Launchers | Remote:
        host = self._hosts[place]
        if isinstance(host, FarHost):
            if place not in self._remotes:  # nothing was there to recover
                self._remotes[place] = self._remote(place, host)
            return self._remotes[place]
        found = self._found.pop(place, None) or Found()
        report = partial(self._on_reports, place) if place else self._report  # launchers leave `place` zero
        number = lambda: self._owns(place, claim(self._site.directory, self._site.pool))
        return Launchers(host, self._site, self._epoch, found, number, nursery, report)

    def _owns(self, place: int, number: int) -> int:
        """Take note of where a launcher is; return its number.

        Raises:
            UnfitError: it is elsewhere.
        """
        is_here = (self._site.directory / "launchers" / str(number) / LOCK).exists()
        if self._place_of.setdefault(number, place) != place or (is_here and isinstance(self._hosts[place], FarHost)):
            raise UnfitError(f"it says that it has launcher {number}, which is another machine's; remove its directory")
        return number

    async def _listen(self, requests: trio.MemoryReceiveChannel[Request]) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._until_idle, nursery.cancel_scope)
            nursery.start_soon(self._watch)
            async for request in requests:
                self._obey(request)
            nursery.cancel_scope.cancel()

    async def _watch(self) -> None:
        """Look after the machines elsewhere: one task for all, for there may be many."""
        while True:
            await trio.sleep(LOOK)
            for remote in [one for one in self._remotes.values() if not one.gone.is_set()]:
                remote.look()

    async def _until_idle(self, scope: trio.CancelScope) -> None:
        await self._stopped.wait()
        for one in self._fleet:
            await one.idle.wait()
        scope.cancel()

    def _obey(self, request: Request) -> None:
        match request:
            case Launches(machine=machine):
                self._fleet[self._places[machine]].on_launches(request)
            case Ack(number, seq):
                for one in [self._fleet[self._place_of[number]]] if number in self._place_of else self._fleet:
                    one.on_ack(number, seq)
            case GiveUp(machine, message):
                member = self._fleet[self._places[machine]]
                if isinstance(member, Remote):
                    member.give_up(message)
            case _:
                if isinstance(request, Stop):
                    self._stopped.set()
                for one in self._fleet:
                    self._tell(one, request)

    def _tell(self, member: Launchers | Remote, request: Request) -> None:
        """Pass on a request that may concern any host."""
        match request:
            case Recall(tickets):
                member.withdraw(tickets, frames.recall)
            case Kill(tickets, message):
                member.withdraw(tickets, partial(frames.kill, message=message))
            case Stop(leave=True) if self._site.linger:
                member.on_leave()
            case Stop(immediate):
                member.on_stop(immediate=immediate)

    async def forget(self, run: int) -> None:
        """Have the outputs of a run removed on machines elsewhere; those that are away are told when they are met."""
        for host in self._hosts:
            if isinstance(host, FarHost):
                host.forget_run(run)

    async def read_log(self, run: int, version: int, row: Rows, stream: str, offset: int, limit: int) -> bytes:
        """Return a part of an attempt's output: from its launcher while it runs, else from where it was kept."""
        places = self._may_have(row)
        if self._fleet and not row["ended"]:
            for place in places:
                data = await self._fleet[place].read(run, version, row, stream, offset, limit)
                if data is not None:
                    return data
        away: UnavailableError | None = None
        for place in places:
            try:
                return await self._hosts[place].read(run, version, row, stream, offset, limit)
            except FileNotFoundError:
                continue
            except UnavailableError as error:
                if self._may_return(place):
                    away = error
        try:
            return await trio.to_thread.run_sync(logs.read_end, self._site.directory, run, row, stream, offset, limit)
        except FileNotFoundError as error:
            gone = "the machine that had it has left, or has been away for long" if error.errno else str(error)
        raise away or FileNotFoundError(gone)

    def _may_return(self, place: int) -> bool:
        """Return whether a machine that does not answer may do so later."""
        host, remote = self._hosts[place], self._remotes.get(place)
        if host.machine.until is not None and host.machine.until + AFTER_ITS_END < time.time():
            return False
        return remote is None or not (remote.lease_left <= 0 or (remote.host.way.calls_in and remote.gone.is_set()))

    def _may_have(self, row: Rows) -> Sequence[int]:
        """Return the places of the hosts on which a launcher may have kept output: all, if it is of an earlier life."""
        launcher = int(row["launcher"])
        return (self._place_of[launcher],) if launcher in self._place_of else range(len(self._hosts))


def _reports_of(found: Found) -> Iterator[tuple[int, Reports]]:
    """Yield launchers' numbers and what each reports."""
    for remains in found.dead:
        yield remains.launcher, remains.reports
    for met in found.alive:
        yield met.channel.number, met.reports
