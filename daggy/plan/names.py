"""Names of tasks: made from values on demand, and read back exactly."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from itertools import islice
from urllib.parse import unquote

_SPECIAL = re.compile(r"[:/%\s\x00-\x1f\x7f-\x9f]")
_SPECIAL_IN_KEYS = re.compile(r"[.:/%\s\x00-\x1f\x7f-\x9f]")
_CANDIDATES = 20_000  # a closest match is looked up among so many names at most: each costs microseconds
_PATIENCE = 4_000_000  # and among fewer if the name is long: the cost is quadratic in its length


def quote(text: str) -> str:
    """Return a value's text as it appears in a name: what could be mistaken, and white space, is percent-encoded.

    A dot cannot be mistaken: what follows it is another parameter only if there is a colon before the next dot.
    """
    return _SPECIAL.sub(_encode, text)


def quote_key(name: str) -> str:
    """Return a parameter's name as it appears in a task's name; only literal templating has any that need encoding."""
    return _SPECIAL_IN_KEYS.sub(_encode, name)


def quote_all(texts: list[str]) -> list[str]:
    """Return many texts as they appear in names; the same list if none needs encoding."""
    return [quote(text) for text in texts] if _SPECIAL.search("".join(texts)) else texts


def _encode(found: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in found[0].encode())


def join(template: str, texts: Mapping[str, str]) -> str:
    """Return the name of a task from its template's full name and its values' texts, sorted by parameter."""
    return ".".join([template, *(f"{quote_key(name)}:{quote(text)}" for name, text in texts.items())])


def split(name: str) -> tuple[str, str, dict[str, str]]:
    """Return scope, template and parameter texts of a task's name, more encoded than it needs to be or not.

    Template names may hold dots but no colons, so that the part before the first colon begins the parameters; a later
    part without a colon belongs to the value before it.
    """
    scope, _, own = name.rpartition("/")
    template, texts = _split_own(own)
    return canonical(scope), template, texts


def canonical(scope: str) -> str:
    """Return a scope, a path of names of generator tasks, with each name encoded as `join` does it."""
    return "/".join(join(*_split_own(own)) for own in scope.split("/"))


def _split_own(own: str) -> tuple[str, dict[str, str]]:
    parts = own.split(".")
    first = next((place for place, part in enumerate(parts) if ":" in part), len(parts))
    pairs: list[list[str]] = []
    for part in parts[first:]:
        key, colon, text = part.partition(":")
        if colon:
            pairs.append([key, text])
        else:
            pairs[-1][1] += f".{part}"
    return ".".join(parts[:first]), {unquote(key): unquote(text) for key, text in pairs}


def suggest(name: str, names: Iterable[str]) -> str:
    """Return the mend for an unknown name: the closest known one, or nothing."""
    most = min(_CANDIDATES, _PATIENCE // (len(name) ** 2 + 1))
    close = difflib.get_close_matches(name, islice(names, most), n=1)
    return f"did you mean '{close[0]}'?" if close else ""
