"""`daggy kill`, `resume`, `requeue`, `plan`, `edit`: commands that change a run of a server."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from daggy.cli import text
from daggy.cli.options import document_options, json_option, narrowing_options, run_argument, selectors_argument
from daggy.cli.source import split
from daggy.cli.target import Target, server_options

if TYPE_CHECKING:
    from daggy.client import Client

keep_downstream_option = click.option(
    "--keep-downstream", is_flag=True, help="Leave completed tasks downstream of these as they are."
)
dry_run_option = click.option("-n", "--dry-run", is_flag=True, help="Show what would change. Change nothing.")


@click.command()
@run_argument
@selectors_argument
@narrowing_options
@server_options
@json_option
def kill(
    target: Target,
    which: str,
    selectors: tuple[str, ...],
    where: dict[str, str],
    states: tuple[str, ...],
    as_json: bool,
) -> None:
    """Kill RUN, an id or 'last', or the tasks chosen: queued tasks first, then running ones."""
    client, run = _run(target, which)
    _print_run(client.kill(run, _selector(selectors, where, states)), as_json=as_json)


@click.command()
@run_argument
@server_options
@json_option
def resume(target: Target, which: str, as_json: bool) -> None:
    """Queue the errored, killed and upstream_failed tasks of RUN, an id or 'last', again."""
    client, run = _run(target, which)
    _print_run(client.change(run, {"resume": True}), as_json=as_json)


@click.command()
@run_argument
@selectors_argument
@narrowing_options
@keep_downstream_option
@dry_run_option
@server_options
@json_option
def requeue(
    target: Target,
    which: str,
    selectors: tuple[str, ...],
    where: dict[str, str],
    states: tuple[str, ...],
    keep_downstream: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Run the chosen tasks of RUN, an id or 'last', again, and the tasks downstream of them."""
    selector = _selector(selectors, where, states)
    if selector is None:
        raise click.UsageError("name the tasks to run again: an index, a task, a template, --param or --state")
    client, run = _run(target, which)
    answer = client.change(run, {"requeue": selector, "keep_downstream": keep_downstream}, dry_run=dry_run)
    if dry_run:
        _print_difference(answer, as_json=as_json)
    else:
        _print_run(answer, as_json=as_json)


@click.command()
@run_argument
@document_options
@keep_downstream_option
@server_options
@json_option
def plan(target: Target, which: str, keep_downstream: bool, as_json: bool, **document: Any) -> None:
    """Show what an edit of RUN to SPEC would keep, add, remove, change and run again, by template."""
    client, run = _run(target, which)
    difference = _change(client, run, document, {"keep_downstream": keep_downstream}, dry_run=True)
    _print_difference(difference, as_json=as_json)


@click.command()
@run_argument
@document_options
@keep_downstream_option
@dry_run_option
@server_options
@json_option
def edit(target: Target, which: str, keep_downstream: bool, dry_run: bool, as_json: bool, **document: Any) -> None:
    """Replace the spec of RUN by SPEC: changed tasks run again, and the run is resumed."""
    client, run = _run(target, which)
    options = {"keep_downstream": keep_downstream}
    difference = _change(client, run, document, options, dry_run=True) if dry_run or not as_json else None
    if dry_run:
        _print_difference(difference, as_json=as_json)
        return
    changed = _change(client, run, document, options, dry_run=False)
    if difference is not None:
        _print_difference(difference, as_json=False)
    _print_run(changed, as_json=as_json)


def _run(target: Target, which: str) -> tuple[Client, int]:
    from daggy.cli.served import Served  # help must not wait for it

    client = target.client()
    return client, Served(client).open(which).id


def _selector(selectors: Sequence[str], where: dict[str, str], states: Sequence[str]) -> Any:
    """Return the selector as the API takes it; None if no option chooses."""
    if not (selectors or where or states):
        return None
    return {"select": list(selectors), "param": where, "state": split(states)}


def _change(client: Client, run: int, document: dict[str, Any], options: dict[str, Any], *, dry_run: bool) -> Any:
    """Send a new version of a run's spec: relative directories stay relative to where it was first called."""
    from daggy.cli.document import read_document
    from daggy.cli.origin import Origin
    from daggy.errors import SpecError

    call = read_document(document["spec"], document["parameters"], document["tags"], document["templating"])
    origin = Origin.kept(client.spec(run))
    try:
        return client.change(run, options, spec=call.raw(origin), dry_run=dry_run)
    except SpecError as error:
        raise SpecError(error.problems, call.document.source) from None


def _print_run(run: Any, *, as_json: bool) -> None:
    if as_json:
        text.print_json(run)
    else:
        click.echo(f"run {run['run_id']}: {text.state(run['state'])}, {text.counts(run['counts'])}", err=True)


def _print_difference(difference: Any, *, as_json: bool) -> None:
    from daggy.cli.planned import difference_lines, to_run_line
    from daggy.view.preview import difference_of

    if as_json:
        text.print_json(difference)
        return
    shape = difference_of(difference)
    for line in difference_lines(shape):
        click.echo(line)
    click.echo(to_run_line(shape.to_run))
