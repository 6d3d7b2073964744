"""`daggy run`: runs a spec with an engine of its own, or continues the run of a directory."""

from __future__ import annotations

import os
from pathlib import Path

import click

from daggy.cli.options import config_option, directory as directory_option, document_options, json_option, pair
from daggy.cli.start import load_numpy
from daggy.errors import UsageError
from daggy.paths import DIRECTORY


@click.command()
@document_options
@directory_option(f"Keep the run in this directory; the same command continues it ({DIRECTORY}).")
@click.option("-j", "--workers", type=click.IntRange(1), metavar="N", help="Use up to N cores. Default: all.")
@click.option(
    "-k", "--max-failures", type=click.IntRange(1), metavar="N", help="Start no more tasks once N are errored."
)
@click.option("-n", "--dry-run", is_flag=True, help="Show the plan, or the difference from a kept run. Run nothing.")
@click.option(
    "--rerun", metavar="SELECTOR", multiple=True, help="Run these tasks again, and the tasks downstream of them."
)
@click.option(
    "--resource",
    "resources",
    metavar="NAME=N",
    multiple=True,
    callback=pair,
    help="Declare N of a resource, such as gpus=2 or memory=4G.",
)
@click.option(
    "--output",
    type=click.Choice(["none", "failed", "all"]),
    default="failed",
    show_default=True,
    help="failed: the last lines of the first failures, at the end. all: the output of each task when it ends.",
)
@click.option("-q", "--quiet", is_flag=True, help="Print failures only.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask before an edit that removes tasks.")
@config_option
@json_option
def run(
    spec: str,
    parameters: dict[str, str],
    tags: dict[str, str],
    templating: str | None,
    directory: Path | None,
    workers: int | None,
    max_failures: int | None,
    dry_run: bool,
    rerun: tuple[str, ...],
    resources: dict[str, str],
    output: str,
    quiet: bool,
    yes: bool,
    config: Path | None,
    as_json: bool,
) -> int:
    """Run SPEC, a file or '-' for standard input, until it has ended.

    With --dir the run is kept, and the same command continues it: failed tasks are queued again, and changes of the
    spec are an edit. Ctrl-C shuts down gracefully; a second Ctrl-C kills.
    """
    load_numpy()
    from daggy.cli.document import read_document  # help must not wait for these
    from daggy.engine.configuration import read_configuration

    call = read_document(spec, parameters, tags, templating, max_failures=max_failures)
    amounts = dict(_amount(name, text) for name, text in resources.items())
    configuration = read_configuration(config, os.environ, workers=workers, resources=amounts)
    if dry_run:
        from daggy.cli.dry import dry

        dry(call, directory, configuration, rerun, as_json=as_json)
        return 0
    from daggy.cli.session import Request, Session

    if rerun and directory is None:
        raise UsageError("--rerun is for a run that is kept; name its directory with --dir")
    wanted = Request(call, directory, configuration, rerun, output, quiet=quiet, as_json=as_json, assume_yes=yes)
    return Session(wanted).run()


def _amount(name: str, text: str) -> tuple[str, float]:
    from daggy.spec.sizes import SIZED, amount_of

    try:
        return amount_of(name, text)
    except ValueError:
        mend = "a size such as 4G" if name in SIZED else "a number from 0 on"
        raise UsageError(f"--resource {name}={text}: '{text}' is no amount; write {mend}") from None
