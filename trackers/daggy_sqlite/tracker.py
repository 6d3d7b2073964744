"""The SQLite tracker: one file, one writer, every append one transaction on disk before it returns."""

# ruff: noqa: S608 - statements are made of our own constants; every value is bound
from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

from attrs import frozen

from daggy.errors import InternalError, TrackerError
from daggy.tracker import Attempts, Entry, Epoch, History, NewsItem, RunFilter, RunRecord, Tracker
from daggy_sqlite.reading import (
    read_attempts,
    read_attempts_of,
    read_epochs,
    read_history,
    read_places,
    read_runs,
    read_told,
)
from daggy_sqlite.schema import FAULTS, FILE, RUN_SHIFT, damaged, open_readonly, open_writable, translated
from daggy_sqlite.writing import Counts, Writer, count_attempts, remove_tags

FORGET = 50_000
"""Attempts that one transaction of `forget` removes, so that the log stays small."""


@frozen
class SqliteSettings:
    """Settings of the SQLite tracker: it has none."""


class SqliteTracker(Tracker):
    """Keeps runs in `daggy.db`, in WAL mode, synced at every append. Wall times are kept to the microsecond."""

    Settings: ClassVar[type] = SqliteSettings
    durable: ClassVar[bool] = True

    def __init__(self, settings: SqliteSettings, directory: Path) -> None:
        """Open or create the database of a state directory, and remove what an interrupted `forget` left there.

        Raises:
            DirectoryError: it cannot be opened, is damaged, or of another version.
        """
        del settings
        self._begin(open_writable(directory), directory)
        try:
            with contextlib.suppress(TrackerError):  # the disk is full: it is invisible, and the next call removes it
                self._forget_rest()
        except BaseException:
            self._connection.close()
            raise

    @classmethod
    def open_readonly(cls, settings: Any, directory: Path) -> Self:
        """Open the database for reading only, as of its last commit; another process may be writing to it.

        Raises:
            DirectoryError: there is none, it cannot be opened, is damaged, or of another version.
        """
        del settings
        tracker = cls.__new__(cls)
        tracker._begin(open_readonly(directory), directory)  # noqa: SLF001 - its own
        return tracker

    def _begin(self, connection: sqlite3.Connection, directory: Path) -> None:
        self._connection = connection
        self._turn = threading.RLock()  # transactions belong to the connection, whichever thread began them
        self._path = directory / FILE
        self._counts: Counts | None = None  # None: ask the tables
        self._seen = -1  # data_version when the counts were right

    def append(self, entries: Sequence[Entry]) -> None:
        """Keep these, all or none, in this order, on disk when it returns.

        Entries about a run that was forgotten are dropped. A COMMIT that fails is no doubt: readers and the next
        transaction see what was before it, and the next one writes over what it left in the log. Only if this process
        dies before that may the next one find it kept.

        Raises:
            TrackerError: the disk is full or fails; nothing was kept, it may be tried again.
            InternalError: an entry is about a run that was never submitted.
        """
        try:
            with self._translating(), self._transaction("IMMEDIATE"):
                Writer(self._connection, self._current_counts()).write(entries)
        except BaseException:
            self._counts = None
            raise

    def last_epoch(self) -> int:
        """Return the highest epoch appended; 0 if there is none."""
        return self._number("SELECT max(number) FROM epochs")

    def epochs(self) -> Sequence[Epoch]:
        """Return every epoch appended, ascending."""
        with self._reading():
            return read_epochs(self._connection)

    def last_run(self) -> int:
        """Return the highest run id ever given, forgotten runs included; 0 if there is none."""
        return self._number("SELECT max(seq) FROM sqlite_sequence WHERE name = 'runs'")

    def places(self) -> Mapping[int, tuple[str, str]]:
        """Return every place appended: number to (pool, host)."""
        with self._reading():
            return read_places(self._connection)

    def runs(self, matching: RunFilter) -> Sequence[RunRecord]:
        """Return one page of runs, newest first."""
        with self._reading():
            return read_runs(self._connection, matching)

    def history(self, run: int) -> History:
        """Return what is needed to rebuild the run.

        Raises:
            KeyError: there is no such run.
        """
        with self._reading():
            return read_history(self._connection, run)

    def attempts(self, run: int, after: int, limit: int, index: int | None = None) -> Sequence[Attempts]:
        """Return attempts in the order in which they ended, `limit` at most, after the first `after` of them.

        Raises:
            KeyError: there is no such run.
        """
        with self._reading():
            if index is None:
                return read_attempts(self._connection, run, after, limit)
            return read_attempts_of(self._connection, run, index, after, limit)

    def keyed(self, key: str, since: float) -> tuple[int, str] | None:
        """Return run and body of the last submission under a key at or after `since`; None if there is none."""
        with self._reading():
            query = "SELECT run, body FROM submissions WHERE key = ? AND at >= ? ORDER BY at DESC, run DESC LIMIT 1"
            found = self._connection.execute(query, (key, since)).fetchone()
        return None if found is None else (found[0], found[1])

    def last_told(self) -> int:
        """Return the highest number told; 0 if there is none."""
        return self._number("SELECT max(number) FROM told")

    def told(self, after: int, limit: int, run: int | None = None) -> Sequence[NewsItem] | None:
        """Return what was told above the number `after`, of one run or of all, ascending; None if that is too old."""
        with self._reading():
            return read_told(self._connection, after, limit, run)

    def forget(self, run: int) -> None:
        """Remove everything about a run but that its id was used; what an interrupted forget left, too.

        Raises:
            TrackerError: the disk is full or fails; the run is gone or not, the rest goes with the next call.
        """
        self._counts = None
        with self._translating(), self._transaction("IMMEDIATE"):
            self._connection.execute("INSERT INTO forgetting SELECT run FROM runs WHERE run = ?", (run,))
            remove_tags(self._connection, run)
            for table in ("runs", "submissions"):  # by these it can be found
                self._connection.execute(f"DELETE FROM {table} WHERE run = ?", (run,))
            pieces = self._pieces(run)
            if len(pieces) == 1:  # one wait for the disk instead of two
                self._remove(run, pieces[0])
        self._forget_rest()

    def close(self) -> None:
        """Close the database; its log is folded into it."""
        with self._translating():
            self._connection.close()

    def _forget_rest(self) -> None:
        """Remove what is left of runs that are being forgotten, a piece a transaction."""
        with self._translating():
            for (run,) in self._connection.execute("SELECT run FROM forgetting").fetchall():
                for piece in self._pieces(run):
                    with self._transaction("IMMEDIATE"):
                        self._remove(run, piece)

    def _pieces(self, run: int) -> Sequence[tuple[int, int, bool]]:
        """Return ranges of ids of a run's attempts, each for one transaction: after which, up to which, and if it ends.

        There is always one that ends, also where there are no attempts.
        """
        base = run << RUN_SHIFT
        firsts = range(base, base + max(1, count_attempts(self._connection, run)), FORGET)
        return [(first, first + FORGET, first == firsts[-1]) for first in firsts]

    def _remove(self, run: int, piece: tuple[int, int, bool]) -> None:
        """Remove a piece of a run that is being forgotten; with the last one what else there is of it."""
        first, last, is_last = piece
        for table in ("messages", "results", "attempts"):
            self._connection.execute(f"DELETE FROM {table} WHERE id > ? AND id <= ?", (first, last))
        for table in ("events", "generated", "specs", "notes", "forgetting") if is_last else ():
            self._connection.execute(f"DELETE FROM {table} WHERE run = ?", (run,))

    def _current_counts(self) -> Counts:
        """Return the remembered counts, or fresh ones if they are not known or another process wrote."""
        seen: int = self._connection.execute("PRAGMA data_version").fetchone()[0]
        if self._counts is None or seen != self._seen:
            self._counts = Counts(last_run=self.last_run())
            self._seen = seen
        return self._counts

    def _number(self, query: str) -> int:
        with self._translating():
            return self._connection.execute(query).fetchone()[0] or 0

    @contextlib.contextmanager
    def _transaction(self, kind: str) -> Iterator[None]:
        self._connection.execute(f"BEGIN {kind}")
        try:
            yield
            self._connection.execute("COMMIT")
        finally:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        """Translate errors; within one snapshot, so that queries agree with each other."""
        with self._translating(), self._transaction("DEFERRED"):
            try:
                yield
            except (ValueError, OverflowError, TypeError) as error:  # rows that no tracker wrote
                raise damaged(self._path, error) from error

    @contextlib.contextmanager
    def _translating(self) -> Iterator[None]:
        try:
            with self._turn:
                yield
        except sqlite3.ProgrammingError as error:
            raise InternalError(f"'{self._path}': {error}") from error
        except FAULTS as error:
            raise translated(error, self._path) from error
