"""`daggy token`: the access token of a directory's server, and tokens for agents."""

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
@click.option("--agent", is_flag=True, help="Make and print a token with which agents can join, and do nothing else.")
@click.option("--pool", default="", metavar="NAME", help="With --agent: for this pool only.")
@click.option("--revoke", default="", metavar="ID", help="Revoke an agent token, named by the first part of it.")
def token(directory: Path | None, url: bool, agent: bool, pool: str, revoke: str) -> None:
    """Print the access token of the server that uses the directory; or make and revoke tokens of agents."""
    from daggy.server import agent_tokens  # help must not wait for these
    from daggy.server.token import entrance, load

    if url + agent + bool(revoke) > 1 or (pool and not agent):
        raise click.UsageError("give one of --url, --agent and --revoke; --pool belongs to --agent")
    place = absolute(directory or default_directory())
    if agent:
        load(place)  # a directory without a server has no use for it
        click.echo(agent_tokens.make(place, pool))
    elif revoke:
        agent_tokens.revoke(place, agent_tokens.id_of(revoke))
        click.echo("revoked; agents that joined with it are sent away", err=True)
    else:
        click.echo(entrance(place) if url else load(place))
