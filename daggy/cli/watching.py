"""A run of a server, watched until it ends."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

import click
import trio

from daggy.cli import failures, notes, table, text
from daggy.cli.pace import Pace, headline, progress
from daggy.cli.served import ServedRun
from daggy.cli.source import RunSource
from daggy.cli.target import Target
from daggy.cli.transcript import reader
from daggy.client import Client
from daggy.errors import NotFoundError, UnavailableError

if TYPE_CHECKING:
    from rich.live import Live

FRAME = 0.5
"""Seconds between two drawings."""

PERIOD = 30.0
"""Seconds between two lines where nothing can be redrawn."""


def watch_run(target: Target, client: Client, run: int, *, quiet: bool = False) -> RunSource:
    """Show the progress of a run until it has ended; return it. Ctrl-C leaves it alone.

    The server of a `daggy run` ends with its run, which is then read from its directory.

    Raises:
        NotFoundError: it was removed.
        UnavailableError: the server is gone, and the run has not ended.
    """
    try:
        if quiet:
            for event in client.following(run):
                _require(event.kind, run)
        elif text.is_terminal():
            with table.screen() as screen:
                _watch(client, run, FRAME, screen)
        else:
            _watch(client, run, PERIOD, None)
    except UnavailableError as error:
        if (ended := target.ended(str(run))) is not None:
            return ended
        if client.comes_back:
            raise
        raise UnavailableError(
            f"run {run} was interrupted: its 'daggy run' is gone; the same command continues it"
        ) from error
    return (None if client.comes_back else target.ended(str(run))) or ServedRun(client, run)


def _watch(client: Client, run: int, period: float, screen: Live | None) -> None:
    shown = client.run(run)
    told = _notes(client, run)
    is_told = bool(told)
    began = time.monotonic()
    pace, due = Pace(progress(shown["counts"])[0], began), began if screen else began + period
    for event in client.following(run):
        _require(event.kind, run)
        now = time.monotonic()
        is_told = is_told or "noted" in event.data
        if "counts" not in event.data or now < due:
            continue
        due = now + period
        counts = event.data["counts"]
        line = f"run {run} {event.data['state']}: {headline(counts, pace.take(progress(counts)[0], now))}"
        with contextlib.suppress(UnavailableError):  # it may be starting again
            told = _notes(client, run) if is_told else []
        if screen is None:
            for each in (f"{line}: {text.counts(counts)}", *told):
                click.echo(each, err=True)
        else:
            with contextlib.suppress(UnavailableError):
                screen.update(_drawing(line, client.run(run), told), refresh=True)


def _notes(client: Client, run: int) -> list[str]:
    """Return what running tasks tell of themselves, a line each."""
    return [f"  {line}" for line in notes.lines(client.tasks(run, state=["running"], limit=notes.LOOKED_AT)["items"])]


def _require(kind: str, run: int) -> None:
    if kind == "forgotten":
        raise NotFoundError(f"run {run} was removed")


def _drawing(title: str, run: Mapping[str, Any], told: Sequence[str]) -> Any:
    """Return what is drawn of a run: its templates with their counts, those at work first, and what tasks tell."""
    templates = sorted(
        run["templates"], key=lambda one: [not one["counts"][state] for state in ("running", "queued", "waiting")]
    )
    shown = [(template["name"], template["counts"]) for template in templates[: text.rows()]]
    return table.drawing(title, run["counts"], shown, len(templates), told)


def conclude(run: RunSource, *, quiet: bool = False, as_json: bool) -> int:
    """Print how a run ended, and what failed; return the exit code."""
    told = run.run()
    if as_json:
        text.print_json(told)
    if quiet and told["state"] == "completed":
        return 0
    title = f"{told['name']}: " if told["name"] else ""
    click.echo(f"{title}run {run.id} {text.state(told['state'])}: {text.counts(told['counts'])}", err=True)
    if told["state"] == "completed":
        return 0
    trio.run(_print_failures, run)
    return 1


async def _print_failures(run: RunSource) -> None:
    failed = list(islice(run.chosen((), {}, ["errored"]), failures.COMPARED + 1))
    shown = await failures.print_failures([_failure(run, task) for task in failed[: failures.COMPARED]])
    if len(failed) > shown:
        click.echo(f"and more: daggy tasks {run.id} --state errored", err=True)


def _failure(run: RunSource, task: Mapping[str, Any]) -> failures.Failure:
    last = next(reversed(run.attempts(task["index"])), None)
    return failures.Failure(task["name"], last, None if last is None else reader(run, task, last))
