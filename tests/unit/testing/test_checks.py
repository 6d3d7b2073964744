"""The conformance checks: what conforms passes, and each broken rule is caught."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trio

from daggy.errors import TrackerError
from daggy.executor import REPORT, Kind, Launch, Launches, Machine, Reports, Rows, Site, Stop, Ticket
from daggy.testing import NoopExecutor, NoopSettings, check_executor, check_tracker, finish
from daggy.tracker import Attempts, Entry, History, RunFilter, RunRecord
from daggy_memory import MemorySettings, MemoryTracker
from daggy_sqlite import SqliteSettings, SqliteTracker
from tests.unit.testing.queued import Place, QueuedExecutor


def test_memory_conforms(tmp_path: Path) -> None:
    check_tracker(lambda directory: MemoryTracker(MemorySettings(), directory), tmp_path)


def test_sqlite_conforms(tmp_path: Path) -> None:
    check_tracker(lambda directory: SqliteTracker(SqliteSettings(), directory), tmp_path)


class Sloppy(MemoryTracker):
    """Keeps what came before the entry that it refuses."""

    def append(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            super().append([entry])


class Forgetful(MemoryTracker):
    """Gives ids again."""

    def last_run(self) -> int:
        return max((record.run for record in self.runs(RunFilter())), default=0)


class Deaf(MemoryTracker):
    """Loses messages."""

    def append(self, entries: Sequence[Entry]) -> None:
        super().append([Attempts(e.run, e.version, e.rows) if isinstance(e, Attempts) else e for e in entries])


class Backward(MemoryTracker):
    """Gives a history in another order."""

    def history(self, run: int) -> History:
        history = super().history(run)
        return History(history.versions, history.entries[::-1], history.places)


class Lax(MemoryTracker):
    """Ignores tags."""

    def runs(self, matching: RunFilter) -> Sequence[RunRecord]:
        return super().runs(RunFilter(limit=matching.limit))


class Reticent(MemoryTracker):
    """Keeps no places."""

    def places(self) -> Mapping[int, tuple[str, str]]:
        return {}


class Amnesiac(MemoryTracker):
    """Says that it is durable, and is not."""

    durable = True


class Unsure(MemoryTracker):
    """Every other append keeps its batch and raises; what comes again is known by identity."""

    kept: Sequence[Entry] = ()
    calls = 0

    def append(self, entries: Sequence[Entry]) -> None:
        assert all(one is other for one, other in zip(self.kept, entries, strict=False))
        fresh, self.kept = entries[len(self.kept) :], ()
        super().append(fresh)
        self.calls += 1
        if self.calls % 2:
            self.kept = tuple(entries)
            raise TrackerError("the answer to COMMIT is lost")


class Full(MemoryTracker):
    """Every other append raises before it keeps anything."""

    calls = 0

    def append(self, entries: Sequence[Entry]) -> None:
        self.calls += 1
        if self.calls % 2:
            raise TrackerError("disk full")
        super().append(entries)


def test_a_tracker_may_raise_whether_or_not_it_has_kept_the_batch(tmp_path: Path) -> None:
    check_tracker(lambda directory: Unsure(MemorySettings(), directory), tmp_path / "unsure")
    check_tracker(lambda directory: Full(MemorySettings(), directory), tmp_path / "full")


class Twofold(Unsure):
    """Keeps again what it has kept."""

    def append(self, entries: Sequence[Entry]) -> None:
        self.kept = ()
        super().append(entries)


class Dropping(MemoryTracker):
    """Takes for kept what it has not kept."""

    dropped = 0
    calls = 0

    def append(self, entries: Sequence[Entry]) -> None:
        fresh, self.dropped = entries[self.dropped :], 0
        self.calls += 1
        if self.calls % 2:
            self.dropped = len(entries)
            raise TrackerError("the answer to COMMIT is lost")
        super().append(fresh)


BROKEN = [Sloppy, Forgetful, Deaf, Backward, Lax, Reticent, Amnesiac, Twofold, Dropping]


@pytest.mark.parametrize("broken", BROKEN)
def test_a_tracker_that_breaks_a_rule_is_caught(broken: type[MemoryTracker], tmp_path: Path) -> None:
    with pytest.raises(AssertionError):
        check_tracker(lambda directory: broken(MemorySettings(), directory), tmp_path)


def check(make: Callable[[Site], NoopExecutor], directory: Path, *, seconds: float = 20.0) -> None:
    trio.run(lambda: check_executor(make, directory, processes=False, seconds=seconds))


def test_noop_conforms(tmp_path: Path) -> None:
    check(lambda site: NoopExecutor(NoopSettings(), site), tmp_path)


class Repeating(NoopExecutor):
    """Says everything twice."""

    async def run(self, requests: Any, report: Callable[[Reports], None], changed: Callable[[], None]) -> None:
        def twice(reports: Reports) -> None:
            report(Reports(np.repeat(reports.rows, 2)))

        await super().run(requests, twice, changed)


class Losing(NoopExecutor):
    """Forgets the last of each batch."""

    async def run(self, requests: Any, report: Callable[[Reports], None], changed: Callable[[], None]) -> None:
        await super().run(requests, lambda reports: report(Reports(reports.rows[:-1])), changed)


class Confused(NoopExecutor):
    """Reports about tickets of another run."""

    async def run(self, requests: Any, report: Callable[[Reports], None], changed: Callable[[], None]) -> None:
        def wrong(reports: Reports) -> None:
            rows = reports.rows.copy()
            rows["run"] += 1
            report(Reports(rows))

        await super().run(requests, wrong, changed)


class Endless(NoopExecutor):
    """Does not stop."""

    async def run(self, requests: Any, report: Callable[[Reports], None], changed: Callable[[], None]) -> None:
        async for request in requests:
            if isinstance(request, Launches):
                report(Reports(finish(request, 1.0)))
            elif isinstance(request, Stop):
                await trio.sleep_forever()


class Nowhere(NoopExecutor):
    """Has no machine."""

    def capacity(self) -> Sequence[Machine]:
        return ()


@pytest.mark.parametrize("broken", [Repeating, Losing, Confused, Endless, Nowhere])
def test_an_executor_that_breaks_a_rule_is_caught(broken: type[NoopExecutor], tmp_path: Path) -> None:
    with pytest.RaisesGroup(AssertionError, flatten_subgroups=True, allow_unwrapped=True):
        check(lambda site: broken(NoopSettings(), site), tmp_path, seconds=0.3)


def check_queued(broken: type[QueuedExecutor], directory: Path, *, seconds: float) -> None:
    places: dict[str, Place] = {}
    trio.run(
        lambda: check_executor(
            lambda site: broken(places, site), directory, processes=False, grows=True, holds=5, seconds=seconds
        )
    )


def test_a_place_with_a_queue_of_its_own_conforms(tmp_path: Path) -> None:
    check_queued(QueuedExecutor, tmp_path, seconds=20.0)


class Grudging(QueuedExecutor):
    """Never lets its machine go."""

    def resize(self) -> None:
        if not self.is_there:
            super().resize()


class Mute(QueuedExecutor):
    """Says nothing of machines that come."""

    def resize(self) -> None:
        self.changed = lambda: None
        super().resize()


class Poor(QueuedExecutor):
    """Has no machine, whatever is wanted."""

    def resize(self) -> None:
        pass


class Giving(QueuedExecutor):
    """Gives up what waits when it leaves."""

    async def recover(self, epoch: int) -> Reports:
        reports = await super().recover(epoch)
        return Reports(reports.rows[reports.rows["kind"] == Kind.STARTED])


class Doubling(QueuedExecutor):
    """Tells everything twice."""

    async def recover(self, epoch: int) -> Reports:
        reports = await super().recover(epoch)
        return Reports(np.repeat(reports.rows, 2))


class Clinging(QueuedExecutor):
    """Does not give back what it holds."""

    def recall(self, tickets: Sequence[Ticket]) -> None:
        pass


class Late(QueuedExecutor):
    """Has a machine that has gone already."""

    def capacity(self) -> Sequence[Machine]:
        return [Machine("queue", None, slots=100, until=1.0)]


@pytest.mark.parametrize("broken", [Grudging, Mute, Poor, Giving, Doubling, Clinging, Late])
def test_a_place_with_a_queue_that_breaks_a_rule_is_caught(broken: type[QueuedExecutor], tmp_path: Path) -> None:
    with pytest.RaisesGroup(AssertionError, flatten_subgroups=True, allow_unwrapped=True):
        check_queued(broken, tmp_path, seconds=0.3)


@pytest.mark.parametrize("count", [0, 1, 1000])
def test_noop_finishes_whole_batches(count: int) -> None:
    launches = [Launch(2**32 - 1 - number, number + 1, ["x"], {}, "/") for number in range(count)]
    rows: Rows = finish(Launches(7, 2, 3, "m", 0, 1, launches), 5.5)
    assert rows.dtype == REPORT
    assert rows["row"]["index"].tolist() == [launch.index for launch in launches]
    assert rows["row"]["attempt"].tolist() == [launch.attempt for launch in launches]
    for name, value in {"seq": 0, "kind": 2, "run": 7, "version": 2, "epoch": 3}.items():
        assert (rows[name] == value).all()
    assert (rows["row"]["ended"] == 5.5).all()
    assert not rows["row"]["reason"].any()
