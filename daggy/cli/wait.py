"""`daggy wait` and `daggy watch`: until a run ends."""

from __future__ import annotations

import click

from daggy.cli.options import json_option, quiet_option, run_argument
from daggy.cli.target import Target, server_options
from daggy.signals import interruptible


@click.command()
@run_argument
@quiet_option
@server_options
@json_option
def wait(target: Target, which: str, quiet: bool, as_json: bool) -> int:
    """Wait until RUN, an id or 'last', has ended, and exit as daggy run does. Ctrl-C leaves the run alone."""
    return _until_end(target, which, is_shown=False, quiet=quiet, as_json=as_json)


@click.command()
@run_argument
@server_options
@json_option
def watch(target: Target, which: str, as_json: bool) -> int:
    """Show the progress of RUN, an id or 'last', until it has ended. Ctrl-C leaves the run alone."""
    return _until_end(target, which, is_shown=True, quiet=False, as_json=as_json)


def _until_end(target: Target, which: str, *, is_shown: bool, quiet: bool, as_json: bool) -> int:
    from daggy.cli.served import Served  # help must not wait for these
    from daggy.cli.watching import conclude, watch_run
    from daggy.errors import UnavailableError

    try:
        client = target.client()
        run = Served(client).open(which).id
    except UnavailableError:
        if (ended := target.ended(which)) is None:
            raise
        return conclude(ended, quiet=quiet, as_json=as_json)
    try:
        with interruptible():
            ended = watch_run(target, client, run, quiet=not is_shown)
    except KeyboardInterrupt:
        click.echo(f"run {run} continues; 'daggy watch {run}' shows it again", err=True)
        raise
    return conclude(ended, quiet=quiet, as_json=as_json)
