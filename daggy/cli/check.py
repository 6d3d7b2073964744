"""`daggy check`: whether a spec is valid, and its plan."""

from __future__ import annotations

import click

from daggy.cli import text
from daggy.cli.options import document_options, json_option


@click.command()
@document_options
@click.option("--functions", is_flag=True, help="Import the modules whose functions are called; check their arguments.")
@json_option
def check(
    spec: str,
    parameters: dict[str, str],
    tags: dict[str, str],
    templating: str | None,
    functions: bool,
    as_json: bool,
) -> None:
    """Validate SPEC, a file or '-' for standard input, and show its templates with their tasks and edges.

    With --functions it also says whether calls of Python functions that are found here have the arguments that these
    take.
    """
    from daggy.cli.document import plan_of, read_document  # help must not wait for these
    from daggy.cli.planned import show_plan
    from daggy.plan import plan_as_json

    call = read_document(spec, parameters, tags, templating)
    made = call.planned()
    if as_json:
        text.print_json(plan_as_json(made))
    else:
        show_plan(made, call.document.source)
    if functions:
        from daggy.cli.signatures import misfits

        for line in misfits(plan_of(call.spec()[0], call.document.source)):
            click.echo(f"{call.document.source}: warning: {line}", err=True)
