"""The numbers under which attempts keep where they ran: one for each machine of each pool, for ever."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from attrs import define, field
from numpy.typing import NDArray

from daggy.attempt import REPORT, Rows
from daggy.tracker import Place


@define(eq=False)
class Places:
    """Places, and what the executors' own numbers of machines mean.

    Args:
        numbers: By pool and host; from 1.
        give: Has a new place kept.
    """

    numbers: dict[tuple[str, str], int]
    give: Callable[[Place], object]
    _hosts: dict[int, str] = field(factory=dict)
    _tables: dict[str, NDArray[np.uint16]] = field(factory=dict)

    @classmethod
    def of(cls, kept: Mapping[int, tuple[str, str]], give: Callable[[Place], object]) -> Places:
        """Return the places that a tracker keeps."""
        hosts = {number: host for number, (_, host) in kept.items()}
        return cls({place: number for number, place in kept.items()}, give, hosts)

    def number(self, pool: str, host: str) -> int:
        """Return the number of a machine, a new one if it has none."""
        number = self.numbers.get((pool, host))
        if number is None:
            number = self.numbers[pool, host] = len(self.numbers) + 1
            self._hosts[number] = host
            self.give(Place(number, pool, host))
        return number

    def host(self, number: int) -> str:
        """Return the name of a machine."""
        return self._hosts[number]

    def begin(self, pool: str) -> None:
        """Forget the machines that a pool's executor has named: another one is at work."""
        self._tables.pop(pool, None)

    def placed(self, pool: str, machines: Callable[[], Sequence[str]], rows: Rows) -> Rows:
        """Return an executor's reports, as an array of their own, with the numbers of places in them.

        The executor's array stays as it is: it may report the same again.

        Args:
            pool: Whose executor.
            machines: Gives the names of the machines that it has named so far.
            rows: Array of REPORT.

        Raises:
            ValueError: a report is from a machine that the executor has not named.
        """
        rows = np.frombuffer(bytearray(rows.tobytes()), REPORT)  # far cheaper than copying field by field
        if not len(rows):
            return rows
        place = rows["row"]["place"]
        table = self._tables.get(pool)
        most = int(place.max())
        if table is None or most >= len(table):
            table = np.array([self.number(pool, name) for name in machines()], np.uint16)
            self._tables[pool] = table
        if most >= len(table):
            raise ValueError(f"a report has place {most}, and the executor has named {len(table)} machines")
        rows["row"]["place"] = table[place]
        return rows
