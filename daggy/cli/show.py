"""`daggy show`: one run with its counts by state and template."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from daggy.cli import text
from daggy.cli.options import config_option, directory_option, json_option, run_argument

if TYPE_CHECKING:
    from daggy.run.shapes import RunShape


@click.command()
@run_argument
@directory_option
@config_option
@json_option
def show(which: str, directory: Path, config: Path | None, as_json: bool) -> None:
    """Show a run with its counts. RUN is an id, or 'last'."""
    from daggy.cli.look import look  # help must not wait for these
    from daggy.run import shapes

    run = shapes.describe(look(directory, config).run(which))
    if as_json:
        text.print_json(shapes.as_json(run))
        return
    for line in lines(run):
        click.echo(line)


def lines(run: RunShape) -> Iterator[str]:
    """Yield a run as people read it."""
    counts = run.counts or {}
    title = f"run {run.run_id}" + (f" '{run.name}'" if run.name else "")
    yield f"{title}: {text.state(run.state)}, version {run.version}"
    for key, value in run.tags.items():
        yield f"  tag {key}: {value}"
    yield f"  created {text.when(run.created)}, started {text.when(run.started)}, ended {text.when(run.ended)}"
    shown = [state for state, count in counts.items() if count]
    rows = [
        (
            text.group(template.name), ",".join(template.parameters) or "-", template.tasks,
            *(template.counts[state] for state in shown),
        )
        for template in run.templates or ()
    ]  # fmt: skip
    total = ("total", "", sum(counts.values()), *(counts[state] for state in shown))
    yield from text.columns(("TEMPLATE", "PARAMETERS", "TASKS", *(state.upper() for state in shown)), [*rows, total])
