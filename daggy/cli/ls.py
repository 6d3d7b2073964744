"""`daggy ls`: runs, newest first."""

from __future__ import annotations

import datetime as dt
import re
import time

import click

from daggy.cli import complete, text
from daggy.cli.options import json_option, pair
from daggy.cli.target import Target, target_options
from daggy.errors import UsageError

_AGE = re.compile(r"(\d+(?:\.\d+)?)([smhdw])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


@click.command()
@click.option(
    "--tag",
    "tags",
    metavar="KEY=VALUE",
    multiple=True,
    callback=pair,
    help="List only runs with this tag. May be repeated.",
)
@click.option(
    "--state",
    "states",
    metavar="STATE",
    multiple=True,
    shell_complete=complete.run_states,
    help="List only runs in this state. May be repeated.",
)
@click.option("--name", metavar="NAME", default="", help="List only runs of this name.")
@click.option("--since", metavar="TIME", help="List only runs created since: an age such as 2h or 3d, or a date.")
@click.option(
    "--limit", type=click.IntRange(1, 10_000), metavar="N", default=100, show_default=True, help="List at most N."
)
@target_options
@json_option
def ls(
    target: Target,
    tags: dict[str, str],
    states: tuple[str, ...],
    name: str,
    since: str | None,
    limit: int,
    as_json: bool,
) -> None:
    """List runs, newest first."""
    earliest = None if since is None else moment(since, time.time())
    page = target.source().runs(tags, states, name, earliest, limit)
    if as_json:
        text.print_json(page)
        return
    text.print_columns(
        ("RUN", "NAME", "STATE", "VERSION", "CREATED", "ENDED", "TAGS"),
        (
            (
                run["run_id"], run["name"], "held" if run["held"] else run["state"], run["version"],
                text.when(run["created"]), text.when(run["ended"]),
                " ".join(f"{key}={value}" for key, value in run["tags"].items()),
            )
            for run in page["items"]
        ),
    )  # fmt: skip
    if page["next"] is not None:
        click.echo("there are more: --limit", err=True)


def moment(text: str, now: float) -> float:
    """Return the wall-clock time that a user means by an age ("2h") or a date ("2026-01-02", with a time if need be).

    Raises:
        UsageError: it is neither.
    """
    age = _AGE.fullmatch(text)
    if age:
        return max(0.0, now - float(age[1]) * _SECONDS[age[2]])
    try:
        return dt.datetime.fromisoformat(text).astimezone().timestamp()
    except (ValueError, OverflowError):
        mend = "write an age such as 90s, 2h or 3d, or a date such as 2026-01-02"
        raise UsageError(f"'{text}' is neither an age nor a date; {mend}") from None
