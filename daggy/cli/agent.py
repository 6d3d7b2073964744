"""`daggy agent`: lets a server run tasks on this machine."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path

import click

from daggy.cli.options import NonEmptyPath
from daggy.paths import absolute, current_directory

TOKEN = "DAGGY_AGENT_TOKEN"  # noqa: S105 - the name of a variable


JOB = "DAGGY_AGENT_JOB"
"""The variable in which a place that starts agents says what their job is there."""


def _seconds(ctx: click.Context, parameter: click.Parameter, text: str | None) -> float | None:
    from daggy.spec.durations import seconds  # help must not wait for it

    del ctx
    if text is None:
        return None
    try:
        return seconds(int(text) if text.isdecimal() else text)
    except ValueError:
        raise click.BadParameter(
            f"'{text}' is no duration; write one such as 90s, 10m or 2h", param=parameter
        ) from None


def _time(ctx: click.Context, parameter: click.Parameter, text: str | None) -> float | None:
    """Return a time: seconds since 1970, ISO 8601, or a duration from now."""
    from datetime import datetime  # help must not wait for it

    del ctx
    if text is None:
        return None
    for read in (float, lambda one: datetime.fromisoformat(one).timestamp()):
        try:
            return read(text)
        except ValueError:
            continue
    from daggy.spec.durations import seconds

    try:
        return time.time() + seconds(text)
    except ValueError:
        raise click.BadParameter(
            f"'{text}' is no time; write one such as 2026-11-27T18:00 or, from now on, 4h", param=parameter
        ) from None


def _amounts(ctx: click.Context, parameter: click.Parameter, texts: tuple[str, ...]) -> dict[str, float]:
    del ctx
    from daggy.spec.sizes import amount_of  # help must not wait for it

    amounts = {}
    for text in texts:
        name, _, value = text.partition("=")
        try:
            resource, amounts[resource] = amount_of(name, value)
        except ValueError:
            name = ""
        if not name:
            raise click.BadParameter(f"'{text}' is not of the form NAME=NUMBER, or memory=4G", param=parameter)
    return amounts


@click.command()
@click.option("--server", envvar="DAGGY_SERVER", metavar="URL", required=True, help="The server (DAGGY_SERVER).")
@click.option("--pool", default="", metavar="NAME", help="The pool to join. Default: the token's, or the only one.")
@click.option("--name", default="", metavar="NAME", help="The name of this machine there. Default: its host name.")
@click.option(
    "--token-file", metavar="FILE", type=NonEmptyPath(path_type=Path, dir_okay=False),
    help=f"Read the agent token from this file. Default: {TOKEN}.",
)  # fmt: skip
@click.option(
    "--directory", metavar="DIR", type=NonEmptyPath(path_type=Path, file_okay=False),
    help="Keep files here, on a local disk. Default: ~/.cache/daggy/agent.",
)  # fmt: skip
@click.option(
    "--resource", "resources", metavar="NAME=N", multiple=True, callback=_amounts,
    help="What this machine has for tasks. Default: its cores, memory_mb and gpus, measured. May be repeated.",
)  # fmt: skip
@click.option(
    "--label", "labels", metavar="NAME", multiple=True, help="What tasks may ask for, not used up. May be repeated."
)
@click.option(
    "--ca", metavar="FILE", type=NonEmptyPath(path_type=Path, dir_okay=False, exists=True),
    help="Trust the certificates in this file, not the system's.",
)  # fmt: skip
@click.option("--idle-exit", metavar="TIME", callback=_seconds, help="Leave after so long without a task, such as 10m.")
@click.option("--until", metavar="TIME", callback=_time, help="Leave at this time, or after so long: 4h.")
@click.option(
    "--grace", metavar="TIME", default="30s", show_default=True, callback=_seconds,
    help="When leaving, let running tasks end for so long.",
)  # fmt: skip
def agent(
    server: str, pool: str, name: str, token_file: Path | None, directory: Path | None, resources: dict[str, float],
    labels: tuple[str, ...], ca: Path | None, idle_exit: float | None, until: float | None, grace: float,
) -> int:  # fmt: skip
    """Let a server run tasks on this machine, which connects to it: for machines that the server cannot reach.

    SIGTERM or Ctrl-C leaves: waiting tasks go elsewhere, running ones may end; a second signal ends them. An agent that
    is killed kills nothing: the next one with the same directory finds what runs.
    """
    from daggy.agent.agent import Options, run  # help must not wait for it

    token = _token(token_file)
    options = Options(
        server, token, pool, name or socket.gethostname(), absolute(directory or _default_directory()),
        current_directory(), resources, frozenset(labels), ca, idle_exit, until, grace, os.environ.get(JOB, ""),
    )  # fmt: skip
    return run(options, lambda line: click.echo(line, err=True))


def _token(file: Path | None) -> str:
    """Return the token; tasks are not to find it in their environment."""
    shown = os.environ.pop(TOKEN, "").strip()
    if file is not None:
        try:
            shown = file.read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise click.UsageError(
                f"--token-file: '{file}' cannot be read: {getattr(error, 'strerror', '') or error}"
            ) from None
    if not shown or not shown.isascii() or not shown.isprintable():
        raise click.UsageError(
            f"an agent token is needed, in --token-file FILE or {TOKEN}; 'daggy token --agent' on the server makes one"
        )
    return shown


def _default_directory() -> Path:
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "daggy" / "agent"
    except RuntimeError:
        raise click.UsageError("HOME is not set; name a directory with --directory") from None
