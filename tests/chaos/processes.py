"""Which processes belong to a story, and their end."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable, Iterator
from pathlib import Path


def environments() -> Iterator[tuple[int, bytes]]:
    """Yield every process that is not a zombie, with the environment that it was started with."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                yield int(entry.name), b"\0" + (entry / "environ").read_bytes()
            except OSError:
                continue


def launchers_of(board: Path) -> list[int]:
    """Return the launchers whose engines were given a board."""
    mark = f"\0CHAOS_BOARD={board}\0".encode()
    found = []
    for pid, environment in environments():
        try:
            if mark in environment and b"daggy.launcher.program" in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(pid)
        except OSError:
            continue
    return found


def tasks_of(instance: str) -> list[int]:
    """Return the processes that carry a ticket of a state directory."""
    mark = f"\0DAGGY_TICKET={instance}:".encode()
    return [pid for pid, environment in environments() if mark in environment]


def kill(pids: Iterable[int], number: int = signal.SIGKILL) -> None:
    """Signal processes, some of which may have gone."""
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue
