"""What attempts wrote, read back in pieces: whole, or the last lines of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

import click
import trio

from daggy.attempt import Rows
from daggy.cli.look import Kept
from daggy.cli.streams import write_bytes
from daggy.executor import Executor

PIECE = 1 << 20
"""Bytes that are read at a time."""

Read = Callable[[str, int, int], Awaitable[bytes]]
"""Gives bytes of one attempt's output: stream, offset, limit."""


async def last_lines(read: Read, stream: str, size: int, lines: int, most: int | None = None) -> bytes:
    """Return the last lines of a stream of `size` bytes, reading no more than is needed; `most` bytes of it at most."""
    data = b""
    while size > 0 and data.count(b"\n", 0, -1) < lines and (most is None or len(data) < most):
        start = max(0, size - min(PIECE, max(4096, len(data))))
        data = await read(stream, start, size - start) + data
        size = start
    return b"".join(data.splitlines(keepends=True)[-lines:]) if lines else b""


async def pieces(read: Read, stream: str, size: int) -> AsyncIterator[bytes]:
    """Yield a stream of `size` bytes in pieces, as far as it is there."""
    offset = 0
    while offset < size:
        data = await read(stream, offset, min(PIECE, size - offset))
        if not data:
            return
        yield data
        offset += len(data)


class Reader:
    """Reads outputs of a run in a directory that no engine of ours uses."""

    def __init__(self, kept: Kept, run: int) -> None:
        """Remember whose; nothing is opened yet."""
        self._kept = kept
        self._run = run
        self._places = kept.places
        self._executors: dict[str, Executor] = {}

    def write(self, version: int, row: Rows, stream: str | None, tail: int | None) -> None:
        """Write an attempt's output to standard output; say on standard error what of it is gone."""
        for one in ("stdout", "stderr") if stream is None else (stream,):
            try:
                trio.run(self._write, version, row, one, tail)
            except (OSError, ValueError) as error:
                click.echo(f"{one} of attempt {int(row['attempt'])} cannot be read: {error}", err=True)

    def read(self, version: int, row: Rows, stream: str, tail: int | None) -> bytes:
        """Return one stream of an attempt, or its last lines; empty if it is gone."""
        read: list[bytes] = []
        try:
            trio.run(self._write, version, row, stream, tail, read.append)
        except (OSError, ValueError) as error:
            click.echo(f"{stream} of attempt {int(row['attempt'])} cannot be read: {error}", err=True)
        return b"".join(read)

    async def _write(
        self,
        version: int,
        row: Rows,
        stream: str,
        tail: int | None,
        write: Callable[[bytes], None] = write_bytes,
    ) -> None:
        size = int(row[stream])
        executor = self._executor(row)

        async def read(stream: str, offset: int, limit: int) -> bytes:
            return await executor.read_log(self._run, version, row, stream, offset, limit)

        if tail is None:
            async for piece in pieces(read, stream, size):
                write(piece)
        else:
            write(await last_lines(read, stream, size, tail))

    def _executor(self, row: Rows) -> Executor:
        pool, _ = self._places.get(int(row["place"]), ("", ""))
        if pool not in self._executors:
            self._executors[pool] = self._kept.executor(pool)
        return self._executors[pool]
