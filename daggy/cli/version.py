"""`daggy version`: the version of Daggy."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version as installed

import click


@click.command()
def version() -> None:
    """Print the version of Daggy."""
    try:
        number = installed("daggy")
    except PackageNotFoundError:
        number = "(not installed)"
    click.echo(f"daggy {number}")
