"""Our end of parcels: folders in which tasks go out to a place with a queue, and from which what became of them comes.

`daggy.launcher.program.parcel` is the other end, and says what is in a folder. All here reads or writes files, some of
them on network filesystems: call it in a thread.
"""

from __future__ import annotations

import contextlib
import enum
import json
import os
import shutil
import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from attrs import define, frozen

from daggy import files
from daggy.attempt import ANSWER, LINKED, REPORT, Kind, Rows
from daggy.executor import Launch, Launches
from daggy.launcher import frames, spool
from daggy.launcher.frames import Key
from daggy.launcher.program.spool import RECORD

MANIFEST, KILL, JOB, LOG, BACK, ALIVE = "m", "kill", "job", "log", "back", "alive"
"""Names of files in a folder; `alive` is beside it."""

PACK = 1
"""Number of the pack that has the small outputs of a parcel; those with files of their own have higher ones."""


TAKEN = b"B"
"""The one record of a task that was taken back."""


class Stage(enum.Enum):
    """How far a task of a parcel has come."""

    QUEUED = enum.auto()
    BEGUN = enum.auto()
    ENDED = enum.auto()
    BACK = enum.auto()


@define(eq=False)
class Item:
    """A task of a parcel.

    Args:
        key: Its ticket.
        stage: How far it has come, as far as is known here.
        began: When it began, seconds since 1970; 0: it has not.
        host: Where it began.
        doom: Why it is to be ended; None: it is not.
        seq: The number with which its end was reported; 0: it was not.
        read: Bytes of its file that were understood.
        output: What it has written, until its end is read.
        result: What it came to, until its end is read.
    """

    key: Key
    stage: Stage = Stage.QUEUED
    began: float = 0.0
    host: str = ""
    doom: str | None = None
    seq: int = 0
    read: int = 0
    output: bytes = b""
    result: str = ""


@frozen(eq=False)
class Told:
    """What the file of a task tells.

    Args:
        number: The task's, in its parcel.
        row: One REPORT.
        message, result: Of its end.
        note: What it tells of itself.
    """

    number: int
    row: Rows
    message: str = ""
    result: str = ""
    note: str = ""


class _Began(msgspec.Struct):
    host: str
    began: str


@define(eq=False)
class Parcel:
    """A folder of tasks.

    Args:
        folder: Where it is.
        directory: The state directory, to which outputs come home.
        number: The launcher's number under which they are kept there.
        items: Its tasks.
        each: How many of them an element of the place's array runs, one after the other.
        job: The array's id there; empty: it is not known.
    """

    folder: Path
    directory: Path
    number: int
    items: list[Item]
    each: int = 1
    job: str = ""
    seq: int = 0
    made: float = 0.0

    @property
    def elements(self) -> int:
        """How many elements the array has."""
        return -(-len(self.items) // self.each)

    def of_element(self, element: int) -> range:
        """Return the numbers of the tasks of an element."""
        return range(element * self.each, min(len(self.items), (element + 1) * self.each))

    @property
    def is_open(self) -> bool:
        """Whether any of its tasks may still do something."""
        return any(item.stage in (Stage.QUEUED, Stage.BEGUN) for item in self.items)

    def write(self, common: Mapping[str, Any], batches: Iterable[tuple[Launches, Sequence[Launch]]]) -> None:
        """Write the manifest.

        Args:
            common: What a launcher's hello says.
            batches: The tasks, in the order of `items`.

        Raises:
            OSError: it cannot be written; nothing is left.
        """
        slices = [msgspec.json.encode(common)]
        for batch, launches in batches:
            for one in launches:
                order = {"run": batch.run, "version": batch.version, "epoch": batch.epoch, "needs": batch.needs}
                slices.append(_encoded({**order, "tasks": [one[: frames.FIELDS]]}))
        first = 8 + 8 * (len(slices) + 1)
        ends = np.cumsum([first, *map(len, slices)], dtype="<u8")
        self.folder.mkdir(mode=0o700, parents=True)
        try:
            data = struct.pack("<Q", len(slices) - 1) + ends.tobytes() + b"".join(slices)
            files.replace(self.folder / MANIFEST, data)
        except OSError:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise

    def name_job(self, job: str) -> None:
        """Write down the array's id."""
        self.job = job
        with contextlib.suppress(OSError):  # it is found by its name
            (self.folder / JOB).write_text(job)

    def take_back(self, numbers: Iterable[int]) -> list[int]:
        """Take back those of these tasks that have not begun; return their numbers."""
        with contextlib.suppress(OSError):
            files.replace(self.folder / BACK, _framed(TAKEN), sync=False)
        back = []
        for number in numbers:
            item = self.items[number]
            if item.stage is Stage.QUEUED and self._link(number):
                item.stage = Stage.BACK
                back.append(number)
        return back

    def _link(self, number: int) -> bool:
        """Give a task the file that says that it was taken back, a twentieth of the cost of a new one; False: it has
        one.
        """
        try:
            os.link(self.folder / BACK, self.folder / str(number))
        except FileExistsError:
            return False
        except OSError:  # that filesystem has no links, or this file has all that it may have
            return self._claim(number, TAKEN)
        return True

    def _claim(self, number: int, record: bytes) -> bool:
        """Write the file of a task, so that it can never begin; return False if it has."""
        try:
            with open(self.folder / str(number), "xb", opener=files.private) as file:
                file.write(_framed(record))
        except FileExistsError:
            return False
        except FileNotFoundError:
            pass  # the folder is gone
        return True

    def give_up(self, number: int, row: Rows, message: str) -> Told | None:
        """End a task that has not begun, for good; None: it has begun meanwhile.

        What is written down is told again after a restart, until it is acknowledged.
        """
        if not self._claim(number, b"F" + row.tobytes() + message.encode(errors="replace")):
            return None
        return self.end(number, row, message)

    def doom(self, numbers: Mapping[int, str]) -> None:
        """Say that tasks are to be ended, each with a message."""
        for number, message in numbers.items():
            self.items[number].doom = message
        listed = [[str(at), item.doom] for at, item in enumerate(self.items) if item.doom is not None]
        with contextlib.suppress(FileNotFoundError):
            files.replace(self.folder / KILL, json.dumps(listed).encode())

    def collect(self) -> list[Told]:
        """Return what has happened since the last time, in the order of tasks: STARTED and FINISHED rows.

        Outputs of what has ended are in the state directory then.

        Raises:
            OSError: there is no room for them here, or the folder cannot be read; call again.
        """
        told: list[Told] = []
        try:
            with os.scandir(self.folder) as entries:
                sizes = {entry.name: entry.stat().st_size for entry in entries if entry.name.isdigit()}
        except FileNotFoundError:
            return []
        for number, item in enumerate(self.items):
            if item.stage in (Stage.QUEUED, Stage.BEGUN) and sizes.get(str(number), 0) > item.read:
                told += self._follow(number, item)
        return told

    def look_closely(self, number: int) -> list[Told]:
        """Return what has happened to one task, whose file is opened by its name: a listing may be old."""
        item = self.items[number]
        return list(self._follow(number, item)) if item.stage in (Stage.QUEUED, Stage.BEGUN) else []

    def _follow(self, number: int, item: Item) -> Iterator[Told]:
        try:
            with (self.folder / str(number)).open("rb") as file:
                file.seek(item.read)
                data = file.read()
        except FileNotFoundError:
            return
        at = 0
        for end, payload in spool.records(data):
            match payload[:1]:
                case b"H" if item.stage is Stage.QUEUED:
                    began = msgspec.json.decode(payload[1:], type=_Began)
                    item.stage, item.began, item.host = Stage.BEGUN, float(began.began), began.host
                    yield Told(number, self._started(item))
                case b"B":
                    item.stage = Stage.BACK
                case b"O":
                    item.output = payload[1:]
                case b"N":
                    yield Told(number, self._started(item), note=payload[1:].decode())
                case b"V":
                    item.result = payload[1:].decode()
                case b"F":
                    row = np.frombuffer(bytearray(payload[1 : 1 + REPORT.itemsize]), REPORT)
                    message = payload[1 + REPORT.itemsize :].decode("utf-8", "replace")
                    self._keep(number, item, row)
                    yield self.end(number, row, message)
            at = end
        item.read += at

    def _started(self, item: Item) -> Rows:
        rows = frames.about(Kind.STARTED, item.key, self.number)
        rows["row"]["started"] = item.began
        return rows

    def end(self, number: int, row: Rows, message: str = "") -> Told:
        """Return a report of a task's end, with the number under which it is acknowledged."""
        item = self.items[number]
        self.seq += 1
        row["seq"], row["row"]["launcher"] = self.seq, self.number
        told = Told(number, row, message, item.result)
        item.stage, item.seq, item.output, item.result = Stage.ENDED, self.seq, b"", ""
        return told

    def _keep(self, number: int, item: Item, row: Rows) -> None:
        """Copy what a task has written, and let its report say where."""
        run, version, index, _, attempt = item.key
        packs = self.directory / "runs" / str(run) / "packs"
        packs.mkdir(mode=0o700, parents=True, exist_ok=True)
        attempts, flags = row["row"], int(row["row"]["flags"][0])
        if flags & LINKED:
            attempts["pack"] = PACK + 1 + number
            for name, stream in (("out", "stdout"), ("err", "stderr")):
                _copy(self.folder / f"{number}.{name}", packs / f"{self.number}.{PACK + 1 + number}.{stream}")
        elif item.output:
            attempts["pack"] = PACK
            attempts["offset"] = _append(packs / f"{self.number}.{PACK}", item.output)
        if flags & ANSWER:
            _copy(self.folder / f"{number}.answer", packs / f"{version}.{index}.{attempt}.answer")

    def remove(self) -> None:
        """Remove the folder: what is not in it can never begin."""
        with contextlib.suppress(OSError):
            (self.folder / MANIFEST).unlink()
        shutil.rmtree(self.folder, ignore_errors=True)


@define(eq=False)
class Shelf:
    """The parcels of a pool, on this machine's disk: the next engine finds them.

    Args:
        directory: The state directory.
        folder: Where it keeps note of them.
    """

    directory: Path
    folder: Path

    def add(self, parcel: Parcel) -> None:
        """Note a parcel, before anything of it can begin.

        Raises:
            OSError: there is no room.
        """
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        noted = {
            "folder": str(parcel.folder),
            "each": parcel.each,
            "made": parcel.made,
            "keys": [one.key for one in parcel.items],
        }
        files.replace(self.folder / str(parcel.number), msgspec.json.encode(noted))

    def remove(self, parcel: Parcel) -> None:
        """Forget a parcel."""
        (self.folder / str(parcel.number)).unlink(missing_ok=True)

    def parcels(self) -> list[Parcel]:
        """Return those that were noted and not forgotten; what cannot be read is as if it were not there."""
        if not self.folder.is_dir():
            return []
        found = []
        for path in sorted(self.folder.iterdir()):
            if not path.name.isdigit():
                continue
            with contextlib.suppress(OSError, msgspec.MsgspecError):
                noted = msgspec.json.decode(path.read_bytes(), type=_Noted)
                items = [Item(key) for key in noted.keys]
                parcel = Parcel(Path(noted.folder), self.directory, int(path.name), items, noted.each, made=noted.made)
                with contextlib.suppress(OSError):
                    parcel.job = (parcel.folder / JOB).read_text().strip()
                found.append(parcel)
        return found


class _Noted(msgspec.Struct):
    folder: str
    each: int
    made: float
    keys: list[Key]


def _append(path: Path, data: bytes) -> int:
    """Append to a file, whole or not at all; return where it begins."""
    with open(path, "ab", opener=files.private) as file:
        size = os.fstat(file.fileno()).st_size
        try:
            file.write(data)
            file.flush()
        except OSError:
            file.truncate(size)
            raise
        return size


def _copy(source: Path, target: Path) -> None:
    with source.open("rb") as there, open(target, "wb", opener=files.private) as here:
        shutil.copyfileobj(there, here, 1 << 20)
        here.flush()
        os.fsync(here.fileno())


def _framed(record: bytes) -> bytes:
    return RECORD.pack(len(record), zlib.crc32(record)) + record


def _encoded(order: object) -> bytes:
    try:
        return msgspec.json.encode(order)
    except UnicodeEncodeError:
        return json.dumps(order).encode()
