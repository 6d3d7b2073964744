"""`--output all`: what each task wrote, whole, when it has ended."""

from __future__ import annotations

import click
import trio

from daggy.attempt import Rows
from daggy.cli.outputs import pieces
from daggy.cli.streams import LostAnswerError, write_bytes
from daggy.engine.engine import Engine
from daggy.run.run import Run
from daggy.run.states import IS_ENDED
from daggy.seldom import Seldom
from daggy.view.shapes import version_of


class Follower:
    """Copies the outputs of ended tasks to standard output, in the order in which they ended, until that is lost."""

    def __init__(self, engine: Engine, run: Run, *, follows: bool) -> None:
        """Begin with what ends from here on; `follows` False: do nothing."""
        self._engine = engine
        self._run = run
        self._follows = follows
        self._seen = len(run.ledger)
        self._unread = Seldom()
        self._copying = trio.Lock()  # the last to come must find all of it written

    async def catch_up(self) -> None:
        """Copy what has ended since the last call; of attempts that are tried again nothing is shown."""
        if not self._follows:
            return
        async with self._copying:
            try:
                await self._copy_ended()
            except LostAnswerError as error:
                self._follows = False
                click.echo(f"{error}; the run goes on", err=True)

    async def _copy_ended(self) -> None:
        ledger = self._run.ledger
        while self._seen < len(ledger):
            number = self._seen
            self._seen += 1
            row = ledger.row(number)
            if IS_ENDED[int(row["outcome"])]:
                await self._copy(row, version_of(self._run, number))

    async def _copy(self, row: Rows, version: int) -> None:
        async def read(stream: str, offset: int, limit: int) -> bytes:
            return await self._engine.runs.read_log(self._run.id, version, row, stream, offset, limit)

        try:
            for stream in ("stdout", "stderr"):
                async for piece in pieces(read, stream, int(row[stream])):
                    # A reader that takes its time holds up neither tasks nor Ctrl-C.
                    await trio.to_thread.run_sync(write_bytes, piece, abandon_on_cancel=True)
        except (OSError, ValueError) as error:
            text = f"output of task {int(row['index'])} cannot be read: {error}"
            if said := self._unread.of(text, trio.current_time()):
                click.echo(said, err=True)
