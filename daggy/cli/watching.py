"""A run of a server, watched from afar until it ends."""

from __future__ import annotations

import time
from collections.abc import Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any

import click

from daggy.cli import text
from daggy.client import ENDED, Client
from daggy.errors import NotFoundError

if TYPE_CHECKING:
    from rich.console import Group

FRAME = 0.5
"""Seconds between two drawings."""

PERIOD = 30.0
"""Seconds between two lines where nothing can be redrawn."""

FAILURES = 5
"""Failed tasks that are told at the end."""

LINES = 10
"""Lines of each of them."""

TAIL = 8192
"""Bytes in which those lines are looked for."""


def watch_run(client: Client, run: int, *, quiet: bool = False) -> Any:
    """Show how a run goes until it has ended; return it. Ctrl-C leaves it alone.

    Raises:
        NotFoundError: it is no more.
    """
    told = client.run(run)
    if quiet or not text.is_terminal():
        return _in_lines(client, run, told, quiet=quiet)
    from rich.console import Console  # only a terminal needs it
    from rich.live import Live

    drawn = 0.0
    with Live(console=Console(stderr=True), auto_refresh=False, transient=True) as screen:
        for event in client.following(run):
            _require(event.kind, run)
            now = time.monotonic()
            if now - drawn >= FRAME:
                drawn, told = now, client.run(run)
                screen.update(drawing(told), refresh=True)
    return client.run(run)


def _in_lines(client: Client, run: int, told: Any, *, quiet: bool) -> Any:
    said = time.monotonic()
    for event in client.following(run):
        _require(event.kind, run)
        if not quiet and "counts" in event.data and time.monotonic() - said >= PERIOD:
            said = time.monotonic()
            click.echo(f"run {run}: {event.data['state']}, {text.counts(event.data['counts'])}", err=True)
    return client.run(run) if told["state"] not in ENDED else told


def _require(kind: str, run: int) -> None:
    if kind == "forgotten":
        raise NotFoundError(f"run {run} was removed")


def drawing(run: Mapping[str, Any]) -> Group:
    """Return what is drawn of a run: its counts, and its templates with theirs, those not done first."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    counts = run["counts"]
    shown = [state for state, count in counts.items() if count]
    ended = sum(count for state, count in counts.items() if state not in ("waiting", "queued", "running"))
    title = Text(f"run {run['run_id']} {run['name']}: {run['state']}, {ended:,} of {sum(counts.values()):,} tasks")
    table = Table(box=None, pad_edge=False)
    table.add_column("")
    for state in shown:
        table.add_column(state, justify="right", style=text.COLOURS.get(state))
    templates = sorted(
        run["templates"], key=lambda one: [not one["counts"][state] for state in ("running", "queued", "waiting")]
    )
    most = text.rows()
    for template in templates[:most]:
        cells = (f"{template['counts'][state]:,}" if template["counts"][state] else "" for state in shown)
        table.add_row(text.group(template["name"]), *cells)
    if len(templates) > most:
        table.add_row(f"… {len(templates) - most:,} more templates")
    return Group(title, table)


def conclude(client: Client, run: Mapping[str, Any], *, as_json: bool) -> int:
    """Tell how a run ended, and what failed; return the exit code."""
    if as_json:
        text.print_json(run)
    title = f"{run['name']}: " if run["name"] else ""
    click.echo(f"{title}run {run['run_id']} {text.state(run['state'])}: {text.counts(run['counts'])}", err=True)
    if run["state"] == "completed":
        return 0
    number = int(run["run_id"])
    failed = list(islice(client.all_tasks(number, state="errored"), FAILURES + 1))
    for task in failed[:FAILURES]:
        _tell_failure(client, number, task)
    if len(failed) > FAILURES:
        click.echo(f"and more: daggy tasks {number} --state errored", err=True)
    return 1


def _tell_failure(client: Client, run: int, task: Mapping[str, Any]) -> None:
    attempts = client.task(run, task["index"])["attempts"]
    if not attempts:
        return
    last = attempts[-1]
    named = {"exit": f"exit {last['exit_code']}", "signal": f"signal {last['signal']}"}
    ended = named.get(last["reason"], last["reason"])
    message = f": {last['message']}" if last["message"] else ""
    click.echo(f"{task['name']} {text.state('errored')}: {ended}{message}", err=True)
    lines: list[bytes] = []
    for stream in ("stdout", "stderr"):
        size = last[f"{stream}_bytes"]
        if size:
            start = max(0, size - TAIL)
            lines += b"".join(client.log(run, task["index"], stream, offset=start, limit=TAIL)).splitlines()
    for line in lines[-LINES:]:
        click.echo(f"    {text.harmless(line.decode(errors='replace'))}", err=True)
