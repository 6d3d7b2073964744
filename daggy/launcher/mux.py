"""Our end of a line to a relay: requests to it and, on channels of their own, frames to and from its launchers."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgspec
import trio

from daggy.errors import DaggyError
from daggy.launcher import frames
from daggy.launcher.frames import FRAME
from daggy.launcher.line import AwayError, Line, UnfitError
from daggy.launcher.program.relay import CHANNEL, MARK

CHATTER = 1 << 16
"""Bytes that a login may print before the relay answers."""
GREETING = 30.0
"""Seconds for the relay to answer."""
ANSWER = 30.0
"""Seconds for the answer to a request."""
PATIENCE = 0.1
"""Seconds that an acknowledgement waits for something to go with: nobody waits for it."""
CHUNK = 1 << 16
ACK = ord("a")

Hear = Callable[[list[frames.Answer]], None]


class RelayError(DaggyError):
    """A relay could not do what it was asked. A fault of its machine: the text is the relay's."""


class Mux:
    """Everything that one line carries. `run` must run while it is used.

    Args:
        line: The line; owned from here on.
    """

    def __init__(self, line: Line) -> None:
        """Begin with a line on which nothing has come yet."""
        self._line = line
        self._inbox = bytearray()
        self._outbox = bytearray()
        self._bell = trio.Event()  # there is something to send
        self._hurry = trio.Event()  # and somebody waits for it
        self._asked = 0
        self._open: dict[int, trio.MemorySendChannel[Any]] = {}
        self._channels: dict[int, tuple[Hear, Callable[[], None]]] = {}
        self.is_closed = False

    async def greet(self) -> None:
        """Read up to the relay's first line.

        Raises:
            AwayError: the line ended, or nothing came.
            UnfitError: what came says that no relay can run there.
        """
        while MARK not in self._inbox:
            mark = self._inbox.find(b"\0daggy relay ")
            if mark >= 0 and b"\n" in self._inbox[mark:]:
                raise UnfitError("a relay of another version of Daggy answers there; upgrade the older of the two")
            if len(self._inbox) > CHATTER:
                raise UnfitError(
                    f"its login prints without end before anything is run: {_shown(self._inbox)}; "
                    "have its shell print nothing when it is not interactive"
                )
            data = b""
            with trio.move_on_after(GREETING):
                data = bytes(await self._receive())
            if not data:
                raise await self._line.failure(bytes(self._inbox))
            self._inbox += data
        del self._inbox[: self._inbox.index(MARK) + len(MARK)]

    async def _receive(self) -> bytes | bytearray:
        try:
            return await self._line.receive_some(CHUNK)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return b""

    async def run(self) -> None:
        """Carry frames both ways until the line ends.

        Raises:
            AwayError: it has ended.
        """
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._write)
                self._cut()
                while data := await self._receive():
                    self._inbox += data
                    self._cut()
                nursery.cancel_scope.cancel()
        finally:
            for sender in self._open.values():
                sender.close()
            self._open.clear()
            await self.drop()
        raise AwayError("the connection was lost")

    async def drop(self) -> None:
        """Close the line."""
        self.is_closed = True
        with trio.move_on_after(1) as scope:
            scope.shield = True
            await self._line.aclose()

    async def _write(self) -> None:
        """Send what there is; a message may cost as much as a whole batch of frames."""
        while True:
            await self._bell.wait()
            with trio.move_on_after(PATIENCE):
                await self._hurry.wait()
            self._bell, self._hurry = trio.Event(), trio.Event()
            while self._outbox:
                data = bytes(self._outbox[:CHUNK])
                del self._outbox[:CHUNK]
                try:
                    await self._line.send_all(data)
                except (trio.BrokenResourceError, trio.ClosedResourceError):
                    return  # reading notices

    def _cut(self) -> None:
        """Take the whole frames that have come; those of one launcher are passed on together."""
        at, heard = 0, dict[int, list[frames.Answer]]()
        while len(self._inbox) - at >= FRAME.size:
            length, kind = FRAME.unpack_from(self._inbox, at)
            end = at + FRAME.size + length
            if length > frames.LARGEST:
                raise frames.WireError(f"a frame of {length} bytes comes from a relay")
            if end > len(self._inbox):
                break
            (number,) = CHANNEL.unpack_from(self._inbox, at + FRAME.size)
            payload = bytes(self._inbox[at + FRAME.size + CHANNEL.size : end])
            at = end
            if not number:
                self._take(kind, payload)
            elif kind == ord("e"):
                self._pass_on({number: heard.pop(number, [])})
                if number in self._channels:
                    self._channels.pop(number)[1]()
            else:
                heard.setdefault(number, []).append(frames.answer(kind, payload))
        del self._inbox[:at]
        self._pass_on(heard)

    def _pass_on(self, heard: dict[int, list[frames.Answer]]) -> None:
        for number, answers in heard.items():
            if answers and number in self._channels:
                self._channels[number][0](answers)

    def _take(self, kind: int, payload: bytes) -> None:
        if kind == ord("b"):
            (asked,) = CHANNEL.unpack_from(payload)
            answer: Any = payload[CHANNEL.size :]
        else:
            answer = msgspec.json.decode(payload)
            asked = answer["id"]
        if sender := self._open.pop(asked, None):
            sender.send_nowait(answer)

    async def ask(self, name: str, **order: Any) -> Any:
        """Have the relay do something; return its answer.

        Raises:
            AwayError: the line has ended, or no answer comes.
            FileNotFoundError: what it is about is not there.
            RelayError: it cannot be done there.
        """
        if self.is_closed:
            raise AwayError("the connection was lost")
        self._asked += 1
        asked = self._asked
        sender, receiver = trio.open_memory_channel[Any](1)
        self._open[asked] = sender
        try:
            self.send(0, frames.frame("q", {"id": asked, "op": name, **order}))
            answer = None
            with trio.move_on_after(ANSWER):
                answer = await receiver.receive()
        except trio.EndOfChannel:
            raise AwayError("the connection was lost") from None
        finally:
            self._open.pop(asked, None)
        if answer is None:
            raise AwayError(f"no answer for {ANSWER:.0f} s")
        if isinstance(answer, bytes):
            return answer
        if "missing" in answer:
            raise FileNotFoundError(answer["missing"])
        if "error" in answer:
            raise RelayError(answer["error"])
        return answer["answer"]

    def send(self, number: int, frame: bytes) -> None:
        """Send a frame to the launcher of a number, 0: to the relay; never blocks."""
        length, kind = FRAME.unpack_from(frame)
        self._outbox += FRAME.pack(length + CHANNEL.size, kind) + CHANNEL.pack(number) + frame[FRAME.size :]
        self._bell.set()
        if kind != ACK:
            self._hurry.set()

    def ping(self) -> None:
        """Let all launchers know that the engine is there."""
        for number in self._channels:
            self.send(number, frames.ping())

    def attach(self, number: int, hear: Hear, ended: Callable[[], None]) -> None:
        """Have the answers of a launcher given to `hear`, and its end to `ended`."""
        self._channels[number] = hear, ended

    def detach(self, number: int) -> None:
        """Close a launcher's channel."""
        if self._channels.pop(number, None):
            self.send(number, FRAME.pack(0, ord("c")))


def _shown(heard: bytes | bytearray) -> str:
    """Return the end of what a login printed, for people."""
    text = bytes(heard).decode("utf-8", "replace").strip()
    return json.dumps(text[-200:], ensure_ascii=False)
