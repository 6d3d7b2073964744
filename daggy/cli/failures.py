"""What is printed of a failed task when its run has ended: how its last attempt ended, and the last lines of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from daggy.cli import text
from daggy.cli.outputs import Read, ending

MOST = 5
"""Failures that are printed one by one."""

LINES = 10
"""Lines of output of each."""

BYTES = 1 << 16
"""Bytes of output that are read for them."""

WIDTH = 1000
"""Characters of a line."""


async def print_failure(name: str, attempt: Mapping[str, Any] | None, read: Read | None) -> None:
    """Print one failed task on standard error.

    Args:
        name: The task's name.
        attempt: Its last attempt, as the API shows it.
        read: Reads that attempt; None: its output is not printed.
    """
    said = "" if attempt is None else f": {text.outcome(attempt)}"
    tries = "" if attempt is None or attempt["attempt"] == 1 else f" (attempt {attempt['attempt']})"
    click.echo(f"{name} {text.state('errored')}{said}{tries}", err=True)
    if attempt is not None and read is not None:
        for line in await ending(read, attempt, LINES, BYTES):
            click.echo(f"    {text.harmless(line, WIDTH)}", err=True)
