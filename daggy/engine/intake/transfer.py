"""Transfers values from one process to another, and arrays without copying, in memory that both map.

Values are pickled, so a transfer is opened only by whoever started the process that packed it: nobody else can write to
that memory, which has no name. Each piece is small enough to be unpacked between two turns of a loop; large arrays
stay where the other process wrote them and are mapped, not copied. Nothing is made that a collector of cycles would
walk over for long.
"""

from __future__ import annotations

import io
import mmap
import os
import pickle
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import attrs
import numpy as np
from attrs import define

from daggy.errors import InternalError
from daggy.plan import Plan
from daggy.spec.packed import LARGE, PackedValues, merge_templates, pack_templates
from daggy.spec.parameters import ListValues
from daggy.spec.texts import PackedNames

MAPPED = 4096
"""Bytes from which an array is mapped, and values of one parameter from which they are packed."""

PIECE = 1 << 20
"""Bytes that are read in one step."""

TOGETHER = 32
"""Blocks, templates or gate arrays in one piece."""

_ALIGNED = 64
_HEAD = np.dtype([("table", "<i8"), ("buffers", "<i8"), ("pieces", "<i8"), ("end", "<i8")])


def make_memory(name: str) -> int:
    """Return the descriptor of memory that has no name in any directory; it goes with its last descriptor or map."""
    return os.memfd_create(f"daggy-{name}", os.MFD_CLOEXEC)


def write_all(descriptor: int, data: bytes | memoryview) -> None:
    """Write all of it."""
    view = memoryview(data).cast("B")
    while len(view):
        view = view[os.write(descriptor, view[: 1 << 26]) :]


def read_whole(path: Path) -> bytes:
    """Return what a file holds. For a thread: the interpreter is held for no more than a piece at a time."""
    whole = io.BytesIO()
    with path.open("rb", buffering=0) as file:
        while piece := file.read(PIECE):
            whole.write(piece)
    return whole.getvalue()  # what it holds, not a copy


class _Pickler(pickle.Pickler):
    """Pickles values as what makes them; what they derive from that does not travel."""

    packed: Mapping[int, Callable[[Any], Any]] = {}

    def reducer_override(self, value: Any) -> Any:
        """Return how a value is made where it arrives."""
        kind = type(value)
        if isinstance(value, type):
            return NotImplemented
        if kind is ListValues:
            if len(value) < MAPPED:
                return ListValues, (value.values,)
            packed = PackedValues.of(value)
            return PackedValues, (packed.names, packed.kinds)
        if kind is MappingProxyType:
            return _read_only, (dict(value),)
        if id(value) in self.packed:
            return self.packed[id(value)](value)
        return (kind, given(value)) if attrs.has(kind) else NotImplemented


def _read_only(members: dict[str, Any]) -> Mapping[str, Any]:
    return MappingProxyType(members)


def given(value: Any) -> tuple[Any, ...]:
    """Return what a value of one of our classes was made of, in the order in which its class takes it."""
    return tuple(getattr(value, one.name) for one in attrs.fields(type(value)) if one.init)


def pack(descriptor: int, pieces: Iterable[object], packed: Mapping[int, Callable[[Any], Any]]) -> None:
    """Write values so that they can be unpacked piece by piece; values that they share stay shared.

    Args:
        descriptor: Of memory that is empty yet.
        pieces: What is unpacked in one step each.
        packed: By `id`, how some values are reduced, in pickle's way.
    """
    stream, buffers = io.BytesIO(), list[pickle.PickleBuffer]()

    def take(buffer: pickle.PickleBuffer) -> bool:
        if buffer.raw().nbytes < MAPPED:
            return True
        buffers.append(buffer)
        return False

    pickler = _Pickler(stream, 5, buffer_callback=take)
    pickler.packed = packed
    count = 0
    for piece in pieces:
        pickler.dump(piece)
        count += 1
    lengths = [stream.getbuffer().nbytes, *(buffer.raw().nbytes for buffer in buffers)]
    spans, place = np.zeros((len(lengths), 2), np.int64), _HEAD.itemsize
    for number, length in enumerate(lengths):
        place += -place % _ALIGNED
        spans[number] = place, length
        place += length
    place += -place % _ALIGNED
    head = np.array([(place, len(buffers), count, place + spans.nbytes)], _HEAD)
    write_all(descriptor, head.tobytes())
    for (begin, _), data in zip(spans.tolist(), [stream.getbuffer(), *(one.raw() for one in buffers)], strict=True):
        os.lseek(descriptor, begin, os.SEEK_SET)
        write_all(descriptor, data)
    os.lseek(descriptor, place, os.SEEK_SET)
    write_all(descriptor, spans.tobytes())


def unpack(descriptor: int) -> Iterator[Any]:
    """Yield the pieces of a transfer. Its memory lives as long as what is mapped of it."""
    whole = memoryview(mmap.mmap(descriptor, 0, prot=mmap.PROT_READ))
    head = np.frombuffer(whole[: _HEAD.itemsize], _HEAD)[0]
    spans = np.frombuffer(whole[head["table"] : head["end"]], np.int64).reshape(-1, 2).tolist()
    (begin, length), *rest = spans
    stream = _Stream(whole[begin : begin + length])
    buffers = (whole[place : place + size] for place, size in rest)
    unpickler = pickle.Unpickler(stream, buffers=buffers)  # noqa: S301  # of a process of our own, in memory of its own
    for _ in range(int(head["pieces"])):
        yield unpickler.load()


@define
class _Stream:
    """Memory read as a file, without copying it whole."""

    view: memoryview
    place: int = 0

    def read(self, size: int = -1) -> bytes:
        begin, self.place = self.place, len(self.view) if size < 0 else min(len(self.view), self.place + size)
        return self.view[begin : self.place].tobytes()

    def readline(self) -> bytes:
        raise InternalError("a transfer holds no lines")


def pieces_of(plan: Plan) -> tuple[list[object], dict[int, Callable[[Any], Any]]]:
    """Return a plan in pieces for `pack`, the plan itself last, and how its largest parts are reduced.

    Templates without parameters, if they are many, arrive as arrays.
    """
    reduced: dict[int, Callable[[Any], Any]] = {}
    spec = plan.spec
    explicit = next((block for block in plan.blocks if block.explicit and block.size >= LARGE), None)
    others = [block.templates[0] for block in plan.blocks if not block.explicit]
    if explicit is not None:
        rows = PackedNames.of(explicit.rows)
        templates = pack_templates(explicit.templates, rows.texts, spec, explicit.policies, explicit.policy_of)
        reduced[id(explicit)] = _instead(explicit, templates=templates, rows=rows)
        tasks = merge_templates(templates, others, spec.tasks) if others else templates
        reduced[id(spec)] = _instead(spec, tasks=tasks)
    every = [*others, *plan.blocks, *plan.arrays]
    pieces: list[object] = [every[first : first + TOGETHER] for first in range(0, len(every), TOGETHER)]
    return [*pieces, plan], reduced


def _instead(value: Any, **others: object) -> Callable[[Any], Any]:
    """Return what reduces a value, with some of what it was made of replaced."""
    made_of = {one.name: getattr(value, one.name) for one in attrs.fields(type(value)) if one.init}
    return lambda _: (type(value), tuple((made_of | others).values()))
