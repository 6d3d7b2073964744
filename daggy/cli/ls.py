"""`daggy ls`: the runs of a directory, newest first."""

from __future__ import annotations

import datetime as dt
import re
import time
from pathlib import Path

import click

from daggy.cli import text
from daggy.cli.options import config_option, directory_option, json_option, pair
from daggy.errors import UsageError

_AGE = re.compile(r"(\d+(?:\.\d+)?)([smhdw])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


@click.command()
@click.option("--tag", "tags", metavar="KEY=VALUE", multiple=True, callback=pair, help="Only runs with this tag.")
@click.option("--state", "states", metavar="STATE", multiple=True, help="Only runs in this state.")
@click.option("--name", default="", help="Only runs of this name.")
@click.option("--since", metavar="TIME", help="Only runs created since: an age such as 2h or 3d, or a date.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=100, show_default=True, help="At most so many.")
@directory_option
@config_option
@json_option
def ls(
    tags: dict[str, str],
    states: tuple[str, ...],
    name: str,
    since: str | None,
    limit: int,
    directory: Path,
    config: Path | None,
    as_json: bool,
) -> None:
    """List runs, newest first."""
    from daggy.cli.look import look  # help must not wait for these
    from daggy.run import shapes
    from daggy.tracker import RunFilter

    try:
        wanted = [shapes.run_state(state) for state in states]
    except ValueError as error:
        raise UsageError(str(error)) from error
    earliest = None if since is None else moment(since, time.time())
    matching = RunFilter(tags=tags, states=wanted, name=name, since=earliest, limit=limit + 1)
    records = look(directory, config).tracker.runs(matching)
    runs = [shapes.listed(record) for record in records[:limit]]
    if as_json:
        following = runs[-1].run_id if len(records) > limit else None
        text.print_json({"items": shapes.as_json(runs), "next": following})
        return
    text.print_columns(
        ("RUN", "NAME", "STATE", "VERSION", "CREATED", "ENDED", "TAGS"),
        (
            (
                run.run_id, run.name, run.state, run.version, text.when(run.created), text.when(run.ended),
                " ".join(f"{key}={value}" for key, value in run.tags.items()),
            )
            for run in runs
        ),
    )  # fmt: skip


def moment(said: str, now: float) -> float:
    """Return the wall-clock time that a user means by an age ("2h") or a date ("2026-01-02", with a time if need be).

    Raises:
        UsageError: it is neither.
    """
    age = _AGE.fullmatch(said)
    if age:
        return now - float(age[1]) * _SECONDS[age[2]]
    try:
        return dt.datetime.fromisoformat(said).astimezone().timestamp()
    except ValueError:
        mend = "write an age such as 90s, 2h or 3d, or a date such as 2026-01-02"
        raise UsageError(f"'{said}' is no time; {mend}") from None
