"""Our end of the wire to a launcher: commands as frames, frames as reports."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby

import msgspec
import numpy as np
from attrs import frozen

from daggy.attempt import REPORT, Kind, Reports, Rows, Ticket, joined
from daggy.errors import DaggyError
from daggy.executor import Launch, Launches
from daggy.launcher.program.wire import VERSION

FRAME = struct.Struct("<IB")
FIELDS = 11
"""Of a Launch, those that a launcher is told; what follows is for its executor."""
LARGEST = 64 << 20
"""Bytes of a frame above which what comes cannot be one."""
_texts = msgspec.json.Decoder(tuple[dict[int, str], dict[int, str], dict[int, str]]).decode
"""Behind the rows of a frame: messages, results and notes, by position."""
KEYS = struct.Struct("<8xBIIIII71x")
"""Of a REPORT: its kind, then the fields of its ticket."""

Key = tuple[int, int, int, int, int]
"""A ticket as a plain tuple, in the order of `Ticket`'s fields."""


class WireError(DaggyError):
    """What came from a launcher is not what a launcher says. A fault of the machine between, or a bug."""


@frozen(eq=False)
class Reported:
    """One frame of reports.

    Args:
        reports: The rows, writable, and their messages.
        keys: For each row its kind and its ticket: (kind, run, version, index, epoch, attempt).
    """

    reports: Reports
    keys: list[tuple[int, int, int, int, int, int]]


@frozen
class Hello:
    """A launcher is there.

    Args:
        pid: Its process id.
        version: Of its wire.
        epoch: Of the engine that it works for.
        lanes: The lanes of the tasks that it reported as started, in that order; -1: the slot is free already.
    """

    pid: int
    version: int
    epoch: int = 0
    lanes: tuple[int, ...] = ()


@frozen
class Narrowed:
    """A launcher has lowered the width of a lane while so many of it ran."""

    lane: int
    width: int
    running: int


@frozen
class Trouble:
    """A launcher cannot go on for want of room, for this reason; empty: it can again."""

    message: str


@frozen
class Excerpt:
    """The answer to a read: part of a running task's output, None if the task does not run there."""

    number: int
    data: bytes | None


Answer = Reported | Hello | Narrowed | Trouble | Excerpt


def frame(kind: str, order: object) -> bytes:
    """Return one command as a frame; text that is not valid Unicode (names of files) goes through unharmed."""
    try:
        payload = msgspec.json.encode(order)
    except UnicodeEncodeError:
        payload = json.dumps(order).encode()
    return FRAME.pack(len(payload), ord(kind)) + payload


def hello(
    *,
    epoch: int,
    launcher: int,
    directory: str,
    instance: str,
    durable: bool,
    environment: Mapping[str, str],
    inherit: bool,
    output_bytes: int,
    linger: float = 0.0,
    lease: float = 0.0,
    gpus: int = 0,
) -> bytes:
    """Return the first command: whose launcher it is, and where it keeps things.

    `linger`: seconds that it waits for another engine when it has none, and no work; 0: it leaves with its engine.
    `gpus`: how many the machine has, of which tasks get their own.
    `lease`: seconds without a word from any engine after which it ends what it runs; 0: it never does.
    """
    return frame(
        "h",
        {
            "version": VERSION,
            "epoch": epoch,
            "launcher": launcher,
            "directory": directory,
            "instance": instance,
            "durable": durable,
            "environment": dict(environment),
            "inherit": inherit,
            "output_bytes": output_bytes,
            "linger": linger,
            "lease": lease,
            "gpus": gpus,
        },
    )


def launch(batch: Launches, launches: Sequence[Launch], width: int) -> bytes:
    """Return the command that starts some of a batch, at this launcher's share of the batch's width."""
    tasks = [one[:FIELDS] for one in launches]
    order = {"run": batch.run, "version": batch.version, "epoch": batch.epoch, "lane": batch.lane, "width": width}
    return frame("l", {**order, "tasks": tasks, "needs": batch.needs})


def widen(lane: int, width: int, epoch: int) -> bytes:
    """Return the command that sets a lane's width."""
    return frame("l", {"run": 0, "version": 0, "epoch": epoch, "lane": lane, "width": width, "tasks": []})


def recall(keys: Iterable[Key]) -> bytes:
    """Return the command that asks tasks back which have not started."""
    return frame("r", {"tickets": list(keys)})


def kill(keys: Iterable[Key], message: str) -> bytes:
    """Return the command that ends tasks."""
    return frame("k", {"tickets": list(keys), "message": message})


def ack(seq: int) -> bytes:
    """Return the command that lets a launcher forget."""
    return frame("a", {"seq": seq})


def read(number: int, key: Key, stream: str, offset: int, limit: int) -> bytes:
    """Return the command that asks for output of a running task; the answer carries `number`."""
    order = {"number": number, "ticket": key, "stream": stream, "offset": offset, "limit": limit}
    return frame("d", order)


def ping() -> bytes:
    """Return the command that says nothing but that the engine is there."""
    return frame("p", {})


def stop(*, immediate: bool) -> bytes:
    """Return the command that ends everything."""
    return frame("s", {"immediate": immediate})


def key(ticket: Ticket) -> Key:
    """Return a ticket as a plain tuple."""
    return (ticket.run, ticket.version, ticket.index, ticket.epoch, ticket.attempt)


def kinds_and_keys(rows: bytes | memoryview) -> list[tuple[int, int, int, int, int, int]]:
    """Return (kind, run, version, index, epoch, attempt) of each of these REPORTs."""
    return [
        (kind, run, version, index, epoch, attempt)
        for kind, run, version, epoch, index, attempt in KEYS.iter_unpack(rows)
    ]


def about(kind: Kind, key: Key, launcher: int) -> Rows:
    """Return one REPORT about a ticket, an array of length one, everything else in it zero."""
    rows = np.zeros(1, REPORT)
    rows["kind"] = kind
    rows["run"], rows["version"], rows["row"]["index"], rows["epoch"], rows["row"]["attempt"] = key
    rows["row"]["launcher"] = launcher
    return rows


def reports(payload: bytes | memoryview) -> Reported:
    """Return the rows of a frame of reports, as an array of its own that may be written to."""
    (count,) = struct.unpack_from("<I", payload)
    end = 4 + count * REPORT.itemsize
    if len(payload) < end:
        raise WireError(f"a frame of {count} reports has {len(payload)} bytes, {end} are needed")
    own = bytearray(memoryview(payload)[4:end])  # copying bytes costs a tenth of copying an array of many fields
    rows = np.frombuffer(own, REPORT)
    keys = kinds_and_keys(memoryview(own))
    texts = _texts(memoryview(payload)[end:]) if len(payload) > end else ({}, {}, {})
    return Reported(Reports(rows, *texts), keys)


def answer(kind: int, payload: bytes) -> Answer:
    """Return what one frame from a launcher says.

    Raises:
        WireError: it is no frame of a launcher.
    """
    try:
        match chr(kind):
            case "R":
                return reports(payload)
            case "W":
                return Narrowed(*msgspec.json.decode(payload, type=tuple[int, int, int]))
            case "D":
                number, there = struct.unpack_from("<I?", payload)
                return Excerpt(number, payload[5:] if there else None)
            case "T":
                return Trouble(msgspec.json.decode(payload, type=str))
            case "H":
                return msgspec.json.decode(payload, type=Hello)
    except (msgspec.MsgspecError, struct.error, ValueError, RecursionError) as error:
        raise WireError(f"a frame of kind {chr(kind)!r} cannot be read: {error}") from error
    raise WireError(f"a frame has the unknown kind {kind}")


class Frames:
    """Cuts a stream of bytes into frames."""

    def __init__(self) -> None:
        """Begin at a frame's start."""
        self._buffer = bytearray()

    def feed(self, data: bytes | bytearray) -> list[Answer]:
        """Return the answers that are whole with these bytes; WireError as in `answer`."""
        self._buffer += data
        found: list[Answer] = []
        at = 0
        while len(self._buffer) - at >= FRAME.size:
            length, kind = FRAME.unpack_from(self._buffer, at)
            end = at + FRAME.size + length
            if length > LARGEST:
                raise WireError(f"a frame of {length} bytes comes from a launcher")
            if end > len(self._buffer):
                break
            found.append(answer(kind, bytes(self._buffer[at + FRAME.size : end])))
            at = end
        del self._buffer[:at]
        return found


def merged(answers: Sequence[Answer]) -> list[Answer]:
    """Return answers with reports that follow each other as one: what is done with them costs by the frame."""
    out: list[Answer] = []
    for is_report, group in groupby(answers, key=lambda one: isinstance(one, Reported)):
        if not is_report:
            out += group
            continue
        found = [one for one in group if isinstance(one, Reported)]
        if len(found) > 1:
            keys = [key for one in found for key in one.keys]
            found = [Reported(joined([one.reports for one in found]), keys)]
        out += found
    return out
