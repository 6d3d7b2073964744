"""`daggy explain`: why tasks do not run, or why they ran again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import Any

import click
import trio

from daggy.cli import complete, text
from daggy.cli.options import json_option, narrowing_options, run_argument
from daggy.cli.outputs import ending
from daggy.cli.source import RunSource
from daggy.cli.target import Target, target_options

MOST = 20
"""Tasks explained at once."""


@click.command()
@run_argument
@click.argument("selectors", metavar="[SELECTOR...]", nargs=-1, shell_complete=complete.templates)
@narrowing_options
@target_options
@json_option
def explain(
    target: Target,
    which: str,
    selectors: tuple[str, ...],
    where: dict[str, str],
    states: tuple[str, ...],
    as_json: bool,
) -> None:
    """Explain why tasks of RUN, an id or 'last', do not run, or why they ran again.

    Without SELECTOR: why the run is not completed, by state and template; equal failures together.
    """
    run = target.source().open(which)
    if not (selectors or where or states):
        _explain_run(run, as_json=as_json)
        return
    chosen = list(islice(run.chosen(selectors, where, states), MOST + 1))
    told = [(task, run.explain(task["index"])) for task in chosen[:MOST]]
    if as_json:
        text.print_json([{"index": task["index"], "name": task["name"]} | said for task, said in told])
        return
    for task, said in told:
        click.echo(f"{task['name']}: {text.state(said['state'])}")
        for line in lines(said["state"], said["because"]):
            click.echo(f"  {line}")
    if len(chosen) > MOST:
        click.echo("and more; choose fewer with --param or --state", err=True)


def _explain_run(run: RunSource, *, as_json: bool) -> None:
    found = run.overview()
    if as_json:
        text.print_json(found)
        return
    click.echo(f"run {run.id}: {text.state(found['state'])}")
    for group in found["groups"]:
        names = ", ".join(example["name"] for example in group["examples"])
        more = ", …" if group["tasks"] > len(group["examples"]) else ""
        what = names if group["tasks"] == 1 else f"{group['tasks']:,} tasks of '{text.group(group['template'])}'"
        click.echo(f"{what}: {text.state(group['state'])}" + ("" if group["tasks"] == 1 else f" ({names}{more})"))
        for line in (*lines(group["state"], group["because"]), *_last_line(run, group)):
            click.echo(f"  {line}")


def _last_line(run: RunSource, group: Mapping[str, Any]) -> list[str]:
    """Return the last line of what the first of some errored tasks wrote."""
    if group["state"] != "errored":
        return []
    index = group["examples"][0]["index"]
    attempt = next(reversed(run.attempts(index)), None)
    if attempt is None:
        return []
    read = partial(run.read, index, attempt["attempt"])
    return [text.harmless(line) for line in trio.run(ending, read, attempt, 1, 4096)]


def lines(state: str, because: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield reasons as people read them."""
    for reason in because:
        yield _LINES[reason["kind"]](reason, state)
    if not because:
        yield _NOTHING.get(state, "nothing is recorded about it")


_NOTHING = {
    "queued": "it is ready and waits for its turn",
    "completed": "it ran once and completed",
    "running": "it runs",
    "waiting": "its parents are done; it will be ready when the run continues",
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
    return f"attempt {reason['attempt']} ended: {text.outcome(reason)}"


def _moved(reason: Mapping[str, Any], state: str) -> str:
    del state
    actor = f" by {reason['actor']}" if reason["actor"] else ""
    return f"{text.when(reason['at'])}: {reason['state']}, {reason['cause']}{actor}"


def _turn(reason: Mapping[str, Any]) -> str:
    first = f"{text.plural(reason['first'], 'task')} of higher priority go first" if reason["first"] else ""
    runs = f"{text.plural(reason['runs'], 'other run')} take turns with its own" if reason["runs"] else ""
    return "; ".join(filter(None, (first, runs)))


def _machines(reason: Mapping[str, Any]) -> str:
    count = reason["machines"]
    more = ", …" if count > len(reason["examples"]) else ""
    which = f"{text.plural(count, 'machine')} of pool '{reason['pool']}' ({', '.join(reason['examples'])}{more})"
    if reason["why"] in ("away", "drained", "aside"):
        return f"{which}: {reason['why']}"
    if reason["why"] == "until":
        left, longest = text.duration(reason["seconds"]), text.duration(reason["longest"])
        return f"{which}: there for {left}, and it may take {longest}"
    most = "at most " if count > 1 else ""
    lacks = (
        f"{most}{one['free']:g} of {one['of']:g} {one['name']} free, {one['needs']:g} needed" for one in reason["lacks"]
    )
    return f"{which}: {'; '.join(lacks)}"


_LINES: Mapping[str, Callable[[Mapping[str, Any], str], str]] = {
    "parents": _parents,
    "generator": _generator,
    "attempt": _attempt,
    "moved": _moved,
    "interrupted": lambda *_: "the run was interrupted, and no process works on it",
    "max_parallel": lambda r, _: f"{r['in_flight']:,} of its template run, and max_parallel is {r['limit']}",
    "limit": lambda r, _: f"it needs {r['needs']:g} of '{r['name']}', and {r['used']:g} of {r['of']:g} are in use",
    "delay": lambda r, _: f"it is tried again in {text.duration(r['seconds'])}",
    "held": lambda r, _: f"nothing of its run is started: {r['message']}",
    "pool": lambda r, _: r["message"],
    "machines": lambda r, _: _machines(r),
    "reserved": lambda r, _: f"pool '{r['pool']}' keeps {', '.join(r['machines'])} free for a task that waited longer",
    "turn": lambda r, _: _turn(r),
    "waits": lambda r, _: f"pool '{r['pool']}' says: {r['message']}",
    "handed_out": lambda r, _: f"attempt {r['attempt']} was handed out and has not started",
    "ready": lambda r, _: f"it is ready; {r['ahead']:,} of its template are queued, with priority {r['priority']}",
}
