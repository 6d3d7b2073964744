"""The protocol between an engine and a launcher, at the launcher's end.

A frame is `<IB`, the length and kind of its payload, then the payload: JSON, or rows of REPORT. Commands: h(ello),
l(aunch), r(ecall), k(ill), a(cknowledge), d (read output), p(ing), s(top). Answers: H(ello), R(eports), W (the width
of a lane was lowered), D(ata), T(rouble).
"""

from __future__ import annotations

import os
import struct

VERSION = 4  # a launcher and an engine of another release can talk only if they have the same
PIPE = 1 << 16  # what a pipe holds; a larger buffer would be mapped and unmapped for each read
FRAME = struct.Struct("<IB")
REPORT = struct.Struct("<QBIIIIIddfIhBBHHHBIIQQQI")  # daggy.attempt.REPORT
STARTED, FINISHED, RECALLED = 1, 2, 3
OK, EXIT, SIGNAL, TIMEOUT, KILLED, SPAWN, _, OUTPUT, _, LOST, _, RESULT = range(12)
LINKED, ANSWER, STOPPED = 1, 2, 4


class Stream:
    """Frames over a pair of descriptors: two pipes, or a socket twice."""

    def __init__(self, source: int, sink: int) -> None:
        """Read frames from `source` and write them to `sink`, both without blocking."""
        self.source, self.sink, self.open = source, sink, True
        self.inbox, self.outbox = bytearray(), bytearray()
        os.set_blocking(source, False)
        os.set_blocking(sink, False)

    def close(self) -> None:
        """Close both descriptors."""
        for descriptor in {self.source, self.sink} - {-1}:
            os.close(descriptor)
        self.source = self.sink = -1
        self.open = False
        self.outbox.clear()

    def receive(self) -> list[tuple[int, bytes]]:
        """Return the complete frames that have arrived; `open` is False afterwards if no more can."""
        try:
            data = os.read(self.source, PIPE)
        except BlockingIOError:
            return []
        except OSError:
            data = b""
        self.open = bool(data)
        self.inbox += data
        frames, at = [], 0
        while len(self.inbox) - at >= FRAME.size:
            length, kind = FRAME.unpack_from(self.inbox, at)
            end = at + FRAME.size + length
            if end > len(self.inbox):
                break
            frames.append((kind, bytes(self.inbox[at + FRAME.size : end])))
            at = end
        del self.inbox[:at]
        return frames

    def send(self, kind: bytes, payload: bytes) -> None:
        """Add a frame and write as much as the other end accepts."""
        self.outbox += FRAME.pack(len(payload), kind[0]) + payload
        self.flush()

    def flush(self) -> None:
        """Write as much as the other end accepts."""
        try:
            while self.outbox:
                del self.outbox[: os.write(self.sink, self.outbox)]
        except BlockingIOError:
            pass
        except OSError:
            self.open = False
            self.outbox.clear()
