"""The SQLite tracker: keeps runs in one file of the state directory, readable with the sqlite3 shell."""

from daggy_sqlite.tracker import SqliteSettings as SqliteSettings, SqliteTracker as SqliteTracker
