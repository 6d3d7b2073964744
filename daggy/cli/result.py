"""`daggy result`: the JSON values that tasks left."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from daggy.cli import text
from daggy.cli.options import json_option, narrowing_options, run_argument, selectors_argument
from daggy.cli.target import Target, target_options
from daggy.errors import NotFoundError

if TYPE_CHECKING:
    from daggy.cli.source import Json, RunSource


@click.command()
@run_argument
@selectors_argument
@narrowing_options
@target_options
@json_option
def result(
    target: Target,
    which: str,
    selectors: tuple[str, ...],
    where: dict[str, str],
    states: tuple[str, ...],
    as_json: bool,
) -> None:
    """Print the results of tasks of RUN, an id or 'last': the JSON value that the last attempt of each left.

    Without a SELECTOR, prints those of all tasks. If there are several, the task's name precedes each.
    """
    run = target.source().open(which)
    tasks = list(run.chosen(selectors, where, states))
    found = [told for task in tasks if (told := _result(run, task)) is not None]
    if not found and len(tasks) == 1:
        raise NotFoundError(
            f'{tasks[0]["name"]} left no result; a task that is to leave one says "result": true, '
            "and writes it to the file $DAGGY_RESULT"
        )
    if as_json:
        text.print_json(found)
        return
    for one in found:
        name = "" if len(tasks) == 1 else f"{one['name']}: "
        click.echo(f"{name}{text.json_line(one['result'])}")
    if not found:
        click.echo("none of the tasks left a result", err=True)


def _result(run: RunSource, task: Json) -> Json | None:
    """Return a task with its result; None if it left none."""
    attempts = run.attempts(task["index"]) if task["attempts"] else ()
    last = max(attempts, key=lambda one: one["attempt"], default=None)
    if last is None or last["result"] is None:
        return None
    return {"index": task["index"], "name": task["name"], "attempt": last["attempt"], "result": last["result"]}
