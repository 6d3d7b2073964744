"""Which machines of a pool may have room for a kind of tasks: full ones cost nothing until something changes there.

Two ways to use it: `of` and `close` for who takes the first machine that has room, `free` for who takes that with the
most.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Hashable, Mapping

from attrs import define, field


@define(eq=False)
class Rooms:
    """For each kind of tasks the positions of machines that may have room, in order.

    A kind takes in what has changed when it is asked for, so a change costs the same however many kinds there are.
    """

    _count: int = 0
    _changed: list[int] = field(factory=list)
    _open: dict[Hashable, list[int]] = field(factory=dict)
    _free: dict[Hashable, dict[int, int]] = field(factory=dict)
    _heard: dict[Hashable, int] = field(factory=dict)
    _asked: int = 0  # of `_changed`, at the last time that anybody asked

    def reset(self, count: int) -> None:
        """Begin again with so many machines, each of which may have room for anything."""
        self._count = count
        self._changed.clear()
        self._asked = 0
        self._open.clear()
        self._free.clear()
        self._heard.clear()

    def change(self, position: int) -> None:
        """Take note that something was handed out, started or ended on a machine."""
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

    def free(self, kind: Hashable, fits: Callable[[int], int]) -> Mapping[int, int]:
        """Return the machines that have room, and for how many tasks; `fits` says so of one where something changed."""
        found = self._free.get(kind)
        changed = range(self._count) if found is None else set(self._changed[self._heard[kind] :])
        found = self._free.setdefault(kind, {})
        for position in changed:
            if room := fits(position):
                found[position] = room
            else:
                found.pop(position, None)
        self._heard[kind] = self._asked = len(self._changed)
        return found


def spread(rooms: Mapping[int, int], tasks: int) -> dict[int, int]:
    """Return how many of so many tasks each machine gets, if each goes where there is most room at that moment.

    Args:
        rooms: For how many tasks there is room, by machine.
        tasks: How many there are; those beyond all room are left out.
    """
    if tasks == 1 and rooms:
        return {max(rooms, key=rooms.__getitem__): 1}
    ordered = sorted(rooms, key=rooms.__getitem__, reverse=True)
    tasks = min(tasks, sum(rooms.values()))
    total = count = 0
    for count, position in enumerate(ordered, 1):  # until these can take all without being fuller than the rest
        total += rooms[position]
        if total - count * (rooms[ordered[count]] if count < len(ordered) else 0) >= tasks:
            break
    level = (total - tasks) // count if count else 0
    given = {position: rooms[position] - level for position in ordered[:count]}
    for position in ordered[count - (sum(given.values()) - tasks) : count]:
        given[position] -= 1
    return {position: number for position, number in given.items() if number}
