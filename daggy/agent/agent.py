"""An agent: joins a pool of a server, and gives it a relay on this machine, over as many connections as it takes."""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import trio
from attrs import define, field, frozen

from daggy.agent.home import is_busy, locked
from daggy.agent.socket import CHUNK, Address, AwayError, Connection, RefusedError, connected
from daggy.errors import leaves
from daggy.launcher import bundle, command_line
from daggy.launcher.line import UnfitError
from daggy.launcher.program.wire import VERSION
from daggy.seldom import Seldom
from daggy.signals import stop_signals
from daggy.trust import authorities

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
"""Seconds before the server is tried again: doubled each time, less up to a half, so that not all come at once."""

LASTING = 5.0
"""Seconds after which a connection that is lost was a good one."""

SILENCE = 30.0
"""Seconds without a word from the server, which pings each ten, after which another connection is made."""

LARGE = 1 << 14
"""Bytes of a message that is not held back."""

LOOK = 1.0
"""Seconds between two looks at whether anything runs here."""


@frozen
class Options:
    """What an agent is told.

    Args:
        server: The address of the server.
        token: An agent token of it.
        pool: The pool to join; empty: that of the token, or the only one.
        name: What this machine is to be called.
        directory: Where things are kept, absolute, on a local disk.
        work: Where relative directories of tasks start, absolute.
        resources: What this machine has for tasks, where that is not to be measured.
        labels: What tasks may ask for and is not used up.
        ca: A file of certificates to trust in place of the system's; None: none.
        idle_exit: Seconds without a task after which it leaves; None: never.
        until: When it leaves, seconds since 1970; None: never.
        grace: Seconds that running tasks are given to end when it is to leave.
        job: The job that it is part of, at the place that started it; empty: none.
    """

    server: str
    token: str = field(repr=False)
    pool: str
    name: str
    directory: Path
    work: Path
    resources: Mapping[str, float]
    labels: frozenset[str]
    ca: Path | None
    idle_exit: float | None
    until: float | None
    grace: float
    job: str = ""


def run(options: Options, say: Callable[[str], None]) -> int:
    """Serve until it has left; return the exit code.

    Raises:
        UsageError: the server's address, or the certificates, are wrong.
        DirectoryError: the directory cannot be used.
        RefusedError: the server refuses this agent for good.
    """
    address = Address.of(options.server)
    context = authorities(options.ca) if address.is_secure else None
    with locked(options.directory) as instance:
        agent = Agent(options, instance, say)
        return trio.run(agent.run, lambda: connected(address, options.token, context))


@define(eq=False)
class Agent:
    """An agent at work.

    Args:
        options: What it is told.
        instance: What tells it from others of its name.
        say: Takes lines for people.
    """

    options: Options
    instance: str
    say: Callable[[str], None]
    _connection: Connection | None = None
    _grace: float | None = None  # seconds for what runs, once it is to leave
    _has_left: bool = False
    _away_since: float = 0.0
    _seldom: Seldom = field(factory=Seldom)

    async def run(self, connect: Callable[[], Any]) -> int:
        """Serve until it has left; return the exit code."""
        self._away_since = trio.current_time()
        with trio.open_signal_receiver(*stop_signals()) as signals:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._obey, signals)
                nursery.start_soon(self._give_up_alone, nursery.cancel_scope)
                if self.options.until is not None:
                    nursery.start_soon(self._leave_at, self.options.until)
                await self._stay_connected(connect)
                nursery.cancel_scope.cancel()
        if self._has_left:
            self.say("left: nothing runs here any more")
            return 0
        if is_busy(self.options.directory):
            self.say("the server is away; what runs here goes on until its lease is over, and an agent that is started "
                     "with the same --directory finds it")  # fmt: skip
            return 3
        self.say("left: nothing runs here, and the server is away")
        return 0

    async def _obey(self, signals: Any) -> None:
        """Leave at a signal; at a second one, at once."""
        async for _ in signals:
            await self._leave(self.options.grace if self._grace is None else 0.0)

    async def _leave_at(self, until: float) -> None:
        while (left := until - time.time()) > 0:  # noqa: ASYNC110 - the clock may be set
            await trio.sleep(min(left, 60.0))
        await self._leave(self.options.grace)

    async def _leave(self, grace: float) -> None:
        self._grace = grace if self._grace is None else min(self._grace, grace)
        self.say(f"leaving: what runs here may end for {grace:.0f} s" if grace else "leaving: what runs here is ended")
        if self._connection is not None:
            try:
                await self._connection.say({"leave": {"grace": self._grace}})
            except AwayError:
                return  # it is said again at the next connection

    async def _give_up_alone(self, scope: trio.CancelScope) -> None:
        """End without the server if it is away for longer than may be waited."""
        while True:
            await trio.sleep(LOOK)
            if self._connection is not None:
                continue
            away = trio.current_time() - self._away_since
            patience = [one for one in (self._grace, self.options.idle_exit) if one is not None]
            if patience and (away > min(patience) or self._grace is not None):
                is_over = self._grace is not None and away > self._grace
                if is_over or not await trio.to_thread.run_sync(is_busy, self.options.directory):
                    scope.cancel()

    async def _stay_connected(self, connect: Callable[[], Any]) -> None:
        pause = 0.0
        while not self._has_left:
            began = trio.current_time()
            error = await self._visited(connect)
            if error is not None and (said := self._seldom.of(f"{error}; trying again", trio.current_time())):
                self.say(said)
            if self._connection is not None:
                self._connection = None
                self._away_since = trio.current_time()
                if self._away_since - began > LASTING:
                    pause = 0.0  # else it is this machine that the server cannot use, and not for want of trying
            pause = min(LONGEST_PAUSE, max(FIRST_PAUSE, pause * 2))
            if not self._has_left:
                await trio.sleep(pause * random.uniform(0.5, 1))  # noqa: S311 - nothing depends on it

    async def _visited(self, connect: Callable[[], Any]) -> BaseException | None:
        """Serve one connection; return why it ended before this agent had left."""
        try:
            await self._visit(connect)
        except BaseException as error:
            kinds = [type(one) for one in leaves(error)]
            if not all(issubclass(kind, (AwayError, RefusedError, UnfitError, OSError)) for kind in kinds):
                raise
            worst = max(leaves(error), key=lambda one: isinstance(one, RefusedError))
            if isinstance(worst, RefusedError):
                raise worst from None
            return worst
        return None

    async def _visit(self, connect: Callable[[], Any]) -> None:
        """Serve one connection."""
        async with connect() as connection:
            await connection.say(self._introduction())
            word = await connection.receive(SILENCE)
            match word:
                case {"joined": {"pool": pool, "name": name, "hold": float() | int() as hold}}:
                    self.say(f"joined pool '{pool}' of {self.options.server} as '{name}'")
                case {"refused": str(why), "final": is_final}:
                    raise RefusedError(why) if is_final else AwayError(why)
                case _:
                    raise AwayError("the server says what this agent does not understand; upgrade the older of the two")
            program = bundle.relay(str(self.options.directory))
            relay = await command_line.start(bundle.boot(sys.executable, program), program)
            self._connection = connection
            try:
                if self._grace is not None:
                    await connection.say({"leave": {"grace": self._grace}})
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(_carry_up, relay, connection, float(hold))
                    await self._carry_down(connection, relay)
                    nursery.cancel_scope.cancel()
            finally:
                with trio.CancelScope(shield=True):
                    await relay.aclose()

    def _introduction(self) -> Mapping[str, Any]:
        options = self.options
        try:
            own = version("daggy")
        except PackageNotFoundError:
            own = ""
        return {
            "protocol": VERSION, "version": own, "pool": options.pool, "name": options.name, "instance": self.instance,
            "directory": str(options.directory), "work": str(options.work), "resources": dict(options.resources),
            "labels": sorted(options.labels), "until": options.until, "idle_exit": options.idle_exit,
            "job": options.job,
        }  # fmt: skip

    async def _carry_down(self, connection: Connection, relay: command_line.CommandLine) -> None:
        while True:
            message = await connection.receive(SILENCE)
            if isinstance(message, bytes):
                try:
                    await relay.send_all(message)
                except (trio.BrokenResourceError, trio.ClosedResourceError):
                    raise AwayError("the relay has ended") from None
            elif "left" in message:
                self._has_left = True
                return
            elif "refused" in message:
                raise AwayError(str(message["refused"]))


async def _carry_up(relay: command_line.CommandLine, connection: Connection, hold: float) -> None:
    """Carry what launchers report: at once if nothing was for a while, else together with what comes meanwhile.

    What is large is an output that somebody waits for: it and its rest are not held.
    """
    last, was_large = -hold, False
    while data := await relay.receive_some(CHUNK):
        gathered = bytearray(data)
        if not was_large:
            with trio.move_on_at(last + hold):
                while len(gathered) < LARGE and (data := await relay.receive_some(CHUNK)):
                    gathered += data
        await connection.send(bytes(gathered))
        last, was_large = trio.current_time(), len(gathered) >= LARGE
    raise AwayError("the relay has ended")
