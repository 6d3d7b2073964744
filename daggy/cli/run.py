"""`daggy run`: runs a spec to its end with an engine of its own, or goes on with the run of a directory."""

from __future__ import annotations

import os
from pathlib import Path

import click

from daggy.cli.options import config_option, document_options, json_option, pair
from daggy.errors import UsageError
from daggy.places import DIRECTORY


@click.command()
@document_options
@click.option(
    "--dir",
    "directory",
    envvar=DIRECTORY,
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False),
    help=f"Keep the run here; the same command goes on with it ({DIRECTORY}).",
)
@click.option("-j", "--workers", type=click.IntRange(1), metavar="N", help="So many cores' worth at once.")
@click.option(
    "-k", "--max-failures", type=click.IntRange(1), metavar="N", help="Start nothing more after N errored tasks."
)
@click.option("-n", "--dry-run", is_flag=True, help="Show the plan; with a directory, the difference. Run nothing.")
@click.option("--rerun", metavar="SELECTOR", multiple=True, help="Run these again, and what is downstream.")
@click.option(
    "--resource", "resources", metavar="NAME=N", multiple=True, callback=pair, help="The machine has so much of this."
)
@click.option(
    "--output",
    type=click.Choice(["none", "failed", "all"]),
    default="failed",
    show_default=True,
    help="The last lines of the first failures at the end, or all that tasks write as they end.",
)
@click.option("-q", "--quiet", is_flag=True, help="No progress.")
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
    config: Path | None,
    as_json: bool,
) -> int:
    """Run SPEC to its end. SPEC is a file, or '-' for standard input.

    With --dir the run is kept, and the same command goes on with it: what failed goes back in the queue, and what was
    changed in the spec is an edit. Ctrl-C once ends what runs in order, twice at once.
    """
    from daggy.cli.document import read_document  # help must not wait for these
    from daggy.engine.configuration import read_configuration

    call = read_document(spec, parameters, tags, templating, max_failures=max_failures)
    if dry_run:
        from daggy.cli.dry import dry

        dry(call, directory, config, rerun, as_json=as_json)
        return 0
    from daggy.cli.session import Request, Session

    if rerun and directory is None:
        raise UsageError("--rerun is for a run that is kept; name its directory with --dir")
    amounts = {name: _amount(name, text) for name, text in resources.items()}
    configuration = read_configuration(config, os.environ, workers=workers, resources=amounts)
    wanted = Request(call, directory, configuration, rerun, output, quiet=quiet, as_json=as_json)
    return Session(wanted).run()


def _amount(name: str, text: str) -> float:
    try:
        amount = float(text)
    except ValueError:
        amount = -1.0
    if not 0 <= amount < float("inf"):
        raise UsageError(f"--resource {name}={text}: '{text}' is no amount; write a number from 0 on")
    return amount
