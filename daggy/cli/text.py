"""Answers as text: columns, counts, durations, outcomes."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import click

CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
"""Control characters, which must not reach a terminal from the output of a task."""

COLOURS = {
    "completed": "green",
    "running": "cyan",
    "errored": "red",
    "killed": "magenta",
    "upstream_failed": "yellow",
}


def columns(header: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    """Return lines with aligned columns; numbers stand to the right."""
    cells = [[str(cell) for cell in row] for row in rows]
    right = [all(cell.isdigit() for cell in column) for column in zip(*cells, strict=True)] if cells else []
    table = [list(header), *cells]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    right = right or [False] * len(widths)
    lines = []
    for row in table:
        padded = [c.rjust(w) if r else c.ljust(w) for c, w, r in zip(row, widths, right, strict=True)]
        lines.append("  ".join(padded).rstrip())
    return lines


def print_columns(header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print lines with aligned columns on standard output."""
    for line in columns(header, rows):
        click.echo(line)


def print_json(value: Any) -> None:
    """Print one JSON value on one line."""
    click.echo(json_line(value))


def json_line(value: Any) -> str:
    """Return a JSON value as one line, without characters that would steer a terminal."""
    line = json.dumps(value, ensure_ascii=sys.stdout.encoding.lower() != "utf-8")
    return re.sub(r"[^ -~]", lambda found: found[0] if found[0].isprintable() else json.dumps(found[0])[1:-1], line)


def state(name: str) -> str:
    """Return a state's name in its colour, where that is shown."""
    return click.style(name, fg=COLOURS[name]) if name in COLOURS and not os.environ.get("NO_COLOR") else name


def counts(of: Mapping[str, int]) -> str:
    """Return counts by state in words, those that are not zero: "3 completed, 1 errored"."""
    return ", ".join(f"{count:,} {name}" for name, count in of.items() if count) or "nothing"


def plural(count: int, noun: str) -> str:
    """Return a count with its noun: "1 task", "7 tasks"."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def duration(seconds: float) -> str:
    """Return a length of time in words: "0.41 s", "12.3 s", "4 min 10 s", "2 h 5 min"."""
    if seconds < 60:
        return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def when(moment: float | str | None) -> str:
    """Return a time of day with its date in this machine's zone, to the second; "-" for none.

    `moment` is in seconds since 1970, or a text as the API gives it.
    """
    import datetime as dt  # not needed for help

    if moment is None:
        return "-"
    known = dt.datetime.fromisoformat(moment) if isinstance(moment, str) else dt.datetime.fromtimestamp(moment, dt.UTC)
    return known.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def between(started: str | None, ended: str | None) -> str:
    """Return the seconds between two times as the API gives them; "-" if one is not there."""
    import datetime as dt

    if started is None or ended is None:
        return "-"
    return f"{(dt.datetime.fromisoformat(ended) - dt.datetime.fromisoformat(started)).total_seconds():.3f}"


def outcome(attempt: Mapping[str, Any]) -> str:
    """Return in a few words how an attempt ended: "exit 3", "signal 9", "timeout: after 10 s"."""
    match attempt["reason"]:
        case "ok":
            return "exit 0"
        case "exit":
            ended = f"exit {attempt['exit_code']}"
        case "signal":
            ended = f"signal {attempt['signal']}"
        case other:
            ended = other
    return f"{ended}: {attempt['message']}" if attempt["message"] else ended


def group(name: str) -> str:
    """Return what a group of tasks is called: templates without parameters have no name together."""
    return name if name and not name.endswith("/") else f"{name}(without parameters)"


def harmless(line: str, width: int = 500) -> str:
    """Return what a task wrote without what would steer a terminal, cut to a width."""
    return CONTROL.sub("", line)[:width]


def rows() -> int:
    """Return how many rows of a table fit on the terminal, beside a headline and a total."""
    try:
        height = os.get_terminal_size(sys.stderr.fileno()).lines or 24
    except (OSError, ValueError):
        height = 24
    return min(50, max(5, height - 4))


def is_terminal() -> bool:
    """Return whether standard error is a terminal that can redraw lines."""
    return sys.stderr.isatty() and os.environ.get("TERM", "") != "dumb"
