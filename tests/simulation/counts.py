"""Whether the counts that are kept of runs are those that they have when they are read back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from daggy.run.replay import replay
from daggy.run.states import Now
from daggy.tracker import RunFilter, Tracker


def miscounted(tracker: Tracker) -> Iterator[str]:
    """Say of which runs the counts that are kept are not those that they have when they are read back.

    A task in flight that is to run again counts as queued until it lands; read back, it may wait for its parents.
    """
    for record in tracker.runs(RunFilter()):
        there = replay(record, tracker.history(record.run), 0, Now(0.0, 0.0)).counts()
        if record.counts is not None and _begun_apart(record.counts) != _begun_apart(there):
            yield f"counted: run {record.run} is kept with {record.counts}, and is {there}"


def _begun_apart(counts: Mapping[str, int]) -> dict[str, int]:
    """Return counts with what waits and what is queued as one."""
    rest = {state: count for state, count in counts.items() if state not in ("waiting", "queued")}
    return {**rest, "to do": counts["waiting"] + counts["queued"]}
