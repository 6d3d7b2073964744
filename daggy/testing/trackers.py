"""What every tracker must do: `check_tracker`."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from attrs import evolve, mutable

from daggy.errors import DaggyError, InternalError, TrackerError
from daggy.testing.entries import attempts, counts, edited, moved, require, same_story, story, submitted
from daggy.tracker import (
    ATTEMPT,
    TOLD_KEPT,
    Attempts,
    Counted,
    Entry,
    Epoch,
    Generated,
    NewsItem,
    Noted,
    Place,
    RunChanged,
    RunFilter,
    RunRecord,
    RunState,
    Tracker,
)

TRIES = 20
"""So often in a row may an append raise TrackerError."""

PAUSES = [min(1.0, 0.005 * 2**number) for number in range(TRIES)]
"""Seconds before each next try."""

Make = Callable[[Path], Tracker]
"""Opens the tracker of a directory; called again for the same one after it was closed."""


@mutable
class _Bench:
    """One tracker under test; `reopen` closes and opens it, if anything survives that."""

    make: Make
    directory: Path
    tracker: Tracker
    failures: int = 0  # how many appends in a row have raised TrackerError

    def reopen(self) -> None:
        if self.tracker.durable:
            self.tracker.close()
            self.tracker = self.make(self.directory)

    def append(self, entries: Sequence[Entry]) -> None:
        """Append as the engine does: after a TrackerError the same again."""
        while not self.tries(entries):
            pass

    def tries(self, entries: Sequence[Entry]) -> bool:
        """Append once; return whether it is said to be kept."""
        try:
            self.tracker.append(entries)
        except TrackerError as error:
            self._wait(error)
            return False
        except InternalError as error:
            require(not self.failures, f"what an append that raised has kept must not be kept again: {error}")
            raise
        self.failures = 0
        return True

    def is_refused(self, entries: Sequence[Entry]) -> bool:
        """Append what cannot be kept; return whether the tracker says so."""
        while True:
            try:
                self.tracker.append(entries)
            except TrackerError as error:
                self._wait(error)
            except DaggyError:
                self.failures = 0
                return True
            else:
                return False

    def _wait(self, error: TrackerError) -> None:
        require(self.failures < TRIES, f"append() must not raise TrackerError {TRIES} times in a row: {error}")
        time.sleep(PAUSES[self.failures])
        self.failures += 1


def check_tracker(make: Make, directory: Path) -> None:
    """Check everything that the engine relies on; takes a second or two.

    Args:
        make: Opens the tracker of a directory.
        directory: An empty one, for the state directories of the checks.

    Raises:
        AssertionError: a rule is broken; the message says which.
    """
    for check in _CHECKS:
        place = directory / check.__name__.strip("_")
        place.mkdir(parents=True)
        bench = _Bench(make, place, make(place))
        try:
            check(bench)
        finally:
            bench.tracker.close()


def _begins_empty(bench: _Bench) -> None:
    tracker = bench.tracker
    require(tracker.last_epoch() == 0, "last_epoch() of an empty tracker must be 0")
    require(tracker.last_run() == 0, "last_run() of an empty tracker must be 0")
    require(not tracker.epochs(), "epochs() of an empty tracker must be empty")
    require(not tracker.places(), "places() of an empty tracker must be empty")
    require(not tracker.runs(RunFilter()), "runs() of an empty tracker must be empty")
    _require_unknown(tracker, 1)
    for strange in (-1, 1 << 63, 10**30):
        _require_unknown(tracker, strange)
        require(not tracker.runs(RunFilter(before=strange)), "runs() must take any number to go on from")


def _keeps_epochs_and_places(bench: _Bench) -> None:
    epochs = [Epoch(1, 10.0), Epoch(2, 11.5, "0a1b", "ä.example")]
    bench.append([epochs[0], Place(0, "default", "here"), epochs[1], Place(7, "far", "there")])
    for _ in range(2):
        require(list(bench.tracker.epochs()) == epochs, "epochs() must give every epoch appended, whole, ascending")
        require(bench.tracker.last_epoch() == 2, "last_epoch() must be the highest appended")
        places = dict(bench.tracker.places())
        require(places == {0: ("default", "here"), 7: ("far", "there")}, "places() must give every place appended")
        bench.reopen()


def _keeps_specs(bench: _Bench) -> None:
    first = submitted(1, spec=b'{"a": "\xc3\xa4\\u0000"}', tags={"k": 'v"1"', "ä.$": ""})
    second = edited(1, 2, keep_downstream=True)
    answers = [
        Generated(1, version, index, 1, bytes([0, 255, index]), 3.25) for version, index in ((1, 5), (2, 4), (1, 3))
    ]
    bench.append([first, answers[0], second])
    bench.append(answers[1:])
    for _ in range(2):
        versions = bench.tracker.history(1).versions
        require([v.version for v in versions] == [1, 2], "versions must come in order")
        for version, entry in zip(versions, (first, second), strict=True):
            kept = (version.spec, version.digest, version.at, version.keep_downstream)
            require(
                kept == (entry.spec, entry.digest, entry.at, entry.keep_downstream), "a version must come back whole"
            )
        require(
            list(versions[0].generated) == [answers[0], answers[2]], "generated must come back in order, by version"
        )
        require(list(versions[1].generated) == [answers[1]], "generated must come back with their version")
        record = bench.tracker.runs(RunFilter())[0]
        require(record.version == 2 and record.digest == second.digest, "a record must be of the last version")
        require(dict(record.tags) == dict(second.tags), "a record must have the last version's tags")
        bench.reopen()


def _follows_run_states(bench: _Bench) -> None:
    bench.append([submitted(1, at=1.5)])
    expected = (RunState.QUEUED, None, None)
    for state, at, then in (
        (None, 0.0, expected),
        (RunState.RUNNING, 2.5, (RunState.RUNNING, 2.5, None)),
        (RunState.ERRORED, 3.5, (RunState.ERRORED, 2.5, 3.5)),
        (RunState.RUNNING, 4.5, (RunState.RUNNING, 2.5, None)),
        (RunState.COMPLETED, 5.5, (RunState.COMPLETED, 2.5, 5.5)),
    ):
        if state is not None:
            bench.append([RunChanged(1, state, at)])
        bench.reopen()
        record = bench.tracker.runs(RunFilter())[0]
        require(record.created == 1.5, "created must be when the run was submitted")
        found = (record.state, record.started, record.ended)
        require(
            found == then, f"state, started, ended must be {then}, not {found}: started is the first, ended the last"
        )


def _keeps_counts(bench: _Bench) -> None:
    bench.append([submitted(1), submitted(2), Counted(1, counts(waiting=3))])
    later = counts(completed=2, upstream_failed=10**8)
    steps: Sequence[tuple[Sequence[Entry], Mapping[str, int] | None]] = (
        ([], counts(waiting=3)),
        ([Counted(1, counts(queued=1)), Counted(1, later)], later),
        ([Counted(1, None)], None),
        ([edited(1, 2), Counted(1, counts())], counts()),
    )
    for entries, then in steps:
        bench.append(entries)
        bench.reopen()
        found = {record.run: record.counts for record in bench.tracker.runs(RunFilter())}
        require(found[1] == then, f"counts of a run must be those that were told last, {then}, not {found[1]}")
        require(found[2] is None, "counts must be None of a run of which none were told")


def _keeps_attempts_in_order(bench: _Bench) -> None:
    entries: list[Entry] = [
        attempts(1, 1, 3, seed=1),
        moved(1, 1, [(0, 2), (5, 9)], cause='killed by "ä"'),
        moved(1, 1, []),
        attempts(1, 1, 1, seed=2, messages={0: "no such file: 'x'"}),
        attempts(1, 2, 500, seed=3, messages={0: "first", 499: "last"}),
        attempts(1, 1, 2, seed=4, messages={1: "of the older version"}),
        attempts(1, 1, 0, seed=5),
        moved(1, 2, [(1, 2)]),
    ]
    bench.append([submitted(1), edited(1, 2), submitted(2), attempts(2, 1, 4, seed=9), *entries[:3]])
    for entry in entries[3:]:
        bench.append([entry])
    for _ in range(2):
        kept = bench.tracker.history(1).entries
        require(same_story(story(kept), story(entries)), "attempts and moves must come back as appended, in order")
        bench.reopen()


def _pages_attempts(bench: _Bench) -> None:
    entries = [attempts(1, 1 + number % 2, 7, seed=number, tasks=3, messages={number % 7: "m"}) for number in range(9)]
    bench.append([submitted(1), edited(1, 2), *entries])
    whole = story(entries)
    for after in (0, 1, 7, 20, 62, 63, 99):
        for limit in (0, 1, 10, 1000):
            page = story(bench.tracker.attempts(1, after, limit))
            require(same_story(page, whole[after : after + limit]), f"attempts(1, {after}, {limit}) must be that page")
    for index in (0, 1, 2, 3):
        theirs = [told for told in whole if told.row is not None and told.row["index"] == index]
        for after, limit in ((0, 1000), (2, 3), (len(theirs), 1)):
            page = story(bench.tracker.attempts(1, after, limit, index))
            require(
                same_story(page, theirs[after : after + limit]), f"attempts of task {index} must be that task's page"
            )


def _keeps_the_last_notes(bench: _Bench) -> None:
    first, other = Noted(1, 1, 5, 1, '{"n":1}', 2.0), Noted(1, 1, 3, 1, "{}", 3.0)
    later = Noted(1, 2, 5, 2, '{"ä":1}', 4.0)
    last = evolve(first, attempt=2, note='{"n":2}', at=5.0)
    bench.append([submitted(1), edited(1, 2), submitted(2), first, other, later, evolve(last, run=2)])
    bench.append([last])
    for _ in range(2):
        kept = list(bench.tracker.history(1).notes)
        require(kept == [other, last, later], f"the last note of each task of each version must be kept, not {kept}")
        bench.reopen()
    bench.tracker.forget(1)
    bench.append([first])
    require(list(bench.tracker.history(2).notes) == [evolve(last, run=2)], "notes of other runs must stay")


def _lists_runs(bench: _Bench) -> None:
    for run in range(1, 8):
        tags = {"odd": str(run % 2), "third": str(run % 3)}
        bench.append([submitted(run, name="ab"[run % 2], tags=tags, at=10.0 * run)])
    bench.append([RunChanged(3, RunState.RUNNING, 99.0), RunChanged(4, RunState.KILLED, 99.0)])
    for matching, expected in (
        (RunFilter(), [7, 6, 5, 4, 3, 2, 1]),
        (RunFilter(limit=2), [7, 6]),
        (RunFilter(limit=2, before=6), [5, 4]),
        (RunFilter(name="a"), [6, 4, 2]),
        (RunFilter(tags={"odd": "1", "third": "1"}), [7, 1]),
        (RunFilter(tags={"even": "1"}), []),
        (RunFilter(states=[RunState.RUNNING, RunState.KILLED]), [4, 3]),
        (RunFilter(since=30.0, until=50.0), [4, 3]),
        (RunFilter(since=30.0, name="b", tags={"third": "0"}, limit=1), [3]),
    ):
        found = [record.run for record in bench.tracker.runs(matching)]
        require(found == expected, f"runs({matching}) must be {expected}, not {found}")


def _keeps_all_or_none(bench: _Bench) -> None:
    good: list[Entry] = [submitted(1), attempts(1, 1, 5, seed=1)]
    bench.append(good)
    bad: list[Entry] = [Epoch(3, 1.0), attempts(1, 1, 5, seed=2), submitted(2), attempts(9, 1, 1, seed=3)]
    require(bench.is_refused(bad), "entries about a run that was never submitted must be refused")
    for _ in range(2):
        require(bench.tracker.last_epoch() == 0, "an append that raised must keep nothing: no epoch")
        require(bench.tracker.last_run() == 1, "an append that raised must keep nothing: no run")
        require(same_story(story(bench.tracker.history(1).entries), story(good[1:])), "... and no attempts")
        bench.reopen()
    bench.append(bad[:3])
    kept = story(bench.tracker.history(1).entries)
    require(same_story(kept, story([*good[1:], bad[1]])), "after an append that raised the next one must work")


def _keeps_each_entry_once(bench: _Bench) -> None:
    """Whatever was kept by an append that raised comes again, with more behind it."""
    told = NewsItem(1, 1, 2.0, b"{}")
    answer = Generated(1, 2, 3, 1, b"{}", 3.0)
    pieces: list[Sequence[Entry]] = [
        [submitted(1)],
        [attempts(1, 1, 3, seed=1, messages={1: "m"}), moved(1, 1, [(0, 2)])],
        [Epoch(1, 1.0), RunChanged(1, RunState.RUNNING, 1.5)],
        [attempts(1, 1, 1, seed=2)],
        [edited(1, 2), answer, told],
        [attempts(1, 2, 2, seed=3), RunChanged(1, RunState.COMPLETED, 2.5)],
    ]
    given: list[Entry] = []
    for piece in pieces:
        given += piece
        if bench.tries(given):
            given = []
    if given:
        bench.append(given)
    for _ in range(2):
        tracker = bench.tracker
        require(_runs(tracker) == [1], "what an append that raised did not keep must be kept when it comes again")
        kept, expected = story(tracker.history(1).entries), story([entry for piece in pieces for entry in piece])
        require(same_story(kept, expected), "each entry must be kept once, however often append() raised")
        answers = [list(version.generated) for version in tracker.history(1).versions]
        require(answers == [[], [answer]], "each answer must be kept once, however often append() raised")
        require(list(tracker.told(0, 9) or ()) == [told], "what was told must be kept once, however often it raised")
        require(tracker.runs(RunFilter())[0].state is RunState.COMPLETED, "the last state must be kept")
        bench.reopen()


def _recognises_submissions(bench: _Bench) -> None:
    first, later = (
        evolve(submitted(1), key="k", body="b1", at=100.0),
        evolve(submitted(2), key="k", body="b2", at=200.0),
    )
    bench.append([first, later, evolve(submitted(3), at=150.0)])
    for _ in range(2):
        tracker = bench.tracker
        require(tracker.keyed("k", 0.0) == (2, "b2"), "keyed() must give the last submission under a key")
        require(tracker.keyed("k", 200.5) is None, "keyed() must give none that is older than asked for")
        require(tracker.keyed("other", 0.0) is None, "keyed() of an unknown key must be None")
        require(tracker.keyed("", 0.0) is None, "a submission without a key must not be found under the empty one")
        bench.reopen()
    bench.tracker.forget(2)
    found = bench.tracker.keyed("k", 0.0)
    require(found in (None, (1, "b1")), "keyed() must not give a run that was forgotten")


def _keeps_what_was_told(bench: _Bench) -> None:
    told = [NewsItem(number, 1 + number % 2, float(number), b'{"n": %d}' % number) for number in range(1, 21)]
    require(bench.tracker.last_told() == 0, "last_told() of an empty tracker must be 0")
    require(bench.tracker.told(0, 10) == [], "told() of an empty tracker must be empty")
    bench.append([submitted(1), submitted(2), *told[:12]])
    bench.append(told[12:])
    for _ in range(2):
        tracker = bench.tracker
        require(tracker.last_told() == 20, "last_told() must be the highest number appended")
        require(list(tracker.told(0, 100) or ()) == told, "told() must give all of it, ascending")
        require(list(tracker.told(4, 3) or ()) == told[4:7], "told() must give the first after a number")
        of_run = [item for item in told if item.run == 2 and item.number > 7]
        require(list(tracker.told(7, 100, 2) or ()) == of_run, "told() of a run must give that run's only")
        require(tracker.told(20, 10) == [], "told() after the last must be empty")
        bench.reopen()
    bench.tracker.forget(2)
    require(bench.tracker.last_told() == 20, "last_told() must survive the run that it is about")


def _drops_what_was_told_long_ago(bench: _Bench) -> None:
    count = TOLD_KEPT + 5_000
    for first in range(1, count, 5_000):
        bench.append([NewsItem(number, 1, 0.0, b"{}") for number in range(first, first + 5_000)])
    require(bench.tracker.told(0, 1) is None, "told() after a number whose successor was dropped must be None")
    kept = bench.tracker.told(count - TOLD_KEPT, TOLD_KEPT)
    require(kept is not None and len(kept) == TOLD_KEPT, "the last of what was told must be kept")


def _forgets(bench: _Bench) -> None:
    for run in (1, 2, 3):
        bench.append([submitted(run), attempts(run, 1, 40, seed=run, messages={3: "m"}), moved(run, 1, [(0, 1)])])
    bench.tracker.forget(3)
    bench.tracker.forget(1)
    bench.tracker.forget(1)
    bench.append([attempts(1, 1, 3, seed=4), RunChanged(1, RunState.KILLED, 9.0)])  # late news
    for _ in range(2):
        require(_runs(bench.tracker) == [2], "runs() must not list what was forgotten")
        require(bench.tracker.last_run() == 3, "last_run() must remember ids of forgotten runs")
        _require_unknown(bench.tracker, 1)
        kept = story(bench.tracker.history(2).entries)
        expected = story([attempts(2, 1, 40, seed=2, messages={3: "m"}), moved(2, 1, [(0, 1)])])
        require(same_story(kept, expected), "forget() must leave other runs alone")
        bench.reopen()
    bench.append([submitted(4)])
    require(not bench.tracker.history(4).entries, "a run after forgotten ones must begin empty")


def _takes_any_size(bench: _Bench) -> None:
    chunk = attempts(1, 1, 30_000, seed=1, messages={29_999: "last"})

    def part(first: int, last: int) -> Attempts:
        texts = ({n - first: one[n] for n in range(first, last) if n in one} for one in (chunk.messages, chunk.results))
        return Attempts(1, 1, chunk.rows[first:last], *texts)

    bench.append([submitted(1)])
    for first, last in ((0, 1), (1, 2), (2, 5), (5, 1_200), (1_200, 27_000)):
        bench.append([part(first, last)])
    bench.append([*(part(place, place + 1) for place in range(27_000, 29_999)), part(29_999, 30_000)])
    for _ in range(2):
        entries = bench.tracker.history(1).entries
        require(len(entries) <= 100, "history must give attempts in large batches")
        require(same_story(story(entries), story([chunk])), "batches of any size must come back in order")
        bench.reopen()


def _gives_attempt_arrays(bench: _Bench) -> None:
    bench.append([submitted(1), attempts(1, 1, 10, seed=1)])
    for batch in [*bench.tracker.history(1).entries, *bench.tracker.attempts(1, 2, 3)]:
        require(isinstance(batch, Attempts) and batch.rows.dtype == ATTEMPT, "attempts must come as arrays of ATTEMPT")
    records = bench.tracker.runs(RunFilter())
    require(all(isinstance(record, RunRecord) for record in records), "runs() must give RunRecords")


def _runs(tracker: Tracker) -> list[int]:
    return [record.run for record in tracker.runs(RunFilter())]


def _require_unknown(tracker: Tracker, run: int) -> None:
    for ask in (lambda: tracker.history(run), lambda: tracker.attempts(run, 0, 10)):
        try:
            ask()
        except KeyError:
            continue
        raise AssertionError(f"asking for run {run}, which is not there, must raise KeyError")


_CHECKS: Sequence[Callable[[_Bench], None]] = (
    _begins_empty,
    _keeps_each_entry_once,
    _keeps_epochs_and_places,
    _keeps_specs,
    _follows_run_states,
    _keeps_counts,
    _keeps_attempts_in_order,
    _pages_attempts,
    _lists_runs,
    _keeps_the_last_notes,
    _keeps_all_or_none,
    _recognises_submissions,
    _keeps_what_was_told,
    _drops_what_was_told_long_ago,
    _forgets,
    _takes_any_size,
    _gives_attempt_arrays,
)
