"""Readers of single JSON values: each returns the value, or None after reporting a problem."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from decimal import Decimal

from daggy.spec.durations import seconds
from daggy.spec.problems import Problems, join, kind, quote
from daggy.spec.sizes import MOST, SIZED, is_size, mebibytes

_UNIT_HINT = 'write seconds, or "90s", "10m", "2h"'

DEEPEST = 50
"""Levels of nesting in data of any form."""


def unfit(text: str) -> str:
    """Return why this text cannot be passed to a process; empty if it can."""
    if "\0" in text:
        return "holds a NUL character"
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            return "holds half a surrogate pair"
    return ""


def text(value: object, path: str, problems: Problems) -> str | None:
    """Read a string."""
    if not isinstance(value, str):
        mend = f'write "{value}"' if kind(value) == "a number" else ""
        problems.add(path, f"{kind(value)} where a string is expected", mend)
        return None
    if why := unfit(value):
        problems.add(path, f"{quote(value)} {why}")
        return None
    return value


def noun(value: object, path: str, problems: Problems) -> str | None:
    """Read a string that is not empty and has no control characters: a name."""
    read = text(value, path, problems)
    if read is not None and (not read or re.search(r"[\x00-\x1f\x7f]", read)):
        problems.add(path, f"{quote(read)} is not a name", "it must not be empty or contain control characters")
        return None
    return read


def boolean(value: object, path: str, problems: Problems) -> bool | None:
    """Read true or false."""
    if not isinstance(value, bool):
        problems.add(path, f"{kind(value)} where true or false is expected")
        return None
    return value


def integer(low: int, high: int) -> Callable[[object, str, Problems], int | None]:
    """Return a reader of integers within bounds, both included."""

    def read(value: object, path: str, problems: Problems) -> int | None:
        if not isinstance(value, int) or isinstance(value, bool):
            problems.add(path, f"{kind(value)} where an integer is expected")
        elif not low <= value <= high:
            problems.add(path, f"{value} is out of bounds", f"it is from {low} to {high}")
        else:
            return value
        return None

    return read


def amount(value: object, path: str, problems: Problems) -> float | None:
    """Read a finite number that is not negative."""
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        problems.add(path, f"{kind(value)} where a number is expected")
        return None
    number = Decimal(value)
    read = float(number) if number.adjusted() < 300 else math.inf
    if not 0 <= read <= MOST:
        problems.add(path, f"{value} is out of bounds", "it is from 0 to 1e15")
        return None
    return read


def backoff(value: object, path: str, problems: Problems) -> float | None:
    """Read a factor: at least 1, at most 1000."""
    read = amount(value, path, problems)
    if read is not None and not 1 <= read <= 1000:
        problems.add(path, f"{value} is out of bounds", "it is from 1 to 1000")
        return None
    return read


def length(value: object, path: str, problems: Problems) -> float | None:
    """Read a duration, in seconds."""
    try:
        return seconds(value)
    except ValueError as error:
        problems.add(path, str(error), _UNIT_HINT)
        return None


def timeout(value: object, path: str, problems: Problems) -> float | None:
    """Read a duration that is not zero, in seconds."""
    read = length(value, path, problems)
    if read == 0:
        problems.add(path, "a timeout of 0", "leave it out for none")
        return None
    return read


def members(value: object, path: str, problems: Problems, wanted: str = "an object") -> dict[str, object] | None:
    """Read an object."""
    if not isinstance(value, dict):
        mend = ""
        if isinstance(value, list) and path == "tags" and all(isinstance(item, str) for item in value):
            shown = ", ".join(f'"{item}": ""' for item in value[:3])
            mend = f"tags are names with texts: {{{shown}}}"
        problems.add(path, f"{kind(value)} where {wanted} is expected", mend)
        return None
    return value


def items(value: object, path: str, problems: Problems) -> Iterator[tuple[str, object]]:
    """Read a list: its items, each with its path."""
    if not isinstance(value, list):
        mend = f'write ["{value}"]' if isinstance(value, str) and len(value) < 60 else ""
        problems.add(path, f"{kind(value)} where a list is expected", mend)
        return
    for position, item in enumerate(value):
        yield join(path, f"[{position}]"), item


def amounts(value: object, path: str, problems: Problems) -> dict[str, float]:
    """Read an object of names and amounts; a size, such as `"memory": "4G"`, becomes an amount in MiB."""
    read: dict[str, float] = {}
    given = members(value, path, problems) or {}
    for key, item in given.items():
        place = join(path, key)
        name, quantity = noun(key, place, problems), _quantity(key, item, place, problems)
        if key in SIZED and SIZED[key] in given:
            problems.add(place, f"'{key}' and '{SIZED[key]}' mean the same", "give one of the two")
        if name is not None and quantity is not None:
            read[SIZED.get(name, name)] = quantity
    return read


def _quantity(name: str, item: object, path: str, problems: Problems) -> float | None:
    if name not in SIZED:
        sized = next((key for key, amount_of in SIZED.items() if amount_of == name), None)
        if sized is None or not isinstance(item, str):
            return amount(item, path, problems)
        mend = f'write "{sized}": "{item}"' if is_size(item) else f'write a number, or "{sized}": "4G"'
        problems.add(path, f"a string where a number of MiB is expected: {quote(item)}", mend)
    elif not isinstance(item, str):
        shown = f"{item}M" if kind(item) == "a number" and "." not in str(item) else "512M"
        problems.add(path, f"{kind(item)} where a size is expected", f'write "{shown}", or give MiB as "{SIZED[name]}"')
    elif not is_size(item):
        problems.add(path, f"{quote(item)} is not a size", 'write "512M", "4G" or "1T": powers of 1024')
    else:
        return mebibytes(item)
    return None


def nested(value: object, path: str, problems: Problems, depth: int = 0) -> bool:
    """Check JSON data of any form; return whether all its texts are fit and it is not too deep."""
    if depth > DEEPEST:
        problems.add(path[:200], f"more than {DEEPEST} levels deep")
        return False
    if isinstance(value, str):
        return text(value, path, problems) is not None
    inner: list[tuple[str, object]] = []
    if isinstance(value, dict):
        inner = list(value.items())
    elif isinstance(value, list):
        inner = [(f"[{position}]", item) for position, item in enumerate(value)]
    wrong = [key for key, item in inner if not nested(item, join(path, key), problems, depth + 1)]
    return not wrong
