"""Read what attempts wrote: ranges of packs, linked files, generators' answers."""

from __future__ import annotations

import os
import stat
import zlib
from pathlib import Path

from daggy.attempt import ANSWER, LINKED, Rows


def folder(directory: Path, run: int) -> Path:
    """Return where the outputs of a run lie."""
    return directory / "runs" / str(run) / "packs"


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
    home = folder(directory, run)
    flags = int(row["flags"])
    if stream == "answer":
        if flags & ANSWER:
            path = home / f"{version}.{int(row['index'])}.{int(row['attempt'])}.answer"
            return _part(path, offset, limit)
        stream = "stdout"
    limit = max(0, min(limit, int(row[stream]) - offset))
    stem = f"{int(row['launcher'])}.{int(row['pack'])}"
    if not limit:
        return b""
    if flags & LINKED:
        path = home / f"{stem}.{stream}"
        if path.stat().st_size < int(row[stream]):  # it has no crc: only a missing end shows
            raise _damaged(row, path)
        return _part(path, offset, limit)
    return _packed(home / stem, row, stream)[offset : offset + limit]


def _part(path: Path, offset: int, limit: int) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # an answer may be a pipe
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise ValueError(f"'{path}' is no file")
        left = found.st_size - offset  # a damaged row may claim more than any file, or memory, can hold
        return os.pread(descriptor, min(limit, left), offset) if left > 0 else b""
    finally:
        os.close(descriptor)


def _packed(path: Path, row: Rows, stream: str) -> bytes:
    stdout, stderr = int(row["stdout"]), int(row["stderr"])
    data = _part(path, int(row["offset"]), stdout + stderr)
    if len(data) < stdout + stderr or zlib.crc32(data) != int(row["crc"]):
        raise _damaged(row, path)
    return data[:stdout] if stream == "stdout" else data[stdout:]


def _damaged(row: Rows, path: Path) -> ValueError:
    return ValueError(f"the output of task {int(row['index'])} is damaged: '{path}' does not hold what was written")
