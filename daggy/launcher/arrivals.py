"""Machines that call in by themselves: the way to one is the connection that its agent has opened."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import quote

import trio
from attrs import asdict

from daggy import files
from daggy.errors import PluginError
from daggy.executor import Arrival, JoinError, Site, Visit
from daggy.launcher.line import AwayError, Line, UnfitError, Way
from daggy.settings import structure

LONGEST_NAME = 200
"""Characters of a machine's name, at most."""


class VisitLine(Line):
    """A line through the connection that an agent has opened."""

    def __init__(self, visit: Visit) -> None:
        """Take over a connection."""
        self._visit = visit
        self.closed = trio.Event()
        """Set when nothing more is to be said on it."""

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send bytes."""
        await self._visit.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until there is room."""
        await self._visit.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """Receive bytes; empty: it has ended."""
        return await self._visit.receive_some(max_bytes)

    async def failure(self, heard: bytes) -> AwayError | UnfitError:
        """Return that the connection was lost: only then does it end."""
        said = heard.decode("utf-8", "replace").strip()
        return AwayError(said.splitlines()[-1] if said else "the connection was lost")

    async def aclose(self) -> None:
        """Let it be closed, by whoever has opened it."""
        self.closed.set()
        await trio.lowlevel.checkpoint()


class AgentWay(Way):
    """Leads to a machine that calls in."""

    calls_in: ClassVar[bool] = True
    ends_with: ClassVar[str] = (
        "its launchers end with the agent: let its service signal the agent only (KillMode=process)"
    )

    def __init__(self) -> None:
        """Wait for it."""
        self._offered: VisitLine | None = None
        self._came = trio.Event()
        self._latest: VisitLine | None = None

    @property
    def is_used(self) -> bool:
        """Whether a connection is open."""
        return self._latest is not None and not self._latest.closed.is_set()

    def close(self) -> None:
        """Let its connection be closed."""
        if self._latest is not None:
            self._latest.closed.set()

    def offer(self, visit: Visit) -> VisitLine:
        """Use a new connection, in place of the one that there was."""
        self.close()
        line = self._latest = self._offered = VisitLine(visit)
        self._came.set()
        return line

    async def until_next(self, pause: float) -> None:
        """Wait until it has called in."""
        del pause
        while self._offered is None or self._offered.closed.is_set():
            self._came = trio.Event()
            await self._came.wait()

    async def dial(self) -> Line:
        """Return the connection that it has opened.

        Raises:
            AwayError: it has gone.
        """
        line, self._offered = self._offered, None
        if line is None:
            raise AwayError("the connection was lost")
        return line


class Register:
    """The machines that have called in, on this machine's disk: the next engine expects them.

    Args:
        site: Whose they are.
    """

    def __init__(self, site: Site) -> None:
        """Keep nothing where nothing is kept."""
        self._folder = site.directory / "agents" / quote(site.pool, "") if site.durable else None

    def known(self) -> Iterator[Arrival]:
        """Yield those that are expected; what cannot be read is as if it were not there."""
        if self._folder is None or not self._folder.is_dir():
            return
        for path in sorted(self._folder.iterdir()):
            with contextlib.suppress(OSError, ValueError, PluginError):
                arrival = structure(json.loads(path.read_bytes()), Arrival, path.name)
                if self._path(arrival.name) == path:  # else it was not written to its end
                    yield arrival

    def add(self, arrival: Arrival) -> None:
        """Expect a machine.

        Raises:
            JoinError: it cannot be written down.
        """
        if self._folder is None:
            return
        path = self._path(arrival.name)
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            files.replace(path, json.dumps(asdict(arrival)).encode(), sync=False)
        except OSError as error:
            message = f"the server cannot write down that {arrival.name} is there: {error.strerror}; make room there"
            raise JoinError(message, is_final=False) from None

    def remove(self, name: str) -> None:
        """Expect a machine no more."""
        if self._folder is not None:
            self._path(name).unlink(missing_ok=True)

    def _path(self, name: str) -> Path:
        assert self._folder is not None
        return self._folder / quote(name, "")


def checked(told: Mapping[str, Any]) -> Arrival:
    """Return what an agent tells of its machine.

    Raises:
        JoinError: it makes no sense.
    """
    known = {name: told[name] for name in Arrival.__annotations__ if name in told}
    try:
        arrival = structure(known, Arrival, "the agent")
    except PluginError as error:
        raise JoinError(f"{error}; upgrade the older of the two", is_final=True) from None
    name = arrival.name
    if not name or len(name) > LONGEST_NAME or not name.isprintable() or any(one in name for one in " /"):
        raise JoinError(f"{name!r} is no name for a machine; choose another with --name", is_final=True)
    if any(amount < 0 for amount in arrival.resources.values()):
        raise JoinError("a machine cannot have less than nothing of a resource; correct --resource", is_final=True)
    return arrival
