"""What there is to know about a run after a story: the tasks' own lines, the tables, the API's answers."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from attrs import field, frozen

from daggy.client import Client
from tests.chaos.lives import Life
from tests.chaos.specs import Json

OK, EXIT, KILLED, GENERATOR, LOST = 0, 1, 4, 8, 9
"""Reasons, as they are stored."""
# fmt: off
REASONS = (
    "ok", "exit", "signal", "timeout", "killed", "spawn", "template", "output", "generator", "lost", "memory", "result",
    "missing",
)
# fmt: on
QUEUED, COMPLETED, ERRORED = 1, 3, 4
"""Outcomes, as they are stored."""


@frozen
class Line:
    """One line that a task wrote: `start`, `end` or `fail`, at a place of the file; `where` is version and index."""

    at: int
    word: str
    ticket: str
    name: str
    attempt: int
    mark: str
    where: tuple[int, int]


@frozen
class Row:
    """One attempt in the database; `number` counts the run's, `name` is empty if nobody knows it any more."""

    number: int
    where: tuple[int, int]
    attempt: int
    reason: int
    outcome: int
    name: str


@frozen
class Move:
    """Tasks that were moved without an attempt, after so many attempts of the run."""

    version: int
    state: int
    after: int
    ranges: Sequence[Sequence[int]]
    cause: str

    def covers(self, where: tuple[int, int]) -> bool:
        """Return whether a task, by version and index, is among them."""
        return where[0] == self.version and any(first <= where[1] < last for first, last in self.ranges)


@frozen
class Evidence:
    """All about one run."""

    life: Life
    lines: Sequence[Line]
    rows: Sequence[Row]
    moves: Sequence[Move]
    shown: Json
    listed: Sequence[Json]
    last_told: Json
    names: dict[tuple[int, int], str] = field(repr=False)

    def row_of(self, line: Line) -> Row | None:
        """Return the attempt that a line is of; None if the database has none."""
        for row in self.rows:
            if row.attempt == line.attempt and row.name in (line.name, ""):
                return row
        return None

    def starts(self) -> list[Line]:
        """Return the lines of starts."""
        return [line for line in self.lines if line.word == "start"]


def all_lines(oracle: Path) -> dict[int, list[Line]]:
    """Return by run what its tasks wrote; a line that was cut off by a kill is none."""
    found: dict[int, list[Line]] = {}
    for at, text in enumerate(oracle.read_text().splitlines()):
        words = text.split(" ")
        run, version, index, _, _ = map(int, words[1].rpartition(":")[2].split("."))
        line = Line(at, words[0], words[1], words[2], int(words[3]), words[4], (version, index))
        found.setdefault(run, []).append(line)
    return found


def gather(life: Life, lines: Sequence[Line], state: Path, client: Client) -> Evidence:
    """Return all about a run."""
    names = {(version, index): name for version, known in life.listings.items() for index, name in known.items()}
    names |= {line.where: line.name for line in lines}
    with closing(sqlite3.connect(f"file:{state / 'daggy.db'}?mode=ro", uri=True)) as database:
        kept = database.execute(
            "SELECT id & 4294967295, version, task_index, attempt, reason, outcome "
            "FROM attempts WHERE run = ? ORDER BY id",
            (life.run,),
        ).fetchall()
        moved = database.execute(
            "SELECT version, state, after, ranges, cause FROM events WHERE run = ? AND ranges IS NOT NULL ORDER BY id",
            (life.run,),
        ).fetchall()
        told = database.execute(
            "SELECT body FROM told WHERE run = ? ORDER BY number DESC LIMIT 1", (life.run,)
        ).fetchone()
    rows = [Row(number, (v, i), attempt, why, out, names.get((v, i), "")) for number, v, i, attempt, why, out in kept]
    moves = [Move(v, at, after, json.loads(ranges), cause) for v, at, after, ranges, cause in moved]
    listed = list(client.all_tasks(life.run, limit=1000))
    return Evidence(
        life, lines, rows, moves, client.run(life.run), listed, json.loads(told[0]) if told else None, names
    )
