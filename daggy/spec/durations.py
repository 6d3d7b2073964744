"""Lengths of time as a user writes them: seconds, or `"90s"`, `"10m"`, `"2h"`."""

from __future__ import annotations

import re
from decimal import Decimal

LONGEST = 1e9
"""Seconds; more than thirty years, and still exact in every clock."""

_TEXT = re.compile(r"([0-9]+(?:\.[0-9]+)?)(s|m|h)")
_UNITS = {"s": 1, "m": 60, "h": 3600}


def seconds(value: object) -> float:
    """Return a duration in seconds.

    Raises:
        ValueError: it is not a duration, negative, or longer than LONGEST.
    """
    if isinstance(value, str):
        found = _TEXT.fullmatch(value)
        if found is None:
            raise ValueError(f"'{value[:40]}' is not a duration")
        length = float(Decimal(found[1]) * _UNITS[found[2]])
    elif isinstance(value, int | Decimal) and not isinstance(value, bool):
        length = float(value)
    else:
        raise ValueError("not a duration")  # noqa: TRY004  # one kind of error for readers of specs
    if not 0 <= length <= LONGEST:
        raise ValueError("a duration is at least 0 and at most a billion seconds")
    return length
