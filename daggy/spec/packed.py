"""Specs of millions of entries as a few arrays: templates, names and values that are made when somebody asks.

What is read in one process is handed to another without making an object for each task there: the bytes in which the
entries were written, and where each begins, are all there is.
"""

from __future__ import annotations

import pickle
import sys
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import blake2b
from itertools import repeat
from operator import attrgetter, is_
from typing import overload

import numpy as np
from attrs import field, frozen
from msgspec import UNSET
from numpy.typing import NDArray

from daggy.spec.details import Given
from daggy.spec.fast import Written, plain_details, read_plain
from daggy.spec.model import Dependency, Draft, Policy, RunSpec, Template, Templating, Value, freeze
from daggy.spec.numbers import Number
from daggy.spec.parameters import ListValues

PIECE = 4096
"""Texts that are compared in one step."""

_WIDTH = 8
"""Bytes of a name's hash."""

_NUMBER_KINDS = (str, int, Number)
"""What a packed value is, by its kind."""

_details = attrgetter("_details")  # the bytes in which they are written, not what they mean
_given = attrgetter("parents", "children", "parameters", "uses", "templating", "description", "spellings")


@frozen(eq=False)
class Texts:
    """Many byte strings end to end.

    Args:
        blob: All of them, uint8.
        bounds: Where each begins, and where the last one ends: uint32 or uint64, one more than there are.
    """

    blob: NDArray[np.uint8]
    bounds: NDArray[np.unsignedinteger]
    # Views of the same memory that give plain bytes and ints: several times faster than numpy for one text at a time.
    _blob: memoryview = field(init=False, repr=False)
    _bounds: memoryview = field(init=False, repr=False)

    @_blob.default
    def _view_blob(self) -> memoryview:
        return self.blob.data

    @_bounds.default
    def _view_bounds(self) -> memoryview:
        return self.bounds.data

    @classmethod
    def of(cls, parts: Sequence[bytes]) -> Texts:
        """Return these, end to end."""
        lengths = np.fromiter(map(len, parts), np.uint64, len(parts))
        bounds = np.zeros(len(parts) + 1, np.uint64)
        np.cumsum(lengths, out=bounds[1:])
        small = bounds[-1] < 1 << 32
        return cls(np.frombuffer(b"".join(parts), np.uint8), bounds.astype(np.uint32) if small else bounds)

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._bounds) - 1

    def __getitem__(self, place: int) -> bytes:
        """Return one, by its place from 0 on."""
        bounds = self._bounds
        return self._blob[bounds[place] : bounds[place + 1]].tobytes()

    def __iter__(self) -> Iterator[bytes]:
        """Iterate over all."""
        return map(self.__getitem__, range(len(self)))

    def same(self, places: NDArray[np.int64], other: Texts, others: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return which of these texts equal those of another, pair by pair."""
        found = np.zeros(len(places), np.bool_)
        for start in range(0, len(places), PIECE):
            piece = slice(start, start + PIECE)
            found[piece] = _same(self, places[piece], other, others[piece])
        return found


def _same(one: Texts, places: NDArray[np.int64], other: Texts, others: NDArray[np.int64]) -> NDArray[np.bool_]:
    begin, at = one.bounds[places].astype(np.int64), other.bounds[others].astype(np.int64)
    lengths = one.bounds[places + 1].astype(np.int64) - begin
    alike: NDArray[np.bool_] = lengths == other.bounds[others + 1].astype(np.int64) - at
    if alike.all() and _in_a_row(places) and _in_a_row(others):  # most texts of two versions stand in the same order
        size = int(lengths.sum())
        if np.array_equal(one.blob[begin[0] : begin[0] + size], other.blob[at[0] : at[0] + size]):
            return alike
    for place in np.flatnonzero(alike).tolist():
        size = int(lengths[place])
        mine, theirs = int(begin[place]), int(at[place])
        alike[place] = one._blob[mine : mine + size] == other._blob[theirs : theirs + size]  # noqa: SLF001  # its own class
    return alike


def _in_a_row(places: NDArray[np.int64]) -> bool:
    return bool((np.diff(places) == 1).all())


@frozen(eq=False)
class PackedNames(Mapping[str, int]):
    """Row by name.

    Args:
        texts: Names by row, UTF-8, all different.
        order: Rows in the order of their names' hashes.
        hashes: Those hashes, ascending, uint64.
    """

    texts: Texts
    order: NDArray[np.uint32]
    hashes: NDArray[np.uint64]
    _order: memoryview = field(init=False, repr=False)
    _hashes: memoryview = field(init=False, repr=False)

    @_order.default
    def _view_order(self) -> memoryview:
        return self.order.data

    @_hashes.default
    def _view_hashes(self) -> memoryview:
        return self.hashes.data

    @classmethod
    def of(cls, names: Iterable[str]) -> PackedNames:
        """Return the rows of these names, which are all different."""
        parts = [name.encode() for name in names]
        hashes = np.frombuffer(b"".join([blake2b(part, digest_size=_WIDTH).digest() for part in parts]), np.uint64)
        order = np.argsort(hashes, kind="stable").astype(np.uint32)
        return cls(Texts.of(parts), order, hashes[order])

    def __len__(self) -> int:
        """Return how many names there are."""
        return len(self.order)

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names, by row."""
        return map(bytes.decode, self.texts)

    def __getitem__(self, name: str) -> int:
        """Return the row of a name.

        Raises:
            KeyError: there is none.
        """
        row = self.find(name)
        if row < 0:
            raise KeyError(name)
        return row

    def find(self, name: str) -> int:
        """Return the row of a name, or -1."""
        try:
            written = name.encode()
        except UnicodeEncodeError:
            return -1
        wanted = int.from_bytes(blake2b(written, digest_size=_WIDTH).digest(), sys.byteorder)
        hashes, order = self._hashes, self._order
        place = bisect_left(hashes, wanted)
        while place < len(hashes) and hashes[place] == wanted:
            row: int = order[place]
            if self.texts[row] == written:
                return row
            place += 1
        return -1

    def rows_of(self, other: PackedNames) -> NDArray[np.int64]:
        """Return for each row of another the row of the same name here, or -1."""
        places = np.searchsorted(self.hashes, other.hashes)
        places[places == len(self)] = 0
        near = np.flatnonzero(self.hashes[places] == other.hashes) if len(self) else np.zeros(0, np.int64)
        theirs = other.order[near].astype(np.int64)
        mine = self.order[places[near]].astype(np.int64)
        by_row = np.argsort(theirs)
        theirs, mine = theirs[by_row], mine[by_row]
        for place in np.flatnonzero(~self.texts.same(mine, other.texts, theirs)).tolist():  # two names, one hash
            mine[place] = self.find(other.texts[int(theirs[place])].decode())
        rows = np.full(len(other), -1, np.int64)
        rows[theirs] = mine
        return rows


def rows_by_name(names: Mapping[str, int], others: Mapping[str, int]) -> NDArray[np.int64]:
    """Return for each of these names, in their order, its row among the others, or -1."""
    if isinstance(names, PackedNames) and isinstance(others, PackedNames):
        return others.rows_of(names)
    return np.fromiter((others.get(name, -1) for name in names), np.int64, len(names))


@frozen(eq=False)
class PackedTemplates(Sequence[Template]):
    """Templates without parameters. Each call for one makes it anew.

    Args:
        names: By row, UTF-8.
        entries: As they were written, JSON; where `unusual`, what `_pack` makes of them.
        unusual: Which rows needed a closer look when the spec was read; None: none of them.
        policies: The distinct ones.
        policy_of: Position in `policies` by row; None if there is one policy.
        inherited: What `defaults` says of `details`.
        described: What `defaults` says as `description`.
        templating: Of all that are not unusual.
    """

    names: Texts
    entries: Texts
    unusual: NDArray[np.bool_] | None
    policies: tuple[Policy, ...]
    policy_of: NDArray[np.unsignedinteger] | None
    inherited: Given
    described: str
    templating: Templating

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
    """Values of one parameter that were written out, very many of them.

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
