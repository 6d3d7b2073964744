"""`daggy version`: which Daggy this is."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version as installed

import click


@click.command()
def version() -> None:
    """Print which Daggy this is."""
    try:
        number = installed("daggy")
    except PackageNotFoundError:
        number = "(not installed)"
    click.echo(f"daggy {number}")
