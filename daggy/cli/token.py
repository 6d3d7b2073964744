"""`daggy token`: what whoever asks the server has to show."""

from __future__ import annotations

from pathlib import Path

import click

from daggy.cli.options import directory_option


@click.command()
@directory_option
def token(directory: Path) -> None:
    """Print the token of the directory's server."""
    from daggy.server.token import load  # help must not wait for it

    click.echo(load(directory.absolute()))
