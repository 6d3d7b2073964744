"""Specs of millions of entries as a few arrays: templates, names and values are made on demand.

A spec read in one process is handed to another without making an object for each task there: it consists of the bytes
of the entries, and where each begins.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import repeat
from operator import attrgetter, is_
from typing import overload

import numpy as np
from attrs import evolve, frozen
from msgspec import UNSET
from numpy.typing import NDArray

from daggy.spec.details import Given
from daggy.spec.fast import Written, plain_details, read_plain
from daggy.spec.model import Dependency, Draft, Policy, RunSpec, Template, Templating, Value, freeze
from daggy.spec.numbers import Number
from daggy.spec.parameters import ListValues
from daggy.spec.texts import PackedNames, Texts

_NUMBER_KINDS = (str, int, Number)
"""What a packed value is, by its kind."""

LARGE = 4096
"""Templates without parameters from which on they are packed."""

_details = attrgetter("_details")  # the bytes in which they are written, not what they mean
_given = attrgetter(
    "parents", "children", "parameters", "uses", "templating", "description", "spellings", "exclude", "inputs"
)


@frozen(eq=False)
class Links:
    """What templates are called and whom they name, as it was read: to make a plan of, without making the templates.

    Args:
        names: By row.
        parents: By row, the tasks named in `parents`.
        children: By row, the tasks named in `children`.
    """

    names: list[str]
    parents: list[Sequence[str]]
    children: list[Sequence[str]]


@frozen(eq=False)
class PackedTemplates(Sequence[Template]):
    """Templates without parameters. Each call for one makes it anew.

    Args:
        names: By row, UTF-8.
        entries: As they were written, JSON; where `unusual`, what `_pack` makes of them.
        unusual: Which rows needed a closer look when the spec was read; None: none of them.
        policies: The distinct ones.
        policy_of: Position in `policies` by row; None if there is one policy.
        inherited: The `details` of `defaults`.
        described: The `description` of `defaults`.
        templating: Of all that are not unusual.
        links: Of templates that have just been read; None of those that came from another process.
        has_inputs: Whether any of them has inputs.
    """

    names: Texts
    entries: Texts
    unusual: NDArray[np.bool_] | None
    policies: tuple[Policy, ...]
    policy_of: NDArray[np.unsignedinteger] | None
    inherited: Given
    described: str
    templating: Templating
    links: Links | None = None
    has_inputs: bool = False

    @overload
    def __getitem__(self, row: int) -> Template: ...

    @overload
    def __getitem__(self, row: slice) -> Sequence[Template]: ...

    def __getitem__(self, row: int | slice) -> Template | Sequence[Template]:
        """Return the template of a row, or those of some."""
        if isinstance(row, slice):
            return [self[one] for one in range(*row.indices(len(self)))]
        if row < 0:
            row += len(self)
        name = self.names[row].decode()
        policy = self.policies[0 if self.policy_of is None else int(self.policy_of[row])]
        if self.unusual is not None and self.unusual[row]:
            details, given = pickle.loads(self.entries[row])  # noqa: S301  # made by `_pack`, here or in our own child
            return freeze(Draft(name, details, policy, *given))
        return self._plain(name, self.entries[row], policy)

    def __iter__(self) -> Iterator[Template]:
        """Iterate over the templates."""
        return map(self.__getitem__, range(len(self)))

    def name(self, row: int) -> str:
        """Return the name of one, without making it."""
        return self.names[row].decode()

    def _plain(self, name: str, entry: bytes, policy: Policy) -> Template:
        task = read_plain(entry)
        return freeze(
            Draft(
                name,
                plain_details(task, self.inherited),
                policy,
                tuple(map(Dependency, task.parents)) if task.parents else (),
                tuple(map(Dependency, task.children)) if task.children else (),
                templating=self.templating,
                description=self.described if task.description is UNSET else task.description,
            )
        )

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self.names)

    def __eq__(self, other: object) -> bool:
        """Return whether another sequence has the same templates, packed or not."""
        return _same_templates(self, other)

    __hash__ = None  # type: ignore[assignment]  # as a list

    def alike(self, rows: NDArray[np.int64], other: PackedTemplates, others: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return which templates are written byte by byte as those of another spec, pair by pair."""
        same = self.entries.same(rows, other.entries, others)
        for flags, chosen in ((self.unusual, rows), (other.unusual, others)):
            if flags is not None:
                same &= ~flags[chosen]
        return same


def _same_templates(mine: Sequence[Template], theirs: object) -> bool:
    if mine is theirs:
        return True
    if not isinstance(theirs, Sequence) or len(mine) != len(theirs):
        return NotImplemented if not isinstance(theirs, Sequence) else False
    return all(one == other for one, other in zip(mine, theirs, strict=True))


def has_inputs(templates: Sequence[Template]) -> bool:
    """Return whether any template has inputs; packed ones are not made for that."""
    if isinstance(templates, PackedTemplates):
        return templates.has_inputs
    return any(map(attrgetter("inputs"), templates))


def names_of(templates: Sequence[Template]) -> Iterable[str]:
    """Return the names of templates; packed ones are not made for that."""
    if isinstance(templates, PackedTemplates):
        return templates.links.names if templates.links else map(bytes.decode, templates.names)
    return map(attrgetter("name"), templates)


def pack_templates(
    templates: Sequence[Template],
    names: Texts,
    spec: RunSpec,
    policies: tuple[Policy, ...],
    policy_of: NDArray[np.unsignedinteger] | None,
) -> PackedTemplates:
    """Return templates without parameters, packed.

    Args:
        templates: As they were read.
        names: Theirs.
        spec: What they are of.
        policies: The distinct ones.
        policy_of: Position in `policies` by template; None if there is one policy.
    """
    if isinstance(templates, PackedTemplates):
        return evolve(templates, links=None)
    written = list(map(_details, templates))
    is_plain = np.fromiter(map(is_, map(type, written), repeat(Written)), np.bool_, len(written))
    first = int(is_plain.argmax())
    plain = written[first] if is_plain[first] else Written(b"", {})
    entries = [
        one.raw if flag else _pack(row) for one, flag, row in zip(written, is_plain.tolist(), templates, strict=True)
    ]
    return PackedTemplates(
        names,
        Texts.of(entries),
        None if is_plain.all() else ~is_plain,
        policies,
        policy_of,
        plain.inherited,
        str(spec.defaults.task.get("description", "")),
        templates[first].templating,
        has_inputs=has_inputs(templates),
    )


def _pack(template: Template) -> bytes:
    given = [dict(one) if isinstance(one, Mapping) else one for one in _given(template)]
    return pickle.dumps((_details(template), given), pickle.HIGHEST_PROTOCOL)


@frozen(eq=False)
class MergedTemplates(Sequence[Template]):
    """The templates of a spec of which only those without parameters are packed.

    Args:
        packed: Those, by row.
        others: Those with parameters.
        places: By position in the spec: a row of `packed`, or -1 less a position in `others`.
    """

    packed: PackedTemplates
    others: tuple[Template, ...]
    places: NDArray[np.int64]

    @overload
    def __getitem__(self, position: int) -> Template: ...

    @overload
    def __getitem__(self, position: slice) -> Sequence[Template]: ...

    def __getitem__(self, position: int | slice) -> Template | Sequence[Template]:
        """Return one template, or some."""
        if isinstance(position, slice):
            return [self[one] for one in range(*position.indices(len(self)))]
        place = int(self.places[position])
        return self.packed[place] if place >= 0 else self.others[-1 - place]

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self.places)

    def __eq__(self, other: object) -> bool:
        """Return whether another sequence has the same templates, packed or not."""
        return _same_templates(self, other)

    __hash__ = None  # type: ignore[assignment]  # as a list


def merge_templates(
    packed: PackedTemplates, others: Sequence[Template], templates: Sequence[Template]
) -> MergedTemplates:
    """Return templates, those that are not among `others` packed; both in the order in which they stand there."""
    apart = {id(template) for template in others}
    is_packed = np.fromiter((id(template) not in apart for template in templates), np.bool_, len(templates))
    places = np.where(is_packed, np.cumsum(is_packed) - 1, np.int64(0) - np.cumsum(~is_packed))
    return MergedTemplates(packed, tuple(others), places)


@frozen(eq=False)
class PackedValues:
    """Very many written-out values of one parameter.

    Args:
        names: Position by text.
        kinds: What each is, a position in (str, int, Number): uint8; None if all are strings.
    """

    names: PackedNames
    kinds: NDArray[np.uint8] | None

    @classmethod
    def of(cls, values: ListValues) -> PackedValues:
        """Return the same values, packed."""
        kinds = np.fromiter((_NUMBER_KINDS.index(type(value)) for value in values.values), np.uint8, len(values))
        return cls(PackedNames.of(values.texts()), kinds if kinds.any() else None)

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self.names)

    def __eq__(self, other: object) -> bool:
        """Return whether others are the same, packed or not."""
        if isinstance(other, PackedValues):
            mine, theirs, rows = self.kinds, other.kinds, np.arange(len(self))
            if len(self) != len(other) or (mine is None) is not (theirs is None):
                return False
            kinds_equal = mine is None or theirs is None or bool((mine == theirs).all())
            return kinds_equal and bool(self.names.texts.same(rows, other.names.texts, rows).all())
        if isinstance(other, ListValues):
            return len(self) == len(other) and all(map(self._is, range(len(self)), other.values))
        return NotImplemented

    __hash__ = None  # type: ignore[assignment]  # too many

    def _is(self, position: int, value: Value) -> bool:
        return self.value(position) == value

    def value(self, position: int) -> Value:
        """Return one value, as templates see it."""
        text = self.text(position)
        return text if self.kinds is None else _NUMBER_KINDS[int(self.kinds[position])](text)

    def text(self, position: int) -> str:
        """Return one value's text."""
        return self.names.texts[range(len(self))[position]].decode()

    def texts(self) -> Sequence[str]:
        """Return all texts, written out at each call."""
        return list(self.names)

    def find(self, text: str) -> int:
        """Return the position of the value with this text, or -1."""
        return self.names.find(text)
