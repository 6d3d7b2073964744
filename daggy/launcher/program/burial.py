"""End what a dead launcher ran."""

from __future__ import annotations

import os
import time

from daggy.launcher.program.light import TYPE_CHECKING, signal
from daggy.launcher.program.processes import carriers, processes, signal_all

if TYPE_CHECKING:
    from typing import Mapping, Sequence

    from daggy.launcher.program.task import Key


BRACKET = 2.0  # seconds by which the noted start of a process may be later than the kernel's


def boot_id() -> str:
    """Return the id of this start of the machine."""
    with open("/proc/sys/kernel/random/boot_id") as file:
        return file.read().strip()


def end(instance: str, keys: Sequence[Key], pids: Mapping[int, tuple[int, float]]) -> list[int]:
    """Kill every process of these tasks; return the positions of the tasks of which any was found.

    Args:
        instance: The state directory's text, the first part of every ticket.
        keys: The tasks.
        pids: By position, of those known: process id, and seconds since the machine's start just after that process
            was started.
    """
    tickets = {("%s:%d.%d.%d.%d.%d" % (instance, *key)).encode(): at for at, key in enumerate(keys)}
    found: set[int] = set()
    if not keys:
        return []
    tick = os.sysconf("SC_CLK_TCK")
    alive = processes()
    sessions = {}
    for at, (pid, boot) in pids.items():
        # a session outlives its leader; where there is a leader it must be the one that was started then
        if pid and (pid not in alive or -BRACKET <= alive[pid][2] / tick - boot <= 1 / tick):
            sessions[pid] = at
    for _ in range(100):  # what is killed may have been forking
        left = carriers(tickets, sessions)
        if not left:
            break
        found.update(left.values())
        signal_all(left, signal.SIGKILL)
        time.sleep(0.01)
    return sorted(found)
