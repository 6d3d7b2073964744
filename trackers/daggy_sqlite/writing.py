"""Writes entries as rows: one transaction of the SQLite tracker."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence

import numpy as np
from attrs import field, mutable

from daggy.errors import InternalError
from daggy.tracker import (
    TOLD_KEPT,
    Attempts,
    Counted,
    Entry,
    Epoch,
    Generated,
    Moved,
    NewsItem,
    Noted,
    Place,
    RunChanged,
    RunState,
    Submitted,
)
from daggy_sqlite import blobs
from daggy_sqlite.columns import insert
from daggy_sqlite.schema import RUN_SHIFT

_ENDED = (RunState.COMPLETED, RunState.ERRORED, RunState.KILLED)

PRUNE = 1000
"""What was told is dropped so many at a time."""

_Kept = Submitted | Generated | RunChanged | Counted | Attempts | Noted | Moved


@mutable
class Counts:
    """How many attempts each known run has; what the tables say, remembered.

    Args:
        attempts: Run to its number of attempts.
        last_run: The highest run id ever given.
    """

    attempts: dict[int, int] = field(factory=dict)
    last_run: int = 0


@mutable
class Writer:
    """Writes the entries of one transaction; attempts of all entries go in together at the end, and last counts."""

    connection: sqlite3.Connection
    counts: Counts
    _counted: dict[int, Counted] = field(factory=dict)  # the last of each run
    _attempts: list[Attempts] = field(factory=list)
    _first: list[int] = field(factory=list)  # the id of each batch's first row

    def write(self, entries: Sequence[Entry]) -> None:
        """Write entries in order. The caller commits, or rolls back and forgets `counts`.

        Raises:
            InternalError: an entry is about a run that was never submitted, or submits one twice.
            sqlite3.Error: the database cannot take them.
        """
        for entry in entries:
            if isinstance(entry, Epoch):
                epoch = (entry.number, entry.at, _text(entry.instance), _text(entry.host))
                self.connection.execute("INSERT OR REPLACE INTO epochs VALUES (?, ?, ?, ?)", epoch)
            elif isinstance(entry, Place):
                place = (entry.number, _text(entry.pool), _text(entry.host))
                self.connection.execute("INSERT OR REPLACE INTO places VALUES (?, ?, ?)", place)
            elif isinstance(entry, NewsItem):
                self._tell(entry)
            elif isinstance(entry, Submitted) and entry.version == 1:
                self._submit(entry)
            elif self._is_kept(entry):
                self._write(entry)
        self._write_attempts()
        for last in self._counted.values():
            self.connection.execute("UPDATE runs SET counts = ? WHERE run = ?", (_counts(last), last.run))

    def _tell(self, entry: NewsItem) -> None:
        told = (entry.number, entry.run, entry.at, entry.body)
        self.connection.execute("INSERT INTO told VALUES (?, ?, ?, ?)", told)
        if entry.number % PRUNE == 0:
            self.connection.execute("DELETE FROM told WHERE number <= ?", (entry.number - TOLD_KEPT - PRUNE,))

    def _is_kept(self, entry: _Kept) -> bool:
        """Return whether the run is there; False: it was forgotten, and this is dropped."""
        if entry.run in self.counts.attempts:
            return True
        if entry.run > self.counts.last_run:
            raise InternalError(f"{type(entry).__name__} of run {entry.run}, which was never submitted")
        if self.connection.execute("SELECT 1 FROM runs WHERE run = ?", (entry.run,)).fetchone() is None:
            return False
        self.counts.attempts[entry.run] = count_attempts(self.connection, entry.run)
        return True

    def _submit(self, entry: Submitted) -> None:
        if entry.run <= self.counts.last_run:
            raise InternalError(
                f"run {entry.run} is submitted, but ids up to {self.counts.last_run} were given already"
            )
        self.connection.execute(
            "INSERT INTO runs (run, version, name, tags, state, created, digest) VALUES (?, 1, ?, ?, ?, ?, ?)",
            (entry.run, _text(entry.name), json.dumps(dict(entry.tags)), RunState.QUEUED.value, entry.at, entry.digest),
        )
        self._write_tags(entry)
        self.counts.last_run = entry.run
        self.counts.attempts[entry.run] = 0
        self._write_spec(entry)
        if entry.key:
            submission = (_text(entry.key), entry.run, entry.body, entry.at)
            self.connection.execute("INSERT INTO submissions VALUES (?, ?, ?, ?)", submission)

    def _write(self, entry: _Kept) -> None:
        match entry:
            case Attempts():
                if len(entry.rows):
                    self._attempts.append(entry)
                    self._first.append((entry.run << RUN_SHIFT) + self.counts.attempts[entry.run] + 1)
                    self.counts.attempts[entry.run] += len(entry.rows)
            case Noted():
                note = (entry.run, entry.version, entry.index, entry.attempt, _text(entry.note), entry.at)
                self.connection.execute("INSERT OR REPLACE INTO notes VALUES (?, ?, ?, ?, ?, ?)", note)
            case Moved():
                self._write_moved(entry)
            case RunChanged():
                self._write_changed(entry)
            case Counted():
                self._counted[entry.run] = entry
            case Generated():
                self._write_generated(entry)
            case Submitted():
                self._write_spec(entry)
                remove_tags(self.connection, entry.run)
                self._write_tags(entry)
                self.connection.execute(
                    "UPDATE runs SET version = ?, name = ?, tags = ?, digest = ? WHERE run = ?",
                    (entry.version, _text(entry.name), json.dumps(dict(entry.tags)), entry.digest, entry.run),
                )

    def _write_tags(self, entry: Submitted) -> None:
        tags = [(_text(key), _text(value), entry.run) for key, value in entry.tags.items()]
        self.connection.executemany("INSERT OR IGNORE INTO tags VALUES (?, ?, ?)", tags)

    def _write_spec(self, entry: Submitted) -> None:
        try:
            row = self.connection.execute(
                f"INSERT INTO specs VALUES (?2, ?3, {blobs.VALUE}, ?4, ?5, ?6, ?7)",  # noqa: S608  # our own constant
                (
                    blobs.bound(entry.spec),
                    entry.run,
                    entry.version,
                    entry.digest,
                    entry.at,
                    entry.keep_downstream,
                    _text(entry.actor),
                ),
            ).lastrowid
            blobs.fill(self.connection, "specs", "spec", row, entry.spec)
        except sqlite3.IntegrityError as error:
            raise InternalError(f"version {entry.version} of run {entry.run} is submitted twice") from error

    def _write_generated(self, entry: Generated) -> None:
        version = (entry.run, entry.version)
        if self.connection.execute("SELECT 1 FROM specs WHERE run = ? AND version = ?", version).fetchone() is None:
            raise InternalError(f"Generated of run {entry.run} version {entry.version}, which was never submitted")
        self.connection.execute(
            "INSERT INTO generated (run, version, task_index, attempt, answer, at) VALUES (?, ?, ?, ?, ?, ?)",
            (entry.run, entry.version, entry.index, entry.attempt, entry.answer, entry.at),
        )

    def _write_moved(self, entry: Moved) -> None:
        ranges = json.dumps(entry.ranges.tolist(), separators=(",", ":"))
        flying = json.dumps(entry.flying.tolist(), separators=(",", ":")) if len(entry.flying) else None
        after = self.counts.attempts[entry.run]
        self.connection.execute(
            "INSERT INTO events (run, version, state, after, ranges, cause, actor, at, flying) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                entry.run,
                entry.version,
                int(entry.state),
                after,
                ranges,
                _text(entry.cause),
                _text(entry.actor),
                entry.at,
                flying,
            ),
        )

    def _write_changed(self, entry: RunChanged) -> None:
        state = int(entry.state)
        self.connection.execute(
            "INSERT INTO events (run, state, after, at) VALUES (?, ?, ?, ?)",
            (entry.run, state, self.counts.attempts[entry.run], entry.at),
        )
        started = entry.at if entry.state == RunState.RUNNING else None
        ended = entry.at if entry.state in _ENDED else None
        self.connection.execute(
            "UPDATE runs SET state = ?, started = coalesce(started, ?), ended = ? WHERE run = ?",
            (state, started, ended, entry.run),
        )

    def _write_attempts(self) -> None:
        if not self._attempts:
            return
        lengths = [len(batch.rows) for batch in self._attempts]
        ids = np.repeat(np.asarray(self._first) - np.cumsum([0, *lengths[:-1]]), lengths) + np.arange(sum(lengths))
        versions = np.repeat(np.asarray([batch.version for batch in self._attempts]), lengths)
        batches = [batch.rows for batch in self._attempts]
        insert(self.connection, ids, versions, batches[0] if len(batches) == 1 else np.concatenate(batches))
        for first, batch in zip(self._first, self._attempts, strict=True):
            for table, texts in (("messages", batch.messages), ("results", batch.results)):
                if texts:
                    rows = [(first + place, _text(text)) for place, text in texts.items()]
                    self.connection.executemany(f"INSERT INTO {table} VALUES (?, ?)", rows)  # noqa: S608  # our own


def remove_tags(connection: sqlite3.Connection, run: int) -> None:
    """Remove from `tags` those that `runs` says a run has."""
    connection.execute(
        "DELETE FROM tags WHERE (key, value, run) IN "
        "(SELECT key, value, ?1 FROM json_each((SELECT tags FROM runs WHERE run = ?1)))",
        (run,),
    )


def count_attempts(connection: sqlite3.Connection, run: int) -> int:
    """Return how many attempts of a run are kept."""
    base = run << RUN_SHIFT
    found = connection.execute("SELECT max(id) FROM attempts WHERE id > ? AND id < ?", (base, base + (1 << RUN_SHIFT)))
    highest = found.fetchone()[0]
    return 0 if highest is None else highest - base


def _counts(entry: Counted) -> str | None:
    """Return counts as JSON, without zeros."""
    if entry.counts is None:
        return None
    return json.dumps({name: count for name, count in entry.counts.items() if count}, separators=(",", ":"))


def _text(text: str) -> str:
    """Return text that SQLite can store: file names may have bytes that are not UTF-8."""
    return text.encode("utf-8", "replace").decode()
