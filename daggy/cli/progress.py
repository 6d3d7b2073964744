"""The progress of `daggy run`: a table that is redrawn on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import abc
import json
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click
import numpy as np

from daggy.cli import notes, table, text
from daggy.cli.beginning import Beginning
from daggy.cli.pace import Pace, headline, progress
from daggy.cli.planned import difference_lines, show_warnings
from daggy.cli.summary import first_errored
from daggy.run import states
from daggy.run.run import Run
from daggy.view.shapes import TemplateShape, as_json, last_attempt, separate_blocks, template_shapes

if TYPE_CHECKING:
    from rich.live import Live as Screen

PERIOD = 30.0
"""Seconds between two lines where nothing can be redrawn."""

FAILURES = 20
"""Failures that are printed as they happen where nothing can be redrawn."""

FRAME = 0.25
"""Seconds between two drawings: the processor is for tasks."""


class Display(abc.ABC):
    """Shows the progress of a run on standard error."""

    @abc.abstractmethod
    def begin(self, beginning: Beginning) -> None:
        """Say how the run begins."""

    @abc.abstractmethod
    def update(self, run: Run) -> None:
        """Show the state of the run; called several times a second."""

    @abc.abstractmethod
    def end(self) -> None:
        """Leave the screen to what follows. May be called twice."""

    def say(self, line: str) -> None:
        """Print a message at once."""
        click.echo(line, err=True)


def display(*, quiet: bool, plain: bool) -> Display:
    """Return the display that fits."""
    if quiet:
        return Quiet()
    return Lines() if plain else Live()


class Quiet(Display):
    """Prints warnings and urgent messages only."""

    def begin(self, beginning: Beginning) -> None:
        """Show the spec's warnings."""
        show_warnings(beginning.run.plan, beginning.source)

    def update(self, run: Run) -> None:
        """Do nothing."""

    def end(self) -> None:
        """Do nothing."""


class Lines(Display):
    """Prints how a run begins, and now and then how far it is."""

    def __init__(self) -> None:
        """Print nothing yet."""
        self._printed = time.monotonic()
        self._pace: Pace | None = None
        self._failures = 0

    def begin(self, beginning: Beginning) -> None:
        """Print how the run begins, and what an edit changed."""
        run, title = beginning.run, beginning.title
        show_warnings(run.plan, beginning.source)
        ended, total = progress(run.counts())
        self._pace = Pace(ended, time.monotonic())
        tasks = text.plural(total, "task")
        match beginning.how:
            case "new":
                unkept = "" if beginning.is_kept else "; the run is not kept, --dir DIR would keep it"
                click.echo(f"{title}: {tasks}{unkept}", err=True)
            case "done":
                click.echo(f"{title}: nothing to do, all {tasks} are completed", err=True)
                click.echo("(programs and files that tasks use are not compared; --rerun runs tasks again)", err=True)
            case how:
                click.echo(f"{title}: {how}, {total - ended:,} of {tasks} to do", err=True)
        if beginning.elsewhere and not beginning.is_done:
            click.echo(f"  in '{beginning.elsewhere}', where it was started", err=True)
        if beginning.difference is not None:
            for line in difference_lines(beginning.difference):
                click.echo(f"  {line}", err=True)

    def update(self, run: Run) -> None:
        """Print what has failed, and how far the run is, if it has been a while."""
        self._print_failures(run)
        now = time.monotonic()
        if now - self._printed < PERIOD or self._pace is None:
            return
        self._printed = now
        counts = run.counts()
        click.echo(f"{headline(counts, self._pace.take(progress(counts)[0], now))}: {text.counts(counts)}", err=True)

    def _print_failures(self, run: Run) -> None:
        """Print the tasks that have failed since the last call, as long as they are few."""
        if self._failures == FAILURES or run.counts()["errored"] <= self._failures:
            return
        failed = first_errored(run)[self._failures : FAILURES]
        self._failures += len(failed)
        for index in failed:
            ended = as_json(last_attempt(run, index, {}))
            outcome = "" if ended is None else f": {text.outcome(ended)}"
            click.echo(f"{run.plan.name(index)} {text.state('errored')}{outcome}", err=True)
        if self._failures == FAILURES:
            click.echo("further failures are not printed as they happen", err=True)

    def end(self) -> None:
        """Do nothing."""


class Live(Lines):
    """Redraws a table of templates and counts."""

    def __init__(self) -> None:
        """Draw nothing yet."""
        super().__init__()
        self._drawn = 0.0
        self._screen: Screen | None = None

    def begin(self, beginning: Beginning) -> None:
        """Print how the run begins, and start to draw."""
        super().begin(beginning)
        if beginning.is_done:
            return
        self._screen = table.screen()
        self._screen.start()
        self.update(beginning.run)

    def update(self, run: Run) -> None:
        """Draw the state of the run."""
        now = time.monotonic()
        if self._screen is None or self._pace is None or now - self._drawn < FRAME:
            return
        self._drawn = now
        counts = run.counts()
        title = headline(counts, self._pace.take(progress(counts)[0], now))
        shown = [(template.name, template.counts) for template in busiest(run, text.rows())]
        self._screen.update(table.drawing(title, counts, shown, _rows(run), _notes(run)), refresh=True)

    def end(self) -> None:
        """Take the table away."""
        if self._screen is not None:
            self._screen.stop()
        self._screen = None

    def say(self, line: str) -> None:
        """Print a message above the table."""
        if self._screen is None:
            super().say(line)
        else:
            self._screen.console.print(line, markup=False, highlight=False)


def _notes(run: Run) -> list[str]:
    """Return what running tasks tell of themselves, a line each."""
    if not run.notes:
        return []
    running = np.array([index for index in run.started if index in run.notes], np.int64)
    running = np.sort(running[run.frontier.state[running] == states.RUNNING])[: notes.SHOWN].tolist()
    tasks = ({"name": run.plan.name(index), "note": json.loads(run.notes[index].text)} for index in running)
    return [f"  {line}" for line in notes.lines(tasks)]


def busiest(run: Run, most: int) -> Iterator[TemplateShape]:
    """Yield the templates to show: first running ones, then queued and waiting ones, then the rest."""
    counts = run.frontier.counts
    rest = np.full(len(counts), 3)
    for rank, codes in ((2, (states.WAITING,)), (1, (states.QUEUED, states.DELAYED)), (0, states.IN_FLIGHT)):
        rest[counts[:, list(codes)].any(axis=1)] = rank
    rest[list(run.plan.replaced)] = 4
    blocks = [run.plan.blocks[number] for number in np.argsort(rest, kind="stable")[:most].tolist()]
    yield from sorted(template_shapes(run, blocks), key=_rank)[:most]


def _rank(template: TemplateShape) -> int:
    """Return the position of a template's kind in the table."""
    return next((rank for rank, state in enumerate(("running", "queued", "waiting")) if template.counts[state]), 3)


def _rows(run: Run) -> int:
    """Return the number of rows of a table of all templates."""
    separate = separate_blocks(run.plan)
    return sum(block.size if block.number in separate else 1 for block in run.plan.current)
