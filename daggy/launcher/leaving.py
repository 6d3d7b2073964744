"""How a machine elsewhere leaves for good: what waits there goes back, what runs may end."""

from __future__ import annotations

import trio

from daggy.attempt import Ticket
from daggy.executor import NodeState
from daggy.launcher import frames
from daggy.launcher.remote import Remote

UNKEPT = 10.0
"""Seconds until what ended there is kept here."""


async def leave(remote: Remote, grace: float) -> None:
    """Let a machine take no more tasks, and return once it has none and is let go.

    May be called again while it waits, with a shorter grace, or once the machine has come back.

    Args:
        remote: The machine, connected.
        grace: Seconds that what runs is given to end by itself; then it is ended, as stopped.
    """
    remote.is_leaving = True
    if remote.is_open:
        remote.standing.become(NodeState.DRAINING)
    remote.withdraw([Ticket(*key) for key in remote.sent.tasks], frames.recall)
    with trio.move_on_after(grace):
        await remote.until(lambda: not remote.sent.tasks)
    await remote.until(lambda: remote.launchers is not None)
    assert remote.launchers is not None
    remote.launchers.on_stop(immediate=grace <= 0)
    await remote.until(lambda: not remote.sent.tasks)
    with trio.move_on_after(UNKEPT):  # what is kept here need not be kept there
        await remote.until(lambda: remote.sent.is_clear)
    remote.dismiss()
    await remote.gone.wait()


async def leave_when_idle(remote: Remote, seconds: float) -> None:
    """Let a machine leave once it has had no task for so long."""
    while True:
        await remote.until(lambda: not remote.sent.tasks)
        with trio.move_on_after(seconds):
            await remote.until(lambda: remote.sent.tasks)
            continue
        await leave(remote, 0.0)
        return
