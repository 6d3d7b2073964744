"""`daggy show`: one run with its counts by state and template."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import click

from daggy.cli import notes, text
from daggy.cli.options import json_option, run_argument
from daggy.cli.target import Target, target_options


@click.command()
@run_argument
@target_options
@json_option
def show(target: Target, which: str, as_json: bool) -> None:
    """Show RUN, an id or 'last', with its counts of tasks by state and template, and what running tasks tell."""
    source = target.source().open(which)
    run = source.run()
    if as_json:
        text.print_json(run)
        return
    for line in lines(run):
        click.echo(line)
    if run["counts"]["running"]:
        for line in notes.lines(source.tasks({}, ("running",), "", notes.LOOKED_AT, 0)["items"]):
            click.echo(f"  {line}")


def lines(run: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines that show a run."""
    counts = run["counts"]
    title = f"run {run['run_id']}" + (f" '{run['name']}'" if run["name"] else "")
    yield f"{title}: {text.state(run['state'])}, version {run['version']}"
    if run["held"]:
        yield f"  held: {run['held']}"
    for key, value in run["tags"].items():
        yield f"  tag {key}: {value}"
    created, started, ended = (text.when(run[name]) for name in ("created", "started", "ended"))
    yield f"  created {created}, started {started}, ended {ended}"
    shown = [state for state, count in counts.items() if count]
    rows = [
        (
            text.group(template["name"]), ",".join(template["parameters"]) or "-", template["tasks"],
            *(template["counts"][state] for state in shown),
        )
        for template in run["templates"]
    ]  # fmt: skip
    total = ("total", "", sum(counts.values()), *(counts[state] for state in shown))
    yield from text.columns(("TEMPLATE", "PARAMETERS", "TASKS", *(state.upper() for state in shown)), [*rows, total])
