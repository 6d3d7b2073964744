"""What schemathesis is told beside the API's description: what there is to ask about, and the schema of run specs.

The description leaves specs to `daggy schema`, and cannot know which runs there are. With this, half of what is sent
means something, and answers come from behind the first check.
"""

from __future__ import annotations

import json
from typing import Any

import schemathesis

from daggy.spec import schema

Json = dict[str, Any]

PREFIX = "spec_"

THERE: Json = {"run_id": {"enum": [1, 2, 3, 4]}, "index": {"enum": [0, 1, 6, 7]}}
"""What `quiet_server` has; what removes runs is not led there."""

SELECTORS = ["pull", "use", 0, "7", "pull.N:2", ["sum", 1], {"select": ["use"], "param": {"N": "1"}}, {"state": ["errored"]}]  # fmt: skip  # noqa: E501

_TASK = {"details": {"command": ["x"]}}
SPECS = [
    {"a": _TASK},
    {"a": _TASK, "b": {**_TASK, "parents": ["a"]}, "c": {**_TASK, "parents": [{"task": "b", "on": "ended"}]}},
    {
        "pull": {"details": {"shell": "x {{ N }}"}},
        "use": {**_TASK, "expand": ["N"], "parents": [{"task": "pull", "match": ["N"]}]},
    },
    {"sum": {**_TASK, "is_generator": True, "max_retries": 2}, "é": {"details": {"command": ["x", "{{ N * 2 }}"]}}},
]


@schemathesis.hook
def before_load_schema(context: object, raw_schema: Json) -> None:
    """Narrow what is likely to be asked; the other half stays as wide as it is described."""
    del context
    schemas = raw_schema["components"]["schemas"]
    schemas["RunSpec"] = {"anyOf": [_simple(), _any_spec(schemas)]}
    for place in (schemas["Change"]["properties"], schemas["Kill"]["properties"]):
        name = "requeue" if "requeue" in place else "selector"
        place[name] = {"anyOf": [{"enum": SELECTORS}, place[name]]}
    for item in raw_schema["paths"].values():
        for operation in item.values():
            for parameter in operation.get("parameters", ()):
                if operation["operationId"] != "remove_run" and parameter["name"] in THERE:
                    parameter["schema"] = {"anyOf": [THERE[parameter["name"]], parameter["schema"]]}


def _simple() -> Json:
    return {
        "type": "object",
        "required": ["directory", "tasks", "parameters"],
        "properties": {
            "directory": {"const": "/"},
            "name": {"type": "string", "pattern": "^[a-z]{1,8}$"},
            "tags": {"type": "object", "additionalProperties": {"type": "string", "pattern": "^[ -~]*$"}},
            "parameters": {"const": {"N": ["1", "2", "3"]}},
            "tasks": {"enum": SPECS},
        },
        "additionalProperties": False,
    }


LEFT_OUT = {"inputs", "exclude", "function", "module", "script", "eval", "arguments", "python", "beam", "zip"}
"""Keys of specs that are not asked about here: examples of a schema with all of them take many minutes to make."""


def _lighter(value: Any) -> Any:
    """Return a schema without these keys, and without what requires them."""
    if isinstance(value, list):
        return [_lighter(one) for one in value if not (isinstance(one, dict) and LEFT_OUT & {*one.get("required", ())})]
    if not isinstance(value, dict):
        return value
    return {
        key: {name: _lighter(one) for name, one in inner.items() if name not in LEFT_OUT}
        if key == "properties"
        else _lighter(inner)
        for key, inner in value.items()
    }


def _any_spec(schemas: Json) -> Json:
    """Return the schema of run specs; what it refers to is added to those of the description."""
    text = json.dumps(schema()).replace("#/$defs/", f"#/components/schemas/{PREFIX}")
    spec: Json = _lighter(json.loads(text))
    schemas.update({f"{PREFIX}{name}": definition for name, definition in spec.pop("$defs").items()})
    del spec["$schema"]
    spec["properties"]["directory"] = {"const": "/"}
    spec["required"] = [*spec.get("required", ()), "directory"]
    return spec
