"""What a launcher knows of one attempt, and the lanes in which attempts wait. Standard library only."""

import collections
from typing import Any, Deque, Optional, Sequence, Tuple

from daggy.launcher.program.wire import OK, REPORT

WAITING, RUNNING, ENDED = range(3)

Key = Tuple[int, int, int, int, int]
"""A ticket: run, version, index, epoch, attempt."""


class Task:
    """One attempt, from its acceptance to its report."""

    __slots__ = (
        "argv", "attempt", "boot", "code", "cpu", "crc", "data", "directory", "end_by", "ended", "environment", "err",
        "flags", "generator", "grace", "key", "lane", "linked", "message", "offset", "out", "pack", "pid", "reason",
        "rss", "since", "started", "state", "stderr", "stdin", "stdout", "timeout",
    )  # fmt: skip

    def __init__(self, key: Key, lane: "Lane", fields: Sequence[Any]) -> None:
        """Take one entry of a launch command: index, attempt, argv, environment, and so on."""
        self.key = key
        self.lane = lane
        _, _, self.argv, self.environment, self.directory, self.stdin, self.timeout, self.grace, self.generator = fields
        self.state = WAITING
        self.pid = self.code = self.rss = self.flags = self.pack = self.offset = self.stdout = self.stderr = (
            self.crc
        ) = 0
        self.reason = OK
        self.started = self.ended = self.since = self.cpu = self.boot = self.end_by = 0.0
        self.out = self.err = -1
        self.linked = False
        self.message = ""
        self.data: Optional[Tuple[bytes, bytes]] = None

    def row(self, kind: int, seq: int, launcher: int) -> bytes:
        """Return this attempt as a REPORT."""
        run, version, index, epoch, attempt = self.key
        return REPORT.pack(
            seq, kind, run, version, epoch, index, attempt, self.started, self.ended, self.cpu, self.rss, self.code,
            self.reason, 0, 0, 0, 0, self.flags, launcher, self.pack, self.offset, self.stdout, self.stderr, self.crc,
        )  # fmt: skip


class Lane:
    """Tasks with the same needs: first come, first started, `width` at once."""

    __slots__ = ("number", "running", "waiting", "width")

    def __init__(self, number: int) -> None:
        """Begin empty."""
        self.number = number
        self.width = self.running = 0
        self.waiting: Deque[Task] = collections.deque()
