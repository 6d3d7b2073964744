"""Validates the JSON that tasks write, results and notes, on the machine where they run."""

from __future__ import annotations

from daggy.launcher.program.light import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any


MOST = 64 << 10  # bytes of a value as it is kept
LARGEST = 16 * MOST  # bytes as it was written: white space and escapes go
DEEPEST = 100
TOO_LARGE = "larger than %d bytes; put what is large into a file, and its name here" % MOST


def compact(data: bytes) -> str:
    """Return a JSON value in as few characters as it takes. ValueError: it is none, or too large; says why."""
    import json  # loads longer than the whole launcher, and most tasks leave none

    if len(data) > LARGEST:
        raise ValueError(TOO_LARGE)
    try:
        value = json.loads(data.decode("utf-8"))
        if nesting(value) > DEEPEST:
            raise RecursionError
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        size = len(text.encode("utf-8"))
    except RecursionError:
        raise ValueError("nested more than %d deep" % DEEPEST) from None
    except UnicodeError:
        raise ValueError("text that is no Unicode; write JSON in UTF-8") from None
    except ValueError as error:
        raise ValueError("no JSON: %s" % error) from None
    if size > MOST:
        raise ValueError(TOO_LARGE)
    return text


def nesting(value: Any) -> int:
    """Return how many lists and objects lie in each other at most."""
    depth, level = 0, [value]
    while True:
        level = [one for one in level if isinstance(one, (dict, list))]
        if not level:
            return depth
        depth += 1
        level = [inner for one in level for inner in (one.values() if isinstance(one, dict) else one)]
