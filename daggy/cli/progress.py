"""What people see while a run goes on: a table that is redrawn on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import abc
import time
from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click
import numpy as np

from daggy.cli import text
from daggy.cli.beginning import Beginning
from daggy.cli.planned import difference_lines, show_warnings
from daggy.run import states
from daggy.run.run import Run
from daggy.view.shapes import TemplateShape, separate_blocks, template_shapes

if TYPE_CHECKING:
    from rich.console import Group
    from rich.live import Live as Screen

PERIOD = 30.0
"""Seconds between two lines where nothing can be redrawn."""

WINDOW = 10.0
"""Seconds over which the rate is measured."""

FRAME = 0.25
"""Seconds between two drawings: the processor is for tasks."""


class Display(abc.ABC):
    """Tells people what happens, on standard error."""

    @abc.abstractmethod
    def begin(self, beginning: Beginning) -> None:
        """Say what begins."""

    @abc.abstractmethod
    def update(self, run: Run) -> None:
        """Show where the run is; called several times a second."""

    @abc.abstractmethod
    def end(self) -> None:
        """Leave the screen to what follows. May be called twice."""

    def say(self, line: str) -> None:
        """Say something that cannot wait."""
        click.echo(line, err=True)


def display(*, quiet: bool, plain: bool) -> Display:
    """Return the display that fits."""
    if quiet:
        return Quiet()
    return Lines() if plain else Live()


class Quiet(Display):
    """Says nothing but what cannot wait."""

    def begin(self, beginning: Beginning) -> None:
        """Show the spec's warnings."""
        show_warnings(beginning.run.plan, beginning.source)

    def update(self, run: Run) -> None:
        """Do nothing."""

    def end(self) -> None:
        """Do nothing."""


class Pace:
    """How fast tasks end, and when all will have."""

    def __init__(self, finished: int, now: float) -> None:
        """Begin with what had ended before."""
        self._samples = deque([(now, finished)])

    def take(self, finished: int, now: float) -> float:
        """Take note of how many have ended; return tasks a second over the last few seconds."""
        self._samples.append((now, finished))
        while len(self._samples) > 2 and now - self._samples[1][0] >= WINDOW:
            self._samples.popleft()
        before, had = self._samples[0]
        return max(0.0, (finished - had) / (now - before)) if now > before else 0.0


def progress(run: Run) -> tuple[int, int]:
    """Return how many tasks have ended, and how many there are as far as is known."""
    totals = run.frontier.totals()
    ended = int(totals[states.IS_ENDED].sum())
    return ended, ended + int(totals[states.IS_ACTIVE].sum())


def headline(run: Run, rate: float) -> str:
    """Return in one line how far a run is, how fast it goes and how long it will take."""
    ended, total = progress(run)
    pace = f"{rate:,.0f}" if rate >= 10 else f"{rate:.1f}"
    said = f"{ended:,} of {total:,} tasks, {pace}/s"
    return f"{said}, {text.duration((total - ended) / rate)} left" if rate > 0 and total > ended else said


class Lines(Display):
    """Says how it begins, and now and then how far it is."""

    def __init__(self) -> None:
        """Say nothing yet."""
        self._said = time.monotonic()
        self._pace: Pace | None = None

    def begin(self, beginning: Beginning) -> None:
        """Say what begins, and what an edit did."""
        run, title = beginning.run, beginning.title
        show_warnings(run.plan, beginning.source)
        ended, total = progress(run)
        self._pace = Pace(ended, time.monotonic())
        tasks = text.plural(total, "task")
        match beginning.how:
            case "new":
                click.echo(f"{title}: {tasks}", err=True)
            case "done":
                click.echo(f"{title}: nothing to do, all {tasks} are completed", err=True)
            case how:
                click.echo(f"{title}: {how}, {total - ended:,} of {tasks} to do", err=True)
        if beginning.difference is not None:
            for line in difference_lines(beginning.difference):
                click.echo(f"  {line}", err=True)

    def update(self, run: Run) -> None:
        """Say how far it is, if it has been a while."""
        now = time.monotonic()
        if now - self._said < PERIOD or self._pace is None:
            return
        self._said = now
        click.echo(f"{headline(run, self._pace.take(progress(run)[0], now))}: {text.counts(run.counts())}", err=True)

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
        """Say what begins, and start to draw."""
        super().begin(beginning)
        if beginning.is_done:
            return
        from rich.console import Console  # only a terminal needs it
        from rich.live import Live as Screen

        self._screen = Screen(console=Console(stderr=True), auto_refresh=False, transient=True)
        self._screen.start()
        self.update(beginning.run)

    def update(self, run: Run) -> None:
        """Draw where the run is."""
        now = time.monotonic()
        if self._screen is None or self._pace is None or now - self._drawn < FRAME:
            return
        self._drawn = now
        rate = self._pace.take(progress(run)[0], now)
        self._screen.update(drawing(run, headline(run, rate)), refresh=True)

    def end(self) -> None:
        """Take the table away."""
        if self._screen is not None:
            self._screen.stop()
        self._screen = None

    def say(self, line: str) -> None:
        """Say something above the table."""
        if self._screen is None:
            super().say(line)
        else:
            self._screen.console.print(line, markup=False, highlight=False)


def drawing(run: Run, title: str) -> Group:
    """Return what is drawn of a run: a headline, and its templates, those at work first, with counts by state."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    counts = run.counts()
    shown = [state for state, count in counts.items() if count]
    drawn = Table(box=None, pad_edge=False)
    drawn.add_column("")
    for state in shown:
        drawn.add_column(state, justify="right", style=text.COLOURS.get(state))
    rows, most = _rows(run), text.rows()
    for template in busiest(run, most):
        drawn.add_row(text.group(template.name), *(_cell(template.counts[state]) for state in shown))
    if rows > most:
        drawn.add_row(f"… {rows - most:,} more templates")
    if rows > 1:
        drawn.add_row("all", *(f"{counts[state]:,}" for state in shown))
    return Group(Text(title), drawn)


def busiest(run: Run, most: int) -> Iterator[TemplateShape]:
    """Yield the templates that people want to see: those at work, then ready ones, those to come, and the rest."""
    counts = run.frontier.counts
    rest = np.full(len(counts), 3)
    for rank, codes in ((2, (states.WAITING,)), (1, (states.QUEUED, states.DELAYED)), (0, states.IN_FLIGHT)):
        rest[counts[:, list(codes)].any(axis=1)] = rank
    blocks = [run.plan.blocks[number] for number in np.argsort(rest, kind="stable")[:most].tolist()]
    yield from sorted(template_shapes(run, blocks), key=_rank)[:most]


def _rank(template: TemplateShape) -> int:
    """Return how soon people want to see a template."""
    return next((rank for rank, state in enumerate(("running", "queued", "waiting")) if template.counts[state]), 3)


def _rows(run: Run) -> int:
    """Return the number of rows of a table of all templates."""
    separate = separate_blocks(run.plan)
    return sum(block.size if block.number in separate else 1 for block in run.plan.blocks)


def _cell(count: int) -> str:
    return f"{count:,}" if count else ""
