"""Entries for tests of trackers: made from few words, and compared whatever batches they come back in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from attrs import frozen

from daggy.tracker import ATTEMPT, Attempts, Entry, Moved, Reason, Rows, State, Submitted

MICROSECOND = 1.001e-6
"""Times that differ by less are the same for a tracker, in seconds."""

_TIMES = ("started", "ended", "cpu")
_NUMBERS = tuple(name for name in ATTEMPT.names or () if name not in _TIMES)


@frozen(eq=False)
class NewsItem:
    """One thing of a run's story: an attempt (`row`, a scalar of ATTEMPT), or a move (`row` is None)."""

    version: int
    row: Rows | None
    text: str  # the attempt's message and result, or all of a move


def submitted(
    run: int, *, name: str = "n", tags: Mapping[str, str] | None = None, at: float = 1.0, spec: bytes = b"{}"
) -> Submitted:
    """Return the submission of a run."""
    return Submitted(run, 1, spec, f"digest {run}", name, tags or {}, at)


def edited(run: int, version: int, *, keep_downstream: bool = False) -> Submitted:
    """Return a new version of a run's spec, with other tags."""
    spec = b'{"version": %d}' % version
    return Submitted(run, version, spec, f"digest {run}.{version}", "n", {"edit": str(version)}, 2.0, keep_downstream)


def attempts(
    run: int, version: int, count: int, *, seed: int, tasks: int = 1000, messages: Mapping[int, str] | None = None
) -> Attempts:
    """Return `count` attempts of tasks 0 to `tasks`, in random columns that a seed determines; each third has a
    result.
    """
    results = {place: f'{{"seed":{seed},"place":{place}}}' for place in range(seed % 3, count, 3)}
    return Attempts(run, version, random_rows(count, seed, tasks), messages or {}, results)


def random_rows(count: int, seed: int, tasks: int = 1000) -> Rows:
    """Return an array of ATTEMPT: half of it plain successes, half with anything in every column."""
    random = np.random.default_rng(seed)
    rows = np.zeros(count, ATTEMPT)
    for name in _NUMBERS:
        kind = ATTEMPT[name]
        limits = np.iinfo(kind)
        top = min(int(limits.max), 2**52)
        rows[name] = random.integers(int(limits.min), top, count, endpoint=True).astype(kind)
    rows["index"] = random.integers(0, tasks, count)
    rows["reason"] = random.integers(0, len(Reason), count)
    rows["outcome"] = random.choice([State.QUEUED, State.COMPLETED, State.ERRORED, State.KILLED], count)
    plain = random.random(count) < 0.5
    for name in ("code", "reason", "failures", "crashes", "flags", "stderr"):
        rows[name][plain] = 0
    rows["attempt"][plain] = 1
    rows["outcome"][plain] = State.COMPLETED
    rows["ended"] = 1.7e9 + np.cumsum(random.integers(0, 10**7, count)) * 1e-6
    rows["started"] = np.where(random.random(count) < 0.9, rows["ended"] - random.integers(0, 10**9, count) * 1e-6, 0.0)
    rows["cpu"] = random.integers(0, 10**7, count) * 1e-6
    return rows


def moved(
    run: int, version: int, ranges: Sequence[tuple[int, int]], *, cause: str = "requeued", actor: str = ""
) -> Moved:
    """Return tasks that went back to waiting, the first of each range while it was in flight."""
    indexes = np.array(ranges, np.int64).reshape(-1, 2)
    flying = np.stack([indexes[:, 0], np.full(len(indexes), 7)], axis=1)
    return Moved(run, version, State.WAITING, indexes, cause, actor, 5.0, flying)


def counts(**some: int) -> dict[str, int]:
    """Return counts of tasks by state: these, and zero of all others."""
    return {state.name.lower(): some.get(state.name.lower(), 0) for state in State}


def story(entries: Iterable[Entry]) -> list[NewsItem]:
    """Return the attempts and moves among entries, one by one, so that batches do not matter."""
    told: list[NewsItem] = []
    for entry in entries:
        if isinstance(entry, Attempts):
            told += [
                NewsItem(entry.version, row, f"{entry.messages.get(place)} {entry.results.get(place)}")
                for place, row in enumerate(entry.rows)
            ]
        elif isinstance(entry, Moved):
            moved = f"{int(entry.state)} {entry.ranges.tolist()} {entry.flying.tolist()}"
            told.append(NewsItem(entry.version, None, f"{moved} {entry.cause!r} {entry.actor!r} {entry.at}"))
    return told


def same_story(one: Sequence[NewsItem], other: Sequence[NewsItem]) -> bool:
    """Return whether two stories are the same: numbers exactly, times to the microsecond."""
    if [_outline(told) for told in one] != [_outline(told) for told in other]:
        return False
    return same_rows(_rows(one), _rows(other))


def same_rows(one: Rows, other: Rows) -> bool:
    """Return whether two arrays of ATTEMPT are the same: numbers exactly, times to the microsecond."""
    return (
        len(one) == len(other)
        and all(np.array_equal(one[name], other[name]) for name in _NUMBERS)
        and all(np.allclose(one[name], other[name], rtol=1e-7, atol=MICROSECOND) for name in ("cpu",))
        and all(np.allclose(one[name], other[name], rtol=0, atol=MICROSECOND) for name in ("started", "ended"))
    )


def require(holds: bool, message: str) -> None:
    """Raise AssertionError with the message unless something holds."""
    if not holds:
        raise AssertionError(message)


def _outline(told: NewsItem) -> tuple[int, bool, str]:
    return told.version, told.row is None, told.text


def _rows(told: Sequence[NewsItem]) -> Rows:
    rows = np.zeros(sum(one.row is not None for one in told), ATTEMPT)
    for place, row in enumerate(one.row for one in told if one.row is not None):
        rows[place] = row
    return rows
