"""`daggy logs` of a server: what tasks wrote, while they run and after."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import click
from attrs import frozen

from daggy.cli.served import Served
from daggy.cli.streams import write_bytes
from daggy.client import Client
from daggy.errors import NotFoundError, UsageError

RANK = {"errored": 0, "killed": 1, "running": 2, "completed": 3}
"""Failures first."""

STREAMS = ("stdout", "stderr")

TAIL_BYTES = 1 << 20
"""In which the last lines are looked for."""


@frozen
class Asked:
    """What of the outputs is wanted."""

    stream: str | None
    attempt: int | None
    tail: int | None
    follow: bool
    most: int | None


def print_logs(
    source: Served, which: str, selectors: Sequence[str], where: Mapping[str, str], states: Sequence[str], asked: Asked
) -> None:
    """Write the outputs of the tasks chosen to standard output."""
    client, run = source.client, source.number(which)
    tasks, more = _chosen(source, str(run), selectors, where, states, asked)
    for task in tasks:
        attempt = _attempt(client, run, task, asked.attempt)
        if len(tasks) > 1:
            click.echo(_header(task, attempt))
        for stream in STREAMS if asked.stream is None else (asked.stream,):
            for piece in _read(client, run, task, stream, asked, attempt):
                write_bytes(piece)
    if more:
        click.echo("and more tasks: --all", err=True)
    if not tasks:
        click.echo("no tasks match", err=True)


def logs_as_json(
    source: Served, which: str, selectors: Sequence[str], where: Mapping[str, str], states: Sequence[str], asked: Asked
) -> list[dict[str, Any]]:
    """Return the outputs of the tasks chosen."""
    client, run = source.client, source.number(which)
    told = []
    for task in _chosen(source, str(run), selectors, where, states, asked)[0]:
        attempt = _attempt(client, run, task, asked.attempt)
        read = {
            stream: b"".join(_read(client, run, task, stream, asked, attempt)).decode(errors="replace")
            for stream in STREAMS
            if asked.stream in (None, stream)
        }
        told.append({"index": task["index"], "name": task["name"], "attempt": attempt["attempt"], **read})
    return told


def _chosen(
    source: Served, which: str, selectors: Sequence[str], where: Mapping[str, str], states: Sequence[str], asked: Asked
) -> tuple[list[Any], bool]:
    """Return the tasks to show, those that failed first, and whether there are more."""
    found = source.chosen(which, selectors, where, states)
    if asked.most is None:
        tasks, more = list(found), False
    else:
        first = list(islice(found, asked.most + 1))
        more, tasks = len(first) > asked.most, first[: asked.most]
        if more and not states:  # the failures may be further on
            failed = list(islice(source.chosen(which, selectors, where, ["errored,killed"]), asked.most))
            known = {task["index"] for task in failed}
            tasks = [*failed, *(task for task in tasks if task["index"] not in known)][: asked.most]
    if len(tasks) > 1:
        tasks = [task for task in tasks if task["started"] is not None]
    return sorted(tasks, key=lambda task: RANK.get(task["state"], 2)), more


def _attempt(client: Client, run: int, task: Mapping[str, Any], number: int | None) -> Mapping[str, Any]:
    """Return the attempt to show: the one asked for, else the last.

    Raises:
        UsageError: there is none.
    """
    attempts = client.task(run, task["index"])["attempts"]
    if task["state"] == "running" and number is None:
        return {"attempt": attempts[-1]["attempt"] + 1 if attempts else 1, "reason": "running"}
    chosen = [one for one in attempts if number in (None, one["attempt"])]
    if not chosen:
        said = "ended attempt" if number is None else f"attempt {number} that ended"
        raise UsageError(f"task '{task['name']}' has no {said}; 'daggy explain' says why")
    last: Mapping[str, Any] = chosen[-1]
    return last


def _header(task: Mapping[str, Any], attempt: Mapping[str, Any]) -> str:
    ended = {
        "ok": "exit 0",
        "exit": f"exit {attempt.get('exit_code')}",
        "signal": f"signal {attempt.get('signal')}",
    }.get(attempt["reason"], attempt["reason"])
    return f"==> {task['name']} attempt {attempt['attempt']} {ended} <=="


def _read(
    client: Client, run: int, task: Mapping[str, Any], stream: str, asked: Asked, attempt: Mapping[str, Any]
) -> Iterator[bytes]:
    is_running = attempt["reason"] == "running"
    query: dict[str, Any] = {"attempt": None if is_running else attempt["attempt"], "follow": asked.follow}
    if asked.tail is not None and not is_running:
        size = attempt[f"{stream}_bytes"]
        query |= {"offset": max(0, size - TAIL_BYTES)}
        lines = b"".join(client.log(run, task["index"], stream, **query)).splitlines(keepends=True)
        yield b"".join(lines[-asked.tail :]) if asked.tail else b""
        return
    try:
        yield from client.log(run, task["index"], stream, **query)
    except NotFoundError as error:
        click.echo(f"{stream} of {task['name']}: {error}", err=True)
