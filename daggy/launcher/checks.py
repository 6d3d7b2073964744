"""What executors that start processes say of a template that is none."""

from __future__ import annotations

from collections.abc import Iterator

from daggy.errors import Problem
from daggy.executor import Work


def no_options(work: Work, executor: str) -> Iterator[Problem]:
    """Yield the problem with options of an executor that has none."""
    if work.options:
        yield Problem(f"details.options.{executor}", f"the executor '{executor}' has no options", "remove them")


def only_processes(work: Work, executor: str) -> Iterator[Problem]:
    """Yield the problem with a way of running that is not a process."""
    if work.kind not in ("command", "shell"):
        yield Problem(
            f"details.{work.kind}", f"the executor '{executor}' cannot run a '{work.kind}'", "use 'command' or 'shell'"
        )
