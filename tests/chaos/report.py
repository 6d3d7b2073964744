"""What is printed when an invariant is broken: the story as it went, and all about the task concerned."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing

from tests.chaos.evidence import REASONS, all_lines
from tests.chaos.lives import Life
from tests.chaos.play import Play
from tests.chaos.stage import BrokenError


def report(play: Play, error: BrokenError) -> str:
    """Return the story of a broken invariant, as short as it can be."""
    story = play.story
    kind = "daggy run" if story.is_command else "daggy serve"
    head = [f"BROKEN: {error.name}", f"  {error.told}", f"seed {story.seed}, {kind}, kept in {play.stage.home}"]
    lines = [*head, "what happened:", *(f"  {told}" for told in play.told)]
    if error.task is not None:
        run, name = error.task
        life = next((life for life in play.lives if life.run == run), None)
        lines += [f"task {name} of run {run}:", *(f"  {told}" for told in _about(play, life, run, name))]
    return "\n".join(lines)


def _about(play: Play, life: Life | None, run: int, name: str) -> Iterator[str]:
    names = [name]
    if life is not None and name in life.tasks():
        names += [parent for parent, _ in life.tasks()[name].parents][:6]
        yield f"parents: {life.tasks()[name].parents[:6]}"
        yield from (f"asked: {ask}" for ask in life.asks)
    written = [line for line in all_lines(play.stage.oracle).get(run, []) if line.name in names]
    for line in written:
        yield f"line {line.at}: {line.word} {line.ticket.rpartition(':')[2]} {line.name} {line.mark}"
    listings = life.listings.items() if life is not None else ()
    wheres = {line.where for line in written if line.name == name}
    wheres |= {(version, index) for version, known in listings for index, text in known.items() if text == name}
    with closing(sqlite3.connect(f"file:{play.stage.state / 'daggy.db'}?mode=ro", uri=True)) as database:
        for version, index in sorted(wheres):
            for number, attempt, reason, ended in database.execute(
                "SELECT id & 4294967295, attempt, reason, ended FROM attempts WHERE run = ? AND version = ? "
                "AND task_index = ? ORDER BY id",
                (run, version, index),
            ):
                yield f"row {number}: {version}.{index}, attempt {attempt}, {REASONS[reason]}, {ended:.3f}"
        for row in database.execute(
            "SELECT version, state, after, ranges, cause, at FROM events WHERE run = ? ORDER BY id", (run,)
        ):
            yield f"event: {row}"
