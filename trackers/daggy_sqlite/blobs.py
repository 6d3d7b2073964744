"""Reads and writes large values of a column piece by piece, so that a hundred megabytes do not hold the interpreter."""

from __future__ import annotations

import io
import sqlite3

LARGE = 1 << 20
"""Bytes from which a value goes in pieces, and of each piece."""


def bound(data: bytes) -> bytes | int:
    """Return what to bind where a statement says `VALUE`: the data, or how many bytes `fill` will write."""
    return data if len(data) < LARGE else len(data)


VALUE = "iif(typeof(?1) = 'integer', zeroblob(?1), ?1)"
"""What `bound` gives, in a statement whose first parameter it is."""


def fill(connection: sqlite3.Connection, table: str, column: str, row: int | None, data: bytes) -> None:
    """Write a value in the place that `VALUE` made for it, in the same transaction."""
    if len(data) < LARGE or row is None:
        return
    view = memoryview(data)
    with connection.blobopen(table, column, row) as blob:
        for begin in range(0, len(view), LARGE):
            blob.write(view[begin : begin + LARGE])


def read(connection: sqlite3.Connection, table: str, column: str, row: int) -> bytes:
    """Return a value; of all that belongs to it the snapshot is the caller's transaction."""
    with connection.blobopen(table, column, row, readonly=True) as blob:
        if len(blob) < LARGE:
            return blob.read()
        whole = io.BytesIO()
        while piece := blob.read(LARGE):
            whole.write(piece)
    return whole.getvalue()  # what it holds, not a copy
