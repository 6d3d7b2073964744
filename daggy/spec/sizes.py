"""Sizes as a user writes them: `"512M"`, `"4G"`, `"1.5T"`, in powers of 1024."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal

SIZED = {"memory": "memory_mb"}
"""Resources that are given as sizes, with those in MiB that they come to."""

PATTERN = r"^[0-9]{1,15}(\.[0-9]{1,6})?[KMGT](iB)?$"

MOST = 1e15
"""The largest amount of a resource."""

_TEXT = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,6})?)([KMGT])(?:iB)?")
_UNITS = {"K": Decimal(1) / 1024, "M": Decimal(1), "G": Decimal(1 << 10), "T": Decimal(1 << 20)}


def is_size(text: str) -> bool:
    """Return whether a text is a size."""
    try:
        mebibytes(text)
    except ValueError:
        return False
    return True


def mebibytes(text: str) -> float:
    """Return a size in MiB.

    Raises:
        ValueError: it is not a size.
    """
    found = _TEXT.fullmatch(text)
    size = float(Decimal(found[1]) * _UNITS[found[2]]) if found else MOST + 1
    if size > MOST:
        raise ValueError(f"{text[:40]!r} is not a size")
    return size


def amount_of(name: str, text: str) -> tuple[str, float]:
    """Return a resource and its amount as the command line gives them, `NAME=N` or `memory=4G`.

    Raises:
        ValueError: no amount.
    """
    amount = mebibytes(text) if name in SIZED else float(text)
    if not 0 <= amount <= MOST:
        raise ValueError(f"{text[:40]!r} is no amount")
    return SIZED.get(name, name), amount


def resources_of(given: Mapping[str, float | str]) -> dict[str, float]:
    """Return resources by name, sizes as amounts.

    Raises:
        ValueError: a text that is not a size or stands for an amount, a number that stands for a size, or one
            resource given twice.
    """
    read: dict[str, float] = {}
    for name, value in given.items():
        if isinstance(value, str) is not (name in SIZED):
            raise ValueError(f"'{name}' is not given as it is meant")
        amount = mebibytes(value) if isinstance(value, str) else value
        if read.setdefault(SIZED.get(name, name), amount) is not amount:
            raise ValueError(f"'{name}' is given twice")
    return read
