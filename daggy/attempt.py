"""The vocabulary of attempts: states, reasons, and the columns that tickets, reports and attempts travel in."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from attrs import field, frozen
from numpy.typing import NDArray


class State(enum.IntEnum):
    """State of a task. The numbers are stored: never renumber."""

    WAITING = 0
    QUEUED = 1
    RUNNING = 2
    COMPLETED = 3
    ERRORED = 4
    KILLED = 5
    UPSTREAM_FAILED = 6


class RunState(enum.IntEnum):
    """State of a run. The numbers are stored: never renumber."""

    QUEUED = 1
    RUNNING = 2
    COMPLETED = 3
    ERRORED = 4
    KILLED = 5


class Reason(enum.IntEnum):
    """Why an attempt ended. The numbers are stored and travel on the wire: never renumber."""

    OK = 0
    EXIT = 1
    SIGNAL = 2
    TIMEOUT = 3
    KILLED = 4
    SPAWN = 5
    TEMPLATE = 6
    OUTPUT = 7
    GENERATOR = 8
    LOST = 9
    MEMORY = 10  # killed for want of memory, by whoever can tell: a scheduler, a cgroup
    RESULT = 11  # what it wrote to `$DAGGY_RESULT` is no JSON value, or too large
    MISSING = 12  # one of its inputs is not there


class Kind(enum.IntEnum):
    """What a report says of its ticket."""

    STARTED = 1
    FINISHED = 2
    RECALLED = 3
    HELD = 4  # only what `Executor.recover` returns: it has not begun, and will by itself


LINKED = 1
"""Flag of an attempt: its output lies in two files of its own, not in a pack."""
ANSWER = 2
"""Flag of an attempt: it wrote `$DAGGY_GENERATE`, which counts instead of its standard output."""
STOPPED = 4
"""Flag of an attempt: it ended because Daggy itself stopped (reason `killed`); it spends no retry."""

ATTEMPT = np.dtype(
    [
        ("index", "<u4"),  # the task, in the run's version that the batch belongs to
        ("attempt", "<u4"),  # from 1
        ("started", "<f8"),  # wall clock, seconds since 1970; 0: no process was started
        ("ended", "<f8"),
        ("cpu", "<f4"),  # user + system seconds of the process and its waited-for children
        ("rss_kb", "<u4"),  # peak resident memory, KiB
        ("code", "<i2"),  # exit code, or minus the signal's number
        ("reason", "u1"),  # Reason
        ("outcome", "u1"),  # State that the task went to; written by the reducer
        ("failures", "<u2"),  # failures that count against max_retries, this one included; by the reducer
        ("crashes", "<u2"),  # losses that count against crash_limit; by the reducer
        (
            "place",
            "<u2",
        ),  # where it ran: in reports an index into `Executor.machines()`, elsewhere the number of a Place
        ("flags", "u1"),  # LINKED, ANSWER, STOPPED
        ("launcher", "<u4"),  # whose pack
        ("pack", "<u4"),  # which pack of that launcher, or which pair of linked files
        ("offset", "<u8"),  # where standard output starts in the pack; standard error follows it
        ("stdout", "<u8"),  # bytes
        ("stderr", "<u8"),  # bytes
        ("crc", "<u4"),  # crc32 of stdout + stderr in the pack; 0 for linked output
    ]
)
"""One ended attempt: 79 bytes, packed, little endian. Stored in ledgers, sent in reports, kept in spools."""

REPORT = np.dtype(
    [
        ("seq", "<u8"),  # the launcher's sequence number, to acknowledge; 0: needs none
        ("kind", "u1"),  # Kind
        ("run", "<u4"),
        ("version", "<u4"),  # of the spec
        ("epoch", "<u4"),  # of the engine that launched it
        ("row", ATTEMPT),  # STARTED: index, attempt, started, launcher, place; RECALLED: index, attempt
    ]
)
"""One report about one ticket (run, version, row.index, epoch, row.attempt)."""

Rows = NDArray[np.void]
"""A one-dimensional array of ATTEMPT or REPORT."""


@frozen
class Ticket:
    """Names one attempt for ever: what every command and report about a task carries."""

    run: int
    version: int
    index: int
    epoch: int
    attempt: int

    def __str__(self) -> str:
        """Return the text form, `run.version.index.epoch.attempt`."""
        return f"{self.run}.{self.version}.{self.index}.{self.epoch}.{self.attempt}"


class Texts(NamedTuple):
    """What an attempt left beside its row.

    Args:
        message: Text for people; empty: none.
        result: The JSON value that its task came to, as text; empty: none.
        note: Its latest note, a JSON object as text; empty: none.
    """

    message: str = ""
    result: str = ""
    note: str = ""


NO_TEXTS = Texts()
"""Of most attempts."""


@frozen(eq=False)
class Reports:
    """A batch of reports, in the order in which things happened.

    Args:
        rows: Array of REPORT.
        messages: Text for people, by position in `rows`; most attempts have none.
        results: JSON values as text, of 64 KiB at most, by position in `rows`; most attempts have none.
        notes: Latest notes, JSON objects of at most 64 KiB as text, by position of STARTED and FINISHED rows. An
            attempt whose note changes is reported as STARTED again.
    """

    rows: Rows
    messages: dict[int, str] = field(factory=dict)
    results: dict[int, str] = field(factory=dict)
    notes: dict[int, str] = field(factory=dict)

    def texts(self, position: int) -> Texts:
        """Return what the attempt at a position left beside its row."""
        if not self.messages and not self.results and not self.notes:
            return NO_TEXTS
        return Texts(self.messages.get(position, ""), self.results.get(position, ""), self.notes.get(position, ""))


def chosen(reports: Reports, places: Sequence[int] | NDArray[np.int64]) -> Reports:
    """Return the reports at these positions, copied, with their texts."""
    where = np.asarray(places, np.int64)
    texts = (_chosen(one, where) for one in (reports.messages, reports.results, reports.notes))
    return Reports(reports.rows[where], *texts)


def _chosen(texts: Mapping[int, str], where: NDArray[np.int64]) -> dict[int, str]:
    return {new: texts[old] for new, old in enumerate(where.tolist()) if old in texts} if texts else {}


def joined(batches: Sequence[Reports]) -> Reports:
    """Return several batches as one, in order, in an array of its own."""
    messages: dict[int, str] = {}
    results: dict[int, str] = {}
    notes: dict[int, str] = {}
    first = 0
    for batch in batches:
        for texts, found in ((messages, batch.messages), (results, batch.results), (notes, batch.notes)):
            texts.update({first + position: text for position, text in found.items()})
        first += len(batch.rows)
    data = bytearray().join(batch.rows.tobytes() for batch in batches)  # far cheaper than joining field by field
    return Reports(np.frombuffer(data, REPORT), messages, results, notes)
