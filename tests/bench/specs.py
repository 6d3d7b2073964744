"""The run specs that are measured, as JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable

ECHO = ["/bin/echo", "{{ N }}"]
LAYER = 1000
"""Tasks of a layer of the explicit spec."""


def flat(count: int) -> bytes:
    """Return independent tasks, each an `echo` of its number."""
    return _encode({"a": {"details": {"command": ECHO}}}, count)


def diamond(count: int) -> bytes:
    """Return `a → b, c → d`, matched, of about `count` tasks in all."""
    waits = {
        name: [{"task": parent, "match": ["N"]} for parent in parents]
        for name, parents in (("a", ""), ("b", "a"), ("c", "a"), ("d", "bc"))
    }
    tasks = {name: {"details": {"command": ECHO}, "parents": parents} for name, parents in waits.items()}
    return _encode(tasks, count // 4)


def fan(count: int) -> bytes:
    """Return two templates of `count` tasks each, every child waiting for every parent."""
    details = {"details": {"command": ECHO}}
    return _encode({"a": details, "b": {**details, "parents": ["a"]}}, count)


def chain(count: int, command: list[str]) -> bytes:
    """Return a chain of hand-written tasks."""
    tasks = {
        f"t{number}": {"details": {"command": command}, "parents": [f"t{number - 1}"] if number else []}
        for number in range(count)
    }
    return json.dumps({"tasks": tasks}).encode()


def calls(count: int) -> bytes:
    """Return independent calls of a function, each with its number."""
    call = {"function": "math:sqrt", "arguments": {"x": "{{ N }}"}, "python": sys.executable}
    return _encode({"a": {"details": call}}, count)


def small(count: int) -> bytes:
    """Return a chain of a few `true`."""
    return chain(count, ["/bin/true"])


def naps(count: int) -> bytes:
    """Return independent tasks that take a second each."""
    details = {"command": ["/bin/sleep", "1"], "environment": {"NAP": "{{ N }}"}}
    return _encode({"nap": {"details": details}}, count)


def explicit(count: int) -> Iterable[str]:
    """Yield, line by line, `count` hand-written tasks of 95 bytes each, each waiting for one of the layer above."""
    yield '{"tasks": {\n'
    for number in range(count):
        parent = f'"task-{number - LAYER:07}"' if number >= LAYER else ""
        comma = "," if number + 1 < count else ""
        command = f'"/bin/echo", "{number:07}"'
        yield f'"task-{number:07}": {{"details": {{"command": [{command}]}}, "parents": [{parent}]}}{comma}\n'
    yield "}}\n"


def placed(spec: bytes) -> bytes:
    """Return a spec with a directory, as a server wants it."""
    return b'{"directory": "/", ' + spec[1:]


def _encode(tasks: object, count: int) -> bytes:
    return json.dumps({"parameters": {"N": {"range": [0, count]}}, "tasks": tasks}).encode()
