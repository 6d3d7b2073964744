"""Both trackers against a naive model, under any entries in any batches."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from attrs import field, mutable
from hypothesis import settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from daggy.testing.entries import random_rows, same_story, story
from daggy.tracker import (
    Attempts,
    Counted,
    Entry,
    Epoch,
    Generated,
    Moved,
    Place,
    RunChanged,
    RunFilter,
    RunState,
    State,
    Submitted,
    Tracker,
)
from daggy_memory import MemorySettings, MemoryTracker
from daggy_sqlite import SqliteSettings, SqliteTracker

RUNS = st.integers(1, 4)
TEXTS = st.text(st.characters(codec="utf-8"), max_size=5)
TIMES = st.integers(0, 2**31 * 4).map(lambda quarters: quarters / 4)
TAGS = st.dictionaries(st.sampled_from(["a", "é\"'"]), st.sampled_from(["x", "0", ""]), max_size=2)


@mutable
class Naive:
    """What a tracker should know, as lists."""

    entries: list[Entry] = field(factory=list)
    last_run: int = 0
    forgotten: set[int] = field(factory=set)

    def of(self, run: int) -> list[Entry]:
        return [entry for entry in self.entries if not isinstance(entry, (Epoch, Place)) and entry.run == run]

    def runs(self) -> list[int]:
        return [run for run in range(self.last_run, 0, -1) if run not in self.forgotten]

    def versions(self, run: int) -> list[int]:
        return [entry.version for entry in self.of(run) if isinstance(entry, Submitted)]

    def record(self, run: int) -> tuple[object, ...]:
        entries = self.of(run)
        last = [entry for entry in entries if isinstance(entry, Submitted)][-1]
        changes = [entry for entry in entries if isinstance(entry, RunChanged)]
        state = changes[-1].state if changes else RunState.QUEUED
        started = next((change.at for change in changes if change.state is RunState.RUNNING), None)
        is_over = changes and state not in (RunState.QUEUED, RunState.RUNNING)
        created = next(entry.at for entry in entries if isinstance(entry, Submitted))
        ended = changes[-1].at if is_over else None
        told = [entry.counts for entry in entries if isinstance(entry, Counted)]
        counts = told[-1] if told else None
        return (run, last.version, last.name, dict(last.tags), state, created, started, ended, last.digest, counts)


class Trackers(RuleBasedStateMachine):
    """Memory and SQLite (opened anew every so often) beside the model."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = tempfile.TemporaryDirectory()
        self.path = Path(self.directory.name)
        self.naive = Naive()
        self.memory = MemoryTracker(MemorySettings(), self.path)
        self.sqlite = SqliteTracker(SqliteSettings(), self.path)
        self.pending: list[Entry] = []
        self.seed = 0

    @property
    def known(self) -> list[int]:
        run_ids = [entry.run for entry in self.pending if isinstance(entry, Submitted)]
        return sorted({*self.naive.runs(), *run_ids})

    def versions(self, run: int) -> list[int]:
        pending = [entry.version for entry in self.pending if isinstance(entry, Submitted) and entry.run == run]
        return self.naive.versions(run) + pending

    @initialize(spec=st.binary(max_size=3), name=TEXTS, tags=TAGS, at=TIMES)
    def begin(self, spec: bytes, name: str, tags: dict[str, str], at: float) -> None:
        self.submit(spec, name, tags, at)
        self.append()

    @rule(spec=st.binary(max_size=3), name=TEXTS, tags=TAGS, at=TIMES)
    def submit(self, spec: bytes, name: str, tags: dict[str, str], at: float) -> None:
        highest = max([self.naive.last_run, *(e.run for e in self.pending if isinstance(e, Submitted))])
        self.pending.append(Submitted(highest + 1, 1, spec, "d", name, tags, at))

    @precondition(lambda self: self.known)
    @rule(data=st.data(), spec=st.binary(max_size=3), name=TEXTS, tags=TAGS, at=TIMES, keep=st.booleans())
    def edit(self, data: st.DataObject, spec: bytes, name: str, tags: dict[str, str], at: float, keep: bool) -> None:
        run = data.draw(st.sampled_from(self.known))
        version = max(self.versions(run)) + 1
        self.pending.append(Submitted(run, version, spec, f"d{version}", name, tags, at, keep))

    @rule(number=st.integers(0, 20), at=TIMES, instance=TEXTS, host=TEXTS)
    def new_epoch(self, number: int, at: float, instance: str, host: str) -> None:
        self.pending.append(Epoch(number, at, instance, host))

    @rule(number=st.integers(0, 5), pool=TEXTS, host=TEXTS)
    def new_place(self, number: int, pool: str, host: str) -> None:
        self.pending.append(Place(number, pool, host))

    @precondition(lambda self: self.known)
    @rule(data=st.data(), state=st.sampled_from(RunState), at=TIMES)
    def change(self, data: st.DataObject, state: RunState, at: float) -> None:
        self.pending.append(RunChanged(data.draw(st.sampled_from(self.known)), state, at))

    @precondition(lambda self: self.known)
    @rule(data=st.data(), counts=st.none() | st.dictionaries(st.sampled_from(State), st.integers(0, 10**9)))
    def count(self, data: st.DataObject, counts: dict[State, int] | None) -> None:
        told = None if counts is None else {state.name.lower(): counts.get(state, 0) for state in State}
        self.pending.append(Counted(data.draw(st.sampled_from(self.known)), told))

    @precondition(lambda self: self.known)
    @rule(data=st.data(), answer=st.binary(max_size=4), index=st.integers(0, 9), at=TIMES)
    def generate(self, data: st.DataObject, answer: bytes, index: int, at: float) -> None:
        run = data.draw(st.sampled_from(self.known))
        version = data.draw(st.sampled_from(self.versions(run)))
        self.pending.append(Generated(run, version, index, 1, answer, at))

    @precondition(lambda self: self.known)
    @rule(data=st.data(), count=st.sampled_from([0, 1, 2, 11, 120, 1101]), pieces=st.integers(1, 3))
    def end_attempts(self, data: st.DataObject, count: int, pieces: int) -> None:
        run = data.draw(st.sampled_from(self.known))
        version = data.draw(st.sampled_from(self.versions(run)))
        self.seed += 1
        chunk = random_rows(count, self.seed, tasks=5)
        for first in range(0, count, max(1, count // pieces)):
            rows = chunk[first : first + max(1, count // pieces)]
            places = st.integers(0, len(rows) - 1)
            self.pending.append(Attempts(run, version, rows, data.draw(st.dictionaries(places, TEXTS, max_size=2))))

    @precondition(lambda self: self.known)
    @rule(data=st.data(), state=st.sampled_from(State), cause=TEXTS, actor=TEXTS, at=TIMES)
    def move(self, data: st.DataObject, state: State, cause: str, actor: str, at: float) -> None:
        run = data.draw(st.sampled_from(self.known))
        version = data.draw(st.sampled_from(self.versions(run)))
        ranges = data.draw(st.lists(st.tuples(st.integers(0, 9), st.integers(10, 2**40)), max_size=3))
        array = np.array(ranges, np.int64).reshape(-1, 2)
        self.pending.append(Moved(run, version, state, array, cause, actor, at))

    @rule()
    def append(self) -> None:
        self.memory.append(self.pending)
        self.sqlite.append(self.pending)
        self.naive.entries += self.pending
        self.naive.last_run = max(self.naive.last_run, *(e.run for e in self.pending if isinstance(e, Submitted)), 0)
        self.pending = []

    @precondition(lambda self: self.naive.runs() and not self.pending)
    @rule(data=st.data())
    def forget(self, data: st.DataObject) -> None:
        run = data.draw(st.sampled_from(self.naive.runs()))
        self.memory.forget(run)
        self.sqlite.forget(run)
        self.naive.forgotten.add(run)

    @rule()
    def reopen(self) -> None:
        self.sqlite.close()
        self.sqlite = SqliteTracker(SqliteSettings(), self.path)

    @precondition(lambda self: self.naive.runs())
    @rule(data=st.data(), after=st.integers(0, 1500), limit=st.integers(0, 1500), index=st.none() | st.integers(0, 5))
    def page(self, data: st.DataObject, after: int, limit: int, index: int | None) -> None:
        run = data.draw(st.sampled_from(self.naive.runs()))
        told = [one for one in story(self.naive.of(run)) if one.row is not None]
        theirs = [one for one in told if index is None or (one.row is not None and one.row["index"] == index)]
        for tracker in self.both():
            assert same_story(story(tracker.attempts(run, after, limit, index)), theirs[after : after + limit])

    @rule(tags=TAGS, state=st.none() | st.sampled_from(RunState), before=st.none() | RUNS, limit=st.integers(1, 3))
    def select(self, tags: dict[str, str], state: RunState | None, before: int | None, limit: int) -> None:
        matching = RunFilter(tags=tags, states=() if state is None else (state,), before=before, limit=limit)
        expected = []
        for run in self.naive.runs():
            record = self.naive.record(run)
            is_tagged = isinstance(record[3], dict) and tags.items() <= record[3].items()
            if is_tagged and (state is None or record[4] == state) and (before is None or run < before):
                expected.append(run)
        for tracker in self.both():
            assert [record.run for record in tracker.runs(matching)] == expected[:limit]

    @invariant()
    def agree(self) -> None:
        epochs = {entry.number: entry for entry in self.naive.entries if isinstance(entry, Epoch)}
        places = {e.number: (e.pool, e.host) for e in self.naive.entries if isinstance(e, Place)}
        for tracker in self.both():
            assert tracker.last_epoch() == max(epochs, default=0)
            assert list(tracker.epochs()) == [epochs[number] for number in sorted(epochs)]
            assert tracker.last_run() == self.naive.last_run
            assert dict(tracker.places()) == places
            self.agree_on_runs(tracker)

    def agree_on_runs(self, tracker: Tracker) -> None:
        records = tracker.runs(RunFilter())
        assert [record.run for record in records] == self.naive.runs()
        for record in records:
            said = (record.run, record.version, record.name, dict(record.tags), record.state)
            times = (record.created, record.started, record.ended)
            assert (*said, *times, record.digest, record.counts) == self.naive.record(record.run)
            entries = self.naive.of(record.run)
            history = tracker.history(record.run)
            assert same_story(story(history.entries), story(entries))
            specs = [entry for entry in entries if isinstance(entry, Submitted)]
            for version, spec in zip(history.versions, specs, strict=True):
                assert (version.version, version.spec, version.at) == (spec.version, spec.spec, spec.at)
                assert (version.digest, version.keep_downstream) == (spec.digest, spec.keep_downstream)
                answers = [e for e in entries if isinstance(e, Generated) and e.version == spec.version]
                assert list(version.generated) == answers

    def both(self) -> Sequence[Tracker]:
        return (self.memory, self.sqlite)

    def teardown(self) -> None:
        self.sqlite.close()
        self.directory.cleanup()


TestTrackers = Trackers.TestCase
TestTrackers.settings = settings(max_examples=20, stateful_step_count=20, deadline=None)
