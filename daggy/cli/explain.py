"""`daggy explain`: why tasks do not run, or why they ran again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from daggy.cli import text
from daggy.cli.options import config_option, directory_option, json_option, narrowing_options, run_argument

MOST = 20
"""Tasks explained at once."""


@click.command()
@run_argument
@click.argument("selectors", metavar="SELECTOR...", nargs=-1, required=True)
@narrowing_options
@directory_option
@config_option
@json_option
def explain(
    which: str,
    selectors: tuple[str, ...],
    where: dict[str, str],
    states: tuple[str, ...],
    directory: Path,
    config: Path | None,
    as_json: bool,
) -> None:
    """Say why tasks do not run, or why they ran again. RUN is an id, or 'last'."""
    from daggy.cli.look import look  # help must not wait for these
    from daggy.run import explain as explaining, shapes
    from daggy.run.selectors import select

    kept = look(directory, config)
    run, places = kept.run(which), kept.places
    chosen = select(run, selectors, where, states).tolist()
    told = [(index, explaining.explain(run, index, places)) for index in chosen[:MOST]]
    if as_json:
        text.print_json([{"index": i, "name": run.plan.name(i)} | shapes.as_json(said) for i, said in told])
        return
    for index, said in told:
        click.echo(f"{run.plan.name(index)}: {text.state(said.state)}")
        for line in lines(said.state, said.because):
            click.echo(f"  {line}")
    if len(chosen) > MOST:
        click.echo(f"and {len(chosen) - MOST:,} more; choose fewer with --param or --state", err=True)


def lines(state: str, because: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield reasons as people read them."""
    for reason in because:
        yield _LINES[reason["kind"]](reason, state)
    if not because:
        yield _NOTHING.get(state, "nothing is recorded about it")


_NOTHING = {
    "queued": "it is ready, and waits for its turn; nothing stands in front of it",
    "completed": "it ran once, and completed",
    "running": "it runs",
    "waiting": "everything in front of it is done; it will be ready when the run goes on",
    "killed": "it was killed before it started",
}


def _parents(reason: Mapping[str, Any], state: str) -> str:
    verb = "failed" if state == "upstream_failed" else "not ended" if reason["on"] == "ended" else "not completed"
    examples = ", ".join(f"{example['name']} is {example['state']}" for example in reason["examples"])
    more = ", …" if reason["left"] > len(reason["examples"]) else ""
    name = f"'{reason['template']}'" if reason["template"] else "the others without parameters"
    return f"{reason['left']:,} of {reason['of']:,} {name} {verb}: {examples}{more}"


def _generator(reason: Mapping[str, Any], state: str) -> str:
    del state
    example = reason["examples"][0]
    return f"its generator is to answer again first: {example['name']} is {example['state']}"


def _attempt(reason: Mapping[str, Any], state: str) -> str:
    del state
    said = {"exit": f"exit {reason['exit_code']}", "signal": f"signal {reason['signal']}"}
    message = f": {reason['message']}" if reason["message"] else ""
    return f"attempt {reason['attempt']} ended: {said.get(reason['reason'], reason['reason'])}{message}"


def _moved(reason: Mapping[str, Any], state: str) -> str:
    del state
    actor = f" by {reason['actor']}" if reason["actor"] else ""
    return f"{text.when(reason['at'])}: {reason['state']}, {reason['cause']}{actor}"


_LINES: Mapping[str, Callable[[Mapping[str, Any], str], str]] = {
    "parents": _parents,
    "generator": _generator,
    "attempt": _attempt,
    "moved": _moved,
    "max_parallel": lambda r, _: f"{r['in_flight']:,} of its template run, and max_parallel is {r['limit']}",
    "limit": lambda r, _: f"it needs {r['needs']:g} of '{r['name']}', and {r['used']:g} of {r['of']:g} are in use",
    "delay": lambda r, _: f"it is tried again in {text.duration(r['seconds'])}",
    "handed_out": lambda r, _: f"attempt {r['attempt']} was handed out and has not started",
    "ready": lambda r, _: f"it is ready; {r['ahead']:,} of its template are queued, with priority {r['priority']}",
}
