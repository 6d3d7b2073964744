"""`daggy token`: the access token of a directory's server."""

from __future__ import annotations

from pathlib import Path

import click

from daggy.cli.options import directory_option
from daggy.paths import absolute, default_directory


@click.command()
@directory_option
@click.option(
    "--url", is_flag=True, help="Print the address of the server's page, with the token in it, for a browser."
)
def token(directory: Path | None, url: bool) -> None:
    """Print the access token of the server that uses the directory."""
    from daggy.server.token import entrance, load  # help must not wait for these

    place = absolute(directory or default_directory())
    click.echo(entrance(place) if url else load(place))
