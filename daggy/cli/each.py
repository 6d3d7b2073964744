"""`daggy each`: runs a command once for each line of a file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from daggy.cli.options import NonEmptyPath
from daggy.cli.running import Running, running_options
from daggy.cli.start import load_numpy
from daggy.errors import UsageError

if TYPE_CHECKING:
    from daggy.cli.document import Call

_LINE = "{{LINE}}"


@click.command()
@click.argument("file", metavar="FILE", type=NonEmptyPath())
@click.argument("command", metavar="-- COMMAND...", nargs=-1, required=True, type=click.UNPROCESSED)
@running_options
def each(file: str, command: tuple[str, ...], running: Running) -> int:
    """Run COMMAND once for each line of FILE, or of standard input for '-'.

    The line takes the place of each {} in the words of COMMAND; without one, it is the last word. No shell reads it.
    With --dir the run is kept, and the same command continues it; lines that are new run, what is completed stays.
    """
    load_numpy()
    return running.run(_call(file, command, running.max_failures))


def _call(file: str, command: Sequence[str], max_failures: int | None) -> Call:
    """Return the spec of a task a line."""
    from daggy.cli.document import Call  # help must not wait for these
    from daggy.spec import Document
    from daggy.spec.document import encode

    name = "each" if file == "-" else Path(file).stem
    words = [word.replace("{}", _LINE) for word in command]
    if words == list(command):
        words.append(_LINE)
    spec = {
        "name": name,
        "templating": "literal",
        "parameters": {_LINE: _lines(file)},
        "tasks": {"each": {"details": {"command": words}}},
    }
    return Call(Document(encode(spec), file if file != "-" else "standard input", name), max_failures)


def _lines(file: str) -> list[str]:
    """Return the lines of a file, which have to differ: a task is known by its line."""
    from daggy.cli.streams import read_input  # help must not wait for these
    from daggy.spec.document import lines_of

    shown = "standard input" if file == "-" else f"'{file}'"
    try:
        lines = lines_of(read_input() if file == "-" else Path(file).read_bytes())
    except UnicodeDecodeError as error:
        raise UsageError(f"{shown} is not UTF-8 at byte {error.start}") from None
    except OSError as error:
        raise UsageError(f"{shown} cannot be read: {(error.strerror or str(error)).lower()}") from None
    if not lines:
        raise UsageError(f"{shown} has no lines; there is nothing to run")
    line, times = Counter(lines).most_common(1)[0]
    if times > 1:
        raise UsageError(
            f"{shown} has a line {times} times: '{line[:80]}'; leave out what is repeated, as 'sort -u' does"
        )
    return lines
