"""Outputs come home: what an attempt elsewhere wrote is copied here once it has ended, so that it outlives its machine.

A copy lies at the same place of a file of the same name as there, with holes between: rows mean the same in both, and
their checksums tell what is there. Of failed attempts that wrote more than is copied the ends come, in files of their
own.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import trio
from attrs import define, field

from daggy import files
from daggy.attempt import LINKED, Kind, Reason, Rows
from daggy.launcher import logs
from daggy.launcher.mux import RelayError

FETCH_BYTES = 1 << 18
"""The most that an attempt may have written for a copy of it to be made."""
CHUNK = 1 << 16
"""Bytes that are asked for at once: what is near each other comes together."""
GATHER = 0.1
"""Seconds until what has ended is asked for: what lies behind each other comes in one piece."""
MOST = 100_000
"""Outputs that wait to be copied; beyond it the oldest stay where they are."""

Part = tuple[str, int, int]
"""Path from the directory, offset, length."""


@define(eq=False)
class Homecoming:
    """Copies outputs, those of failed attempts first.

    Args:
        directory: The state directory.
        fetch_bytes: The most that an attempt may have written.
    """

    directory: Path
    fetch_bytes: int = FETCH_BYTES
    _ends: deque[tuple[Part, str]] = field(factory=lambda: deque(maxlen=MOST))  # and what the copies are called
    _failed: deque[Part] = field(factory=lambda: deque(maxlen=MOST))
    _others: deque[Part] = field(factory=lambda: deque(maxlen=MOST))
    _bell: trio.Event = field(factory=trio.Event)
    _rest: trio.Event = field(factory=trio.Event)  # set while nothing is wanted

    def want(self, rows: Rows) -> None:
        """Take note of the outputs of these REPORTs."""
        attempts = rows["row"]
        sizes = attempts["stdout"] + attempts["stderr"]
        wanted = (rows["kind"] == Kind.FINISHED) & (sizes > 0)
        small = (sizes <= self.fetch_bytes) & ((attempts["flags"] & LINKED) == 0)
        for row in rows[wanted & ~small & (attempts["reason"] != Reason.OK)]:
            self._want_ends(row)
        chosen = (wanted & small).nonzero()[0]
        if not len(chosen):
            return
        found = attempts[chosen]  # columns as lists: far cheaper than field by field
        columns = [found[name].tolist() for name in ("launcher", "pack", "offset", "reason")]
        for run, size, launcher, pack, offset, reason in zip(
            rows["run"][chosen].tolist(), sizes[chosen].tolist(), *columns, strict=True
        ):
            queue = self._others if reason == Reason.OK else self._failed
            queue.append((f"runs/{run}/packs/{launcher}.{pack}", offset, size))
        self._bell.set()

    def _want_ends(self, row: Rows) -> None:
        run, attempt = int(row["run"]), row["row"]
        for stream, length in ends(int(attempt["stdout"]), int(attempt["stderr"]), self.fetch_bytes).items():
            part = logs.place_of(run, attempt, stream, int(attempt[stream]) - length, length)
            self._ends.append(((part.path, part.offset, part.limit), logs.end_of(run, attempt, stream)))
            self._bell.set()

    async def done(self) -> None:
        """Wait until all that is wanted has been copied, or cannot be."""
        while self._failed or self._others or self._ends:
            self._rest = trio.Event()
            await self._rest.wait()

    async def run(self, read: Callable[[str, int, int], Awaitable[bytes]]) -> None:
        """Copy what is wanted, until cancelled. What is on its way when a line breaks is copied over the next one.

        Args:
            read: Returns a part of a file there; raises FileNotFoundError if there is none.
        """
        while True:
            await self._bell.wait()
            await trio.sleep(GATHER)
            self._bell = trio.Event()
            while queue := self._failed or self._others:
                batch = list(queue)
                for path, offset, length in joined(batch):
                    await self._copy(read, path, offset, length)
                for _ in batch:
                    queue.popleft()
            while self._ends and not self._bell.is_set():  # what comes whole goes first
                await self._copy_end(read, *self._ends[0])
                self._ends.popleft()
            self._rest.set()

    async def _copy(
        self, read: Callable[[str, int, int], Awaitable[bytes]], path: str, offset: int, length: int
    ) -> None:
        try:
            for at in range(offset, offset + length, CHUNK):
                data = await read(path, at, min(CHUNK, offset + length - at))
                file = os.open(self.directory / path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
                try:
                    os.pwrite(file, data, at)
                finally:
                    os.close(file)
        except (OSError, RelayError):
            return  # it is gone, there or here, or there is no room: it is read where it lies

    async def _copy_end(self, read: Callable[[str, int, int], Awaitable[bytes]], part: Part, name: str) -> None:
        path, offset, length = part
        data = b""
        try:
            while len(data) < length:
                more = await read(path, offset + len(data), min(CHUNK, length - len(data)))
                if not more:
                    return  # it is not what it was
                data += more
            files.replace(self.directory / name, data, sync=False)
        except (OSError, RelayError):
            return  # as above


def ends(stdout: int, stderr: int, most: int) -> dict[str, int]:
    """Return how much of the end of each stream is copied: half of what may be, more where the other has less."""
    errors = min(stderr, max(most // 2, most - stdout))
    found = {"stderr": errors, "stdout": min(stdout, most - errors)}
    return {stream: length for stream, length in found.items() if length}


def joined(parts: list[Part]) -> Iterator[Part]:
    """Yield parts that lie behind each other as one, up to CHUNK bytes."""
    before: Part | None = None
    for path, offset, length in sorted(parts):
        if before and path == before[0] and offset == before[1] + before[2] and before[2] + length <= CHUNK:
            before = path, before[1], before[2] + length
            continue
        if before:
            yield before
        before = path, offset, length
    if before:
        yield before
