"""The end of `daggy run`: what came of it, what failed and why, its last lines, and how to go on."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np
from attrs import field, frozen

from daggy.attempt import Rows
from daggy.cli import text
from daggy.cli.outputs import last_lines
from daggy.engine.engine import Engine
from daggy.run import states
from daggy.run.run import Run
from daggy.tracker import RunState
from daggy.view.shapes import last_attempt, version_of

MOST = 5
"""Failures that are told one by one."""

LINES = 10
"""Lines of output of each."""

BYTES = 1 << 16
"""Bytes of output that are looked at for them."""

WIDTH = 1000
"""Characters of a line."""


@frozen
class Ending:
    """What is told at the end.

    Args:
        run: The run.
        engine: Reads outputs; it has stopped.
        directory: Where the run is kept; None: nowhere.
        seconds: How long this call took.
        tails: Whether failures are told with their last lines.
        interrupted: Whether somebody stopped it.
    """

    run: Run
    engine: Engine
    directory: Path | None
    seconds: float
    tails: bool = field(kw_only=True)
    interrupted: bool = field(kw_only=True)


async def summarise(ending: Ending) -> None:
    """Write the summary to standard error."""
    run = ending.run
    title = f"{run.plan.spec.name}: " if run.plan.spec.name else ""
    state = "interrupted" if ending.interrupted else run.state.name.lower()
    counted = text.counts(run.counts())
    click.echo(f"{title}{text.state(state)} after {text.duration(ending.seconds)}: {counted}", err=True)
    errored = _first_errored(run)
    for index in errored[:MOST]:
        await _tell_failure(ending, index)
    for line in _directions(ending, len(errored)):
        click.echo(line, err=True)


def _first_errored(run: Run) -> list[int]:
    """Return the errored tasks in the order in which they ended."""
    errored = run.frontier.where(states.mask(states.ERRORED))
    ordered: list[int] = errored[np.argsort(run.frontier.last[errored], kind="stable")].tolist()
    return ordered


async def _tell_failure(ending: Ending, index: int) -> None:
    run = ending.run
    places = ending.engine.place_names()
    attempt = last_attempt(run, index, places)
    said = "" if attempt is None else f": {attempt.outcome()}"
    tries = "" if attempt is None or attempt.attempt == 1 else f" (attempt {attempt.attempt})"
    click.echo(f"{run.plan.name(index)} {text.state('errored')}{said}{tries}", err=True)
    row = run.last_row(index)
    if ending.tails and row is not None:
        for line in await _tail(ending, row, version_of(run, int(run.frontier.last[index]) - 1)):
            click.echo(f"    {text.harmless(line, WIDTH)}", err=True)


async def _tail(ending: Ending, row: Rows, version: int) -> list[str]:
    """Return the last lines of standard error; if they are few, those of standard output before them."""

    async def read(stream: str, offset: int, limit: int) -> bytes:
        return await ending.engine.runs.read_log(ending.run.id, version, row, stream, offset, limit)

    lines: list[str] = []
    for stream in ("stderr", "stdout"):
        wanted = LINES - len(lines)
        try:
            data = await last_lines(read, stream, int(row[stream]), wanted, most=BYTES)
        except (OSError, ValueError) as error:
            return [*lines, f"({stream} cannot be read: {error})"]
        lines = data.decode(errors="replace").splitlines() + lines
    return lines


def _directions(ending: Ending, errored: int) -> Iterator[str]:
    """Yield what there is to do next."""
    more = errored - MOST
    run = ending.run
    if run.state is RunState.COMPLETED and not ending.interrupted:
        return
    if ending.directory is None:
        if more > 0:
            yield f"and {more:,} more errored tasks"
        yield "nothing was kept; with --dir DIR the same command goes on where it stopped"
        return
    where = f"--dir {shlex.quote(str(ending.directory))}"
    if more > 0:
        yield f"and {more:,} more errored tasks: daggy tasks last --state errored {where}"
    if errored:
        yield f"all they wrote: daggy logs last --state errored {where}"
    yield "the same command goes on where it stopped"
