"""Reads rows of the SQLite tracker as entries."""

# ruff: noqa: S608 - statements are made of our own constants; every value is bound
from __future__ import annotations

import itertools
import json
import sqlite3
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from operator import itemgetter
from typing import Any

import numpy as np

from daggy.tracker import (
    ATTEMPT,
    Attempts,
    Epoch,
    Generated,
    History,
    Moved,
    NewsItem,
    Noted,
    Rows,
    RunFilter,
    RunRecord,
    RunState,
    State,
    Version,
)
from daggy_sqlite import blobs
from daggy_sqlite.columns import READ, Integers, select
from daggy_sqlite.schema import RUN_SHIFT
from daggy_sqlite.writing import count_attempts

LARGEST = (1 << 63) - 1
"""The largest number that SQLite knows; no run has it."""


TextMaps = tuple[Mapping[int, str], Mapping[int, str]]
"""Messages and results of attempts, by position."""

_NONE = {state.name.lower(): 0 for state in State}
"""The counts of a run without tasks."""

_HAS_TAGS = (
    "NOT EXISTS (SELECT 1 FROM json_each(?) AS wanted WHERE NOT EXISTS (SELECT 1 FROM tags AS its "
    "WHERE its.key = wanted.key AND its.value = wanted.value AND its.run = runs.run))"
)
"""A run has all of these tags, however many: a condition each would come to more than SQLite takes."""


def read_runs(connection: sqlite3.Connection, matching: RunFilter) -> Sequence[RunRecord]:
    """Return one page of runs, newest first; those with tags are found by the rarest."""
    source, run = "runs", "runs.run"
    conditions: list[str] = ["1"]
    parameters: list[Any] = []
    if matching.tags:
        source, run = "tags CROSS JOIN runs USING (run)", "tags.run"
        conditions += ["tags.key = ? AND tags.value = ?", _HAS_TAGS]
        parameters += [*_rarest(connection, matching.tags), json.dumps(dict(matching.tags))]
    before = None if matching.before is None else max(0, min(matching.before, LARGEST))
    for condition, value in (
        (f"{run} < ?", before),
        ("created >= ?", matching.since),
        ("created < ?", matching.until),
        ("name = ?", matching.name or None),
    ):
        if value is not None:
            conditions.append(condition)
            parameters.append(value)
    if matching.states:
        conditions.append(f"state IN ({','.join('?' * len(matching.states))})")
        parameters += [int(state) for state in matching.states]
    found = connection.execute(
        "SELECT runs.run, version, name, runs.tags, state, created, started, ended, digest, counts "
        f"FROM {source} WHERE {' AND '.join(conditions)} ORDER BY {run} DESC LIMIT ?",
        (*parameters, matching.limit),
    )
    return [_record(row) for row in found]


def _rarest(connection: sqlite3.Connection, tags: Mapping[str, str]) -> tuple[str, str]:
    """Return the tag of these that the fewest runs have, as far as a short look tells."""
    query = "SELECT count(*) FROM (SELECT 1 FROM tags WHERE key = ? AND value = ? LIMIT 1000)"
    few = itertools.islice(tags.items(), 8)
    return min(few, key=lambda tag: connection.execute(query, tag).fetchone()[0])


def read_history(connection: sqlite3.Connection, run: int) -> History:
    """Return what is needed to rebuild a run.

    Raises:
        KeyError: there is no such run.
    """
    require(connection, run)
    count = count_attempts(connection, run)
    rows, versions = _read_range(connection, run, 0, count)
    texts = _texts(connection, run, 0, count)
    entries = _entries(connection, run, rows, versions, texts)
    return History(_versions(connection, run), entries, read_places(connection), _notes(connection, run))


def read_attempts(connection: sqlite3.Connection, run: int, after: int, limit: int) -> Sequence[Attempts]:
    """Return attempts `after` to `after + limit` of a run, in the order in which they ended.

    Raises:
        KeyError: there is no such run.
    """
    require(connection, run)
    last = min(after + limit, count_attempts(connection, run))
    rows, versions = _read_range(connection, run, after, max(after, last))
    return list(_batches(run, rows, versions, _texts(connection, run, after, last)))


def read_attempts_of(
    connection: sqlite3.Connection, run: int, index: int, after: int, limit: int
) -> Sequence[Attempts]:
    """Return up to `limit` attempts of one task after the first `after`, in the order in which they ended.

    Raises:
        KeyError: there is no such run.
    """
    require(connection, run)
    base = run << RUN_SHIFT
    found = connection.execute(
        "SELECT id FROM attempts WHERE id > ? AND id < ? AND task_index = ? ORDER BY id LIMIT ? OFFSET ?",
        (base, base + (1 << RUN_SHIFT), index, limit, after),
    )
    ids = [row[0] for row in found]
    pieces = [select(connection, number, number) for number in ids]
    texts = [_texts(connection, run, number - base - 1, number - base) for number in ids]
    messages, results = ({at: one[kind][0] for at, one in enumerate(texts) if one[kind]} for kind in (0, 1))
    rows = np.concatenate([np.zeros(0, ATTEMPT), *(piece for piece, _ in pieces)])
    versions = np.concatenate([np.zeros(0, np.int64), *(version for _, version in pieces)])
    return list(_batches(run, rows, versions, (messages, results)))


def read_epochs(connection: sqlite3.Connection) -> Sequence[Epoch]:
    """Return every epoch, ascending."""
    found = connection.execute("SELECT number, at, instance, host FROM epochs ORDER BY number")
    return [Epoch(*row) for row in found]


def read_places(connection: sqlite3.Connection) -> Mapping[int, tuple[str, str]]:
    """Return every place: number to (pool, host)."""
    return {number: (pool, host) for number, pool, host in connection.execute("SELECT number, pool, host FROM places")}


def read_told(connection: sqlite3.Connection, after: int, limit: int, run: int | None) -> Sequence[NewsItem] | None:
    """Return what was told above a number, of one run or of all, ascending; None if some of it has been dropped."""
    first = connection.execute("SELECT min(number) FROM told").fetchone()[0]
    if first is not None and after < first - 1:
        return None
    of_run = "" if run is None else "run = ? AND "
    parameters = (after, limit) if run is None else (run, after, limit)
    query = f"SELECT number, run, at, body FROM told WHERE {of_run}number > ? ORDER BY number LIMIT ?"
    return [NewsItem(*row) for row in connection.execute(query, parameters)]


def require(connection: sqlite3.Connection, run: int) -> None:
    """Raise KeyError if there is no such run."""
    if not 0 < run < LARGEST or connection.execute("SELECT 1 FROM runs WHERE run = ?", (run,)).fetchone() is None:
        raise KeyError(run)


def _record(row: tuple[Any, ...]) -> RunRecord:
    run, version, name, tags, state, created, started, ended, digest, kept = row
    counts = None if kept is None else _NONE | json.loads(kept)
    return RunRecord(run, version, name, json.loads(tags), RunState(state), created, started, ended, digest, counts)


def _read_range(connection: sqlite3.Connection, run: int, after: int, last: int) -> tuple[Rows, Integers]:
    rows = np.zeros(last - after, ATTEMPT)
    versions = np.zeros(last - after, np.int64)
    base = run << RUN_SHIFT
    for first in range(after, last, READ):
        until = min(first + READ, last)
        some, their_versions = select(connection, base + first + 1, base + until)
        rows[first - after : until - after] = some
        versions[first - after : until - after] = their_versions
    return rows, versions


def _texts(connection: sqlite3.Connection, run: int, after: int, last: int) -> TextMaps:
    """Return messages and results of attempts, by position counted from the first after `after`."""
    base = (run << RUN_SHIFT) + after + 1
    ids = (base, (run << RUN_SHIFT) + last)
    messages = connection.execute("SELECT id, message FROM messages WHERE id >= ? AND id <= ?", ids)
    results = connection.execute("SELECT id, result FROM results WHERE id >= ? AND id <= ?", ids)
    return {number - base: text for number, text in messages}, {number - base: text for number, text in results}


def _notes(connection: sqlite3.Connection, run: int) -> Sequence[Noted]:
    query = "SELECT run, version, task_index, attempt, note, at FROM notes WHERE run = ? ORDER BY version, task_index"
    return [Noted(*row) for row in connection.execute(query, (run,))]


def _versions(connection: sqlite3.Connection, run: int) -> Sequence[Version]:
    generated: dict[int, list[Generated]] = {}
    for row in connection.execute(
        "SELECT run, version, task_index, attempt, answer, at FROM generated WHERE run = ? ORDER BY id", (run,)
    ):
        generated.setdefault(row[1], []).append(Generated(*row))
    found = connection.execute(
        "SELECT rowid, version, digest, at, keep_downstream FROM specs WHERE run = ? ORDER BY version", (run,)
    ).fetchall()
    return [
        Version(
            version,
            blobs.read(connection, "specs", "spec", row),
            digest,
            at,
            bool(keep),
            tuple(generated.get(version, ())),
        )
        for row, version, digest, at, keep in found
    ]


def _entries(
    connection: sqlite3.Connection, run: int, rows: Rows, versions: Integers, texts: TextMaps
) -> Sequence[Attempts | Moved]:
    """Return all attempts as views of `rows`, with what moved between them."""
    entries: list[Attempts | Moved] = []
    ordered = [sorted(one.items()) for one in texts]
    begin, used = 0, [0, 0]
    for after, moved in [*_moves(connection, run), (len(rows), None)]:
        ends = [bisect_left(one, after, key=itemgetter(0)) for one in ordered]
        messages, results = (
            {place - begin: text for place, text in one[first:last]}
            for one, first, last in zip(ordered, used, ends, strict=True)
        )
        entries += _batches(run, rows[begin:after], versions[begin:after], (messages, results))
        begin, used = after, ends
        if moved is not None:
            entries.append(moved)
    return entries


def _moves(connection: sqlite3.Connection, run: int) -> Iterator[tuple[int, Moved | None]]:
    for after, version, state, ranges, cause, actor, at, flying in connection.execute(
        "SELECT after, version, state, ranges, cause, actor, at, flying FROM events "
        "WHERE run = ? AND ranges IS NOT NULL ORDER BY id",
        (run,),
    ):
        array, pairs = (np.array(json.loads(text or "[]"), np.int64).reshape(-1, 2) for text in (ranges, flying))
        yield after, Moved(run, version, State(state), array, cause, actor, at, pairs)


def _batches(run: int, rows: Rows, versions: Integers, texts: TextMaps) -> Iterator[Attempts]:
    """Cut rows where the version changes."""
    if not len(rows):
        return
    cuts = [0, *(np.flatnonzero(np.diff(versions)) + 1).tolist(), len(rows)]
    if len(cuts) == 2:
        yield Attempts(run, int(versions[0]), rows, *texts)
        return
    for first, last in itertools.pairwise(cuts):
        theirs = ({place - first: text for place, text in one.items() if first <= place < last} for one in texts)
        yield Attempts(run, int(versions[first]), rows[first:last], *theirs)
