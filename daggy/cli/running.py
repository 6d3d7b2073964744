"""The options of commands that run a spec to its end with an engine of their own, and what they come to."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from attrs import fields, frozen

from daggy.cli.options import config_option, directory as directory_option, json_option, pair
from daggy.errors import UsageError
from daggy.paths import DIRECTORY

if TYPE_CHECKING:
    from daggy.cli.document import Call


@frozen
class Running:
    """How a spec is run, as the options say; see their help."""

    directory: Path | None
    workers: int | None
    max_failures: int | None
    dry_run: bool
    rerun: tuple[str, ...]
    resources: dict[str, str]
    output: str
    quiet: bool
    yes: bool
    config: Path | None
    as_json: bool

    def run(self, call: Call) -> int:
        """Run a spec, or show what would be run; return the exit code."""
        from daggy.engine.configuration import read_configuration  # help must not wait for it

        amounts = dict(_amount(name, text) for name, text in self.resources.items())
        configuration = read_configuration(self.config, os.environ, workers=self.workers, resources=amounts)
        if self.dry_run:
            from daggy.cli.dry import dry

            dry(call, self.directory, configuration, self.rerun, as_json=self.as_json)
            return 0
        from daggy.cli.session import Request, Session

        if self.rerun and self.directory is None:
            raise UsageError("--rerun is for a run that is kept; name its directory with --dir")
        wanted = Request(
            call, self.directory, configuration, self.rerun, self.output,
            quiet=self.quiet, as_json=self.as_json, assume_yes=self.yes,
        )  # fmt: skip
        return Session(wanted).run()


def running_options(command: Callable[..., int]) -> Callable[..., int]:
    """Add the options, which the command gets as one `Running`."""

    @functools.wraps(command)
    def collected(**given: Any) -> int:
        running = Running(**{one.name: given.pop(one.name) for one in fields(Running)})
        return command(running=running, **given)

    for option in reversed(_OPTIONS):
        collected = option(collected)
    return collected


_OPTIONS: tuple[Callable[[Callable[..., int]], Callable[..., int]], ...] = (
    directory_option(f"Keep the run in this directory; the same command continues it ({DIRECTORY})."),
    click.option("-j", "--workers", type=click.IntRange(1), metavar="N", help="Use up to N cores. Default: all."),
    click.option(
        "-k", "--max-failures", type=click.IntRange(1), metavar="N", help="Start no more tasks once N are errored."
    ),
    click.option(
        "-n", "--dry-run", is_flag=True, help="Show the plan, or the difference from a kept run. Run nothing."
    ),
    click.option(
        "--rerun", metavar="SELECTOR", multiple=True, help="Run these tasks again, and the tasks downstream of them."
    ),
    click.option(
        "--resource", "resources", metavar="NAME=N", multiple=True, callback=pair,
        help="Declare N of a resource, such as gpus=2 or memory=4G.",
    ),
    click.option(
        "--output", type=click.Choice(["none", "failed", "all"]), default="failed", show_default=True,
        help="failed: the last lines of the first failures, at the end. all: the output of each task when it ends.",
    ),
    click.option("-q", "--quiet", is_flag=True, help="Print failures only."),
    click.option("-y", "--yes", is_flag=True, help="Do not ask before an edit that removes tasks."),
    config_option,
    json_option,
)  # fmt: skip


def _amount(name: str, text: str) -> tuple[str, float]:
    from daggy.spec.sizes import SIZED, amount_of

    try:
        return amount_of(name, text)
    except ValueError:
        mend = "a size such as 4G" if name in SIZED else "a number from 0 on"
        raise UsageError(f"--resource {name}={text}: '{text}' is no amount; write {mend}") from None
