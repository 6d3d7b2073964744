"""Reads of running tasks' output: asked of the launcher that runs the task, and answered by number."""

from __future__ import annotations

import trio
from attrs import define, field

from daggy.errors import UnavailableError
from daggy.launcher import frames
from daggy.launcher.frames import Key
from daggy.launcher.host import Channel

ANSWER = 5.0
"""Seconds that a launcher has to answer a read."""


@define(eq=False)
class Reads:
    """Reads of running tasks' output that launchers have not answered."""

    _open: dict[int, trio.MemorySendChannel[bytes | None]] = field(factory=dict)
    _number: int = 0

    async def ask(self, channel: Channel, key: Key, stream: str, offset: int, limit: int) -> bytes | None:
        """Return a part of a task's output, None if its launcher does not run it.

        Raises:
            UnavailableError: the launcher does not answer.
        """
        self._number += 1
        number = self._number
        sender, receiver = trio.open_memory_channel[bytes | None](1)
        self._open[number] = sender
        channel.send(frames.read(number, key, stream, offset, limit))
        try:
            with trio.move_on_after(ANSWER):
                return await receiver.receive()
        finally:
            self._open.pop(number, None)
        raise UnavailableError(
            f"launcher {channel.number}, which runs the task, has not answered for {ANSWER:.0f} s; "
            "it is stopped, or its machine is too busy; try again later"
        )

    def answer(self, excerpt: frames.Excerpt) -> None:
        """Pass on an answer."""
        if excerpt.number in self._open:
            self._open.pop(excerpt.number).send_nowait(excerpt.data)
