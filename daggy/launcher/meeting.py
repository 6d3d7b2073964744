"""Launchers of this machine that outlived their engine: met through the socket in their folder, or proven dead."""

from __future__ import annotations

import os
import signal
import socket
import time
from pathlib import Path

import trio

from daggy.attempt import Kind, joined
from daggy.errors import DirectoryError
from daggy.launcher import frames
from daggy.launcher.host import Met
from daggy.launcher.local_channel import LocalChannel
from daggy.launcher.program.keeper import keeper
from daggy.launcher.program.processes import signal_all
from daggy.launcher.program.wire import VERSION

SOCKET = "socket"
"""Its name in a launcher's folder."""
SPARE = 10.0
"""Seconds beyond its tasks' grace that a launcher without an engine is given to leave."""
UNSAID = 15.0
"""Seconds for one that has not said how long it needs."""
LOOK_AGAIN = 0.05


async def meet_or_outlive(home: Path, hello: bytes | None, epoch: int) -> Met | None:
    """Meet a launcher that lives on; return None when it is dead.

    One that has said by when it leaves is given that time and a little more; one that has not, and does not answer for
    UNSAID seconds, is killed.

    Args:
        home: Its folder; its name is the launcher's number.
        hello: The first frame for it; None: only wait until it is dead.
        epoch: The engine's, as in `hello`.

    Raises:
        DirectoryError: it lives and does not work for this engine, or does not end when it is killed.
    """
    asked = False
    begun = trio.current_time()
    while (found := keeper(str(home))) is not None:
        pid, leave_by = found
        patience = leave_by + SPARE - time.time() if leave_by else begun + UNSAID - trio.current_time()
        if patience > 0 and hello and not leave_by:
            with trio.move_on_after(patience):
                if met := await _meet(home, hello, epoch):
                    return met
        elif patience <= 0 and pid and not asked:
            signal_all([pid], signal.SIGKILL)
            asked = True
        elif patience <= -UNSAID:
            raise DirectoryError(f"'{home}' is locked by process {pid}, which does not end; end it, then start again")
        await trio.sleep(LOOK_AGAIN)
    return None


async def _meet(home: Path, hello: bytes, epoch: int) -> Met | None:
    """Return a living launcher and what it says; None if there is none, or it hangs up."""
    channel = _connect(home)
    if channel is None:
        return None
    met = None
    try:
        channel.send(hello)
        met = await _hear_greeting(channel, home, epoch)
    finally:
        if met is None:
            channel.drop()
    return met


async def _hear_greeting(channel: LocalChannel, home: Path, epoch: int) -> Met | None:
    """Return what a launcher answers to a hello; it greets at the end of it."""
    await channel.flush()
    reported: list[frames.Reported] = []
    greeting: frames.Hello | None = None
    while greeting is None:
        answers = await channel.receive()
        if not answers:
            return None
        for answer in answers:
            if greeting is None and isinstance(answer, frames.Reported):
                reported.append(answer)
            elif isinstance(answer, frames.Hello):
                greeting = answer
            else:  # trouble, or what came right behind
                channel.early.append(answer)
    _check(greeting, home, epoch)
    started = [tuple(key) for one in reported for kind, *key in one.keys if kind == Kind.STARTED]
    return Met(channel, joined([one.reports for one in reported]), dict(zip(started, greeting.lanes, strict=True)))  # type: ignore[arg-type]


def _check(greeting: frames.Hello, home: Path, epoch: int) -> None:
    if greeting.version != VERSION:
        raise DirectoryError(
            f"'{home}': process {greeting.pid} was started by another version of Daggy and may still run tasks; "
            f"let that version take them up, or end it (kill {greeting.pid}), then start again"
        )
    if greeting.epoch != epoch:
        raise DirectoryError(
            f"'{home}': process {greeting.pid} works for a later engine ({greeting.epoch}; this one: {epoch}): is the "
            f"database an older copy? End it (kill {greeting.pid}), then start again"
        )


def _connect(home: Path) -> LocalChannel | None:
    """Connect through the folder's descriptor: the path may be longer than a socket's address can be."""
    try:
        descriptor = os.open(home, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as end:
            end.setblocking(False)
            end.connect(f"/proc/self/fd/{descriptor}/{SOCKET}")  # of this family, it is there at once or not at all
            own = end.detach()
    except OSError:
        return None
    finally:
        os.close(descriptor)
    return LocalChannel(int(home.name), own, own)
