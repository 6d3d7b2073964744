"""The memory tracker: columns in lists of arrays, gone with the process."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import ClassVar, Self

import attrs
from attrs import field, frozen, mutable

from daggy.errors import InternalError
from daggy.tracker import (
    TOLD_KEPT,
    Attempts,
    Counted,
    Entry,
    Epoch,
    Generated,
    History,
    Moved,
    NewsItem,
    Noted,
    Place,
    RunChanged,
    RunFilter,
    RunRecord,
    RunState,
    Submitted,
    Tracker,
    Version,
)
from daggy_memory.stretch import Stretches

_ENDED = (RunState.COMPLETED, RunState.ERRORED, RunState.KILLED)


@frozen
class MemorySettings:
    """Settings of the memory tracker: it has none."""


@mutable
class _Run:
    """What is kept of one run. `order` has a Moved, or the number of a stretch, for each entry of the history."""

    record: RunRecord
    versions: dict[int, Submitted]
    generated: dict[int, list[Generated]] = field(factory=lambda: defaultdict(list))
    order: list[Moved | int] = field(factory=list)
    attempts: Stretches = field(factory=Stretches)
    notes: dict[tuple[int, int], Noted] = field(factory=dict)


class MemoryTracker(Tracker):
    """Keeps runs in this process. Batches that are adjacent views of one chunk are kept as one view, without a copy."""

    Settings: ClassVar[type] = MemorySettings
    durable: ClassVar[bool] = False

    def __init__(self, settings: MemorySettings, directory: Path) -> None:
        """Begin empty; `directory` is not touched."""
        del settings, directory
        self._runs: dict[int, _Run] = {}
        self._places: dict[int, tuple[str, str]] = {}
        self._epochs: dict[int, Epoch] = {}
        self._last_run = 0
        self._keys: dict[str, tuple[float, int, str]] = {}
        self._told: deque[NewsItem] = deque(maxlen=TOLD_KEPT)

    def append(self, entries: Sequence[Entry]) -> None:
        """Keep these, all or none, in this order.

        Entries about a run that was forgotten are dropped.

        Raises:
            InternalError: an entry is about a run that was never submitted.
        """
        self._refuse(entries)
        for entry in entries:
            self._keep(entry)

    def last_epoch(self) -> int:
        """Return the highest epoch appended; 0 if there is none."""
        return max(self._epochs, default=0)

    def epochs(self) -> Sequence[Epoch]:
        """Return every epoch appended, ascending."""
        return [self._epochs[number] for number in sorted(self._epochs)]

    def last_run(self) -> int:
        """Return the highest run id ever given, forgotten runs included; 0 if there is none."""
        return self._last_run

    def places(self) -> Mapping[int, tuple[str, str]]:
        """Return every place appended: number to (pool, host)."""
        return dict(self._places)

    def runs(self, matching: RunFilter) -> Sequence[RunRecord]:
        """Return one page of runs, newest first."""
        found: list[RunRecord] = []
        for number in sorted(self._runs, reverse=True):
            if len(found) >= matching.limit:
                break
            record = self._runs[number].record
            if _matches(record, matching):
                found.append(record)
        return found

    def history(self, run: int) -> History:
        """Return what is needed to rebuild the run.

        Raises:
            KeyError: there is no such run.
        """
        kept = self._runs[run]
        versions = tuple(_version(entry, kept.generated[entry.version]) for entry in kept.versions.values())
        notes = tuple(kept.notes[key] for key in sorted(kept.notes))
        return History(versions, tuple(_entries(run, kept)), self.places(), notes)

    def attempts(self, run: int, after: int, limit: int, index: int | None = None) -> Sequence[Attempts]:
        """Return attempts in the order in which they ended, `limit` at most, after the first `after` of them.

        Raises:
            KeyError: there is no such run.
        """
        kept = self._runs[run].attempts
        pages = kept.page(run, after, limit) if index is None else kept.page_of(run, index, after, limit)
        return tuple(pages)

    def keyed(self, key: str, since: float) -> tuple[int, str] | None:
        """Return run and body of the last submission under a key at or after `since`; None if there is none."""
        at, run, body = self._keys.get(key, (0.0, 0, ""))
        return (run, body) if run in self._runs and at >= since else None

    def last_told(self) -> int:
        """Return the highest number told; 0 if there is none."""
        return self._told[-1].number if self._told else 0

    def told(self, after: int, limit: int, run: int | None = None) -> Sequence[NewsItem] | None:
        """Return what was told above the number `after`, of one run or of all, ascending; None if that is too old."""
        if after >= self.last_told():
            return []
        first = self._told[0].number
        if after < first - 1:
            return None
        later = islice(self._told, after + 1 - first, None)
        return list(islice((item for item in later if run in (None, item.run)), limit))

    def forget(self, run: int) -> None:
        """Remove everything about a run but that its id was used."""
        self._runs.pop(run, None)

    def close(self) -> None:
        """Close it."""
        self._runs.clear()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    def _refuse(self, entries: Iterable[Entry]) -> None:
        """Refuse invalid entries before anything is kept."""
        new: dict[int, set[int]] = {}  # run to its versions in this batch
        highest = self._last_run
        for entry in entries:
            if isinstance(entry, (Epoch, Place, NewsItem)):
                continue
            if isinstance(entry, Submitted) and entry.version == 1:
                if entry.run <= highest:
                    raise InternalError(f"run {entry.run} is submitted, but ids up to {highest} were given already")
                highest = entry.run
                new[entry.run] = {1}
            elif entry.run > highest:
                raise InternalError(f"{type(entry).__name__} of run {entry.run}, which was never submitted")
            elif isinstance(entry, (Submitted, Generated)):
                self._refuse_version(entry, new.setdefault(entry.run, set()))

    def _refuse_version(self, entry: Submitted | Generated, new: set[int]) -> None:
        kept = self._runs.get(entry.run)
        known = kept is not None and entry.version in kept.versions
        if isinstance(entry, Submitted):
            if known or entry.version in new:
                raise InternalError(f"version {entry.version} of run {entry.run} is submitted twice")
            new.add(entry.version)
        elif kept is not None and not known and entry.version not in new:
            raise InternalError(f"Generated of run {entry.run} version {entry.version}, which was never submitted")

    def _keep(self, entry: Entry) -> None:
        match entry:
            case Epoch():
                self._epochs[entry.number] = entry
            case Place():
                self._places[entry.number] = (entry.pool, entry.host)
            case NewsItem():
                self._told.append(entry)
            case Submitted(version=1):
                self._last_run = entry.run
                self._runs[entry.run] = _Run(_first_record(entry), {1: entry})
                if entry.key:
                    self._keys[entry.key] = entry.at, entry.run, entry.body
            case _:
                if entry.run in self._runs:
                    _extend(self._runs[entry.run], entry)


def _extend(run: _Run, entry: Submitted | Generated | RunChanged | Counted | Attempts | Noted | Moved) -> None:
    match entry:
        case Attempts():
            if len(entry.rows):
                _extend_attempts(run, entry)
        case Moved():
            run.order.append(entry)
        case Noted():
            run.notes[entry.version, entry.index] = entry
        case RunChanged():
            run.record = _changed(run.record, entry)
        case Counted():
            run.record = attrs.evolve(run.record, counts=entry.counts)
        case Generated():
            run.generated[entry.version].append(entry)
        case Submitted():
            run.versions[entry.version] = entry
            run.record = attrs.evolve(
                run.record, version=entry.version, name=entry.name, tags=entry.tags, digest=entry.digest
            )


def _extend_attempts(run: _Run, entry: Attempts) -> None:
    fresh = not run.order or isinstance(run.order[-1], Moved)
    if run.attempts.append(entry, fresh=fresh):
        run.order.append(run.attempts.last)


def _entries(number: int, run: _Run) -> Iterable[Attempts | Moved]:
    for item in run.order:
        if isinstance(item, Moved):
            yield item
        else:
            stretch = run.attempts.stretch(item)
            yield stretch.attempts(number, 0, len(stretch))


def _first_record(entry: Submitted) -> RunRecord:
    return RunRecord(
        entry.run, entry.version, entry.name, entry.tags, RunState.QUEUED, entry.at, None, None, entry.digest
    )


def _version(entry: Submitted, generated: Iterable[Generated]) -> Version:
    return Version(entry.version, entry.spec, entry.digest, entry.at, entry.keep_downstream, tuple(generated))


def _changed(record: RunRecord, entry: RunChanged) -> RunRecord:
    started = entry.at if record.started is None and entry.state is RunState.RUNNING else record.started
    ended = entry.at if entry.state in _ENDED else None
    return attrs.evolve(record, state=entry.state, started=started, ended=ended)


def _matches(record: RunRecord, matching: RunFilter) -> bool:
    return (
        (matching.before is None or record.run < matching.before)
        and (not matching.name or record.name == matching.name)
        and (not matching.states or record.state in matching.states)
        and (matching.since is None or record.created >= matching.since)
        and (matching.until is None or record.created < matching.until)
        and all(record.tags.get(key) == value for key, value in matching.tags.items())
    )
