"""`daggy run`: runs a spec with an engine of its own, or continues the run of a directory."""

from __future__ import annotations

import click

from daggy.cli.options import document_options
from daggy.cli.running import Running, running_options
from daggy.cli.start import load_numpy


@click.command()
@document_options
@running_options
def run(spec: str, parameters: dict[str, str], tags: dict[str, str], templating: str | None, running: Running) -> int:
    """Run SPEC, a file or '-' for standard input, until it has ended.

    With --dir the run is kept, and the same command continues it: failed tasks are queued again, and changes of the
    spec are an edit. Ctrl-C shuts down gracefully; a second Ctrl-C kills.
    """
    load_numpy()
    from daggy.cli.document import read_document  # help must not wait for it

    return running.run(read_document(spec, parameters, tags, templating, max_failures=running.max_failures))
