"""The spool of a launcher, as it is written: what was accepted, started, finished. Standard library only."""

import fcntl
import json
import os
import struct
import zlib
from typing import Any, Callable, Dict, Iterable, List, Tuple

RECORD = struct.Struct("<II")  # length and crc32 of a record
ACCEPTED = struct.Struct("<IIIII")  # run, version, epoch, lane, width; then pairs of index and attempt
PAIR = struct.Struct("<II")
PROCESS = struct.Struct("<Id")  # pid, and CLOCK_BOOTTIME just after its start
TICKET = struct.Struct("<IIIII")
SEGMENT = 4 << 20
START_AT_ONCE = 8  # starts between two writes: as many are unknown after a death


def write_whole(descriptor: int, data: bytes, size: int) -> None:
    """Append all of `data` to a file of this size, or nothing."""
    try:
        done = os.write(descriptor, data)
        while done < len(data):
            done += os.write(descriptor, data[done:])
    except OSError:
        os.ftruncate(descriptor, size)
        raise


class Spool:
    """What this launcher has accepted, started and finished, for whoever comes after it."""

    def __init__(self, folder: str, header: Dict[str, Any], restate: Callable[[], List[bytes]]) -> None:
        """Lock the folder for as long as this process lives; OSError if somebody else has it.

        The lock is made with the folder. Whoever finds it free removes it, and may then take this launcher for dead
        for ever, however late it is.
        """
        self.lock = os.open(folder + "/lock", os.O_RDWR)
        fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not os.fstat(self.lock).st_nlink:
            raise FileNotFoundError("'%s/lock' was removed: this launcher was taken for dead" % folder)
        os.makedirs(folder + "/spool", mode=0o700, exist_ok=True)
        self.folder, self.restate = folder, restate
        self.header = b"H" + json.dumps(header).encode()
        self.segments: List[Tuple[str, int]] = []  # closed ones, and the last sequence number of each
        self.path, self.number, self.descriptor, self.size, self.seq, self.acked = "", 0, -1, SEGMENT, 0, 0
        self.note(0.0)

    def note(self, leave_by: float) -> None:
        """Write down who keeps the lock and, once it is leaving, the wall clock by which it is gone."""
        os.pwrite(self.lock, b"%-12d%-20.3f\n" % (os.getpid(), leave_by), 0)

    def write(self, payloads: Iterable[bytes], seq: int) -> None:
        """Append records with one write; `seq` is the last sequence number in them. OSError: nothing was appended."""
        if self.size >= SEGMENT:
            self.roll([*payloads])
        else:
            data = b"".join([RECORD.pack(len(one), zlib.crc32(one)) + one for one in payloads])
            write_whole(self.descriptor, data, self.size)
            self.size += len(data)
        self.seq = seq

    def roll(self, payloads: List[bytes]) -> None:
        """Begin a segment with what runs and waits, so that older ones can be forgotten, and these records."""
        path = "%s/spool/%08d" % (self.folder, self.number + 1)
        data = b"".join(
            [RECORD.pack(len(one), zlib.crc32(one)) + one for one in [self.header, *self.restate(), b"E", *payloads]]
        )
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
        try:
            write_whole(descriptor, data, 0)
        except OSError:
            os.close(descriptor)
            os.unlink(path)
            raise
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.segments.append((self.path, self.seq))
        self.path, self.number, self.descriptor, self.size = path, self.number + 1, descriptor, len(data)
        self.forget(self.acked)

    def forget(self, seq: int) -> None:
        """Delete the segments that hold nothing after `seq`."""
        self.acked = max(seq, self.acked)
        while self.segments and self.segments[0][1] <= self.acked:
            os.unlink(self.segments.pop(0)[0])

    def leave(self) -> None:
        """Delete the last segment too if nothing is left that anybody has to hear."""
        if self.path and self.acked >= self.seq and not self.segments:
            os.unlink(self.path)
