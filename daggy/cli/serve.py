"""`daggy serve`: the server, which is all of Daggy."""

from __future__ import annotations

import os
from pathlib import Path

import click

from daggy.cli.options import config_option
from daggy.cli.streams import droppable_messages
from daggy.places import DIRECTORY, absolute, default_directory


@click.command()
@config_option
@click.option("--ip", metavar="IP", help="Listen here, instead of what the configuration says (127.0.0.1).")
@click.option("--port", type=click.IntRange(0, 65535), help="And at this port (2503); 0: any that is free.")
@click.option(
    "--dir",
    "directory",
    envvar=DIRECTORY,
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False),
    help=f"Keep runs here, in SQLite ({DIRECTORY}); without it they are in memory.",
)
@click.option("--leave-running", is_flag=True, help="At the end, what runs goes on; the next server takes it up.")
@click.option("--allow-remote", is_flag=True, help="Listen where other machines can reach it, unencrypted.")
def serve(
    config: Path | None,
    ip: str | None,
    port: int | None,
    directory: Path | None,
    leave_running: bool,
    allow_remote: bool,
) -> int:
    """Serve runs to whoever has the token: submitted, edited and explained over HTTP.

    SIGTERM or Ctrl-C: what runs is ended in order; again: at once.
    """
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
