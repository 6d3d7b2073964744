"""What a server must answer after a story: attempts as the tables have them, outputs as written, events."""

from __future__ import annotations

import random
import re
from pathlib import Path

from daggy.client import Client
from daggy.errors import DaggyError, NotFoundError
from tests.chaos.evidence import EXIT, OK, REASONS, Evidence, Row
from tests.chaos.invariants import History
from tests.chaos.specs import PACKED, SIZES, Json, answer
from tests.chaos.stage import BrokenError, Stage

FEW = 6
"""Tasks with nothing odd about them that are looked at one by one."""

BAD = re.compile(r"Traceback|\bbug\b|Exception in|never retrieved|InternalError", re.IGNORECASE)


def check_answers(evidence: Evidence, history: History, client: Client, home: Path, dice: random.Random) -> None:
    """Ask about tasks one by one: all that were attempted more than once, and some others.

    Raises:
        BrokenError: the server's answers do not agree with what happened.
    """
    by_where: dict[str, list[Row]] = {}
    for row in evidence.rows:
        by_where.setdefault(row.name, []).append(row)
    odd = [task for task in evidence.listed if len(by_where.get(task["name"], ())) > 1]
    plain = [task for task in evidence.listed if len(by_where.get(task["name"], ())) == 1]
    for task in [*odd[:FEW], *dice.sample(plain, min(FEW, len(plain)))]:
        rows = by_where[task["name"]]
        _check_attempts(evidence, client.task(evidence.life.run, task["index"]), rows)
        for row in rows[-2:]:
            if row.reason in (OK, EXIT):
                _check_output(evidence, client, task, row, history, home)


def _check_attempts(evidence: Evidence, shown: Json, rows: list[Row]) -> None:
    told = [(one["attempt"], one["reason"]) for one in shown["attempts"]]
    kept = [(row.attempt, REASONS[row.reason]) for row in rows]
    if told != kept:
        name = shown["name"]
        raise BrokenError(
            "attempts agree",
            f"run {evidence.life.run}, {name}: {told} are told, {kept} kept",
            (evidence.life.run, name),
        )


def _check_output(evidence: Evidence, client: Client, task: Json, row: Row, history: History, home: Path) -> None:
    """Compare what an attempt wrote; after a power cut an output may be gone, and then says so."""
    run, name = evidence.life.run, task["name"]
    shape = evidence.life.tasks()[name].shape
    expected = f"out {name} {row.attempt}\n".encode() + b"x" * SIZES[shape.output]
    if shape.is_loud:
        expected = answer(shape.generated or (), home).read_bytes()
    try:
        got = b"".join(client.log(run, task["index"], attempt=row.attempt))
        errors = b"".join(client.log(run, task["index"], "stderr", attempt=row.attempt))
    except (NotFoundError, DaggyError) as error:
        if history.cuts and re.search("gone|damaged", str(error)):
            return
        raise BrokenError("outputs hold what was written", f"run {run}, {name}: {error}", (run, name)) from error
    if history.cuts and len(expected) > PACKED:
        got = got.replace(b"\0", b"x")  # a power cut may have left zeros where there is no checksum
        errors = errors.strip(b"\0") or f"err {name}\n".encode()
    if got != expected or errors != f"err {name}\n".encode():
        told = f"run {run}, {name}, attempt {row.attempt}: {len(got)} bytes, {got[:80]!r} and {errors[:80]!r}"
        raise BrokenError("outputs hold what was written", told, (run, name))


def is_told(evidence: Evidence) -> bool:
    """Return whether the last event of a run says what the run has come to."""
    told, shown = evidence.last_told, evidence.shown
    return told is not None and (told["state"], told["counts"]) == (shown["state"], shown["counts"])


def check_silence(stage: Stage) -> None:
    """Check that nothing on standard error reads like a fault of Daggy's own.

    Raises:
        BrokenError: something does.
    """
    said = stage.said()
    if found := BAD.search(said):
        raise BrokenError("no traceback", said[max(0, found.start() - 500) : found.start() + 3000])


def check_submissions(evidences: list[Evidence], client: Client) -> None:
    """Check that each submission, however often it was sent, is one run.

    Raises:
        BrokenError: there are others.
    """
    there = sorted(one["run_id"] for one in client.runs(limit=100)["items"])
    wanted = sorted(evidence.life.run for evidence in evidences)
    if there != wanted:
        raise BrokenError("one submission is one run", f"there are runs {there}, submitted were {wanted}")
