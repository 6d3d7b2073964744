"""Serves the run of a `daggy run` to other terminals: it can be watched and killed.

It listens from the start, and loads what answers when somebody connects: most runs are short and nobody looks.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

import trio

from daggy.engine.configuration import Configuration
from daggy.engine.engine import Engine
from daggy.server.address import listen, refuse_others, remove_address, write_address_in_time
from daggy.server.token import load_or_make

if TYPE_CHECKING:
    from daggy.server.hosting import Hosting

LOOPBACK = "127.0.0.1"

LAST_LOOK = 2.0
"""Seconds for which those who are connected at the end may still ask how it was."""

KEPT = "sqlite"
"""The tracker, if the configuration names none."""


class OneRun:
    """An engine of one run, which others can watch.

    Args:
        engine: The engine, open; its tracker is durable.
        configuration: Of the call.
        say: Takes lines for people.
    """

    def __init__(self, engine: Engine, configuration: Configuration, say: Callable[[str], None]) -> None:
        """Keep them; nothing listens before `run`."""
        self._engine, self._configuration, self._say = engine, configuration, say
        self._scope = trio.CancelScope()
        self._resources = contextlib.ExitStack()
        self._hosting: Hosting | None = None
        self._is_closed = trio.Event()

    async def run(self) -> None:
        """Serve until `close`. What goes wrong is said, and does not affect the run."""
        try:
            with self._scope, self._resources:
                await self._serve()
        except Exception as error:  # noqa: BLE001 - nobody's look at a run may end it
            self._say(f"the run cannot be watched from other terminals: {str(error) or type(error).__name__}")
        finally:
            self._is_closed.set()

    async def close(self, *, has_ended: bool) -> None:
        """End it. If the run has ended, who is connected may ask for the rest, but does not hold it up for long."""
        with contextlib.suppress(OSError):
            remove_address(self._engine.directory.path)
        if self._hosting is None:
            self._scope.cancel()
        else:
            with trio.move_on_after(LAST_LOOK if has_ended else 0):
                await self._hosting.listening.vacated()
            self._hosting.listening.over.set()
        await self._is_closed.wait()

    async def _serve(self) -> None:
        directory = self._engine.directory.path
        remove_address(directory)  # of a process that was killed
        refuse_others(directory)
        token = load_or_make(directory)
        listener = self._resources.enter_context(listen(LOOPBACK, 0))
        self._resources.callback(remove_address, directory)
        await write_address_in_time(directory, f"http://{LOOPBACK}:{listener.getsockname()[1]}")
        await trio.lowlevel.wait_readable(listener)
        await trio.to_thread.run_sync(_import)
        if not self._engine.is_stopping:
            await self._answer(token, listener)

    async def _answer(self, token: str, listener: socket.socket) -> None:
        from daggy.server.hosting import Hosting

        twin = self._configuration.look(self._engine.directory.path, KEPT)
        self._resources.callback(twin.close)
        self._engine.admit_readers(twin)
        hosting = self._hosting = Hosting(self._engine, self._configuration, token, listener, takes_runs=False)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(hosting.load)
            await hosting.listening.run()
            nursery.cancel_scope.cancel()


def _import() -> None:
    import daggy.server.hosting  # noqa: F401
