"""Which machines of a pool may have room for a kind of tasks: full ones cost nothing until something changes there."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Hashable

from attrs import define, field


@define(eq=False)
class Rooms:
    """For each kind of tasks the positions of machines that may have room, in order.

    A kind takes in what has changed when it is asked for, so a change costs the same however many kinds there are.
    """

    _count: int = 0
    _changed: list[int] = field(factory=list)
    _open: dict[Hashable, list[int]] = field(factory=dict)
    _heard: dict[Hashable, int] = field(factory=dict)
    _asked: int = 0  # of `_changed`, at the last time that anybody asked

    def reset(self, count: int) -> None:
        """Begin again with so many machines, each of which may have room for anything."""
        self._count = count
        self._changed.clear()
        self._asked = 0
        self._open.clear()
        self._heard.clear()

    def change(self, position: int) -> None:
        """Take note that something started or ended on a machine."""
        if len(self._changed) > self._asked and self._changed[-1] == position:
            return
        if len(self._changed) > 1000 + 4 * self._count:  # kinds that are never asked for keep it long
            self.reset(self._count)
        self._changed.append(position)

    def of(self, kind: Hashable, start: int = 0) -> list[int]:
        """Return the machines that may have room: first those from `start`, then those before it."""
        found = self._open.get(kind)
        if found is None:
            found = self._open[kind] = list(range(self._count))
        elif (heard := self._heard[kind]) < len(self._changed):
            for position in set(self._changed[heard:]):
                at = bisect_left(found, position)
                if at == len(found) or found[at] != position:
                    found.insert(at, position)
        self._heard[kind] = self._asked = len(self._changed)
        at = bisect_left(found, start)
        return found[at:] + found[:at]

    def close(self, kind: Hashable, position: int) -> None:
        """Leave out a machine that has no room, until something changes there."""
        found = self._open[kind]
        at = bisect_left(found, position)
        if at < len(found) and found[at] == position:
            del found[at]
