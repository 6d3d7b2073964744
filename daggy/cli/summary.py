"""The summary at the end of `daggy run`: counts, failures with their last lines, and what to do next."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import click
import numpy as np
from attrs import field, frozen

from daggy.cli import text
from daggy.cli.failures import COMPARED, Failure, print_failures
from daggy.engine.engine import Engine
from daggy.run import states
from daggy.run.run import Run
from daggy.tracker import RunState
from daggy.view.shapes import as_json, last_attempt, version_of


@frozen
class Ending:
    """What the summary is about.

    Args:
        run: The run.
        engine: Reads outputs; it has stopped.
        directory: Where the run is kept; None: nowhere.
        seconds: How long this call took.
        tails: Whether failures are printed with their last lines.
        interrupted: Whether it was stopped by a signal.
        is_call: Whether the run is a call of a function: there is no command to continue it.
    """

    run: Run
    engine: Engine
    directory: Path | None
    seconds: float
    tails: bool = field(kw_only=True)
    interrupted: bool = field(kw_only=True)
    is_call: bool = field(default=False, kw_only=True)


async def summarise(ending: Ending) -> None:
    """Write the summary to standard error."""
    run = ending.run
    title = f"{run.plan.spec.name}: " if run.plan.spec.name else ""
    state = "interrupted" if ending.interrupted else run.state.name.lower()
    counted = text.counts(run.counts())
    click.echo(f"{title}{text.state(state)} after {text.duration(ending.seconds)}: {counted}", err=True)
    errored = first_errored(run)
    shown = await print_failures([_failure(ending, index) for index in errored[:COMPARED]])
    for line in _directions(ending, len(errored), shown):
        click.echo(line, err=True)


def first_errored(run: Run) -> list[int]:
    """Return the errored tasks in the order in which they ended."""
    errored = run.frontier.where(states.mask(states.ERRORED))
    ordered: list[int] = errored[np.argsort(run.frontier.last[errored], kind="stable")].tolist()
    return ordered


def _failure(ending: Ending, index: int) -> Failure:
    run = ending.run
    attempt = last_attempt(run, index, ending.engine.place_names())
    row, read = run.last_row(index), None
    if ending.tails and row is not None:
        read = partial(ending.engine.runs.read_log, run.id, version_of(run, int(run.frontier.last[index]) - 1), row)
    return Failure(run.plan.name(index), as_json(attempt), read)


def _directions(ending: Ending, errored: int, shown: int) -> Iterator[str]:
    """Yield what to do next."""
    more = errored - shown
    run = ending.run
    if run.state is RunState.COMPLETED and not ending.interrupted:
        return
    if ending.directory is None:
        if ending.is_call:
            return
        if more > 0:
            yield f"and {more:,} more errored tasks"
        yield "the run was not kept; with --dir DIR the same command continues it"
        return
    where = f"--dir {shlex.quote(str(ending.directory))}"
    if more > 0:
        yield f"and {more:,} more errored tasks: daggy tasks last --state errored {where}"
    if errored:
        yield f"all their output: daggy logs last --state errored {where}"
    yield "the same command continues the run"
