"""One call of `daggy run`: a directory, an engine, one run taken to its end, and what Ctrl-C does to it."""

from __future__ import annotations

import contextlib
import json
import math
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click
import trio
from attrs import field, frozen

from daggy.cli import text
from daggy.cli.beginning import Beginning, begin
from daggy.cli.document import Call
from daggy.cli.follow import Follower
from daggy.cli.progress import Display, display
from daggy.cli.start import INTERRUPTED
from daggy.cli.streams import droppable_messages
from daggy.cli.summary import Ending, summarise
from daggy.engine.configuration import AgentsSettings, Configuration
from daggy.engine.directory import StateDirectory
from daggy.engine.engine import Engine
from daggy.engine.process import tune
from daggy.engine.troubles import Troubles
from daggy.errors import DirectoryError, TrackerError
from daggy.run.run import Run
from daggy.server.one_run import OneRun
from daggy.signals import stop_signals
from daggy.tracker import RunState, Tracker
from daggy.view.shapes import as_json, describe

if TYPE_CHECKING:
    from daggy.server.entrance import Door

TICK = 0.1
"""Seconds between two updates of the display."""

UNREAD = 1.0
"""Seconds for which a reader of outputs is waited for after Ctrl-C."""


@frozen
class Request:
    """What the command line asks for.

    Args:
        call: The spec.
        directory: Where the run is kept; None: nowhere.
        configuration: Pools and tracker.
        rerun: Selectors of tasks to run again.
        output: "none", "failed" or "all".
        quiet: Whether only failures are printed.
        assume_yes: Whether an edit that removes tasks is made without asking.
        as_json: Whether the final run is printed on standard output.
        prints_result: Whether the result of its first task is, if the run completes.
    """

    call: Call
    directory: Path | None
    configuration: Configuration
    rerun: tuple[str, ...] = ()
    output: str = "failed"
    quiet: bool = field(default=False, kw_only=True)
    as_json: bool = field(default=False, kw_only=True)
    assume_yes: bool = field(default=False, kw_only=True)
    prints_result: bool = field(default=False, kw_only=True)


class Session:
    """Takes one run to its end."""

    def __init__(self, request: Request) -> None:
        """Keep what is asked for; nothing starts yet."""
        self._request = request
        self._interrupts = 0
        self._concludes = False  # nothing is shown as it happens any more
        self._interrupted = trio.Event()
        self._engine: Engine | None = None
        self._display: Display | None = None

    def run(self) -> int:
        """Run it; return the exit code."""
        tune()
        return trio.run(self._main)

    async def _main(self) -> int:
        code = INTERRUPTED
        async with trio.open_nursery() as nursery:
            await nursery.start(self._listen, nursery.cancel_scope)
            # A signal from here on removes a temporary directory.
            with _directory(self._request.directory) as directory:
                tracker = self._request.configuration.make_tracker(
                    directory.path, "memory" if self._request.directory is None else "sqlite"
                )
                agents = _door(self._request.configuration.agents, directory.path)
                with contextlib.closing(tracker), agents as entrance:
                    code = await self._run(directory, tracker, nursery, entrance)
            nursery.cancel_scope.cancel()
        return code

    async def _run(
        self, directory: StateDirectory, tracker: Tracker, nursery: trio.Nursery, agents: Door | None
    ) -> int:
        began = time.monotonic()
        configuration = self._request.configuration
        engine = Engine(
            tracker,
            configuration.executors(),
            directory,
            default_pool=configuration.default_pool,
            evals=configuration.evals,
            entrance=None if agents is None else agents.entrance,
        )
        served: OneRun | None = None
        with droppable_messages(), contextlib.ExitStack() as shown:
            async with engine.open():
                if agents is not None:
                    nursery.start_soon(agents.serve, engine, lambda _: False)
                beginning = await begin(
                    engine, tracker, self._request.call, self._request.rerun, assume_yes=self._request.assume_yes
                )
                self._engine = engine
                self._display = display(
                    quiet=self._request.quiet, plain=self._request.output == "all" or not text.is_terminal()
                )
                shown.callback(self._display.end)
                self._display.begin(beginning)
                follower = Follower(engine, beginning.run, follows=self._request.output == "all")
                if not beginning.is_done:
                    if self._request.directory is not None and tracker.durable:
                        served = OneRun(engine, configuration, self._display.say)
                        nursery.start_soon(served.run)
                    nursery.start_soon(self._show, beginning.run, follower)
                    await self._until_end(beginning.run)
            if served is not None:
                await served.close(has_ended=beginning.run.is_ended)
        self._concludes = True
        with trio.move_on_after(UNREAD if self._interrupts else math.inf):
            await follower.catch_up()
        return await self._conclude(beginning, time.monotonic() - began)

    async def _listen(
        self, scope: trio.CancelScope, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Obey signals: at the first stop gracefully, at the second kill what runs."""
        with trio.open_signal_receiver(*stop_signals()) as signals:
            task_status.started()
            async for _ in signals:
                self._interrupts += 1
                if self._engine is None:
                    click.echo("interrupted before any task was started", err=True)
                    scope.cancel()
                    return
                self._engine.stop(immediate=self._interrupts > 1)
                self._interrupted.set()
                self._say_interrupt()

    def _say_interrupt(self) -> None:
        assert self._display is not None
        if self._interrupts == 1:
            self._display.say("interrupted: shutting down gracefully; Ctrl-C again kills running tasks")
        elif self._interrupts == 2:
            self._display.say("interrupted again: killing running tasks")

    async def _until_end(self, run: Run) -> None:
        assert self._engine is not None
        engine = self._engine
        async with trio.open_nursery() as nursery:

            async def ended() -> None:
                await engine.runs.ended(run.id)
                nursery.cancel_scope.cancel()

            nursery.start_soon(ended)
            await self._interrupted.wait()
            nursery.cancel_scope.cancel()

    async def _show(self, run: Run, follower: Follower) -> None:
        assert self._engine is not None
        assert self._display is not None
        troubles = Troubles()
        while True:
            await trio.sleep(TICK)
            if self._concludes:
                return
            for line in troubles.news(self._engine.troubles(), trio.current_time()):
                self._display.say(line)
            await follower.catch_up()
            if self._concludes:
                return
            self._display.update(run)

    async def _conclude(self, beginning: Beginning, seconds: float) -> int:
        """Print how it ended; return the exit code."""
        assert self._engine is not None
        run, request = beginning.run, self._request
        cut_short = self._interrupts > 0 and not run.is_ended
        ending = Ending(
            run,
            self._engine,
            request.directory,
            seconds,
            tails=request.output == "failed",
            interrupted=cut_short,
            is_call=request.prints_result,
        )
        if cut_short or run.state is not RunState.COMPLETED or not (request.quiet or beginning.is_done):
            await summarise(ending)
        if request.as_json:
            text.print_json(as_json(describe(run)))
        if request.prints_result and run.state is RunState.COMPLETED:
            attempts = await self._engine.archive.attempts(run, 0)
            click.echo(text.json_line(json.loads(attempts[-1][2].result or "null")))
        if self._engine.trouble:
            click.echo(f"the end of the run could not be saved: {self._engine.trouble}", err=True)
            return TrackerError.exit_code
        if cut_short:
            return INTERRUPTED
        return 0 if run.state is RunState.COMPLETED else 1


@contextlib.contextmanager
def _door(settings: AgentsSettings, directory: Path) -> Iterator[Door | None]:
    """Listen for agents, if the configuration says where; most do not, and need not wait for what listens."""
    if not settings.ip:
        yield None
        return
    from daggy.server.entrance import door

    with door(settings, directory, 0) as found:
        yield found


@contextlib.contextmanager
def _directory(kept: Path | None) -> Iterator[StateDirectory]:
    """Open the state directory; without one, a temporary one that goes with the run."""
    if kept is not None:
        with StateDirectory.open(kept) as directory:
            yield directory
        return
    try:
        path = Path(tempfile.mkdtemp(prefix="daggy-"))
    except OSError as error:
        raise DirectoryError(f"no temporary directory can be used: {error.strerror}; set TMPDIR") from error
    try:
        with StateDirectory.open(path) as directory:
            yield directory
    finally:
        shutil.rmtree(path, ignore_errors=True)
        if path.exists():
            click.echo(f"'{path}' could not be removed completely", err=True)
