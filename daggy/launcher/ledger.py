"""What was sent to another machine and has not been answered for, on this one's disk: the next engine waits for it."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from daggy import files
from daggy.launcher.frames import Key

SENT = struct.Struct("<IIIIIf")
"""A ticket, and the grace of its task, seconds; CAME_BACK: it is there no more."""
CAME_BACK = -1.0
SPARE = 1000
"""Records beyond those needed before a ledger is written anew."""


class Ledger:
    """The tickets that one machine has. It is written before they are sent; never synced: it is for an engine that
    dies, not for a machine that does.

    Args:
        path: The file; None: nothing is kept.
    """

    def __init__(self, path: Path | None) -> None:
        """Read what an earlier engine wrote; what is not whole is not believed."""
        self._path = path
        self.found: dict[Key, float] = {}
        """What was sent and has not come back, each with its grace."""
        self._records = 0
        if path is not None and path.exists():
            data = path.read_bytes()
            self._records = len(data) // SENT.size
            for *ticket, grace in SENT.iter_unpack(data[: len(data) // SENT.size * SENT.size]):
                self.found[tuple(ticket)] = grace
                if grace < 0:
                    del self.found[tuple(ticket)]
            if len(data) % SENT.size:  # what is appended behind a torn record could not be read
                self._rewrite(self.found)

    def add(self, sent: Iterable[tuple[Key, float]], count: int, needed: Callable[[], Mapping[Key, float]]) -> None:
        """Write down what is about to be sent.

        Args:
            sent: Tickets, each with its grace.
            count: How much of what was written before is still needed.
            needed: Returns that.

        Raises:
            OSError: there is no room.
        """
        if self._path is None:
            return
        if self._records > 2 * count + SPARE:
            self._rewrite(needed())
        self._append([SENT.pack(*key, grace) for key, grace in sent])

    def remove(self, keys: Sequence[Key]) -> None:
        """Note that tasks came back without having begun: from here on they may be sent elsewhere, by the same tickets.

        Raises:
            OSError: there is no room.
        """
        if self._path is not None and keys:
            self._append([SENT.pack(*key, CAME_BACK) for key in keys])

    def _append(self, records: Sequence[bytes]) -> None:
        assert self._path is not None
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with open(self._path, "ab", opener=files.private) as file:
            file.write(b"".join(records))
        self._records += len(records)

    def _rewrite(self, kept: Mapping[Key, float]) -> None:
        assert self._path is not None
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        files.replace(self._path, b"".join(SENT.pack(*key, grace) for key, grace in kept.items()), sync=False)
        self._records = len(kept)

    def clear(self) -> None:
        """Note that nothing is left of what was sent."""
        if self._path is not None and self._records:
            self._path.unlink(missing_ok=True)
            self._records = 0
