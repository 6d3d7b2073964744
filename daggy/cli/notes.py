"""What running tasks tell of themselves, for people: how far they are, in a line each."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

SHOWN = 10
"""Tasks whose notes are shown at most."""

LOOKED_AT = 200
"""Running tasks among which those with a note are looked for."""

WIDTH = 100
"""Characters of a note."""


def lines(tasks: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Yield a line for each of the first tasks that have a note."""
    noted = (task for task in tasks if task["note"])
    for task in islice(noted, SHOWN):
        yield f"{task['name']}: {said(task['note'])}"


def said(note: Mapping[str, Any]) -> str:
    """Return a note as people read it: by its `progress`, from 0 to 1, and `message`; if it has neither, as JSON."""
    progress, message = note.get("progress"), note.get("message")
    is_number = isinstance(progress, (int, float)) and not isinstance(progress, bool) and 0 <= progress <= 1
    parts = [f"{progress:.0%}"] if is_number else []
    parts += [message] if isinstance(message, str) and message else []
    line = " ".join((", ".join(parts) or json.dumps(note, ensure_ascii=False)).split())
    return "".join(filter(str.isprintable, line))[:WIDTH]
