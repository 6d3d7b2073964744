"""Describes the functions of a module by JSON Schema, from signatures, hints and docstrings. It imports the module.

Standard library only, Python 3.8 or newer: it runs in a process of its own, in the interpreter that is to call them.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
import importlib
import inspect
import json
import os
import pathlib
import re
import sys
import typing
import uuid
from collections import abc

from daggy.worker.program import failed, hints_of
from daggy.worker.values import plain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List, Mapping, Tuple

    Json = Dict[str, Any]

FORMS = {
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    float: {"type": "number"},
    str: {"type": "string"},
    type(None): {"type": "null"},
    dict: {"type": "object"},
    list: {"type": "array"},
    dt.datetime: {"type": "string", "format": "date-time"},
    dt.date: {"type": "string", "format": "date"},
    dt.time: {"type": "string", "format": "time"},
    dt.timedelta: {"type": "number", "description": "seconds"},
    uuid.UUID: {"type": "string", "format": "uuid"},
    decimal.Decimal: {"type": ["number", "string"]},
}  # type: Dict[Any, Json]

BOUNDS = {
    "ge": "minimum",
    "gt": "exclusiveMinimum",
    "le": "maximum",
    "lt": "exclusiveMaximum",
    "multiple_of": "multipleOf",
    "pattern": "pattern",
    "description": "description",
    "title": "title",
}
"""Keywords of JSON Schema by the attributes that metadata in `Annotated` usually has."""


def main(module: str) -> None:
    """Print the public functions that a module defines, or why it cannot be imported, as JSON."""
    answer = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what the module prints is no part of it
    sys.path[0] = os.getcwd()
    told = {"functions": [], "problem": ""}  # type: Json
    try:
        told["functions"] = described(importlib.import_module(module))
    except BaseException as error:  # noqa: BLE001 - the module's code may raise anything
        told["problem"] = failed(error)[1].lstrip("!") if not isinstance(error, SystemExit) else "it exits"
    json.dump(told, answer)
    answer.flush()
    os._exit(0)  # threads that it has started do not count


def described(module: Any) -> List[Json]:
    """Return its functions, each with `name`, `description`, and schemas of `parameters` and of what it `returns`."""
    functions = [
        (name, one)
        for name, one in sorted(vars(module).items())
        if not name.startswith("_") and inspect.isfunction(one) and one.__module__ == module.__name__
    ]
    return [
        dict(name="%s:%s" % (module.__name__, name), **schemas(one))
        for name, one in functions
        if not inspect.isgeneratorfunction(one) and not inspect.isasyncgenfunction(one)
    ]


def schemas(function: Any) -> Json:
    """Return the description of a function, and its schemas."""
    text, about = documented(inspect.getdoc(function) or "")
    parameters = inspect.signature(function).parameters
    hints = hints_of(function, [*parameters, "return"])
    schema = Schema()
    properties, required, more = {}, [], False  # type: Json, List[str], bool
    for name, one in parameters.items():
        if one.kind in (one.VAR_KEYWORD, one.VAR_POSITIONAL):
            more = more or one.kind is one.VAR_KEYWORD
            continue
        told = schema.of(hints.get(name, typing.Any))
        if name in about:
            told = dict(told, description=about[name])
        if one.default is inspect.Parameter.empty:
            required.append(name)
        else:
            told = with_default(told, one.default)
        properties[name] = told
    made = {"type": "object", "properties": properties, "required": required, "additionalProperties": more}
    returns = schema.of(hints["return"]) if "return" in hints else {}
    return {
        "description": text,
        "parameters": dict(made, **schema.definitions()),
        "returns": dict(returns, **schema.definitions()),
    }


def with_default(told: Json, value: Any) -> Json:
    """Return a parameter's schema with its default, if JSON has it."""
    try:
        return dict(told, default=json.loads(json.dumps(value, default=plain, allow_nan=False)))
    except (TypeError, ValueError):
        return told


def documented(text: str) -> Tuple[str, Dict[str, str]]:
    """Return what a docstring says of a function, and what of each parameter: in Google's style, or in Sphinx's."""
    body, about = [], {}  # type: List[str], Dict[str, str]
    section = name = ""
    for line in text.splitlines():
        heading = re.match(r"([A-Z][a-z]+(?: [A-Z][a-z]+)?):\s*$", line)
        field = re.match(r":param (?:\S+ )?(\w+):\s*(.*)", line)
        entry = re.match(r"    (\w+)(?: \([^)]*\))?:\s*(.*)", line)
        if heading or line.startswith(":"):
            section, name = (heading[1] if heading else "field"), ""
        if field:
            name, about[field[1]] = field[1], field[2]
        elif section in ("Args", "Arguments", "Parameters") and entry:
            name, about[entry[1]] = entry[1], entry[2]
        elif name and line.startswith("    "):
            about[name] = " ".join([about[name], line.strip()]).strip()
        elif not section:
            body.append(line)
    return "\n".join(body).strip(), about


class Schema:
    """Schemas of types; what is defined apart is collected."""

    def __init__(self) -> None:
        """Begin with no definition."""
        self.defined = {}  # type: Json
        self.open = []  # type: List[Any]

    def definitions(self) -> Json:
        """Return the member for definitions; empty if there is none."""
        return {"$defs": self.defined} if self.defined else {}

    def of(self, hint: Any) -> Json:
        """Return the schema of a type; of one that is not known, that of anything."""
        if hasattr(hint, "__metadata__"):
            return annotated(self.of(hint.__origin__), hint.__metadata__)
        if hint in FORMS if isinstance(hint, type) else hint is None:
            return dict(FORMS[hint if hint is not None else type(None)])
        origin, inner = typing.get_origin(hint) or hint, typing.get_args(hint)
        if inner and (origin is typing.Union or getattr(origin, "__name__", "") == "UnionType"):
            return {"anyOf": [self.of(one) for one in inner]}
        if origin is typing.Literal:
            return {"enum": list(inner)}
        if not isinstance(origin, type):
            return {}
        if hasattr(origin, "model_json_schema"):
            return self.apart(origin.model_json_schema(ref_template="#/$defs/{model}"))
        if issubclass(origin, enum.Enum):
            return {"enum": [one.value for one in origin]}
        if issubclass(origin, pathlib.PurePath):
            return {"type": "string", "format": "path"}
        return self.composed(origin, inner)

    def composed(self, kind: Any, inner: Tuple[Any, ...]) -> Json:
        """Return the schema of a container, or of a class with fields."""
        fields = fields_of(kind)
        if fields is not None:
            return self.fields(kind, *fields)
        if issubclass(kind, abc.Mapping):
            return {"type": "object", "additionalProperties": self.of(inner[1])} if inner else {"type": "object"}
        if issubclass(kind, tuple) and inner and inner[-1] is not Ellipsis:
            items = [self.of(one) for one in inner]
            return {"type": "array", "prefixItems": items, "minItems": len(items), "maxItems": len(items)}
        if issubclass(kind, abc.Iterable) and kind.__module__ in ("builtins", "collections.abc"):
            told = {"type": "array"}  # type: Json
            if inner:
                told["items"] = self.of(inner[0])
            if issubclass(kind, (set, frozenset)):
                told["uniqueItems"] = True
            return told
        return {}

    def fields(self, kind: Any, hints: Mapping[str, Any], required: List[str]) -> Json:
        """Return the schema of a class with fields; within itself it is anything."""
        if kind in self.open:
            return {}
        self.open.append(kind)
        properties = {name: self.of(hint) for name, hint in hints.items()}
        self.open.pop()
        told = {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
        return dict(title=kind.__name__, **told)

    def apart(self, told: Json) -> Json:
        """Return a schema after taking its definitions."""
        self.defined.update(told.pop("$defs", {}))
        return told


def fields_of(kind: Any) -> Any:
    """Return the hints of a class with fields, and which of these are required; None: it is another one."""
    if dataclasses.is_dataclass(kind):
        needed = [
            one.name
            for one in dataclasses.fields(kind)
            if one.init and one.default is dataclasses.MISSING and one.default_factory is dataclasses.MISSING
        ]
        names = [one.name for one in dataclasses.fields(kind) if one.init]
    elif hasattr(kind, "__attrs_attrs__"):
        given = [one for one in kind.__attrs_attrs__ if one.init]
        names = [one.alias for one in given]
        needed = [one.alias for one in given if type(one.default).__name__ == "_Nothing"]
    elif hasattr(kind, "__struct_fields__"):  # msgspec's
        names = list(kind.__struct_fields__)
        needed = names[: len(names) - len(kind.__struct_defaults__)]
    elif hasattr(kind, "__total__") and issubclass(kind, dict):
        names = list(kind.__annotations__)
        needed = sorted(getattr(kind, "__required_keys__", ()))
    else:
        return None
    try:
        found = typing.get_type_hints(kind)
    except Exception:  # noqa: BLE001 - a name that only type checkers import
        found = {}
    return {name: found.get(name, typing.Any) for name in names}, needed


def annotated(told: Json, metadata: Tuple[Any, ...]) -> Json:
    """Return a schema with what the metadata of `Annotated` says."""
    told = dict(told)
    for one in metadata:
        if isinstance(one, str):
            told["description"] = one
            continue
        for name, keyword in BOUNDS.items():
            value = getattr(one, name, None)
            if isinstance(value, (str, int, float)):
                told[keyword] = value
        for name, edge in (("min_length", "min"), ("max_length", "max")):
            if isinstance(getattr(one, name, None), int):
                told[edge + ("Items" if told.get("type") == "array" else "Length")] = getattr(one, name)
        if getattr(one, "metadata", None):  # pydantic's
            told = annotated(told, tuple(one.metadata))
    return told
