"""The wire between an engine and a launcher, at the launcher's end. Standard library only.

Frames are `<IB`, length of the payload and its kind, then the payload: JSON, or rows of REPORT. Of the commands
h(ello), l(aunch), r(ecall), k(ill), a(ck), d (read) and s(top); of the answers H(ello), R(eports), W (a lane's lowered
width), D(ata) and T(rouble).
"""

import os
import struct
from typing import List, Tuple

VERSION = 2  # an engine and a launcher that outlived another Daggy's talk only if it is the same
PIPE = 1 << 16  # what a pipe holds; a larger buffer would be mapped and unmapped for each read
FRAME = struct.Struct("<IB")
REPORT = struct.Struct("<QBIIIIIddfIhBBHHHBHIQQQI")  # daggy.attempt.REPORT
STARTED, FINISHED, RECALLED = 1, 2, 3
OK, EXIT, SIGNAL, TIMEOUT, KILLED, SPAWN, _, OUTPUT = range(8)
LINKED, ANSWER, STOPPED = 1, 2, 4


class Stream:
    """Frames over a pair of descriptors: two pipes, or a socket twice."""

    def __init__(self, source: int, sink: int) -> None:
        """Read frames from `source`, write them to `sink`, never waiting for either."""
        self.source, self.sink, self.open = source, sink, True
        self.inbox, self.outbox = bytearray(), bytearray()
        os.set_blocking(source, False)
        os.set_blocking(sink, False)

    def close(self) -> None:
        """Let go of both."""
        for descriptor in {self.source, self.sink} - {-1}:
            os.close(descriptor)
        self.source = self.sink = -1
        self.open = False
        self.outbox.clear()

    def receive(self) -> List[Tuple[int, bytes]]:
        """Return the whole frames that have come; `open` tells whether more can."""
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
        """Add a frame, and write what the other end takes."""
        self.outbox += FRAME.pack(len(payload), kind[0]) + payload
        self.flush()

    def flush(self) -> None:
        """Write what the other end takes."""
        try:
            while self.outbox:
                del self.outbox[: os.write(self.sink, self.outbox)]
        except BlockingIOError:
            pass
        except OSError:
            self.open = False
            self.outbox.clear()
