"""The hosts of a pool as one executor: each request goes to its host, reports say which host they come from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import trio

from daggy.attempt import joined
from daggy.executor import (
    Ack,
    Executor,
    Kill,
    Launches,
    Machine,
    Recall,
    Reports,
    Request,
    Rows,
    Site,
    Stop,
)
from daggy.launcher import frames
from daggy.launcher.host import Found, Host
from daggy.launcher.launchers import Launchers
from daggy.launcher.numbers import claim


class Fleet(Executor):
    """Runs tasks at launchers on hosts. A subclass has the settings, makes the hosts, and says what it cannot run."""

    def __init__(self, site: Site, hosts: Sequence[Host]) -> None:
        """Keep what is given; start nothing.

        Args:
            site: Whose hosts.
            hosts: One a machine, in the order of `machines`.
        """
        self._site = site
        self._hosts = tuple(hosts)
        self._places = {host.machine.name: place for place, host in enumerate(self._hosts)}
        self._epoch = 0
        self._found = [Found() for _ in self._hosts]
        self._place_of: dict[int, int] = {}  # by launcher's number
        self._fleet: list[Launchers] = []  # by place; empty while it does not run

    def capacity(self) -> Sequence[Machine]:
        """Return the machines of all hosts."""
        return [host.machine for host in self._hosts]

    @property
    def trouble(self) -> str:
        """Why no task can be started at this moment; empty if all is well."""
        return next((one.trouble for one in self._fleet if one.trouble), "")

    async def recover(self, epoch: int) -> Reports:
        """Return what earlier launchers of this site finished, what those that live on still run, and what dead ones
        did not finish as LOST.
        """
        self._epoch = epoch
        batches = []
        for place, host in enumerate(self._hosts):
            found = self._found[place] = await host.meet(epoch)
            for number, reports in _reports_of(found):
                self._place_of[number] = place
                reports.rows["row"]["place"] = place
                batches.append(reports)
        return joined(batches)

    async def run(
        self,
        requests: trio.MemoryReceiveChannel[Request],
        report: Callable[[Reports], None],
        changed: Callable[[], None],  # noqa: ARG002 - the hosts are always the same
    ) -> None:
        """Carry out requests until the channel ends or a Stop is done."""
        async with trio.open_nursery() as nursery:
            fleet = self._fleet = [self._launchers(place, nursery, report) for place in range(len(self._hosts))]
            try:
                async with trio.open_nursery() as starting:
                    for one in fleet:
                        starting.start_soon(one.start_one)
                await self._listen(requests)
            finally:
                for one in fleet:
                    one.dismiss()
                self._fleet = []
            for one in fleet:
                await one.gone.wait()

    def _launchers(self, place: int, nursery: trio.Nursery, report: Callable[[Reports], None]) -> Launchers:
        found, self._found[place] = self._found[place], Found()
        number = partial(self._claim, place)
        placed = partial(_placed, report, place) if place else report  # launchers leave `place` zero
        return Launchers(self._hosts[place], self._site, self._epoch, found, number, nursery, placed)

    def _claim(self, place: int) -> int:
        number = claim(self._site.directory, self._site.pool)
        self._place_of[number] = place
        return number

    async def _listen(self, requests: trio.MemoryReceiveChannel[Request]) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._until_idle, nursery.cancel_scope)
            async for request in requests:
                self._obey(request)
            nursery.cancel_scope.cancel()

    async def _until_idle(self, scope: trio.CancelScope) -> None:
        for one in self._fleet:
            await one.idle.wait()
        scope.cancel()

    def _obey(self, request: Request) -> None:
        match request:
            case Launches(machine=machine):
                self._fleet[self._places[machine]].on_launches(request)
            case Ack(number, seq):
                if number in self._place_of:
                    self._fleet[self._place_of[number]].on_ack(number, seq)
            case _:
                for one in self._fleet:
                    self._tell(one, request)

    def _tell(self, launchers: Launchers, request: Request) -> None:
        """Pass on a request that may concern any host."""
        match request:
            case Recall(tickets):
                launchers.withdraw(tickets, frames.recall)
            case Kill(tickets, message):
                launchers.withdraw(tickets, partial(frames.kill, message=message))
            case Stop(leave=True) if self._site.linger:
                launchers.on_leave()
            case Stop(immediate):
                launchers.on_stop(immediate=immediate)

    async def read_log(self, run: int, version: int, row: Rows, stream: str, offset: int, limit: int) -> bytes:
        """Return a part of an attempt's output: from its launcher while it runs, else from where it was kept."""
        places = self._may_have(int(row["launcher"]))
        if self._fleet and not row["ended"]:
            for place in places:
                data = await self._fleet[place].read(run, version, row, stream, offset, limit)
                if data is not None:
                    return data
        for place in places[:-1]:
            try:
                return await self._hosts[place].read(run, version, row, stream, offset, limit)
            except FileNotFoundError:
                continue
        return await self._hosts[places[-1]].read(run, version, row, stream, offset, limit)

    def _may_have(self, launcher: int) -> Sequence[int]:
        """Return the places of the hosts on which a launcher may have kept output: all, if it is of an earlier life."""
        return (self._place_of[launcher],) if launcher in self._place_of else range(len(self._hosts))


def _placed(report: Callable[[Reports], None], place: int, reports: Reports) -> None:
    reports.rows["row"]["place"] = place
    report(reports)


def _reports_of(found: Found) -> Iterator[tuple[int, Reports]]:
    """Yield launchers' numbers and what each reports."""
    for remains in found.dead:
        yield remains.launcher, remains.reports
    for met in found.alive:
        yield met.channel.number, met.reports
