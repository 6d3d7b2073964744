"""`daggy serve`: the server."""

from __future__ import annotations

import os
from pathlib import Path

import click

from daggy.cli.options import config_option, directory as directory_option
from daggy.cli.start import load_numpy
from daggy.cli.streams import droppable_messages
from daggy.paths import DIRECTORY, absolute, default_directory


@click.command()
@config_option
@click.option("--ip", metavar="IP", help="Listen on this address. Default: the configuration's, else 127.0.0.1.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    metavar="N",
    help="Listen on this port; 0: any free one. Default: the configuration's, else 2503.",
)
@directory_option(f"Keep runs in this directory, in SQLite ({DIRECTORY}). Without it they are kept in memory.")
@click.option("--leave-running", is_flag=True, help="On shutdown, leave running tasks to the next server.")
@click.option(
    "--allow-remote", is_flag=True, help="Allow an address that other machines can reach. Traffic is not encrypted."
)
def serve(
    config: Path | None,
    ip: str | None,
    port: int | None,
    directory: Path | None,
    leave_running: bool,
    allow_remote: bool,
) -> int:
    """Start the server, which takes runs over HTTP from clients with its access token.

    SIGTERM or Ctrl-C shuts down gracefully; a second signal kills.
    """
    load_numpy()
    from attrs import evolve  # help must not wait for these

    from daggy.engine.configuration import read_configuration
    from daggy.server.serving import Request, serve

    configuration = read_configuration(config, os.environ, serving=True)
    server = configuration.server
    server = evolve(server, ip=ip if ip is not None else server.ip, port=port if port is not None else server.port)
    is_kept = directory is not None or configuration.tracker.get("type") not in (None, "memory")
    request = Request(
        evolve(configuration, server=server),
        absolute(directory or default_directory()),
        is_kept,
        leave_running=leave_running,
        allow_remote=allow_remote,
        say=lambda line: click.echo(line, err=True),
    )
    with droppable_messages():
        return serve(request)
