"""`daggy schema`: the JSON Schema of run specs."""

from __future__ import annotations

import json

import click


@click.command()
def schema() -> None:
    """Print the JSON Schema of run specs, for editors and other programs."""
    from daggy.spec import schema as schema_of_specs  # help must not wait for this

    click.echo(json.dumps(schema_of_specs(), indent=2, ensure_ascii=False))
