"""`daggy serve` at work: a directory, an engine, an application that listens, and what signals do to them."""

from __future__ import annotations

import contextlib
import importlib
import ipaddress
import logging
import os
import shutil
import signal
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

import trio
from attrs import define, field, frozen

from daggy.api import API
from daggy.engine.configuration import Configuration
from daggy.engine.directory import StateDirectory
from daggy.engine.engine import Engine
from daggy.engine.process import tune
from daggy.engine.retention import retain
from daggy.engine.troubles import Troubles
from daggy.errors import UsageError
from daggy.paths import CERTIFICATE
from daggy.server import entrance
from daggy.server.address import listen, refuse_others, remove_address, write_address, write_address_in_time
from daggy.server.hosting import Hosting
from daggy.server.tls import Tls
from daggy.server.token import load_or_make, page_address
from daggy.signals import stop_signals
from daggy.tracker import Tracker

LOG = logging.getLogger("daggy.server")

KEPT = "sqlite"
"""The tracker of a directory that was named."""

PASSING = "passing"
"""File in the state directory that marks its `runs` as belonging to a server without a tracker."""

INTERRUPTED = 130


@frozen
class Request:
    """What the command line asks for.

    Args:
        configuration: What the operator says.
        directory: The state directory.
        is_kept: Whether runs are kept there; else in memory.
        leave_running: At the end, what runs goes on and the next server takes it up.
        allow_remote: Whether others than this machine may reach it, without encryption.
        say: Takes lines for people.
    """

    configuration: Configuration
    directory: Path
    is_kept: bool
    leave_running: bool = field(kw_only=True)
    allow_remote: bool = field(kw_only=True)
    say: Callable[[str], None] = field(kw_only=True)


@define(eq=False)
class Signals:
    """Stops an engine in order at the first signal, at once at the second; what is not open yet does not open.

    Args:
        engine: The engine.
        leave: Whether what runs goes on.
        scope: What there is to cancel while the engine is being opened.
        is_open: Whether it is.
        received: The numbers of the signals.
    """

    engine: Engine
    leave: bool
    scope: trio.CancelScope
    is_open: bool = False
    received: list[int] = field(factory=list)

    async def obey(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Wait for signals until cancelled."""
        with trio.open_signal_receiver(*stop_signals()) as signals:
            task_status.started()
            async for number in signals:
                self.received.append(number)
                if self.is_open:
                    self.engine.stop(immediate=len(self.received) > 1, leave=self.leave)
                else:
                    self.scope.cancel()


def serve(request: Request) -> int:
    """Serve until a signal; return the exit code.

    Raises:
        UsageError: it may not listen where it is told to.
        DirectoryError: the directory or the address cannot be used.
    """
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("daggy").setLevel(logging.INFO)
    settings = request.configuration.server
    _check_address(settings.ip, may_be_remote=request.allow_remote or settings.tls is not None)
    with StateDirectory.open(request.directory) as directory:
        refuse_others(directory.path)
        remove_address(directory.path)  # of one that was killed
        (directory.path / CERTIFICATE).unlink(missing_ok=True)
        tls = Tls(settings.tls, directory.path) if settings.tls is not None else None
        tracker = request.configuration.make_tracker(directory.path, KEPT if request.is_kept else "memory")
        try:
            if request.leave_running and not tracker.durable:
                raise UsageError("--leave-running needs runs that are kept; name a directory with --dir")
            clear_passing(directory.path, is_kept=tracker.durable)
            twin = request.configuration.look(directory.path, KEPT) if tracker.durable else None
            where = request.configuration.agents
            agents = entrance.door(where, directory.path, entrance.PORT) if where.ip else contextlib.nullcontext()
            with listen(settings.ip, settings.port) as listener, agents as door:
                importlib.import_module("numpy.ma")  # `np.unique` loads it when first called, and would stop the loop
                tune()
                return trio.run(_main, request, directory, tracker, twin, listener, tls, door)
        finally:
            tracker.close()


def clear_passing(directory: Path, *, is_kept: bool) -> None:
    """Remove what an earlier server without a durable tracker left, and mark what this one will leave.

    Args:
        directory: The state directory, locked.
        is_kept: Whether this server's runs outlive it.

    Raises:
        UsageError: runs are kept there, and this server would not know them.
    """
    mark, runs = directory / PASSING, directory / "runs"
    has_kept = (directory / "daggy.db").exists()
    if mark.exists():
        for run in () if has_kept else runs.iterdir():
            shutil.rmtree(run, ignore_errors=True)
        mark.unlink()
    if not is_kept:
        if has_kept or any(runs.iterdir()):
            raise UsageError(f"'{directory}' holds runs that are kept; serve them with --dir {directory}")
        os.close(os.open(mark, os.O_WRONLY | os.O_CREAT, 0o600))


def _check_address(ip: str, *, may_be_remote: bool) -> None:
    try:
        is_loopback = ipaddress.ip_address(ip).is_loopback
    except ValueError:
        raise UsageError(f"server.ip: '{ip}' is not an IP address; 127.0.0.1 is this machine alone") from None
    if not is_loopback and not may_be_remote:
        raise UsageError(
            f"server.ip: {ip} can be reached from other machines, and nothing is encrypted: whoever hears the token "
            "may run anything here. Give it a certificate (server.tls), listen on 127.0.0.1 behind a proxy or a "
            "tunnel, or give --allow-remote"
        )


async def _main(
    request: Request,
    directory: StateDirectory,
    tracker: Tracker,
    twin: Tracker | None,
    listener: socket.socket,
    tls: Tls | None,
    door: entrance.Door | None,
) -> int:
    """Open the engine, listen, and wait for a signal."""
    configuration = request.configuration
    engine = Engine(
        tracker,
        configuration.executors(),
        directory,
        default_pool=configuration.default_pool,
        evals=configuration.evals,
        linger=True,
        twin=twin,
        follow=True,
        entrance=None if door is None else door.entrance,
    )
    token = load_or_make(directory.path)
    ip, port = listener.getsockname()[:2]
    hosting = Hosting(engine, configuration, token, listener, tls)
    async with trio.open_nursery() as nursery:
        signals = Signals(engine, request.leave_running, nursery.cancel_scope)
        await nursery.start(signals.obey)
        async with trio.open_nursery() as serving:
            async with engine.open():
                signals.is_open = True
                serving.start_soon(hosting.listening.run)
                if door is not None:
                    nursery.start_soon(door.serve, engine, hosting.is_token)
                address = _address_of(ip, port, "https" if tls else "http")
                if not write_address(directory.path, address):
                    LOG.warning("no space in '%s' for the address of this server, %s", directory.path, address)
                    nursery.start_soon(write_address_in_time, directory.path, address)
                try:
                    _welcome(request, tracker.durable, address, token)
                    await _until_stopped(engine, configuration, hosting.load)
                finally:
                    remove_address(directory.path)
            hosting.listening.over.set()
        nursery.cancel_scope.cancel()
    if twin is not None:
        twin.close()
    return INTERRUPTED if signals.received[:1] == [signal.SIGINT] else 0


async def _until_stopped(engine: Engine, configuration: Configuration, load: Callable[[], Awaitable[None]]) -> None:
    """Take up unfinished runs, forget old ones, load the application; return when the engine is told to stop."""
    async with trio.open_nursery() as chores:
        chores.start_soon(engine.runs.take_up)
        chores.start_soon(load)
        chores.start_soon(retain, engine, configuration.retention)
        chores.start_soon(_tell_troubles, engine)
        await engine.stopping.wait()
        chores.cancel_scope.cancel()


async def _tell_troubles(engine: Engine) -> None:
    """Log what keeps the engine from going on."""
    troubles = Troubles()
    while True:
        for line in troubles.news(engine.troubles(), trio.current_time()):
            LOG.warning(line)
        await trio.sleep(1)


def _address_of(ip: str, port: int, scheme: str) -> str:
    name = "127.0.0.1" if ipaddress.ip_address(ip).is_unspecified else ip
    return f"{scheme}://[{name}]:{port}" if ":" in name else f"{scheme}://{name}:{port}"


def _welcome(request: Request, is_kept: bool, address: str, token: str) -> None:
    kept = f"runs are kept in '{request.directory}'"
    if not is_kept:
        kept = "runs are kept in memory and end with this process; --dir DIR keeps them"
    request.say(f"daggy listens on {address}; {kept}")
    where = f" --dir {request.directory}" if request.is_kept else ""
    request.say(f"submit with: daggy submit SPEC{where}    or POST to {address}{API}/runs")
    request.say(f"the API, to read and try: {page_address(address, token)}")
