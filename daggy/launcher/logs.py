"""Read the output of ended attempts: packs, linked files, generators' answers."""

from __future__ import annotations

import os
import stat
import zlib
from pathlib import Path

from attrs import frozen

from daggy.attempt import ANSWER, LINKED, Rows


@frozen
class Part:
    """A part of a file that is to be read.

    Args:
        path: From the directory.
        offset: Bytes from its start.
        limit: Bytes at most.
        least: How large the file must be.
    """

    path: str
    offset: int
    limit: int
    least: int = 0


@frozen(eq=False)
class Wanted:
    """What is to be read of one attempt's output.

    Args:
        part: Where it lies.
        row: The ATTEMPT row.
        start: Of what is read, where the wanted bytes begin.
        limit: Bytes at most.
        is_packed: Whether what is read is all of the attempt's output, which has a crc.
    """

    part: Part
    row: Rows
    start: int
    limit: int
    is_packed: bool

    def cut(self, data: bytes) -> bytes:
        """Return the wanted bytes of what was read; ValueError: that is not what was written."""
        if self.is_packed and (len(data) < self.part.limit or zlib.crc32(data) != int(self.row["crc"])):
            raise self.damaged()
        return data[self.start : self.start + self.limit]

    def damaged(self) -> ValueError:
        """Return the error that the file does not hold what was written."""
        return ValueError(
            f"the output of task {int(self.row['index'])} is damaged: '{self.part.path}' does not hold what was written"
        )


def wanted(run: int, version: int, row: Rows, stream: str, offset: int, limit: int) -> Wanted | None:
    """Return what is to be read for up to `limit` bytes from `offset` of an ended attempt's "stdout", "stderr" or
    "answer"; None: nothing.
    """
    home = f"runs/{run}/packs"
    flags = int(row["flags"])
    if stream == "answer":
        if flags & ANSWER:
            path = f"{home}/{version}.{int(row['index'])}.{int(row['attempt'])}.answer"
            return Wanted(Part(path, offset, limit), row, 0, limit, is_packed=False)
        stream = "stdout"
    limit = max(0, min(limit, int(row[stream]) - offset))
    if not limit:
        return None
    part = place_of(run, row, stream, offset, limit)
    if flags & LINKED:  # it has no crc: only a missing end shows
        return Wanted(part, row, 0, limit, is_packed=False)
    before = int(row["stdout"]) if stream == "stderr" else 0
    whole = Part(part.path, int(row["offset"]), int(row["stdout"]) + int(row["stderr"]))
    return Wanted(whole, row, before + offset, limit, is_packed=True)


def place_of(run: int, row: Rows, stream: str, offset: int, limit: int) -> Part:
    """Return where a part of an ended attempt's "stdout" or "stderr" lies."""
    stem = f"runs/{run}/packs/{int(row['launcher'])}.{int(row['pack'])}"
    if int(row["flags"]) & LINKED:
        return Part(f"{stem}.{stream}", offset, limit, int(row[stream]))
    before = int(row["stdout"]) if stream == "stderr" else 0
    return Part(stem, int(row["offset"]) + before + offset, limit)


def end_of(run: int, row: Rows, stream: str) -> str:
    """Return the file that has the end of a stream which is elsewhere, if it was copied."""
    return f"runs/{run}/packs/{int(row['launcher'])}.{int(row['pack'])}.{int(row['offset'])}.{stream}.end"


def read_end(directory: Path, run: int, row: Rows, stream: str, offset: int, limit: int) -> bytes:
    """Return what `read` does, from the copy of the end of a stream.

    Raises:
        FileNotFoundError: there is no copy, or it begins later.
    """
    data = (directory / end_of(run, row, stream)).read_bytes()
    start = int(row[stream]) - len(data)
    if offset < start:
        raise FileNotFoundError(
            f"of the {int(row[stream])} bytes of {stream} only the last {len(data)} were copied from the machine "
            "that had them; daggy logs --tail 100 shows the end"
        )
    return data[offset - start : offset - start + limit]


def read(directory: Path, run: int, version: int, row: Rows, stream: str, offset: int, limit: int) -> bytes:
    """Return up to `limit` bytes from `offset` of an ended attempt's "stdout", "stderr" or "answer".

    Args:
        directory: The state directory.
        run: The run's id.
        version: The version of the spec that the attempt belongs to.
        row: One ATTEMPT row.
        stream: Which output.
        offset: Bytes from its start.
        limit: Bytes at most.

    Raises:
        FileNotFoundError: the output is gone.
        ValueError: it is there and not what was written: its crc is wrong, or it is too short, or it is no file.
    """
    asked = wanted(run, version, row, stream, offset, limit)
    if asked is None:
        return b""
    descriptor = os.open(directory / asked.part.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # it may be a pipe
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise ValueError(f"'{asked.part.path}' is no file")
        if found.st_size < asked.part.least:
            raise asked.damaged()
        left = found.st_size - asked.part.offset  # a damaged row may claim more than any file, or memory, can hold
        data = os.pread(descriptor, min(asked.part.limit, left), asked.part.offset) if left > 0 else b""
    finally:
        os.close(descriptor)
    return asked.cut(data)
