"""Converts attempts from arrays to rows of the table `attempts`, and back."""

# ruff: noqa: S608 - statements are made of our own constants; every value is bound
from __future__ import annotations

import functools
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from daggy.tracker import ATTEMPT, Rows, State

Integers = NDArray[np.int64]

SHARED = ("version", "attempt", "outcome", "reason", "code", "failures", "crashes", "place", "flags", "stderr")
"""Columns that are mostly equal in a whole statement: bound once then."""
OWN = (
    "id", "task_index", "ended", "elapsed_us", "cpu_us", "rss_kb", "launcher", "pack", "offset", "stdout", "crc",
)  # fmt: skip
"""Columns that every row has its own values of."""
SIZES = (1000, 100, 10, 1)
"""Rows in one INSERT. Few sizes, so that every statement is compiled once. Not executemany: it takes the interpreter's
lock anew for each row, and crawls beside a busy thread."""
READ = 16384
"""Rows that one SELECT turns into text."""

_TICKS = 4194304.0  # 2**22: wall times of this century are whole multiples of 2**-22 s
_NO_PROCESS = -(1 << 62)


# One text of numbers a column is read five times as fast as one Python object a number: the sqlite3 module takes the
# interpreter's lock for each. Columns that are mostly as in a first attempt that completed are read only where not;
# those about output only if one of the tasks wrote something.
_OFTEN = (
    "task_index",
    f"CAST(ended * {_TICKS} AS INTEGER)",
    f"ifnull(elapsed_us, {_NO_PROCESS})",
    "cpu_us",
    "rss_kb",
    "(launcher << 32) | pack",
)
_OUTPUT = ("offset", "stdout", "crc")
_SELDOM = (
    "version",
    "attempt",
    "reason | (outcome << 8) | (flags << 16) | (place << 24) | ((code + 32768) << 40)",
    "failures | (crashes << 16)",
    "stderr",
)
_ODD = (
    f"attempt - 1 | code | reason | outcome - {State.COMPLETED:d} | failures | crashes | flags | stderr"
    " | version - :version | place - :place"
)
_ROWS = "FROM attempts NOT INDEXED WHERE id BETWEEN :first AND :last"


def _select_texts(columns: Sequence[str], *flags: str) -> str:
    """Return a query for the number of rows, that of rows where each flag is not 0, and each column as one text.

    An inner query takes them in order; what it hands on is all that each row costs.
    """
    wanted = [*(f"({flag}) <> 0" for flag in flags), *columns]
    inner = ", ".join(f"{one} AS c{number}" for number, one in enumerate(wanted))
    outer = [f"{'sum' if number < len(flags) else 'group_concat'}(c{number})" for number in range(len(wanted))]
    return f"SELECT count(*), {', '.join(outer)} FROM (SELECT {inner} {_ROWS} ORDER BY id)"


_SELECT_FIRST = "SELECT version, place FROM attempts WHERE id = :first"
_SELECT_OFTEN = _select_texts(_OFTEN, _ODD, " | ".join(_OUTPUT))
_SELECT_OUTPUT = _select_texts(_OUTPUT)
_SELECT_SELDOM = _select_texts(_SELDOM)
_SELECT_ODD = f"SELECT id, {', '.join(_SELDOM)} {_ROWS} AND ({_ODD}) <> 0"


def insert(connection: sqlite3.Connection, ids: Integers, versions: Integers, rows: Rows) -> None:
    """Insert ended attempts in the transaction that is open.

    Args:
        connection: Of a database with the table `attempts`.
        ids: Of each row.
        versions: Of each row.
        rows: Array of ATTEMPT of the same length; times are kept to the microsecond.
    """
    for first in range(0, len(rows), SIZES[0]):
        last = first + SIZES[0]
        _insert_some(connection, ids[first:last], versions[first:last], rows[first:last])


def select(connection: sqlite3.Connection, first: int, last: int) -> tuple[Rows, Integers]:
    """Return the attempts with ids from `first` to `last`, both included: an array of ATTEMPT, and their versions.

    Raises:
        ValueError: some are missing, or what is stored are not numbers.
    """
    wanted = {"first": first, "last": last}
    version, place = connection.execute(_SELECT_FIRST, wanted).fetchone() or (0, 0)
    wanted |= {"version": version, "place": place}  # as in the first row, unless the row is odd
    count, odd, wrote, *texts = connection.execute(_SELECT_OFTEN, wanted).fetchone()
    if not 0 < count == last - first + 1:
        raise ValueError(f"attempts {first} to {last} are not all there")
    rows = np.zeros(count, ATTEMPT)
    _fill_often(rows, [_numbers(text, count) for text in texts])
    if wrote:
        _, *texts = connection.execute(_SELECT_OUTPUT, wanted).fetchone()
        rows["offset"], rows["stdout"], crc = (_numbers(text, count) for text in texts)
        rows["crc"] = crc & 0xFFFFFFFF
    rows["attempt"] = 1
    rows["outcome"] = State.COMPLETED
    rows["place"] = place
    versions = np.full(count, version, np.int64)
    if odd > count // 8:
        _, *texts = connection.execute(_SELECT_SELDOM, wanted).fetchone()
        _fill_seldom(rows, versions, slice(None), [_numbers(text, count) for text in texts])
    elif odd:
        some = np.array(connection.execute(_SELECT_ODD, wanted).fetchall(), np.int64)
        _fill_seldom(rows, versions, some[:, 0] - first, some[:, 1:].T)
    return rows, versions


def _numbers(text: str, count: int) -> Integers:
    numbers = np.fromstring(text, np.int64, sep=",")
    if len(numbers) != count:
        raise ValueError("attempts hold values that are not numbers")
    return numbers


def _fill_often(rows: Rows, columns: Sequence[Integers]) -> None:
    index, ended, elapsed, cpu, rss, pack = columns
    rows["index"] = index
    rows["ended"] = ended / _TICKS
    rows["started"] = np.where(elapsed == _NO_PROCESS, 0.0, rows["ended"] - elapsed / 1e6)
    rows["cpu"] = cpu / 1e6
    rows["rss_kb"] = rss
    rows["launcher"] = pack >> 32
    rows["pack"] = pack & 0xFFFFFFFF


def _fill_seldom(rows: Rows, versions: Integers, where: slice | Integers, columns: Iterable[Integers]) -> None:
    version, attempt, small, losses, stderr = columns
    versions[where] = version
    rows["attempt"][where] = attempt
    rows["reason"][where] = small & 0xFF
    rows["outcome"][where] = small >> 8 & 0xFF
    rows["flags"][where] = small >> 16 & 0xFF
    rows["place"][where] = small >> 24 & 0xFFFF
    rows["code"][where] = (small >> 40) - 32768
    rows["failures"][where] = losses & 0xFFFF
    rows["crashes"][where] = losses >> 16
    rows["stderr"][where] = stderr


def _insert_some(connection: sqlite3.Connection, ids: Integers, versions: Integers, rows: Rows) -> None:
    shared = [versions, *(rows[name] for name in SHARED[1:])]
    own = [_own_column(name, ids, rows) for name in OWN]
    head: list[Any] = []
    if len(rows) > SIZES[-2] and all((column == column[0]).all() for column in shared):
        head = [column[0].item() for column in shared]
        columns = own
    else:
        columns = [*(column.tolist() for column in shared), *own]
    width = len(columns)
    flat: list[Any] = [None] * (width * len(rows))
    for position, column in enumerate(columns):
        flat[position::width] = column
    for first, size in _pieces(len(rows)):
        values = flat[first * width : (first + size) * width]
        connection.execute(_statement(size, bool(head)), head + values if head else values)


def _own_column(name: str, ids: Integers, rows: Rows) -> list[Any]:
    values: list[Any]
    match name:
        case "id":
            values = ids.tolist()
        case "task_index":
            values = rows["index"].tolist()
        case "elapsed_us":
            values = _elapsed(rows)
        case "cpu_us":
            values = np.rint(rows["cpu"].astype(np.float64) * 1e6).astype(np.int64).tolist()
        case "crc":
            values = rows["crc"].astype(np.int32).tolist()
        case _:
            values = rows[name].tolist()
    return values


def _elapsed(rows: Rows) -> list[Any]:
    started = rows["started"]
    elapsed: list[Any] = np.rint((rows["ended"] - started) * 1e6).astype(np.int64).tolist()
    for place in np.flatnonzero(started == 0).tolist():
        elapsed[place] = None
    return elapsed


def _pieces(count: int) -> Iterator[tuple[int, int]]:
    first = 0
    for size in SIZES:
        while count - first >= size:
            yield first, size
            first += size


@functools.cache
def _statement(size: int, uniform: bool) -> str:
    shared = [f"?{number}" for number in range(1, len(SHARED) + 1)] if uniform else ["?"] * len(SHARED)
    row = f"({','.join(shared + ['?'] * len(OWN))})"
    return f"INSERT INTO attempts ({','.join(SHARED + OWN)}) VALUES {','.join([row] * size)}"
