"""`daggy submit`: a spec to a server."""

from __future__ import annotations

import click

from daggy.cli import text
from daggy.cli.options import document_options, json_option, quiet_option
from daggy.cli.target import Target, server_options
from daggy.signals import interruptible


@click.command()
@document_options
@click.option("--wait", is_flag=True, help="Show the progress until the run has ended; exit as daggy run does.")
@quiet_option
@click.option("--key", metavar="KEY", default="", help="Submit once: within a day the same key names the same run.")
@server_options
@json_option
def submit(
    target: Target,
    spec: str,
    parameters: dict[str, str],
    tags: dict[str, str],
    templating: str | None,
    wait: bool,
    quiet: bool,
    key: str,
    as_json: bool,
) -> int:
    """Submit SPEC, a file or '-' for standard input, to a server, and print the run's id."""
    from daggy.cli.document import read_document  # help must not wait for these
    from daggy.errors import SpecError

    call = read_document(spec, parameters, tags, templating)
    client = target.client()
    try:
        run = client.submit(call.raw(), key=key)
    except SpecError as error:
        raise SpecError(error.problems, call.document.source) from None
    if not wait:
        if as_json:
            text.print_json({"run_id": run})
        else:
            click.echo(run)
        return 0
    from daggy.cli.watching import conclude, watch_run

    if not as_json:
        click.echo(run)
    with interruptible():
        ended = watch_run(target, client, run, quiet=quiet)
    return conclude(ended, quiet=quiet, as_json=as_json)
