"""Task indexes as arrays or as slices: a contiguous range is never written out."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

Indexes = NDArray[np.int64]
"""Task indexes, one-dimensional."""

Where = slice | Indexes
"""Distinct tasks: a slice where they are contiguous and ascending, which costs a fraction of an array."""


def is_all(column: NDArray[np.unsignedinteger[Any]], value: int) -> bool:
    """Return whether every element has this value: comparing bytes is several times faster than comparing arrays."""
    return column.tobytes() == value.to_bytes(column.itemsize, sys.byteorder) * len(column)


def where_of(indexes: Indexes) -> Where:
    """Return tasks as a slice if they are contiguous and ascending, else unchanged. No tasks: an empty array."""
    count = len(indexes)
    if count:
        first = int(indexes[0])
        if int(indexes[-1]) - first == count - 1:
            span = np.arange(first, first + count, dtype=np.int64)
            if np.count_nonzero(indexes == span) == count:
                return slice(first, first + count)
    return indexes


def indexes_of(where: Where) -> Indexes:
    """Return tasks as an array."""
    return np.arange(where.start, where.stop, dtype=np.int64) if isinstance(where, slice) else where


def shifted(where: Where, by: int) -> Where:
    """Return these tasks' indexes plus an offset."""
    return slice(where.start + by, where.stop + by) if isinstance(where, slice) else where + by


def distinct(numbers: Indexes, size: int) -> Indexes:
    """Return each of these numbers below `size` once, ascending: flags are many times faster than `np.unique`."""
    if len(numbers) * 64 < size:
        return np.unique(numbers)
    flags = np.zeros(size, np.bool_)
    flags[numbers] = True
    return np.flatnonzero(flags)
