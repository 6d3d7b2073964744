"""Read a launcher's spool after its death: pure, over bytes, believing nothing that a crc does not vouch for."""

from __future__ import annotations

import struct
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence

import msgspec
import numpy as np
from attrs import define, field, frozen

from daggy.attempt import REPORT, Rows
from daggy.launcher.frames import KEYS, Key
from daggy.launcher.program.spool import ACCEPTED, PROCESS, RECORD, START_AT_ONCE, TICKET
from daggy.launcher.program.wire import VERSION

LARGEST = 1 << 62
"""No sequence number comes to this; those of what was lost are counted on from the last one."""
WIRE_2 = 2
"""Version of the wire in whose REPORTs a launcher's number has two bytes."""
WIRE_3 = 3
"""Version of the wire without results and notes."""
READABLE = (0, WIRE_2, WIRE_3, VERSION)
"""Versions of the wire whose spools are read; 0: none is stated."""
_NUMBER_2 = struct.calcsize("<QBIIIIIddfIhBBHHHBH")
"""Where the launcher's number ends in a REPORT of wire 2; a later one has two more bytes there."""


@frozen
class Running:
    """A process that was started and of whose end nothing is known.

    Args:
        pid: Its process id, also its session.
        boot: Seconds since the machine's start, just after it was started.
        row: The REPORT that was noted at its start.
        lane: Where it waited before.
    """

    pid: int
    boot: float
    row: Rows
    lane: int


@frozen
class Pending:
    """A task that was accepted and not noted as started: its lane, and that lane's width then."""

    lane: int
    width: int


@define(eq=False)
class Spooled:
    """What a spool says.

    Args:
        boot: Id of the machine's start during which it was written; empty: nothing was written at all.
        wire: Version of its launcher's wire; of one that is not READABLE nothing more is read.
        finished: Array of REPORT, in order of their sequence numbers.
        messages, results, notes: By position in `finished`.
        told: The latest note of each task that did not finish.
        running: Started and not ended.
        pending: Accepted and not noted as started, in order.
        widths: Of each lane, as last stated.
        hole: What is damaged, beyond the torn end that a crash leaves; nothing after it was believed. Empty: nothing.
    """

    boot: str = ""
    wire: int = 0
    finished: Rows = field(factory=lambda: np.zeros(0, REPORT))
    messages: dict[int, str] = field(factory=dict)
    results: dict[int, str] = field(factory=dict)
    notes: dict[int, str] = field(factory=dict)
    told: dict[Key, str] = field(factory=dict)
    running: dict[Key, Running] = field(factory=dict)
    pending: dict[Key, Pending] = field(factory=dict)
    widths: dict[int, int] = field(factory=dict)
    hole: str = ""

    def suspects(self) -> list[Key]:
        """Return those pending ones that may have been started unnoted: the next of each lane for its free slots.

        An end is noted before its slot is used again, and starts are noted a few at a time.
        """
        busy = Counter(running.lane for running in self.running.values())
        taken: Counter[int] = Counter()
        found = []
        for key, pending in self.pending.items():
            taken[pending.lane] += 1
            width = max(pending.width, self.widths.get(pending.lane, 0))
            if taken[pending.lane] <= min(width - busy[pending.lane], START_AT_ONCE):
                found.append(key)
        return found


def read(segments: Sequence[bytes]) -> Spooled:
    """Return what the segments of a spool, in order, say together. Never raises, whatever the bytes are."""
    reader = _Reader()
    for number, segment in enumerate(segments):
        last = number == len(segments) - 1
        at = 0
        for end, payload in records(segment):
            if not reader.take(payload):
                break
            at = end
        if at < len(segment) and not (last and _torn(segment, at)):
            reader.spooled.hole = f"segment {number + 1} of {len(segments)} is damaged at byte {at} of {len(segment)}"
            break
    return reader.result()


def records(segment: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield records that are whole, each with where it ends; what follows was cut off, or is still being written."""
    at = 0
    while at + RECORD.size < len(segment):
        length, crc = RECORD.unpack_from(segment, at)
        end = at + RECORD.size + length
        payload = segment[at + RECORD.size : end]
        if not length or end > len(segment) or zlib.crc32(payload) != crc:
            return
        yield end, payload
        at = end


def _torn(segment: bytes, at: int) -> bool:
    """Tell whether what is left from `at` is one that was cut off, or room that was never written."""
    if len(segment) - at < RECORD.size or not any(segment[at:]):
        return True
    length, _ = RECORD.unpack_from(segment, at)
    end = at + RECORD.size + length
    return length > 0 and (end >= len(segment) or not any(segment[end:]))


class _Header(msgspec.Struct):
    boot: str
    version: int = 0  # of its wire


class _Reader:
    """Takes records one by one."""

    def __init__(self) -> None:
        self.spooled = Spooled()
        self._rows: list[bytes] = []
        self._messages: dict[int, str] = {}
        self._results: dict[int, str] = {}
        self._notes: dict[int, str] = {}
        self._told: dict[Key, str] = {}
        self._result = ""  # of the task whose end comes next
        # a segment begins by restating what runs and waits; until that is whole, what earlier ones said holds
        self._restated: Spooled | None = None

    def take(self, payload: bytes) -> bool:
        """Take one record; False if it cannot be one."""
        state = self._restated or self.spooled
        body = payload[1:]
        if self.spooled.wire == WIRE_2 and payload[:1] in (b"S", b"F"):
            body = body[:_NUMBER_2] + bytes(2) + body[_NUMBER_2:]
        try:
            match payload[:1]:
                case b"H":
                    return self._begin(msgspec.json.decode(body, type=_Header))
                case b"E":
                    restated = self._restated or Spooled()
                    self.spooled = Spooled(restated.boot, self.spooled.wire)
                    self.spooled.running, self.spooled.pending = restated.running, restated.pending
                    self.spooled.widths = restated.widths
                    self._restated = None
                case b"A":
                    _accept(state, body)
                case b"S":
                    _start(state, body)
                case b"N":
                    run, version, index, epoch, attempt = TICKET.unpack_from(body)
                    self._told[run, version, index, epoch, attempt] = body[TICKET.size :].decode()
                case b"V":
                    self._result = body.decode()
                case b"F" if int.from_bytes(body[:8], "little") < LARGEST:
                    self._finish(body)
                case b"R":
                    run, version, index, epoch, attempt = TICKET.unpack(body)
                    state.pending.pop((run, version, index, epoch, attempt), None)
                case _:
                    return False
        except (struct.error, ValueError, KeyError, RecursionError, msgspec.MsgspecError):
            return False
        return True

    def _begin(self, header: _Header) -> bool:
        """Begin a segment; False if its launcher's wire is not known."""
        self._restated = Spooled(boot=header.boot)
        self.spooled.wire = header.version
        return header.version in READABLE

    def _finish(self, body: bytes) -> None:
        key = _key(body)
        self.spooled.running.pop(key, None)
        self.spooled.pending.pop(key, None)  # one that could not be started
        if len(body) > REPORT.itemsize:
            self._messages[len(self._rows)] = body[REPORT.itemsize :].decode("utf-8", "replace")
        if self._result:
            self._results[len(self._rows)], self._result = self._result, ""
        if note := self._told.pop(key, ""):
            self._notes[len(self._rows)] = note
        self._rows.append(body[: REPORT.itemsize])

    def result(self) -> Spooled:
        """Return what the records said."""
        self.spooled.finished = np.frombuffer(b"".join(self._rows), REPORT).copy()
        self.spooled.messages, self.spooled.results, self.spooled.notes = self._messages, self._results, self._notes
        self.spooled.told = self._told
        return self.spooled


def _key(row: bytes) -> Key:
    _, run, version, epoch, index, attempt = KEYS.unpack_from(row)
    return run, version, index, epoch, attempt


def _accept(state: Spooled, body: bytes) -> None:
    run, version, epoch, lane, width = ACCEPTED.unpack_from(body)
    state.widths[lane] = width
    for index, attempt in struct.iter_unpack("<II", body[ACCEPTED.size :]):
        state.pending[run, version, index, epoch, attempt] = Pending(lane, width)


def _start(state: Spooled, body: bytes) -> None:
    row, (pid, boot) = body[: REPORT.itemsize], PROCESS.unpack(body[REPORT.itemsize :])
    key = _key(row)
    pending = state.pending.pop(key)  # nothing starts that was not accepted: a KeyError says that this is damaged
    state.running[key] = Running(pid, boot, np.frombuffer(row, REPORT).copy(), pending.lane)
