"""`daggy wait` and `daggy watch`: until a run ends."""

from __future__ import annotations

import click

from daggy.cli.options import json_option, run_argument
from daggy.cli.target import Target, target_options


@click.command()
@run_argument
@target_options
@json_option
def wait(target: Target, which: str, as_json: bool) -> int:
    """Wait until RUN, an id or 'last', has ended; the exit code tells how. Ctrl-C only detaches."""
    return _until_end(target, which, quiet=True, as_json=as_json)


@click.command()
@run_argument
@target_options
@json_option
def watch(target: Target, which: str, as_json: bool) -> int:
    """Show how RUN, an id or 'last', goes until it has ended. Ctrl-C only detaches."""
    return _until_end(target, which, quiet=False, as_json=as_json)


def _until_end(target: Target, which: str, *, quiet: bool, as_json: bool) -> int:
    from daggy.cli.served import Served  # help must not wait for these
    from daggy.cli.watching import conclude, watch_run

    client = target.client()
    run = Served(client).open(which).id
    try:
        told = watch_run(client, run, quiet=quiet)
    except KeyboardInterrupt:
        click.echo(f"run {run} goes on; 'daggy watch {run}' looks at it again", err=True)
        raise
    return conclude(client, told, as_json=as_json)
