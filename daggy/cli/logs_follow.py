"""`daggy logs -f`: what tasks write, as they write it, until their run has ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

import click
import trio
from attrs import define, field

from daggy.cli.logs import INCOMPLETE, Request
from daggy.cli.source import INTERRUPTED, RunSource, Source, split
from daggy.cli.transcript import Transcript, running
from daggy.client import ENDED, RESTART
from daggy.errors import UnavailableError

PAUSE = 0.3
"""Seconds between two looks, at least."""

SHARE = 4
"""How many times longer than a look the pause after it is: looking must not keep a server from its work."""

STARTED = ("running", "completed", "errored", "killed")
UNENDED = ("waiting", "queued", "running")

Json = Mapping[str, Any]


@define
class Shown:
    """How far the output of a task has been shown: the attempt, bytes by stream, and whether that is all of it."""

    attempt: int = 0
    offsets: dict[str, int] = field(factory=dict)
    is_over: bool = False


class Follower:
    """Shows the output of the tasks chosen, each attempt from when it starts."""

    def __init__(self, source: Source, which: str, wanted: Request) -> None:
        """Find the run; nothing is shown yet."""
        self._source = source
        run = source.open(which)
        self._which = str(run.id)
        self._wanted = wanted
        several = len(list(islice(run.chosen(wanted.selectors, wanted.where, ()), 2))) > 1
        self._transcript = Transcript(wanted.stream, wanted.tail, headers=several)
        self._shown: dict[str, Shown] = {}
        self._version = 0
        self._ended_below = 0  # tasks below this index have ended, and all of them has been shown

    async def follow(self) -> int:
        """Show what comes until the run has ended; return the exit code."""
        met = trio.current_time()
        while True:
            began = trio.current_time()
            try:
                if await self._look():
                    return 0 if self._transcript.is_whole else INCOMPLETE
                met = trio.current_time()
            except UnavailableError:
                if trio.current_time() - met > RESTART:
                    raise
                self._source = self._source.find_again()
            await trio.sleep(max(PAUSE, SHARE * (trio.current_time() - began)))

    async def _look(self) -> bool:
        """Show what is new; return whether the run has ended, or no process works on it."""
        run = self._source.open(self._which)
        shown = run.run()
        is_ended = shown["state"] in (*ENDED, INTERRUPTED)
        await self._show(run, shown["version"], is_ended=is_ended)
        if shown["state"] == INTERRUPTED:
            click.echo(f"run {run.id} was interrupted", err=True)
        return is_ended

    async def _show(self, run: RunSource, version: int, *, is_ended: bool) -> None:
        """Show what is new. The last look is at all tasks: some may have run twice between two looks."""
        unended = run.tasks({}, UNENDED, "", 1, 0)["items"]
        below = unended[0]["index"] if unended else 0
        first = 0 if is_ended or version != self._version else min(self._ended_below, below)
        states = split(self._wanted.states) or STARTED
        for task in run.chosen(self._wanted.selectors, self._wanted.where, states, first):
            if task["attempts"]:
                await self._catch_up(run, task)
        self._version, self._ended_below = version, below

    async def _catch_up(self, run: RunSource, task: Json) -> None:
        shown = self._shown.setdefault(task["name"], Shown())
        number = task["attempts"]
        if shown.is_over and shown.attempt in (number, self._wanted.attempt):
            return
        is_running = task["state"] == "running"
        if not is_running or shown.attempt not in (0, number):
            for attempt in self._ended(run, task, shown, is_running=is_running):
                await self._write(run, task, attempt, shown)
                shown.is_over = True
        if is_running and self._wanted.attempt in (None, number):
            await self._write(run, task, running(number), shown)

    def _ended(self, run: RunSource, task: Json, shown: Shown, *, is_running: bool) -> Sequence[Json]:
        """Return the ended attempts that are to be shown: first the last one, then each that follows."""
        found = [one for one in run.attempts(task["index"]) if self._wanted.attempt in (None, one["attempt"])]
        if shown.attempt == 0:
            return [] if is_running else found[-1:]
        first = shown.attempt + int(shown.is_over)
        return [one for one in found if one["attempt"] >= first]

    async def _write(self, run: RunSource, task: Json, attempt: Json, shown: Shown) -> None:
        if attempt["attempt"] != shown.attempt:
            shown.attempt, shown.offsets, shown.is_over = attempt["attempt"], {}, False
        await self._transcript.write(run, task, attempt, shown.offsets)
