"""What a tracker is: a plug-in that keeps runs so that they outlive the process, or, in memory, so that they do not."""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from attrs import field, frozen
from numpy.typing import NDArray

from daggy.attempt import ATTEMPT as ATTEMPT, Reason as Reason, Rows as Rows, RunState as RunState, State as State
from daggy.errors import UsageError

# Entries: what the engine asks a tracker to keep. Batches of columns, never rows one by one. Replaying them in order
# gives the same state of the run.


@frozen
class Epoch:
    """A new engine begins.

    Args:
        number: Above every earlier one.
        at: Wall clock.
        instance: The mark of its state directory, which its tasks and launchers carry; empty: not known.
        host: Its machine's name; empty: not known.
    """

    number: int
    at: float
    instance: str = ""
    host: str = ""


@frozen
class Place:
    """`number` in attempts' column `place` means this pool and host from here on."""

    number: int
    pool: str
    host: str


@frozen
class Submitted:
    """A new run with its first spec, or (version > 1) a new version of its spec.

    Args:
        run: The run's id, given by the engine, from 1.
        version: From 1.
        spec: The spec as canonical JSON bytes, with everything from outside (line files, directory) resolved.
        digest: Of the plan's blocks, with the plan format's version; compared when the run is read back.
        name, tags: As in the spec, for searching.
        at: Wall clock.
        keep_downstream: For an edit: completed tasks downstream of what runs again stayed completed.
        key: What the caller called this submission, to recognise it if it comes again; empty: nothing.
        body: A digest of what came with the key.
        actor: Who asked for it.
    """

    run: int
    version: int
    spec: bytes
    digest: str
    name: str
    tags: Mapping[str, str]
    at: float
    keep_downstream: bool = False
    key: str = ""
    body: str = ""
    actor: str = ""


@frozen
class Generated:
    """What one generator's attempt answered, in the order in which the plan grew."""

    run: int
    version: int
    index: int
    attempt: int
    answer: bytes
    at: float


@frozen
class RunChanged:
    """The run's state from here on."""

    run: int
    state: RunState
    at: float


@frozen
class Counted:
    """How many of a run's tasks are in each state, as it is kept with all entries before this one: for lists of runs.

    `counts` has every state by its name in lower case, what is in flight as queued; None: only reading the run back
    tells.
    """

    run: int
    counts: Mapping[str, int] | None


@frozen(eq=False)
class Attempts:
    """Ended attempts of one run, in the order in which they ended.

    `rows` is an array of ATTEMPT and may be a view of a ledger's chunk: the engine never changes it afterwards.
    `messages` and `results` (JSON values as text) are by position in `rows`.
    """

    run: int
    version: int
    rows: Rows
    messages: Mapping[int, str] = field(factory=dict)
    results: Mapping[int, str] = field(factory=dict)


@frozen
class Noted:
    """The latest note of a task, a JSON object as text: it replaces the one before."""

    run: int
    version: int
    index: int
    attempt: int
    note: str
    at: float


@frozen(eq=False)
class Moved:
    """Tasks that went to `state` without an attempt ending: requeued, invalidated, killed before they started.

    Args:
        run, version: Which plan the indexes belong to.
        state: Where they went. Derived moves (waiting to queued, upstream_failed) are never recorded.
        ranges: Array of int64, shape (n, 2): half-open ranges of indexes.
        cause: Why, for people: "killed", "invalidated: pull.DATE:2022-01-01 runs again".
        actor: Who asked for it; empty: Daggy itself.
        at: Wall clock.
        flying: Array of int64, shape (n, 2): index and attempt of those that were in flight and are ended for this.
            What a launcher says of such an attempt after a crash is no longer about the task as it is; a later
            attempt's is.
    """

    run: int
    version: int
    state: State
    ranges: NDArray[np.int64]
    cause: str
    actor: str
    at: float
    flying: NDArray[np.int64] = field(factory=lambda: np.zeros((0, 2), np.int64))


@frozen
class NewsItem:
    """One item of news about a run, for followers.

    Args:
        number: Ascending over all runs and restarts.
        run: The run.
        at: Wall clock.
        body: A JSON object with `run_id, at, state, version, counts` and `tasks`: by state the half-open ranges of
            indexes that went to it, or null where these are too many, or not the same tasks as before (a new version).
            Of a run that was forgotten: `run_id, at, forgotten`.
    """

    number: int
    run: int
    at: float
    body: bytes


Entry = Epoch | Place | Submitted | Generated | RunChanged | Counted | Attempts | Noted | Moved | NewsItem

TOLD_KEPT = 100_000
"""The latest items that are kept at least."""


@frozen
class RunRecord:
    """One run as a tracker lists it. Times are wall clock, None where it has not happened; `counts` as last told."""

    run: int
    version: int
    name: str
    tags: Mapping[str, str]
    state: RunState
    created: float
    started: float | None
    ended: float | None
    digest: str
    counts: Mapping[str, int] | None = None


@frozen
class Version:
    """One version of a run's spec with what its generators answered, in order."""

    version: int
    spec: bytes
    digest: str
    at: float
    keep_downstream: bool
    generated: Sequence[Generated]


@frozen(eq=False)
class History:
    """All that is needed to rebuild a run.

    Args:
        versions: In order.
        entries: The run's `Attempts` and `Moved` in the order in which they were appended, attempts in large batches.
            Of tasks with many attempts only those after the last `Moved` of the run need to be there, and the last.
        places: What the column `place` means.
        notes: The last `Noted` of each task of each version, by version, and by index.
    """

    versions: Sequence[Version]
    entries: Sequence[Attempts | Moved]
    places: Mapping[int, tuple[str, str]]
    notes: Sequence[Noted] = ()


@frozen
class RunFilter:
    """Which runs to list: newest first, those with all these tags, in one of these states, with this name, created
    in [since, until), with an id below `before`.
    """

    tags: Mapping[str, str] = field(factory=dict)
    states: Sequence[RunState] = ()
    name: str = ""
    since: float | None = None
    until: float | None = None
    before: int | None = None
    limit: int = 100


class Tracker(abc.ABC):
    """Keeps what cannot be recomputed. Methods block and are called from one thread at a time.

    `durable` says whether anything survives the process. What may pass is raised as `TrackerError`, and the call is
    made again. `FencedError` and `DirectoryError` end the engine.
    """

    Settings: ClassVar[type]
    durable: ClassVar[bool]

    @abc.abstractmethod
    def __init__(self, settings: Any, directory: Path) -> None:
        """Open or create; refuse what another version of Daggy wrote with `DirectoryError`."""

    @classmethod
    def open_readonly(cls, settings: Any, directory: Path) -> Self:  # noqa: ARG003 - for those that can
        """Open what is there for looking only, also while another process writes: as of its last commit.

        Raises:
            UsageError: this tracker keeps nothing that another process could look at.
            DirectoryError: there is nothing, or it cannot be read.
        """
        raise UsageError(f"nothing of '{directory}' outlives the process that uses it; ask its server")

    @abc.abstractmethod
    def append(self, entries: Sequence[Entry]) -> None:
        """Keep these, all or none, in this order. Durable (for a durable tracker) when it returns.

        The engine calls it again after a TrackerError: with the same entries (the same objects) first, and perhaps
        more behind them. If the tracker does not know whether it kept them, it finds out then: each is kept once.

        Raises:
            TrackerError: they could not be kept, or it is not known whether they are. It may pass.
            FencedError: another engine has taken over; nothing of this one's is kept any more.
            InternalError: they cannot follow what is kept; nothing of them is.
        """

    @abc.abstractmethod
    def last_epoch(self) -> int:
        """Return the highest epoch appended; 0 if there is none."""

    @abc.abstractmethod
    def epochs(self) -> Sequence[Epoch]:
        """Return every epoch appended, ascending: who has kept runs here before."""

    @abc.abstractmethod
    def last_run(self) -> int:
        """Return the highest run id ever given, forgotten runs included; 0 if there is none."""

    @abc.abstractmethod
    def places(self) -> Mapping[int, tuple[str, str]]:
        """Return every place appended: number to (pool, host)."""

    @abc.abstractmethod
    def runs(self, matching: RunFilter) -> Sequence[RunRecord]:
        """Return one page of runs, newest first."""

    @abc.abstractmethod
    def history(self, run: int) -> History:
        """Return what is needed to rebuild the run.

        Raises:
            KeyError: there is no such run.
        """

    @abc.abstractmethod
    def attempts(self, run: int, after: int, limit: int, index: int | None = None) -> Sequence[Attempts]:
        """Return attempts in the order in which they ended, `limit` at most, after the first `after` of them.

        With `index`: only those that were that task's in the version in which they were recorded.
        """

    @abc.abstractmethod
    def keyed(self, key: str, since: float) -> tuple[int, str] | None:
        """Return run and `body` of the last submission under a key at or after `since`; None if there is none."""

    @abc.abstractmethod
    def last_told(self) -> int:
        """Return the highest number told, dropped ones included; 0 if there is none."""

    @abc.abstractmethod
    def told(self, after: int, limit: int, run: int | None = None) -> Sequence[NewsItem] | None:
        """Return what was told above the number `after`, of one run or of all, ascending, `limit` at most.

        None if some of what was told just above it is no longer kept: of all runs, the last `TOLD_KEPT` are.
        """

    @abc.abstractmethod
    def forget(self, run: int) -> None:
        """Remove everything about a run but that its id was used."""

    @abc.abstractmethod
    def close(self) -> None:
        """Let go of files and connections. Nothing may be called afterwards."""
