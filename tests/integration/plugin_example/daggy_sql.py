"""A kind of task: SQL for a file of SQLite, run by a Python on the machine of the task."""

from collections.abc import Iterator

from attrs import frozen

from daggy.errors import Problem
from daggy.kind import Command, TaskKind

PROGRAM = """
import sqlite3, sys
with sqlite3.connect(sys.argv[1]) as database:
    for row in database.execute(sys.stdin.read()):
        print(*row, sep=sys.argv[2])
"""


@frozen
class SqlSettings:
    database: str
    query: str
    separator: str = ","


class SqlKind(TaskKind):
    Settings = SqlSettings

    def check(self, settings: SqlSettings) -> Iterator[Problem]:
        if not settings.query.strip():
            yield Problem("query", "there is none", "write one statement")

    def command(self, settings: SqlSettings) -> Command:
        if settings.query.rstrip().rstrip(";").count(";"):
            raise ValueError("several statements; give each a task of its own")
        return Command(["python3", "-c", PROGRAM, settings.database, settings.separator], stdin=settings.query)
