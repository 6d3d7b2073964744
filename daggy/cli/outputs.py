"""What attempts wrote, read back in pieces: whole, or the last lines of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

from daggy.errors import NotFoundError

PIECE = 1 << 20
"""Bytes that are read at a time."""

STREAMS = ("stdout", "stderr")

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


async def size_of(read: Read, stream: str) -> int:
    """Return the bytes that a running attempt has written, which nothing says: found in some 40 reads of one byte."""
    above = 1
    while await read(stream, above - 1, 1):
        above *= 2
    below = above // 2
    while above - below > 1:
        middle = (below + above) // 2
        if await read(stream, middle - 1, 1):
            below = middle
        else:
            above = middle
    return below


async def ending(read: Read, attempt: Mapping[str, Any], lines: int, most: int) -> list[str]:
    """Return the last lines of standard error; if they are few, those of standard output before them.

    Args:
        read: Reads the attempt.
        attempt: The attempt, as the API shows it.
        lines: How many.
        most: Bytes of a stream that are read for them, about.
    """
    found: list[str] = []
    for stream in reversed(STREAMS):
        try:
            data = await last_lines(read, stream, attempt[f"{stream}_bytes"], lines - len(found), most)
        except (OSError, ValueError, NotFoundError) as error:
            return [*found, f"({stream} cannot be read: {error})"]
        found = data.decode(errors="replace").splitlines() + found
    return found
