"""`daggy check`: whether a spec is valid, and its plan."""

from __future__ import annotations

import click

from daggy.cli import text
from daggy.cli.options import document_options, json_option


@click.command()
@document_options
@json_option
def check(spec: str, parameters: dict[str, str], tags: dict[str, str], templating: str | None, as_json: bool) -> None:
    """Validate SPEC, a file or '-' for standard input, and show its templates with their tasks and edges."""
    from daggy.cli.document import read_document  # help must not wait for these
    from daggy.cli.planned import show_plan
    from daggy.plan import plan_as_json

    call = read_document(spec, parameters, tags, templating)
    made = call.planned()
    if as_json:
        text.print_json(plan_as_json(made))
    else:
        show_plan(made, call.document.source)
