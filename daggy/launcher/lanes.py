"""Who runs how much of a lane: the widths that the engine asks for, shared among launchers, never exceeded in sum."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence

from attrs import define, field

from daggy.executor import Launch, Launches
from daggy.launcher.frames import Key

AHEAD = 0.1
"""Seconds of work that wait at a launcher beyond what it runs."""
MOST_AHEAD = 64
UNKNOWN = 0.01
"""Seconds that a task of a lane is thought to take until one has ended."""

Waiting = tuple[Launches, Launch]


@define
class Quota:
    """One launcher's part of a lane.

    Args:
        width: How many it may run at once, as it was last sent.
        most: The most that it may be running: above `width` while it has not heard, or has not yet ended enough.
        out: Tasks sent to it and not come back.
        settled: Whether it has confirmed a lowered width.
    """

    width: int = 0
    most: int = 0
    out: int = 0
    settled: bool = True


@define
class Lane:
    """Tasks of the same needs in their order, and the launchers' quotas of the width.

    Args:
        number: The engine's number for it.
        width: The most that may run at once, all launchers together.
        asked: What the engine asked for: with it, what launchers run that outlived an earlier executor.
        waiting: Not yet sent to any launcher, first come first.
        suspects: Those of them that each wait for a launcher of their own.
        apart: How much of the width is kept for launchers of one suspect.
        is_reserving: Whether the last of that may still be in use elsewhere.
        quotas: By launcher's number.
        pace: Seconds that a task takes, a moving mean.
        epoch: Of the last batch.
    """

    number: int
    width: int = 0
    asked: int = 0
    waiting: OrderedDict[Key, Waiting] = field(factory=OrderedDict)
    suspects: OrderedDict[Key, Waiting] = field(factory=OrderedDict)
    apart: int = 0
    is_reserving: bool = False
    quotas: dict[int, Quota] = field(factory=dict)
    pace: float = UNKNOWN
    epoch: int = 0

    def targets(self, launchers: Sequence[int]) -> dict[int, int]:
        """Return the even division of the width; the odd ones go to other launchers in other lanes."""
        count = len(launchers)
        whole, odd = divmod(self.width, count)
        return {
            launcher: whole + ((position - self.number) % count < odd) for position, launcher in enumerate(launchers)
        }

    def divide(self, launchers: Sequence[int]) -> list[tuple[int, int]]:
        """Move the quotas towards an even division; return those that changed: (launcher, width).

        What is taken from one launcher is given to another only when the first can no longer be using it.
        """
        changed = []
        targets = self.targets(launchers)
        for launcher, target in targets.items():
            quota = self.quotas.setdefault(launcher, Quota())
            if target < quota.width:
                quota.width, quota.settled = target, False
                changed.append((launcher, target))
        spare = self.width - sum(quota.most for quota in self.quotas.values())
        for launcher, target in targets.items():
            quota = self.quotas[launcher]
            # what it may still be running beyond its width is already counted
            grown = min(target, max(quota.width, quota.most) + max(spare, 0))
            if quota.settled and grown > quota.width:
                spare -= max(0, grown - quota.most)
                quota.width, quota.most = grown, max(grown, quota.most)
                changed.append((launcher, grown))
        return changed

    def narrowed(self, launcher: int, width: int, running: int) -> None:
        """Take in that a launcher has heard of its lower width while so many ran there."""
        quota = self.quotas[launcher]
        if width == quota.width:
            quota.settled = True
            quota.most = max(width, running)

    def ended(self, launcher: int) -> bool:
        """Take in that a task ended there; return whether that frees a part of the width for others."""
        quota = self.quotas[launcher]
        quota.out -= 1
        if quota.settled and quota.most > quota.width:
            quota.most -= 1
            return True
        return False

    def paced(self, seconds: float) -> None:
        """Take in how long a task took."""
        self.pace += 0.2 * (max(seconds, 0.0) - self.pace)

    @property
    def ahead(self) -> int:
        """How many tasks should wait at each launcher for a slot there."""
        return min(MOST_AHEAD, int(AHEAD / max(self.pace, 1e-6)))

    def take(self, count: int) -> Iterable[tuple[Launches, list[Launch], list[Key]]]:
        """Take the first `count` waiting ones, in runs of one batch each."""
        batch: Launches | None = None
        launches: list[Launch] = []
        keys: list[Key] = []
        for _ in range(min(count, len(self.waiting))):
            key, (source, launch) = self.waiting.popitem(last=False)
            if batch is not None and source is not batch:
                yield batch, launches, keys
                launches, keys = [], []
            batch = source
            launches.append(launch)
            keys.append(key)
        if batch is not None:
            yield batch, launches, keys

    def give_back(self, returned: Iterable[tuple[Key, Waiting]]) -> None:
        """Put tasks, in their order, back before those that wait."""
        for key, waiting in reversed(list(returned)):
            self.waiting[key] = waiting
            self.waiting.move_to_end(key, last=False)
