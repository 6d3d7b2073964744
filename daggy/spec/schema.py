"""The JSON Schema of a run spec, for editors and other programs."""

from __future__ import annotations

from typing import Any

from daggy.kind import BUILT_IN, KINDS
from daggy.spec.sizes import PATTERN as SIZE, SIZED
from daggy.spec.task import RETRIED

_Schema = dict[str, Any]

_STRING: _Schema = {"type": "string"}
_NAME: _Schema = {"type": "string", "minLength": 1, "pattern": "^[^\\x00-\\x1f\\x7f]+$"}
_TASK_NAME: _Schema = {"type": "string", "pattern": "^(?![0-9]+$)[^\\s:/%\\x00-\\x1f\\x7f]+$"}
_STRINGS: _Schema = {"type": "array", "items": _STRING}
_AMOUNTS: _Schema = {
    "type": "object",
    "propertyNames": {"minLength": 1},
    "properties": {name: {"type": "string", "pattern": SIZE} for name in SIZED},
    "additionalProperties": {"type": "number", "minimum": 0},
}
_LENGTH: _Schema = {
    "anyOf": [{"type": "number", "minimum": 0}, {"type": "string", "pattern": "^[0-9]+(\\.[0-9]+)?(s|m|h)$"}]
}
_COMBINATIONS: _Schema = {
    "type": "array",
    "items": {"type": "object", "minProperties": 1, "additionalProperties": {"type": ["string", "number"]}},
}
_TEMPLATING: _Schema = {"enum": ["jinja", "literal", "none"]}
_COUNT: _Schema = {"type": "integer", "minimum": 1}
_RETRIES: _Schema = {"type": "integer", "minimum": 0, "maximum": 60_000}


def _object(properties: _Schema, **more: Any) -> _Schema:
    ignored = {"$schema": True, **properties}
    return {
        "type": "object",
        "properties": ignored,
        "patternProperties": {"^x-": True},
        "additionalProperties": False,
    } | more


def _said(description: str, schema: _Schema) -> _Schema:
    return {"description": description, **schema}


def _values() -> _Schema:
    value = {"type": ["string", "number"]}
    numbers = {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 3}
    forms = [
        {"type": "array", "items": value, "minItems": 1},
        {"type": "object", "properties": {"range": numbers}, "required": ["range"], "additionalProperties": False},
        {"type": "object", "properties": {"lines": _STRING}, "required": ["lines"], "additionalProperties": False},
    ]
    return _said("values: a list, a range (half open), or the lines of a file", {"anyOf": forms})


def _groups() -> list[_Schema]:
    headers = {"type": "object", "minProperties": 1, "additionalProperties": _STRING}
    columns = {"type": "object", "minProperties": 1, "additionalProperties": {"$ref": "#/$defs/values"}}
    return [
        {**_STRINGS, "minItems": 2},
        {
            "type": "object",
            "properties": {"csv": _STRING, "columns": _said("parameters, and the headers of their columns", headers)},
            "required": ["csv"],
            "additionalProperties": False,
        },
        {"type": "object", "properties": {"sheet": columns}, "required": ["sheet"], "additionalProperties": False},
    ]


def _dependency() -> _Schema:
    names = {"type": "array", "items": _STRING, "minItems": 1, "uniqueItems": True}
    entry = _object(
        {
            "task": _NAME,
            "match": _said("wait only for tasks with the same values of these", {"anyOf": [{"const": True}, names]}),
            "on": _said("what of it to wait for", {"enum": ["completed", "ended"]}),
        },
        required=["task"],
    )
    return {"anyOf": [_NAME, entry]}


def _input() -> _Schema:
    match = _dependency()["anyOf"][1]["properties"]["match"]
    entry = _object(
        {
            "task": _said("whose results it is", _NAME),
            "match": match,
            "key": _said("what is taken of each result, an object", _STRING),
            "value": _said("a JSON value", {}),
        }
    )
    return {**entry, "oneOf": [{"required": ["task"]}, {"required": ["value"]}]}


def _details(*, default: bool) -> _Schema:
    said: _Schema = {
        "environment": _said(
            "variables; null unsets one",
            {
                "type": "object",
                "propertyNames": {"pattern": "^(?!DAGGY_)[^=]+$"},
                "additionalProperties": {"type": ["string", "null"]},
            },
        ),
        "directory": _said("working directory", _STRING),
        "timeout": _said("seconds, or a text as '10m'", _LENGTH),
        "grace": _said("between TERM and KILL", _LENGTH),
        "stdin": _said("text on standard input", _STRING),
        "python": _said("the interpreter of a function, module, script or source", _STRING),
        "options": _said("by executor", {"type": "object", "additionalProperties": {"type": "object"}}),
        "resources": _AMOUNTS,
    }
    if default:
        return _object(said)
    said["command"] = _said("words, executed without a shell", {**_STRINGS, "minItems": 1})
    said["shell"] = _said("one string for /bin/sh -c", _STRING)
    said["function"] = _said("package.module:name of a Python function", _STRING)
    said["module"] = _said("a Python module, run as `python -m` runs it", _STRING)
    said["script"] = _said("the path of a program's file", _STRING)
    said["eval"] = _said("Python source, whose last expression is the result", _STRING)
    said["arguments"] = _said("of one of these, by name", {"type": "object"})
    kinds = KINDS.installed()
    said |= {kind: _said("the settings of a task of this kind", {"type": "object"}) for kind in kinds}
    return _object(said, oneOf=[{"required": [key]} for key in ("command", "shell", *BUILT_IN, *kinds)])


def _task(*, default: bool) -> _Schema:
    properties: _Schema = {
        "details": _details(default=default),
        "description": _STRING,
        "parameters": {"type": "object", "additionalProperties": {"$ref": "#/$defs/values"}},
        "expand": _said("parameters that apply though no template uses them", _STRINGS),
        "exclude": _said("combinations of values for which there is no task", _COMBINATIONS),
        "is_generator": _said("whether its answer is more tasks", {"type": "boolean"}),
        "result": _said("whether it may write a JSON value to $DAGGY_RESULT", {"type": "boolean"}),
        "max_retries": _said("retries after the first attempt", _RETRIES),
        "retry_delay": _LENGTH,
        "retry_backoff": {"type": "number", "minimum": 1, "maximum": 1000},
        "retry_on": {
            "type": "array",
            "minItems": 1,
            "items": {"anyOf": [{"enum": list(RETRIED)}, {"type": "integer", "minimum": 1, "maximum": 255}]},
        },
        "crash_limit": _said("how often a lost attempt is run again", _RETRIES),
        "priority": _said("higher first", {"type": "integer"}),
        "max_parallel": _said("tasks of this template at once", _COUNT),
        "pool": _NAME,
        "resources": _AMOUNTS,
        "templating": _TEMPLATING,
    }
    if default:
        return _object(properties)
    edges = {"type": "array", "items": {"$ref": "#/$defs/dependency"}}
    inputs = {"type": "object", "additionalProperties": {"$ref": "#/$defs/input"}}
    own = {"parents": edges, "children": edges, "inputs": _said("what it takes, by name", inputs)}
    return _object({**properties, **own}, required=["details"])


def _listed() -> _Schema:
    task = _task(default=False)
    named = {**task["properties"], "name": _TASK_NAME, "class": _TASK_NAME}
    return task | {"properties": named, "oneOf": [{"required": ["name"]}, {"required": ["class"]}]}


def schema() -> _Schema:
    """Return the JSON Schema (draft 2020-12) of a run spec.

    It covers structure; unknown names, cycles and the like are found only by `daggy check`.
    """
    properties: _Schema = {
        "version": _said("of this format", {"const": 1}),
        "name": _NAME,
        "description": _STRING,
        "tags": _said("for searching", {"type": "object", "additionalProperties": _STRING}),
        "parameters": {"type": "object", "additionalProperties": {"$ref": "#/$defs/values"}},
        "zip": _said("groups of parameters that step together", {"type": "array", "items": {"anyOf": _groups()}}),
        "tasks": {
            "anyOf": [
                {
                    "type": "object",
                    "minProperties": 1,
                    "propertyNames": _TASK_NAME,
                    "additionalProperties": {"$ref": "#/$defs/task"},
                },
                {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/listed"}},
            ]
        },
        "defaults": _task(default=True),
        "pool": _NAME,
        "directory": _STRING,
        "templating": _TEMPLATING,
        "limits": _said("totals of resources for this run", _AMOUNTS),
        "max_failures": _said("stop starting work after so many errored tasks", _COUNT),
    }
    definitions = {
        "values": _values(),
        "dependency": _dependency(),
        "input": _input(),
        "task": _task(default=False),
        "listed": _listed(),
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Daggy run spec",
        **_object(properties, required=["tasks"]),
        "$defs": definitions,
    }
