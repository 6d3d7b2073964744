"""`daggy kill`, `resume`, `requeue`, `plan`, `edit`: what people ask of a run of a server."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from daggy.cli import text
from daggy.cli.options import document_options, json_option, narrowing_options, run_argument
from daggy.cli.target import Target, target_options

if TYPE_CHECKING:
    from daggy.client import Client

keep_downstream_option = click.option(
    "--keep-downstream", is_flag=True, help="What completed downstream of what runs again stays completed."
)
dry_run_option = click.option("-n", "--dry-run", is_flag=True, help="Show what it would do. Change nothing.")


@click.command()
@run_argument
@click.argument("selectors", metavar="[SELECTOR]...", nargs=-1)
@narrowing_options
@target_options
@json_option
def kill(
    target: Target,
    which: str,
    selectors: tuple[str, ...],
    where: dict[str, str],
    states: tuple[str, ...],
    as_json: bool,
) -> None:
    """Kill RUN, or what the selectors choose of it: queued work first, then what runs."""
    client, run = _run(target, which)
    _tell(client.kill(run, _selector(selectors, where, states)), as_json=as_json)


@click.command()
@run_argument
@target_options
@json_option
def resume(target: Target, which: str, as_json: bool) -> None:
    """Put what is errored, killed or upstream_failed of RUN back in the queue."""
    client, run = _run(target, which)
    _tell(client.change(run, {"resume": True}), as_json=as_json)


@click.command()
@run_argument
@click.argument("selectors", metavar="[SELECTOR]...", nargs=-1)
@narrowing_options
@keep_downstream_option
@dry_run_option
@target_options
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
    """Run what the selectors choose of RUN again, and what is downstream."""
    selector = _selector(selectors, where, states)
    if selector is None:
        raise click.UsageError("name what is to run again: an index, a task, a template, --param or --state")
    client, run = _run(target, which)
    asked = {"requeue": selector, "keep_downstream": keep_downstream}
    told = client.change(run, asked, dry_run=dry_run)
    if dry_run:
        _tell_difference(told, as_json=as_json)
    else:
        _tell(told, as_json=as_json)


@click.command()
@run_argument
@document_options
@keep_downstream_option
@target_options
@json_option
def plan(target: Target, which: str, keep_downstream: bool, as_json: bool, **document: Any) -> None:
    """Show what an edit of RUN to SPEC keeps, adds, removes, changes and invalidates, by template and why."""
    client, run = _run(target, which)
    told = _change(client, run, document, {"keep_downstream": keep_downstream}, dry_run=True)
    _tell_difference(told, as_json=as_json)


@click.command()
@run_argument
@document_options
@keep_downstream_option
@target_options
@json_option
def edit(target: Target, which: str, keep_downstream: bool, as_json: bool, **document: Any) -> None:
    """Make SPEC the new version of RUN's spec: what changed runs again, and the run is resumed."""
    client, run = _run(target, which)
    asked = {"keep_downstream": keep_downstream}
    difference = None if as_json else _change(client, run, document, asked, dry_run=True)
    told = _change(client, run, document, asked, dry_run=False)
    if difference is not None:
        _tell_difference(difference, as_json=False)
    _tell(told, as_json=as_json)


def _run(target: Target, which: str) -> tuple[Client, int]:
    from daggy.cli.served import Served  # help must not wait for it

    client = target.client()
    return client, Served(client).open(which).id


def _selector(selectors: Sequence[str], where: dict[str, str], states: Sequence[str]) -> Any:
    """Return the selector as the API takes it; None if nothing was said."""
    if not (selectors or where or states):
        return None
    named = [state.strip() for said in states for state in said.split(",")]
    return {"select": list(selectors), "param": where, "state": named}


def _change(client: Client, run: int, document: dict[str, Any], asked: dict[str, Any], *, dry_run: bool) -> Any:
    """Send a new version of a run's spec: relative directories stay relative to where it was first called."""
    from daggy.cli.document import first_directory, read_document
    from daggy.errors import SpecError

    call = read_document(document["spec"], document["parameters"], document["tags"], document["templating"])
    first = first_directory(client.spec(run))
    try:
        return client.change(run, asked, spec=call.raw(first), dry_run=dry_run)
    except SpecError as error:
        raise SpecError(error.problems, call.document.source) from None


def _tell(run: Any, *, as_json: bool) -> None:
    if as_json:
        text.print_json(run)
    else:
        click.echo(f"run {run['run_id']}: {text.state(run['state'])}, {text.counts(run['counts'])}", err=True)


def _tell_difference(told: Any, *, as_json: bool) -> None:
    from daggy.cli.planned import difference_lines, to_run_line
    from daggy.view.preview import difference_of

    if as_json:
        text.print_json(told)
        return
    difference = difference_of(told)
    for line in difference_lines(difference):
        click.echo(line)
    click.echo(to_run_line(difference.to_run))
