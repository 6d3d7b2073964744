"""What the API's description says of parameters, headers and links: bounds, forms, and where an answer leads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from daggy.attempt import RunState, State

Json = dict[str, Any]

OPEN = ("ready",)
"""Operations that need no token."""

LARGEST = (1 << 63) - 1
"""The largest number that is understood."""


def _texts(pattern: str) -> Json:
    return {"type": "array", "items": {"type": "string", "pattern": pattern}}


def _names(kind: type[RunState | State]) -> Json:
    return {"type": "array", "items": {"type": "string", "enum": [state.name.lower() for state in kind]}}


_NUMBER = {"type": "integer", "minimum": 0, "maximum": LARGEST}
_CURSOR = {"type": "string", "pattern": "^[0-9]{1,18}$"}

PARAMETERS: Mapping[str, Json] = {
    "run_id": _NUMBER,
    "index": _NUMBER,
    "stream": {"type": "string", "enum": ["stdout", "stderr"]},
    "version": _NUMBER,
    "attempt": {**_NUMBER, "minimum": 1},
    "offset": {**_NUMBER, "default": 0},
    "after": {**_NUMBER, "maximum": 10**18 - 1},
    "cursor": _CURSOR,
    "Last-Event-ID": {"type": "string", "pattern": "^([0-9]{1,18})?$"},
    "since": {"type": "string", "format": "date-time"},
    "until": {"type": "string", "format": "date-time"},
    "tag": _texts("^[^:]*:"),
    "param": _texts("^[^:]*:"),
    "list_runs.state": _names(RunState),
    "list_tasks.state": _names(State),
    "read_log.limit": _NUMBER,
}
"""Schemas by name, or by operation and name where they differ."""

_ETAG = {"ETag": "names the run's version, for `If-Match`"}
_WHOLE = {"show_run", "remove_run", "kill_run"}

HEADERS: Mapping[str, Mapping[str, Mapping[str, str]]] = {
    "submit_run": {"201": {"Location": "where the run is"}},
    "read_log": {"200": {"Content-Range": "which of how many bytes these are"}},
    **{name: {"200": _ETAG} for name in _WHOLE},
}
"""Of operations: headers that an answer has, by status."""


def refine(name: str, operation: Json) -> None:
    """Say of one operation what its signature does not.

    Args:
        name: The operation's name, as in `PARAMETERS`.
        operation: Its description, changed in place.
    """
    for parameter in operation.get("parameters", ()):
        better = PARAMETERS.get(f"{name}.{parameter['name']}") or PARAMETERS.get(parameter["name"])
        if better is not None:
            parameter["schema"] = {**better, **_description(parameter)}
    for status, headers in HEADERS.get(name, {}).items():
        told = {key: _header(text) for key, text in headers.items()}
        operation["responses"][status]["headers"] = operation["responses"][status].get("headers", {}) | told
    if name in OPEN:
        operation["security"] = []
        operation["responses"].pop("401", None)


def _description(parameter: Json) -> Json:
    said = parameter["schema"].get("description")
    return {"description": said} if said else {}


def _header(text: str) -> Json:
    return {"description": text, "required": True, "schema": {"type": "string"}}


def link(operations: Mapping[str, Json]) -> None:
    """Say where the answer to a submission leads: to all that can be asked and done about the run.

    Args:
        operations: By path, below the API's; changed in place.
    """
    links: Json = operations["/runs"]["post"]["responses"]["201"].setdefault("links", {})
    for path, item in operations.items():
        for operation in item.values():
            if "{run_id}" in path and "{index}" not in path:
                target = {"operationId": operation["operationId"]}
                links[operation["operationId"]] = {**target, "parameters": {"run_id": "$response.body#/run_id"}}
