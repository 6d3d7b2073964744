"""One attempt as the launcher keeps it, and the queue in which attempts of one lane wait."""

from __future__ import annotations

from daggy.launcher.program.light import TYPE_CHECKING, deque
from daggy.launcher.program.wire import OK, REPORT

if TYPE_CHECKING:
    from typing import Any, Sequence

    Key = tuple[int, int, int, int, int]
    """A ticket: run, version, index, epoch, attempt."""


WAITING, RUNNING, ENDED = range(3)


class Queue:
    """The attempts of one lane: first come, first started, at most `width` at once."""

    __slots__ = ("environment", "gpus", "lane", "running", "waiting", "width")

    def __init__(self, lane: int) -> None:
        """Begin empty."""
        self.lane = lane
        self.width = self.running = 0
        self.waiting: deque[Task] = deque()
        self.environment: dict[bytes, bytes] = {}  # what its tasks see of what they need
        self.gpus = 0  # how many each of them is given


class Task:
    """One attempt, from the time it is accepted until it is reported as ended."""

    __slots__ = (
        "argv", "before", "boot", "code", "cpu", "crc", "data", "directory", "end_by", "ended", "environment", "err",
        "flags", "generator", "gpus", "grace", "key", "left", "linked", "message", "note", "offset", "out", "pack",
        "pid", "queue", "reason", "result", "rss", "since", "started", "state", "stderr", "stdin", "stdout",
        "timeout",
    )  # fmt: skip

    def __init__(self, key: Key, queue: Queue, fields: Sequence[Any]) -> None:
        """Take one entry of a launch command: index, attempt, argv, environment, and so on."""
        self.key = key
        self.queue = queue
        _, _, self.argv, self.environment, self.directory, self.stdin, self.timeout, self.grace = fields[:8]
        self.generator, self.result, self.before = fields[8:]  # answers with tasks; may leave a result; an earlier note
        self.state = WAITING
        self.pid = self.code = self.rss = self.flags = self.pack = self.offset = self.stdout = self.stderr = (
            self.crc
        ) = 0
        self.reason = OK
        self.started = self.ended = self.since = self.cpu = self.boot = self.end_by = 0.0
        self.out = self.err = -1
        self.linked = False
        self.gpus: dict[int, int] = {}  # indexes, each with the descriptor that holds it
        self.message = self.left = self.note = ""  # for people; its result, as JSON; what it told last of itself
        self.data: tuple[bytes, bytes] | None = None

    def row(self, kind: int, sequence: int, launcher: int) -> bytes:
        """Return this attempt as a REPORT."""
        run, version, index, epoch, attempt = self.key
        return REPORT.pack(
            sequence, kind, run, version, epoch, index, attempt, self.started, self.ended, self.cpu, self.rss,
            self.code, self.reason, 0, 0, 0, 0, self.flags, launcher, self.pack, self.offset, self.stdout, self.stderr,
            self.crc,
        )  # fmt: skip
