"""The tables of `daggy.db`, and how the file is opened and recognised."""

from __future__ import annotations

import enum
import os
import sqlite3
from pathlib import Path
from urllib.parse import quote

from daggy.errors import DaggyError, DirectoryError, TrackerError
from daggy.tracker import Reason, RunState, State

FILE = "daggy.db"
"""The database's name in the state directory."""
FORMAT = 6
"""Version of the tables, in `PRAGMA user_version`."""
APPLICATION = 0x44414759
"""`PRAGMA application_id` of a database of Daggy: "DAGY"."""
OLDEST = (3, 38, 0)
"""The oldest SQLite that has all that the tables need (generated columns, JSON functions)."""
FAULTS = (sqlite3.Error, UnicodeDecodeError)
"""What the sqlite3 module raises for a file that is damaged: the latter if even the error's own text is."""
RUN_SHIFT = 32
"""An attempt's id is its run's id shifted left by this, plus its number in the run, from 1."""

SINCE_1 = """
ALTER TABLE events ADD COLUMN flying TEXT; -- JSON: [index, attempt] of those that were in flight and are ended
CREATE TABLE submissions ( -- what callers called their submissions
    key TEXT NOT NULL, run INTEGER NOT NULL, body TEXT NOT NULL, at REAL NOT NULL
);
CREATE INDEX submissions_by_key ON submissions (key, at);
CREATE INDEX submissions_of_run ON submissions (run);
CREATE TABLE told ( -- what those who follow were told, the last of it
    number INTEGER PRIMARY KEY, run INTEGER NOT NULL, at REAL NOT NULL, body BLOB NOT NULL -- a JSON object
);
CREATE INDEX told_of_run ON told (run, number);
CREATE VIEW told_readable AS
    SELECT number, run, datetime(at, 'unixepoch') AS at, CAST(body AS TEXT) AS body FROM told;
"""
"""What format 2 added."""

SINCE_2 = """
CREATE TABLE tags ( -- those of `runs.tags`, to find runs by
    key TEXT NOT NULL, value TEXT NOT NULL, run INTEGER NOT NULL, PRIMARY KEY (key, value, run)
) WITHOUT ROWID;
INSERT INTO tags SELECT key, value, run FROM runs, json_each(runs.tags);
CREATE INDEX runs_by_name ON runs (name, run);
"""
"""What format 3 brought."""

SINCE_3 = """
ALTER TABLE epochs ADD COLUMN instance TEXT NOT NULL DEFAULT ''; -- the mark of the engine's state directory
ALTER TABLE epochs ADD COLUMN host TEXT NOT NULL DEFAULT '';
CREATE VIEW epochs_readable AS SELECT number, datetime(at, 'unixepoch') AS at, instance, host FROM epochs;
"""
"""What format 4 brought."""

SINCE_4 = """
ALTER TABLE runs ADD COLUMN counts TEXT; -- tasks by state, a JSON object without zeros; null: to be counted
"""
"""What format 5 brought."""

SINCE_5 = """
CREATE TABLE results (id INTEGER PRIMARY KEY, result TEXT NOT NULL); -- JSON, of those attempts that left one
CREATE VIEW results_readable AS
    SELECT attempts.run, version, task_index, attempt, result FROM results JOIN attempts USING (id);
CREATE TABLE notes ( -- what tasks told last of themselves while they ran, JSON
    run INTEGER NOT NULL, version INTEGER NOT NULL, task_index INTEGER NOT NULL, attempt INTEGER NOT NULL,
    note TEXT NOT NULL, at REAL NOT NULL, PRIMARY KEY (run, version, task_index)
) WITHOUT ROWID;
CREATE VIEW notes_readable AS
    SELECT run, version, task_index, attempt, note, datetime(at, 'unixepoch') AS at FROM notes;
"""
"""What format 6 brought."""

TABLES = """
CREATE TABLE epochs (number INTEGER PRIMARY KEY, at REAL NOT NULL);
CREATE TABLE places (number INTEGER PRIMARY KEY, pool TEXT NOT NULL, host TEXT NOT NULL);
CREATE TABLE runs (
    run INTEGER PRIMARY KEY AUTOINCREMENT, -- never given twice
    version INTEGER NOT NULL, name TEXT NOT NULL, tags TEXT NOT NULL, -- a JSON object
    state INTEGER NOT NULL, created REAL NOT NULL, started REAL, ended REAL, digest TEXT NOT NULL,
    owner TEXT NOT NULL DEFAULT ''
);
CREATE TABLE specs (
    run INTEGER NOT NULL, version INTEGER NOT NULL, spec BLOB NOT NULL, digest TEXT NOT NULL, at REAL NOT NULL,
    keep_downstream INTEGER NOT NULL, actor TEXT NOT NULL DEFAULT '', PRIMARY KEY (run, version)
);
CREATE TABLE generated (
    id INTEGER PRIMARY KEY, run INTEGER NOT NULL, version INTEGER NOT NULL, task_index INTEGER NOT NULL,
    attempt INTEGER NOT NULL, answer BLOB NOT NULL, at REAL NOT NULL
);
CREATE INDEX generated_of_run ON generated (run, version);
CREATE TABLE events ( -- tasks that moved without an attempt, and (ranges is null) changes of the run's state
    id INTEGER PRIMARY KEY, run INTEGER NOT NULL, version INTEGER, state INTEGER NOT NULL,
    after INTEGER NOT NULL, -- how many attempts of the run came before
    ranges TEXT, -- JSON: half-open ranges of indexes
    cause TEXT NOT NULL DEFAULT '', actor TEXT NOT NULL DEFAULT '', at REAL NOT NULL
);
CREATE INDEX events_of_run ON events (run);
CREATE TABLE attempts ( -- one row an ended attempt, in the order in which they ended
    id INTEGER PRIMARY KEY, version INTEGER NOT NULL, task_index INTEGER NOT NULL, attempt INTEGER NOT NULL,
    outcome INTEGER NOT NULL, reason INTEGER NOT NULL, code INTEGER NOT NULL, ended REAL NOT NULL,
    elapsed_us INTEGER, -- null: no process was started
    cpu_us INTEGER NOT NULL, rss_kb INTEGER NOT NULL, failures INTEGER NOT NULL, crashes INTEGER NOT NULL,
    place INTEGER NOT NULL, flags INTEGER NOT NULL, launcher INTEGER NOT NULL, pack INTEGER NOT NULL,
    offset INTEGER NOT NULL, stdout INTEGER NOT NULL, stderr INTEGER NOT NULL, crc INTEGER NOT NULL, -- signed
    run INTEGER AS (id >> 32)
);
CREATE TABLE messages (id INTEGER PRIMARY KEY, message TEXT NOT NULL); -- of those attempts that have one
CREATE TABLE forgetting (run INTEGER PRIMARY KEY); -- runs whose rows are being removed
CREATE TABLE states (state INTEGER PRIMARY KEY, name TEXT NOT NULL);
CREATE TABLE run_states (state INTEGER PRIMARY KEY, name TEXT NOT NULL);
CREATE TABLE reasons (reason INTEGER PRIMARY KEY, name TEXT NOT NULL);
CREATE VIEW runs_readable AS
    SELECT run, version, runs.name, tags, run_states.name AS state, datetime(created, 'unixepoch') AS created,
        datetime(started, 'unixepoch') AS started, datetime(ended, 'unixepoch') AS ended, owner
    FROM runs LEFT JOIN run_states USING (state);
CREATE VIEW specs_readable AS
    SELECT run, version, CAST(spec AS TEXT) AS spec, datetime(at, 'unixepoch') AS at, actor FROM specs;
CREATE VIEW attempts_readable AS
    SELECT attempts.run, version, task_index, attempt, states.name AS outcome, reasons.name AS reason,
        CASE WHEN code >= 0 THEN code END AS exit_code, CASE WHEN code < 0 THEN -code END AS signal,
        datetime(ended - elapsed_us / 1e6, 'unixepoch') AS started, datetime(ended, 'unixepoch') AS ended,
        elapsed_us / 1e6 AS seconds, cpu_us / 1e6 AS cpu_seconds, rss_kb, pool, host, stdout, stderr, message
    FROM attempts LEFT JOIN states ON states.state = outcome LEFT JOIN reasons USING (reason)
        LEFT JOIN places ON places.number = place LEFT JOIN messages USING (id);
CREATE VIEW events_readable AS
    SELECT run, version, coalesce(states.name, run_states.name) AS state, ranges, cause, actor,
        datetime(at, 'unixepoch') AS at
    FROM events LEFT JOIN states ON ranges IS NOT NULL AND states.state = events.state
        LEFT JOIN run_states ON ranges IS NULL AND run_states.state = events.state;
"""

NAMES: tuple[tuple[str, str, type[enum.IntEnum]], ...] = (
    ("states", "state", State), ("run_states", "state", RunState), ("reasons", "reason", Reason),
)  # fmt: skip
"""Tables of names, by number."""

MIGRATIONS = {1: SINCE_1, 2: SINCE_2, 3: SINCE_3, 4: SINCE_4, 5: SINCE_5}
"""Statements that migrate each earlier format to the next one."""


def open_writable(directory: Path) -> sqlite3.Connection:
    """Open the database of a state directory, made if it is not there, readable by its owner alone.

    Raises:
        DirectoryError: it cannot be opened, is damaged, or of another version.
    """
    path = directory / FILE
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    except OSError as error:
        raise DirectoryError(f"cannot write '{path}': {error.strerror}; mend that, or choose another --dir") from error
    connection = _connect(path, "mode=rw")
    try:
        if _is_fresh(connection):
            _create(connection)
        _recognise(connection, path, migrate=True)
        _fill_names(connection)
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA journal_size_limit=67108864")
    except FAULTS as error:
        connection.close()
        raise opening_error(error, path) from error
    except DaggyError:
        connection.close()
        raise
    return connection


def open_readonly(directory: Path) -> sqlite3.Connection:
    """Open the database of a state directory for looking, beside a process that writes or on a read-only view.

    Raises:
        DirectoryError: there is none, it cannot be opened, is damaged, or of another version.
    """
    path = directory / FILE
    if not path.exists():
        raise DirectoryError(f"no '{FILE}' in '{directory}'; nothing was kept there, or --dir is another")
    modes = ["mode=ro"]
    if not _has_log(
        path
    ):  # a directory that cannot be written has no room for the log's index; without a log none is needed
        modes.append("mode=ro&immutable=1")
    failure: sqlite3.Error | None = None
    for mode in modes:
        connection = _connect(path, mode)
        try:
            _recognise(connection, path)
        except sqlite3.OperationalError as error:
            connection.close()
            failure = error
        except FAULTS as error:
            connection.close()
            raise opening_error(error, path) from error
        except DaggyError:
            connection.close()
            raise
        else:
            return connection
    if _has_log(path):
        raise DirectoryError(
            f"cannot read '{path}' with its log '{FILE}-wal' ({failure}); copy both to a writable place and look there"
        ) from failure
    assert failure is not None
    raise opening_error(failure, path) from failure


def opening_error(error: Exception, path: Path) -> DirectoryError:
    """Return what a user reads when the file cannot be opened."""
    if is_damage(error):
        return damaged(path, error)
    return DirectoryError(f"cannot open '{path}': {error}; mend that, or choose another --dir")


def is_damage(error: Exception) -> bool:
    """Return whether SQLite says that the file is not what was written.

    `SQLITE_ERROR` is a table or column that is gone, for our statements are always the same; no code: text not UTF-8.
    """
    code: int = getattr(error, "sqlite_errorcode", None) or sqlite3.SQLITE_ERROR
    return (code & 0xFF) in (sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def damaged(path: Path, error: Exception) -> DirectoryError:
    """Return the error for a damaged file."""
    return DirectoryError(f"'{path}' is damaged ({error}); restore a backup, or use another --dir")


def translated(error: Exception, path: Path) -> DaggyError:
    """Return SQLite's error as the engine's: damage ends the engine, everything else is retried."""
    if is_damage(error):
        return damaged(path, error)
    return TrackerError(f"'{path}': {error}; retrying")


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    if sqlite3.sqlite_version_info < OLDEST:
        least = ".".join(map(str, OLDEST))
        raise DirectoryError(f"SQLite {sqlite3.sqlite_version} is too old for '{path}'; at least {least} is needed")
    uri = f"file:{quote(bytes(path.absolute()))}?{mode}"
    try:
        connection = sqlite3.connect(
            uri, uri=True, timeout=10, isolation_level=None, check_same_thread=False, cached_statements=64
        )
    except sqlite3.Error as error:
        raise opening_error(error, path) from error
    return connection


def _is_fresh(connection: sqlite3.Connection) -> bool:
    return not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] and not _pragma(
        connection, "user_version"
    )


def _create(connection: sqlite3.Connection) -> None:
    """Make all tables in one transaction, so that a crash leaves an empty database, which is begun again."""
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute(f"PRAGMA application_id={APPLICATION}")
    connection.executescript("".join(("BEGIN IMMEDIATE;", TABLES, *MIGRATIONS.values())))
    connection.execute(f"PRAGMA user_version={FORMAT}")
    connection.execute("COMMIT")


def _migrate(connection: sqlite3.Connection, version: int) -> None:
    """Bring the tables to this format in one transaction: a crash leaves the earlier one."""
    steps = "".join(MIGRATIONS[step] for step in range(version, FORMAT))
    connection.execute("PRAGMA synchronous=FULL")
    try:
        connection.executescript(f"BEGIN IMMEDIATE; {steps} PRAGMA user_version={FORMAT}; COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _fill_names(connection: sqlite3.Connection) -> None:
    """Add the names of states and reasons that the readable views lack: a database may be older than some of them."""
    for table, key, kind in NAMES:
        names = [(member.value, member.name.lower()) for member in kind]
        if len(names) > connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]:  # noqa: S608  # our own
            connection.executemany(f"INSERT OR IGNORE INTO {table} ({key}, name) VALUES (?, ?)", names)  # noqa: S608


def _recognise(connection: sqlite3.Connection, path: Path, *, migrate: bool = False) -> None:
    if _pragma(connection, "application_id") != APPLICATION:
        raise DirectoryError(f"'{path}' is a database, but not one of Daggy's; choose another --dir")
    version = _pragma(connection, "user_version")
    if version in MIGRATIONS and migrate:
        _migrate(connection, version)
    elif version in MIGRATIONS:
        raise DirectoryError(
            f"'{path}' has format {version}, of an earlier Daggy; 'daggy serve' or 'daggy run' with this --dir "
            f"bring it to format {FORMAT}, which can be read"
        )
    elif version != FORMAT:
        raise DirectoryError(
            f"'{path}' has format {version}, this Daggy reads and writes format {FORMAT}; "
            "use the Daggy that wrote it, or another --dir"
        )
    connection.execute("SELECT count(*) FROM sqlite_master").fetchone()


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])


def _has_log(path: Path) -> bool:
    log = path.with_name(f"{path.name}-wal")
    return log.exists() and log.stat().st_size > 0
