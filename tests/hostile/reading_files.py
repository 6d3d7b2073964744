"""Targets among what machines write: frames of launchers, spools, packs, rows and pages of the database."""

from __future__ import annotations

import contextlib
import functools
import shutil
import sqlite3
import struct
import tempfile
import warnings
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from daggy.attempt import ATTEMPT, REPORT, joined
from daggy.launcher import dead_launchers, frames as wire, logs, spool as spools
from daggy.launcher.frames import KEYS
from daggy.launcher.program.spool import RECORD
from daggy.testing.entries import attempts, moved, submitted
from daggy.tracker import Generated, NewsItem, Place, RunChanged, RunFilter, RunState
from daggy_sqlite import SqliteSettings, SqliteTracker, columns as stored, schema
from tests.hostile.oracles import outcome

SEAM = b"\xf5seam\xf5"
"""Cuts the bytes of a target into pieces; no text holds it."""

MOST_ROWS = 50


def frames(data: bytes) -> None:
    """Cut a stream into frames: in one piece, and at every seam; both see the same, up to the same fault."""
    pieces = data.split(SEAM)
    assert _told(pieces) == _told([b"".join(pieces)])


def _told(pieces: Sequence[bytes]) -> list[str]:
    cutter, told = wire.Frames(), []
    for piece in pieces:
        try:
            answers = cutter.feed(piece)
        except wire.WireError:
            return ["fault"]
        told += [repr(answer) if not isinstance(answer, wire.Reported) else _shown(answer) for answer in answers]
    return told


def _shown(answer: wire.Reported) -> str:
    assert len(answer.keys) == len(answer.reports.rows)
    assert joined([answer.reports, answer.reports]).rows.nbytes == 2 * answer.reports.rows.nbytes
    return f"{answer.keys} {answer.reports.messages} {zlib.crc32(answer.reports.rows.tobytes())}"


def answers(data: bytes) -> None:
    """Read what frames hold: of each piece the first byte is the kind, the rest its payload."""
    for piece in data.split(SEAM):
        if piece:
            said = outcome(lambda piece=piece: wire.answer(piece[0], piece[1:]))  # type: ignore[misc]
            assert isinstance(said, str | wire.Answer)


def spool(data: bytes) -> None:
    """Read segments of a spool, cut at seams, as they are: nothing may be believed but whole records."""
    segments = data.split(SEAM)
    spooled = spools.read(segments)
    believed = sum(b"F" in segment for segment in segments) * sum(map(len, segments)) // REPORT.itemsize
    assert len(spooled.finished) <= believed
    assert set(spooled.suspects()) <= set(spooled.pending)
    _recover(segments)


def records(data: bytes) -> None:
    """Read a spool whose records have a good crc, whatever is in them."""
    segments = [b"".join(map(_record, segment.split(b"\xf6"))) for segment in data.split(SEAM)]
    spooled = spools.read(segments)
    assert set(spooled.suspects()) <= set(spooled.pending)
    for key, running in spooled.running.items():
        assert len(running.row) == 1
        assert KEYS.unpack_from(running.row.tobytes())[1] == key[0]
    assert all(0 <= place < len(spooled.finished) for place in spooled.messages)
    _recover(segments)


def _record(payload: bytes) -> bytes:
    return RECORD.pack(len(payload), zlib.crc32(payload)) + payload


def _recover(segments: Sequence[bytes]) -> None:
    """Read the same as what a dead launcher left."""
    rows = dead_launchers.remains(1, spools.read(segments), "", (), {}, 0).reports.rows
    lost = rows[rows["row"]["reason"] == 9]
    assert len(lost) <= len(rows)


def _place() -> Path:
    shared = Path("/dev/shm")
    return Path(tempfile.mkdtemp(prefix="hostile-", dir=shared if shared.is_dir() else None))


def pack(data: bytes) -> None:
    """Read an attempt's output by a row that may say anything, from a pack that may hold anything."""
    row = np.frombuffer(data[: ATTEMPT.itemsize].ljust(ATTEMPT.itemsize, b"\0"), ATTEMPT)[0]
    content = data[ATTEMPT.itemsize :]
    directory = _place()
    try:
        home = directory / "runs" / "1" / "packs"
        home.mkdir(parents=True)
        stem = f"{int(row['launcher'])}.{int(row['pack'])}"
        for name in (stem, f"{stem}.stdout", f"1.{int(row['index'])}.{int(row['attempt'])}.answer"):
            (home / name).write_bytes(content)
        for stream in ("stdout", "stderr", "answer"):
            said = outcome(
                lambda stream=stream: logs.read(directory, 1, 1, row, stream, 0, 1 << 20),  # type: ignore[misc]
                FileNotFoundError,
                ValueError,
            )
            assert not isinstance(said, bytes) or said in content, "what is read was written"
    finally:
        shutil.rmtree(directory)


def columns(data: bytes) -> None:
    """Read rows of attempts whose columns hold anything that SQLite can hold."""
    connection = sqlite3.connect(":memory:")
    try:
        connection.executescript(schema.TABLES)
        rows = list(_rows(data))
        names = "id, version, task_index, attempt, outcome, reason, code, ended, elapsed_us, cpu_us, rss_kb, failures, "
        names += "crashes, place, flags, launcher, pack, offset, stdout, stderr, crc"
        for number, row in enumerate(rows, 1):
            marks = ",".join("?" * 21)
            with contextlib.suppress(sqlite3.IntegrityError):  # null, where there may be none
                connection.execute(f"INSERT INTO attempts ({names}) VALUES ({marks})", (number, *row))
        faults = (ValueError, OverflowError, TypeError, *schema.FAULTS)  # which the tracker takes for damage
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            found = outcome(lambda: stored.select(connection, 1, len(rows)), *faults)
        assert isinstance(found, str) or len(found[0]) == len(rows)  # type: ignore[index]
    finally:
        connection.close()


def _rows(data: bytes) -> Iterator[list[object]]:
    for first in range(0, min(len(data), MOST_ROWS * 180), 180):
        piece = data[first : first + 180]
        yield [_value(piece[9 * place : 9 * place + 9]) for place in range(20)]


def _value(piece: bytes) -> object:
    kind, rest = piece[:1], piece[1:].ljust(8, b"\0")
    match kind:
        case b"n":
            return None
        case b"f":
            return struct.unpack("<d", rest)[0]
        case b"t":
            return rest.rstrip(b"\0").decode(errors="replace")
        case b"b":
            return rest
        case b"i":
            return struct.unpack("<q", rest)[0]
        case _:
            return int.from_bytes(piece[:2], "little")


@functools.cache
def _sound() -> bytes:
    """Return the file of a database with a little of everything in it."""
    directory = _place()
    try:
        tracker = SqliteTracker(SqliteSettings(), directory)
        tracker.append([Place(0, "default", "here"), submitted(1, tags={"env": "test"}), submitted(2)])
        tracker.append([attempts(1, 1, 20, seed=1, messages={3: "no such file"}), moved(1, 1, [(0, 2)])])
        tracker.append([Generated(1, 1, 0, 1, b'{"tasks": {}}', 1.0), RunChanged(1, RunState.ERRORED, 5.0)])
        tracker.append([NewsItem(1, 1, 5.0, b'{"run_id": 1}')])
        tracker.close()
        return (directory / schema.FILE).read_bytes()
    finally:
        shutil.rmtree(directory)


def database(data: bytes) -> None:
    """Read a database in which some bytes are others: each patch is a place (4 bytes) and what stands there then."""
    damaged = bytearray(_sound())
    for patch in data.split(SEAM):
        at = int.from_bytes(patch[:4], "little") % len(damaged)
        damaged[at : at + len(patch[4:])] = patch[4:][: len(damaged) - at]
    directory = _place()
    try:
        (directory / schema.FILE).write_bytes(damaged)
        outcome(lambda: _read_all(directory))
    finally:
        shutil.rmtree(directory)


def _read_all(directory: Path) -> None:
    tracker = SqliteTracker(SqliteSettings(), directory)
    try:
        asks: list[Callable[[], object]] = [
            lambda: tracker.runs(RunFilter()),
            lambda: tracker.runs(RunFilter(tags={"env": "test"})),
            lambda: tracker.history(1),
            lambda: tracker.attempts(1, 0, 100),
            lambda: tracker.attempts(1, 0, 100, 5),
            lambda: tracker.told(0, 10),
            lambda: tracker.keyed("k", 0.0),
            tracker.places,
            tracker.last_run,
            tracker.last_epoch,
        ]
        for ask in asks:
            outcome(ask, KeyError)
    finally:
        outcome(tracker.close)
