"""A digest of blocks and gates: a tracker keeps it to check that a later version of Daggy computes the same indexes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

from daggy.plan.blocks import Axis, Block
from daggy.plan.gates import GateArray
from daggy.spec.parameters import PickedValues

_SAMPLES = 64  # texts of an axis that are digested: ranges are never written out


def digest(before: str, blocks: Sequence[Block], arrays: Sequence[GateArray]) -> str:
    """Return the digest of a plan that had the digest `before` and got these blocks and arrays."""
    state = hashlib.blake2b(before.encode(), digest_size=16)
    for block in blocks:
        for part in _block(block):
            state.update(part)
    for array in arrays:
        head = f"\n{type(array).__name__} {array.source} {array.targets} {int(array.on)} {array.match}\n"
        state.update(head.encode())
        for part in array.content():
            state.update(part)
    return state.hexdigest()


def _block(block: Block) -> Iterator[bytes]:
    yield f"\nblock {block.number} {block.start} {block.size} {block.origin} {block.scope}\n".encode()
    if block.explicit:
        yield "\n".join(block.rows).encode()
        return
    yield block.templates[0].name.encode()
    for axis in block.axes:
        yield _axis(axis).encode()


def _axis(axis: Axis) -> str:
    size = len(axis)
    places = range(size) if size <= _SAMPLES else [place * (size - 1) // (_SAMPLES - 1) for place in range(_SAMPLES)]
    texts = [values.text(place) for values in axis.values for place in places]
    rows = [_picked(values) for values in axis.values if isinstance(values, PickedValues)]
    return f"\n{axis.names!r} {size} {texts!r}{''.join(rows)}"


def _picked(values: PickedValues) -> str:
    """Return a digest of which values stand where: that is written out, so that samples are not enough."""
    return hashlib.blake2b(values.places.astype("<i4").tobytes(), digest_size=16).hexdigest()
