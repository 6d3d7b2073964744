"""A fleet of machines that come and go by themselves."""

from __future__ import annotations

from collections.abc import Callable

import trio

from daggy.executor import Arrival, JoinError, Machine, Reports, Request, Site, Visit
from daggy.launcher.arrivals import AgentWay, Register
from daggy.launcher.far_host import FarHost
from daggy.launcher.fleet import AT_ONCE, Fleet
from daggy.launcher.homecoming import FETCH_BYTES
from daggy.launcher.host import Terms
from daggy.launcher.leaving import leave, leave_when_idle
from daggy.launcher.remote import Remote

HOLD, HOLD_EACH = 0.01, 0.001
"""Seconds from one message of an agent to the next, at least: in all, and for each agent that is there. A message
costs the server a fifth of a millisecond, whatever is in it."""

SECONDS = 5.0
"""For a last word to an agent."""


class OpenFleet(Fleet):
    """Runs tasks at launchers on machines that call in. A subclass has the settings."""

    def __init__(self, site: Site, terms: Terms, lease: float, fetch_bytes: int = FETCH_BYTES) -> None:
        """Keep what is given, and expect those that were there before.

        Args:
            site: Whose machines.
            terms: What their tasks have in common.
            lease: Seconds without a word after which launchers there end what they run.
            fetch_bytes: The most that an attempt may have written for its output to be copied here.
        """
        self._terms, self._lease, self._fetch_bytes = terms, lease, fetch_bytes
        self._register = Register(site)
        self._ways: dict[str, AgentWay] = {}
        self._arrivals: dict[str, Arrival] = {}
        super().__init__(site, [self._expect(site, arrival) for arrival in self._register.known()], AT_ONCE)

    def _expect(self, site: Site, arrival: Arrival) -> FarHost:
        """Return the host of a machine that may call in."""
        way = self._ways[arrival.name] = AgentWay()
        self._arrivals[arrival.name] = arrival
        return FarHost(
            machine_of(arrival), site, self._terms, arrival.directory, way, self._lease, self._fetch_bytes, arrival.work
        )

    @property
    def fixed(self) -> bool:
        """Return False: machines come and go."""
        return False

    @property
    def absence(self) -> str:
        """How a machine would come."""
        pool = self._site.pool
        return f"no agent has joined it; start one on a machine: daggy agent --server URL --pool {pool}"

    @property
    def takes_agents(self) -> bool:
        """Return True: they are its machines."""
        return True

    @property
    def trouble(self) -> str:
        """Why a launcher cannot go on; empty if all can. That no machine is there is not a fault."""
        return next((one.trouble for one in self._fleet if one.trouble), "")

    async def run(
        self,
        requests: trio.MemoryReceiveChannel[Request],
        report: Callable[[Reports], None],
        changed: Callable[[], None],
    ) -> None:
        """Carry out requests; at the end all connections are closed."""
        try:
            await super().run(requests, report, changed)
        finally:
            for way in self._ways.values():
                way.close()

    async def join(self, arrival: Arrival, visit: Visit) -> None:
        """Take a machine that calls in, for as long as its connection lasts.

        Raises:
            JoinError: it is not taken.
        """
        if self._nursery is None:
            raise JoinError("the server is starting or stopping; trying again", is_final=False)
        remote = self._admit(arrival)
        self._register.add(arrival)
        count = sum(one.is_open for one in self._remotes.values())
        hold = max(HOLD, HOLD_EACH * count)
        await visit.say({"joined": {"pool": self._site.pool, "name": arrival.name, "hold": hold}})
        line = self._ways[arrival.name].offer(visit)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._listen_to, remote, visit, nursery)
            if arrival.idle_exit is not None:
                nursery.start_soon(leave_when_idle, remote, arrival.idle_exit)
            await line.closed.wait()
            nursery.cancel_scope.cancel()
        if remote.is_leaving:
            with trio.move_on_after(SECONDS):
                await remote.gone.wait()
                await visit.say({"left": True})

    def _admit(self, arrival: Arrival) -> Remote:
        """Return what serves a machine from here on."""
        name, known = arrival.name, self._arrivals.get(arrival.name)
        if known is not None and not self._is_gone(self._places[name]):
            remote, host = self._remotes[self._places[name]], self._hosts[self._places[name]]
            assert isinstance(host, FarHost)
            if known.instance != arrival.instance:
                if self._ways[name].is_used:
                    raise JoinError(f"another machine is called '{name}'; choose another --name", is_final=False)
                if remote.sent.tasks:
                    raise JoinError(
                        f"another machine called '{name}' was here before and still has {len(remote.sent.tasks)} "
                        f"tasks; choose another --name, or give it up with 'daggy nodes --remove {name}'",
                        is_final=False,
                    )
        else:
            remote, host = None, self._expect(self._site, arrival)
        host.describe(machine_of(arrival), arrival.directory, arrival.work)
        self._arrivals[name] = arrival
        if remote is None:
            remote = self._add(host)
        remote.is_leaving = False
        return remote

    async def _run_remote(self, remote: Remote) -> None:
        await super()._run_remote(remote)
        has_left = remote.is_leaving or not self._stopped.is_set()
        if has_left and not remote.sent.tasks:  # or was forgotten
            self._register.remove(remote.host.machine.name)
            self._changed()

    async def _listen_to(self, remote: Remote, visit: Visit, nursery: trio.Nursery) -> None:
        """Do what an agent asks for."""
        async for word in visit.words:
            match word:
                case {"leave": {"grace": float() | int() as grace}}:
                    self._on_leaving(remote)
                    nursery.start_soon(leave, remote, float(grace))

    def _on_leaving(self, remote: Remote) -> None:
        """Take note that an agent wants to leave."""


def machine_of(arrival: Arrival) -> Machine:
    """Return a machine as the engine sees it, before anything was measured there."""
    return Machine(arrival.name, dict(arrival.resources), labels=frozenset(arrival.labels), until=arrival.until)
