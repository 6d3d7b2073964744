"""A way to another machine: a stream of bytes to a relay there, and what is known when it ends."""

from __future__ import annotations

import abc
import random
from typing import ClassVar

import trio

from daggy.errors import DaggyError


class AwayError(DaggyError):
    """A machine cannot be reached at this moment. It is tried again; the text says what happened."""


class UnfitError(DaggyError):
    """A machine was reached, or is named, and cannot run anything. The text says why, with the mend.

    It is tried again, less often: somebody may have mended it.
    """


class Line(trio.abc.Stream):
    """A stream of bytes to a relay (`daggy.launcher.program.relay`) on another machine.

    Whoever closes it leaves nothing behind on this machine; what runs on the other one goes on.
    """

    @abc.abstractmethod
    async def failure(self, heard: bytes) -> AwayError | UnfitError:
        """Return why it ended before the relay answered, once it has.

        Args:
            heard: What came instead of the relay's first line, up to 64 KiB.
        """


class Way(abc.ABC):
    """Leads to one machine."""

    calls_in: ClassVar[bool] = False
    """Whether it is the machine that begins: one that has been silent for a whole lease, and has nothing, is gone."""

    ends_with: ClassVar[str] = "its launchers end when a connection to it does"
    """What people are told if they do, with the mend."""

    async def until_next(self, pause: float) -> None:
        """Wait for the time of the next try.

        Args:
            pause: Seconds since the last one failed; 0: there was none.
        """
        await trio.sleep(pause * random.uniform(0.5, 1))  # noqa: S311 - so that not all come at once

    @abc.abstractmethod
    async def dial(self) -> Line:
        """Return a new line to a relay that has just been started there, or is being started.

        Raises:
            AwayError: it cannot be had at this moment.
            UnfitError: it cannot be had before something is mended.
        """
