"""Outputs of attempts one after another on standard output, each attempt under a header where there are several."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import click

from daggy.cli import text
from daggy.cli.outputs import PIECE, STREAMS, Read, last_lines, pieces, size_of
from daggy.cli.source import RunSource
from daggy.cli.streams import write_bytes
from daggy.errors import NotFoundError

Json = Mapping[str, Any]

MOST = 16 * PIECE
"""Bytes of one stream of a running attempt that are read before it is another's turn."""


def running(number: int) -> Json:
    """Return what stands for an attempt that has not ended."""
    return {"attempt": number, "reason": "running", "message": ""}


def is_running(attempt: Json) -> bool:
    """Return whether an attempt has not ended."""
    return bool(attempt["reason"] == "running")


def header(task: Json, attempt: Json) -> str:
    """Return the line before an attempt's output: `==> name attempt N outcome <==`."""
    return f"==> {task['name']} attempt {attempt['attempt']} {text.outcome(attempt)} <=="


def reader(run: RunSource, task: Json, attempt: Json) -> Read:
    """Return what reads the output of an attempt."""
    return partial(run.read, task["index"], attempt["attempt"])


async def _size(read: Read, attempt: Json, stream: str) -> int:
    return await size_of(read, stream) if is_running(attempt) else int(attempt[f"{stream}_bytes"])


class Transcript:
    """Writes outputs of attempts.

    `is_whole` is False once some output could not be read.
    """

    def __init__(self, stream: str | None, tail: int | None, *, headers: bool) -> None:
        """Begin with nothing written.

        Args:
            stream: The only one that is written; None: both.
            tail: How many last lines are written; None: all.
            headers: Whether the first attempt has a header, too.
        """
        self.is_whole = True
        self._streams = STREAMS if stream is None else (stream,)
        self._tail = tail
        self._headers = headers
        self._present: tuple[int, int] | None = None
        self._at_start = True

    async def write(self, run: RunSource, task: Json, attempt: Json, offsets: dict[str, int] | None = None) -> None:
        """Write what an attempt has written; with `offsets` by stream only what comes after these, and move them."""
        read = reader(run, task, attempt)
        for stream in self._streams:
            start = None if offsets is None else offsets.get(stream)
            try:
                end = await self._write(read, task, attempt, stream, start)
            except NotFoundError as error:
                self.is_whole = False
                click.echo(f"{stream} of {task['name']}: {error}", err=True)
            else:
                if offsets is not None:
                    offsets[stream] = end

    async def _write(self, read: Read, task: Json, attempt: Json, stream: str, start: int | None) -> int:
        if start is None:
            self._head(task, attempt)
        size = await _size(read, attempt, stream) if start is None or not is_running(attempt) else start + MOST
        if start is None and self._tail is not None:
            start = size
            self._put(task, attempt, await last_lines(read, stream, size, self._tail))
        offset = start or 0
        while offset < size and (data := await read(stream, offset, min(PIECE, size - offset))):
            self._put(task, attempt, data)
            offset += len(data)
        return offset

    def _head(self, task: Json, attempt: Json) -> None:
        """Write a header, on a line of its own, if the attempt is not the one written last."""
        present = task["index"], attempt["attempt"]
        if present == self._present:
            return
        if self._headers or self._present is not None:
            self._out((b"" if self._at_start else b"\n") + f"{header(task, attempt)}\n".encode())
        self._present = present

    def _put(self, task: Json, attempt: Json, data: bytes) -> None:
        if data:
            self._head(task, attempt)
            self._out(data)

    def _out(self, data: bytes) -> None:
        write_bytes(data)
        self._at_start = data.endswith(b"\n")


async def read_whole(run: RunSource, task: Json, attempt: Json, stream: str, tail: int | None) -> bytes:
    """Return one stream of an attempt, or its last lines.

    Raises:
        NotFoundError: it is gone.
    """
    read = reader(run, task, attempt)
    size = await _size(read, attempt, stream)
    if tail is not None:
        return await last_lines(read, stream, size, tail)
    return b"".join([piece async for piece in pieces(read, stream, size)])
