"""`daggy tasks`: a page of a run's tasks."""

from __future__ import annotations

import click

from daggy.cli import complete, text
from daggy.cli.options import json_option, narrowing_options, run_argument
from daggy.cli.target import Target, target_options


@click.command()
@run_argument
@narrowing_options
@click.option(
    "--template",
    metavar="NAME",
    default="",
    shell_complete=complete.templates,
    help="List only tasks of this template.",
)
@click.option("--node", metavar="NODE", default="", help="List only tasks that are at this machine, or ended there.")
@click.option(
    "--limit", type=click.IntRange(1, 10_000), metavar="N", default=100, show_default=True, help="List at most N."
)
@click.option("--cursor", type=click.IntRange(0), default=0, metavar="INDEX", help="Start at this index.")
@target_options
@json_option
def tasks(
    target: Target,
    which: str,
    where: dict[str, str],
    states: tuple[str, ...],
    template: str,
    node: str,
    limit: int,
    cursor: int,
    as_json: bool,
) -> None:
    """List the tasks of RUN, an id or 'last', ascending by index."""
    page = target.source().open(which).tasks(where, states, template, limit, cursor, node)
    if as_json:
        text.print_json(page)
        return
    text.print_columns(
        ("INDEX", "NAME", "STATE", "ATTEMPTS", "STARTED", "SECONDS"),
        (
            (
                task["index"], task["name"], task["state"], task["attempts"], text.when(task["started"]),
                text.between(task["started"], task["ended"]),
            )
            for task in page["items"]
        ),
    )  # fmt: skip
    if page["next"] is not None:
        click.echo(f"there are more: --limit, or --cursor {page['next']}", err=True)
