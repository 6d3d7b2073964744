"""Find the processes of a task, also those that left its session, and signal them."""

from __future__ import annotations

import os

from daggy.launcher.program.light import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Iterable


def processes() -> dict[int, tuple[int, int, int]]:
    """Return parent, session and start time (clock ticks since boot) of every process that is not a zombie."""
    found = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open("/proc/%s/stat" % name, "rb") as file:
                    fields = file.read().rpartition(b")")[2].split()
            except OSError:
                continue
            if fields[0] not in (b"Z", b"X"):
                found[int(name)] = int(fields[1]), int(fields[3]), int(fields[19])
    return found


def carriers(tickets: dict[bytes, int], sessions: dict[int, int]) -> dict[int, int]:
    """Return which processes belong to which task: by ticket, by session, or as a descendant of one that does.

    Args:
        tickets: The values of DAGGY_TICKET, each with the caller's number for that task.
        sessions: The tasks' session ids, each with the same number.
    """
    alive, found = processes(), {}
    for pid, (_, session, _) in alive.items():
        if session in sessions:
            found[pid] = sessions[session]
            continue
        try:
            with open("/proc/%d/environ" % pid, "rb") as file:
                words = (b"\0" + file.read()).partition(b"\0DAGGY_TICKET=")[2]
        except OSError:
            continue
        ticket = words.partition(b"\0")[0]
        if ticket in tickets:
            found[pid] = tickets[ticket]
    for pid in alive:
        line = [pid]
        while line[-1] in alive and line[-1] not in found and len(line) < 1000:
            line.append(alive[line[-1]][0])
        if line[-1] in found:
            found.update(dict.fromkeys(line[:-1], found[line[-1]]))
    found.pop(os.getpid(), None)
    return found


def signal_all(pids: Iterable[int], *numbers: int) -> None:
    """Send signals to processes; some may have ended already."""
    for pid in pids:
        for number in numbers:
            try:
                os.kill(pid, number)
            except OSError:
                pass
