"""Completes the API's description: bodies that are read by hand, errors, names, bounds and links."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from daggy.api import API
from daggy.attempt import RunState, State

Json = dict[str, Any]

NAMES = {
    "submit": "submit_run",
    "list_runs": "list_runs",
    "show": "show_run",
    "spec": "show_spec",
    "versions": "list_versions",
    "graph": "show_graph",
    "state_of_tasks": "show_states",
    "change": "change_run",
    "kill": "kill_run",
    "remove": "remove_run",
    "list_tasks": "list_tasks",
    "show_task": "show_task",
    "explain": "explain_task",
    "explain_run": "explain_run",
    "logs": "read_log",
    "list_pools": "list_pools",
    "list_functions": "list_functions",
    "show_function": "show_function",
    "list_scripts": "list_scripts",
    "list_nodes": "list_nodes",
    "change_node": "change_node",
    "remove_node": "remove_node",
    "ready": "ready",
    "metrics": "metrics",
    "all_events": "follow_all",
    "run_events": "follow_run",
}
"""Names of operations, by the routes' functions: what a generated client calls its methods."""

_SELECTOR: Json = {
    "description": "An index, a task's name or a template; a list of these; or an object that narrows them."
}
_SPEC: Json = {
    "type": "object",
    "description": "A run spec; `daggy schema` prints its schema.",
    "additionalProperties": True,
}
_EXAMPLE = {"directory": "/home/me", "tasks": {"hello": {"details": {"command": ["echo", "hello"]}}}}

SCHEMAS: Mapping[str, Json] = {
    "RunSpec": _SPEC,
    "Change": {
        "type": "object",
        "description": "What to change; nothing: resume.",
        "properties": {
            "spec": {"$ref": "#/components/schemas/RunSpec"},
            "resume": {"type": "boolean"},
            "requeue": _SELECTOR,
            "keep_downstream": {"type": "boolean"},
        },
        "additionalProperties": False,
    },
    "Kill": {
        "type": "object",
        "description": "Which tasks; nothing: the whole run.",
        "properties": {"selector": _SELECTOR},
        "additionalProperties": False,
    },
    "NodeChange": {
        "type": "object",
        "description": "What a node is to be.",
        "properties": {"state": {"type": "string", "enum": ["draining", "up"]}},
        "required": ["state"],
        "additionalProperties": False,
    },
    "Problem": {
        "type": "object",
        "description": "One thing that is wrong: its place in the document, and what to do about it.",
        "properties": {"path": {"type": "string"}, "message": {"type": "string"}, "mend": {"type": "string"}},
        "required": ["path", "message", "mend"],
    },
    "ErrorBody": {
        "type": "object",
        "description": "What went wrong: `code` for programs, `message` for people.",
        "properties": {
            "code": {"type": "string"},
            "message": {"type": "string"},
            "problems": {"type": "array", "items": {"$ref": "#/components/schemas/Problem"}},
        },
        "required": ["code", "message", "problems"],
    },
    "Error": {
        "type": "object",
        "description": "The body of every answer that is not a success.",
        "properties": {"error": {"$ref": "#/components/schemas/ErrorBody"}},
        "required": ["error"],
    },
}
"""Beside those of the routes' answers."""

BODIES: Mapping[str, tuple[str, bool, Json]] = {
    "submit_run": ("RunSpec", True, _EXAMPLE),
    "change_run": ("Change", False, {"requeue": "report"}),
    "kill_run": ("Kill", False, {"selector": "report"}),
    "change_node": ("NodeChange", True, {"state": "draining"}),
}
"""Of operations: schema, whether it must be there, an example."""

ANSWERS: Mapping[str, Json] = {"show_spec": {"$ref": "#/components/schemas/RunSpec"}}
"""Of operations whose answers are bytes already."""

ANYWHERE = {
    "400": "the request is wrong",
    "401": "the token is missing or wrong",
    "404": "it does not exist",
    "503": "not possible at the moment",
}
"""Errors of all operations."""

ELSEWHERE: Mapping[str, Json] = {
    "submit_run": {
        "409": "the key was used with another body",
        "413": "too large",
        "422": "the spec is wrong, with its problems",
        "507": "state cannot be saved",
    },
    "change_run": {
        "412": "it has changed since (`If-Match`)",
        "413": "too large",
        "422": "the spec is wrong, with its problems",
        "507": "state cannot be saved",
    },
    "kill_run": {"413": "too large", "422": "the body is wrong"},
    "remove_run": {"202": "it is being killed", "409": "it has not ended"},
    "change_node": {"413": "too large", "422": "the body is wrong", "507": "state cannot be saved"},
    "remove_node": {"409": "it is up"},
    "read_log": {"416": "beyond the end"},
}
"""Answers of some."""


OPEN = ("ready",)
"""Operations that need no token."""

LARGEST = (1 << 63) - 1
"""The largest number that is understood."""


def _texts(pattern: str) -> Json:
    return {"type": "array", "items": {"type": "string", "pattern": pattern}}


def _names(kind: type[RunState | State]) -> Json:
    return {"type": "array", "items": {"type": "string", "enum": [state.name.lower() for state in kind]}}


_NUMBER = {"type": "integer", "minimum": 0, "maximum": LARGEST}
_RUN = {
    "anyOf": [_NUMBER, {"type": "string", "enum": ["last"]}],
    "description": "The run's id, or `last`: the newest run.",
}
_CURSOR = {"type": "string", "pattern": "^[0-9]{1,18}$"}

PARAMETERS: Mapping[str, Json] = {
    "run_id": _RUN,
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


def completed(told: Json) -> Json:
    """Return the description that the framework makes, completed."""
    told["components"]["schemas"] |= SCHEMAS
    for path, operation in _operations(told):
        name = NAMES[_function(operation["operationId"])]
        operation["operationId"] = name if path.startswith(API) else f"server_{name}"
        if name in BODIES:
            schema, required, example = BODIES[name]
            content = {"schema": {"$ref": f"#/components/schemas/{schema}"}, "example": example}
            operation["requestBody"] = {"required": required, "content": {"application/json": content}}
        if name in ANSWERS:
            operation["responses"]["200"]["content"]["application/json"]["schema"] = ANSWERS[name]
        _add_errors(operation, name)
        refine(name, operation)
    link({path.removeprefix(API): item for path, item in told["paths"].items() if path.startswith(API)})
    return told


def _operations(told: Json) -> Iterator[tuple[str, Json]]:
    for path, item in told["paths"].items():
        for operation in item.values():
            yield path, operation


def _function(generated: str) -> str:
    """Return the function's name of which the framework made an operation's: the longest that it ends with."""
    words = "".join("_" + letter.lower() if letter.isupper() else letter for letter in generated)
    return max((name for name in NAMES if words.endswith("_" + name)), key=len)


def _add_errors(operation: Json, name: str) -> None:
    answers = {**ANYWHERE, **ELSEWHERE.get(name, {})}
    for status, description in answers.items():
        if status < "400":
            operation["responses"].setdefault(status, {**operation["responses"]["200"], "description": description})
            continue
        content = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
        operation["responses"][status] = {"description": description, "content": content}


def refine(name: str, operation: Json) -> None:
    """Add to one operation what its signature does not say.

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
    """Link the answer to a submission to all operations on the run.

    Args:
        operations: By path, below the API's; changed in place.
    """
    links: Json = operations["/runs"]["post"]["responses"]["201"].setdefault("links", {})
    for path, item in operations.items():
        for operation in item.values():
            if "{run_id}" in path and "{index}" not in path:
                target = {"operationId": operation["operationId"]}
                links[operation["operationId"]] = {**target, "parameters": {"run_id": "$response.body#/run_id"}}
