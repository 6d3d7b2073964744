"""`daggy serve` at work: a directory, an engine, an application that listens, and what signals do to them."""

from __future__ import annotations

import gc
import ipaddress
import logging
import os
import shutil
import signal
import socket
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, cast

import trio
from attrs import field, frozen
from hypercorn.config import Config
from hypercorn.trio import serve as serve_http

from daggy.engine.configuration import Configuration
from daggy.engine.directory import StateDirectory
from daggy.engine.engine import Engine
from daggy.engine.intake import Intake
from daggy.engine.retention import retain
from daggy.errors import DirectoryError, UsageError
from daggy.server.app import API, make_app
from daggy.server.gate import Gate
from daggy.server.service import Service
from daggy.server.token import load_or_make
from daggy.tracker import Tracker

LOG = logging.getLogger("daggy.server")

KEPT = "sqlite"
"""The tracker of a directory that was named."""

ADDRESS = "address"
"""File in the state directory that says where its server listens."""

INTERRUPTED = 130

GRACE = 1.0
"""Seconds that open requests are given at the end."""


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


def serve(request: Request) -> int:
    """Serve until a signal; return the exit code.

    Raises:
        UsageError: it may not listen where it is told to.
        DirectoryError: the directory or the address cannot be used.
    """
    settings = request.configuration.server
    _check_address(settings.ip, allow_remote=request.allow_remote)
    os.umask(0o077)
    with StateDirectory.open(request.directory) as directory:
        tracker = request.configuration.make_tracker(directory.path, KEPT if request.is_kept else "memory")
        try:
            if request.leave_running and not tracker.durable:
                raise UsageError("--leave-running needs runs that are kept; name a directory with --dir")
            if not tracker.durable:
                _clear(directory)
            twin = request.configuration.look(directory.path, KEPT) if tracker.durable else None
            with _listen(settings.ip, settings.port) as listener:
                _tune()
                return trio.run(_main, request, directory, tracker, twin, listener)
        finally:
            tracker.close()


def _check_address(ip: str, *, allow_remote: bool) -> None:
    try:
        is_loopback = ipaddress.ip_address(ip).is_loopback
    except ValueError:
        raise UsageError(f"server.ip: '{ip}' is no IP address; 127.0.0.1 is this machine alone") from None
    if not is_loopback and not allow_remote:
        raise UsageError(
            f"server.ip: {ip} can be reached from other machines, and nothing is encrypted: whoever hears the token "
            "may run anything here. Listen on 127.0.0.1 behind a proxy or a tunnel, or say --allow-remote"
        )


def _listen(ip: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in ip else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((ip, port))
        listener.listen(1024)
    except (OSError, OverflowError) as error:
        listener.close()
        told = getattr(error, "strerror", None) or str(error)
        raise DirectoryError(f"cannot listen on {ip}:{port}: {told.lower()}; choose another with --port") from error
    return listener


def _clear(directory: StateDirectory) -> None:
    """Remove what an earlier server without memory wrote: nobody knows those runs any more.

    Raises:
        UsageError: runs are kept there.
    """
    if (directory.path / "daggy.db").exists():
        raise UsageError(f"'{directory.path}' holds runs that are kept; serve them with --dir {directory.path}")
    for run in (directory.path / "runs").iterdir():
        shutil.rmtree(run, ignore_errors=True)


async def _main(
    request: Request, directory: StateDirectory, tracker: Tracker, twin: Tracker | None, listener: socket.socket
) -> int:
    """Open the engine, listen, and wait for a signal."""
    configuration = request.configuration
    engine = Engine(
        tracker,
        configuration.executors(),
        directory,
        default_pool=configuration.default_pool,
        linger=True,
        twin=twin,
        follow=True,
    )
    token = load_or_make(directory.path)
    service = Service(engine, configuration, Intake(configuration.limits), token)
    ip, port = listener.getsockname()[:2]
    gate = Gate(cast("Any", make_app(service)), token, ip, port)
    over, received = trio.Event(), list[int]()
    async with trio.open_nursery() as nursery:
        await nursery.start(_obey, engine, request.leave_running, received)
        async with engine.open():
            nursery.start_soon(partial(serve_http, cast("Any", gate), _config(listener), shutdown_trigger=over.wait))
            address = _write_address(directory.path, ip, port)
            try:
                _welcome(request, address, token)
                nursery.start_soon(retain, engine, configuration.retention)
                await engine.take_up()
                await engine.stopping.wait()
            finally:
                (directory.path / ADDRESS).unlink(missing_ok=True)
        over.set()
        with trio.move_on_after(GRACE):
            await trio.sleep_forever()
        nursery.cancel_scope.cancel()
    if twin is not None:
        twin.close()
    return INTERRUPTED if received[:1] == [signal.SIGINT] else 0


async def _obey(
    engine: Engine,
    leave: bool,
    received: list[int],
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Stop in order at the first signal, at once at the second."""
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        task_status.started()
        async for number in signals:
            received.append(number)
            engine.stop(immediate=len(received) > 1, leave=leave)


def _config(listener: socket.socket) -> Config:
    config = Config()
    config.bind = [f"fd://{os.dup(listener.fileno())}"]  # it closes what it is given
    config.graceful_timeout = GRACE
    config.shutdown_timeout = GRACE
    config.keep_alive_timeout = 20
    config.read_timeout = 30
    config.errorlog = None
    config.accesslog = None
    config.include_server_header = False
    config.alpn_protocols = ["http/1.1"]
    config.h11_max_incomplete_size = 32_768
    return config


def _write_address(directory: Path, ip: str, port: int) -> str:
    name = "127.0.0.1" if ipaddress.ip_address(ip).is_unspecified else ip
    address = f"http://[{name}]:{port}" if ":" in name else f"http://{name}:{port}"
    fresh = directory / f".{ADDRESS}"
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(address + "\n")
    fresh.rename(directory / ADDRESS)
    return address


def _welcome(request: Request, address: str, token: str) -> None:
    kept = (
        f"runs are kept in '{request.directory}'"
        if request.is_kept
        else ("runs are kept in memory and end with this process; --dir DIR keeps them")
    )
    request.say(f"daggy listens on {address}; {kept}")
    where = f" --dir {request.directory}" if request.is_kept else ""
    request.say(f"submit with: daggy submit SPEC{where}    or POST to {address}{API}/runs")
    request.say(f"the API, to read and try: {address}/docs?token={token}")


def _tune() -> None:
    """Set this process up for one busy loop; see `daggy.cli.session`."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 50, 1000)
    sys.setswitchinterval(0.0005)
