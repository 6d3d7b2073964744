"""What a shell offers as the word that is being typed: runs, states, templates. It never fails: it offers nothing."""

from __future__ import annotations

from collections.abc import Iterable

import click

RUN_STATES = ("queued", "running", "completed", "errored", "killed")
TASK_STATES = ("waiting", *RUN_STATES, "upstream_failed")


def runs(ctx: click.Context, parameter: click.Parameter, word: str) -> list[str]:
    """Return the names of runs: a number is as quickly typed as chosen."""
    del ctx, parameter
    return _beginning(["last"], word)


def run_states(ctx: click.Context, parameter: click.Parameter, word: str) -> list[str]:
    """Return states of runs."""
    del ctx, parameter
    return _beginning(RUN_STATES, word)


def task_states(ctx: click.Context, parameter: click.Parameter, word: str) -> list[str]:
    """Return states of tasks."""
    del ctx, parameter
    return _beginning(TASK_STATES, word)


def templates(ctx: click.Context, parameter: click.Parameter, word: str) -> list[str]:
    """Return the templates of the run that is named before."""
    del parameter
    from daggy.cli.target import Target  # most words do not need it
    from daggy.errors import DaggyError
    from daggy.paths import absolute

    given = ctx.params
    directory = given.get("directory")
    try:
        target = Target(
            directory and absolute(directory), given.get("config"), given.get("server") or "", given.get("token") or ""
        )
        run = target.source().open(given.get("which") or "last").run()
    except (DaggyError, OSError):
        return []
    return _beginning((template["name"] for template in run["templates"]), word)


def _beginning(words: Iterable[str], word: str) -> list[str]:
    return [one for one in words if one and one.startswith(word)]
