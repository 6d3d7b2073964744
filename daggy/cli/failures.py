"""What is printed of failed tasks when their run has ended: equal failures together, each with its last lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click
from attrs import define, field, frozen

from daggy.cli import text
from daggy.cli.outputs import Read, ending

MOST = 5
"""Different failures that are printed."""

COMPARED = 100
"""Failures that are compared."""

NAMED = 3
"""Tasks of equal failures that are named."""

LINES = 10
"""Lines of output of each."""

BYTES = 1 << 16
"""Bytes of output that are read for them."""

WIDTH = 1000
"""Characters of a line."""


@frozen
class Failure:
    """A failed task.

    Args:
        name: The task's name.
        attempt: Its last attempt, as the API shows it.
        read: Reads that attempt; None: its output is not printed.
    """

    name: str
    attempt: Mapping[str, Any] | None
    read: Read | None


@define
class Alike:
    """Failures that ended alike: with the same outcome and the same last line."""

    first: Failure
    lines: Sequence[str]
    names: list[str] = field(factory=list)


async def compare(failures: Sequence[Failure]) -> list[Alike]:
    """Return failures by how they ended, in the order of the first of each."""
    found: dict[tuple[str, str], Alike] = {}
    for failure in failures:
        lines: Sequence[str] = ()
        if failure.attempt is not None and failure.read is not None:
            lines = await ending(failure.read, failure.attempt, LINES, BYTES)
        said = "" if failure.attempt is None else text.outcome(failure.attempt)
        alike = found.setdefault((said, lines[-1] if lines else ""), Alike(failure, lines))
        alike.names.append(failure.name)
    return list(found.values())


async def print_failures(failures: Sequence[Failure], most: int = MOST) -> int:
    """Print failed tasks on standard error, equal failures together; return how many tasks were printed of."""
    alike = await compare(failures[:COMPARED])
    for one in alike[:most]:
        click.echo(headline(one), err=True)
        for line in one.lines:
            click.echo(f"    {text.harmless(line, WIDTH)}", err=True)
    return sum(len(one.names) for one in alike[:most])


def headline(alike: Alike) -> str:
    """Return in one line which tasks failed and how; of several, with the last line that they have in common."""
    attempt = alike.first.attempt
    said = "" if attempt is None else f": {text.outcome(attempt)}"
    count = len(alike.names)
    if count == 1:
        tries = "" if attempt is None or attempt["attempt"] == 1 else f" (attempt {attempt['attempt']})"
        return f"{alike.first.name} {text.state('errored')}{said}{tries}"
    last = f": {text.harmless(alike.lines[-1])}" if alike.lines else ""
    more = ", …" if count > NAMED else ""
    return f"{count:,} tasks {text.state('errored')}{said}{last} ({', '.join(alike.names[:NAMED])}{more})"
