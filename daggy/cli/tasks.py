"""`daggy tasks`: a page of a run's tasks."""

from __future__ import annotations

from pathlib import Path

import click

from daggy.cli import text
from daggy.cli.options import config_option, directory_option, json_option, narrowing_options, run_argument


@click.command()
@run_argument
@narrowing_options
@click.option("--template", default="", help="Only tasks of this template.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=100, show_default=True, help="At most so many.")
@click.option("--cursor", type=click.IntRange(0), default=0, metavar="INDEX", help="Go on from this index.")
@directory_option
@config_option
@json_option
def tasks(
    which: str,
    where: dict[str, str],
    states: tuple[str, ...],
    template: str,
    limit: int,
    cursor: int,
    directory: Path,
    config: Path | None,
    as_json: bool,
) -> None:
    """List tasks of a run. RUN is an id, or 'last'."""
    from daggy.cli.look import look  # help must not wait for these
    from daggy.run import shapes
    from daggy.run.selectors import states_named

    wanted = shapes.Filter(states_named(states), template, where)
    page = shapes.tasks(look(directory, config).run(which), wanted, cursor, limit)
    if as_json:
        text.print_json(shapes.as_json(page))
        return
    text.print_columns(
        ("INDEX", "NAME", "STATE", "ATTEMPTS", "STARTED", "SECONDS"),
        (
            (task.index, task.name, task.state, task.attempts, text.when(task.started), seconds(task))
            for task in page.items
        ),
    )
    if page.next is not None:
        click.echo(f"there are more: --limit, or --cursor {page.next}", err=True)


def seconds(task: object) -> str:
    """Return how long a task's last attempt took; "-" if it has not ended, or had no process."""
    started, ended = getattr(task, "started", None), getattr(task, "ended", None)
    return "-" if started is None or ended is None else f"{ended - started:.3f}"
