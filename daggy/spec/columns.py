"""Collects plain tasks as columns: for each of a million there is what was written, and nothing is made of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from attrs import define, field
from numpy.typing import NDArray

from daggy.spec.details import Given
from daggy.spec.fast import PlainTask, read_plain
from daggy.spec.model import Policy, Templating
from daggy.spec.packed import Links, PackedTemplates
from daggy.spec.texts import Texts

_AT_ONCE = 4096


@define(eq=False)
class Columns:
    """Valid plain tasks, in the order in which they are written.

    Args:
        links: Their names, and whom they name.
        entries: As they are written.
        policies: Theirs, equal ones mostly one object.
    """

    links: Links = field(factory=lambda: Links([], [], []))
    entries: list[bytes] = field(factory=list)
    policies: list[Policy] = field(factory=list)

    def add(
        self, names: Sequence[str], entries: Sequence[bytes], tasks: Sequence[PlainTask], policies: Sequence[Policy]
    ) -> None:
        """Add tasks at the end."""
        self.links.names.extend(names)
        self.links.parents.extend([task.parents or () for task in tasks])
        self.links.children.extend([task.children or () for task in tasks])
        self.entries.extend(entries)
        self.policies.extend(policies)

    def read_again(self) -> Iterator[tuple[list[str], list[bytes], list[PlainTask], list[Policy]]]:
        """Yield the tasks as they were added, some thousand at a time."""
        for first in range(0, len(self.entries), _AT_ONCE):
            some = slice(first, first + _AT_ONCE)
            entries = self.entries[some]
            yield self.links.names[some], entries, [*map(read_plain, entries)], self.policies[some]

    def packed(self, inherited: Given, described: str, templating: Templating) -> PackedTemplates:
        """Return templates that are made on demand.

        Args:
            inherited: The `details` of `defaults`.
            described: The `description` of `defaults`.
            templating: How their strings become those of tasks.
        """
        names = Texts.of([name.encode() for name in self.links.names])
        policies, policy_of = number_policies(self.policies)
        return PackedTemplates(
            names, Texts.of(self.entries), None, policies, policy_of, inherited, described, templating, self.links
        )


def number_policies(
    given: Sequence[Policy],
) -> tuple[tuple[Policy, ...], NDArray[np.uint16] | NDArray[np.uint32] | None]:
    """Return the distinct policies and, if there are several, the position of each in them.

    Equal policies are mostly one object, so they are compared by identity first: hashing is slow.
    """
    objects = dict(zip(map(id, given), given, strict=True))
    places: dict[Policy, int] = {}
    place_of = {key: places.setdefault(policy, len(places)) for key, policy in objects.items()}
    if len(places) == 1:
        return tuple(places), None
    numbers = [place_of[id(policy)] for policy in given]
    few = len(places) <= 1 << 16
    return tuple(places), np.array(numbers, dtype=np.uint16) if few else np.array(numbers, dtype=np.uint32)
