"""Conversions of the worker: from JSON to what type hints name, and from what functions return to JSON.

Standard library only, Python 3.8 or newer: its text travels with each call, and is compiled where it is needed.
"""

from __future__ import annotations

import json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Iterable, List, Mapping, Tuple

SIMPLE = {int, float, str, bool, list, dict, object}
"""Types that JSON has."""


def meant(name: str, known: Iterable[str]) -> str:
    """Return which name was meant, for a message; empty if none comes near."""
    import difflib

    near = difflib.get_close_matches(name, [one for one in known if not one.startswith("__")], 1)
    return "; did you mean '%s'?" % near[0] if near else ""


def converted(value: Any, hint: Any) -> Any:
    """Return a JSON value as the type that a hint names.

    Raises:
        ValueError, TypeError, ArithmeticError: it is none.
    """
    if isinstance(hint, type) and hint in SIMPLE:
        return simple(value, hint)
    if hasattr(hint, "model_validate"):
        return hint.model_validate(value)
    try:
        import msgspec
    except ImportError:
        return own(value, hint)
    try:
        return msgspec.convert(value, hint, dec_hook=lambda kind, inner: own(inner, kind))
    except msgspec.ValidationError:
        raise
    except TypeError:  # a union, say, that it does not support
        return own(value, hint)


def simple(value: Any, kind: Any) -> Any:
    """Return a value of one of JSON's own types."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if kind is object or (kind is not int and kind is not float and isinstance(value, kind)):
        return value
    if is_number and kind is float:
        return float(value)
    if is_number and kind is int and value == int(value):
        return int(value)
    raise ValueError("%s where %s is expected" % (shown(value), named(kind)))


def shown(value: Any) -> str:
    """Return a value for a message."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else text[:59] + "\u2026"


def named(hint: Any) -> str:
    """Return a type for a message."""
    return getattr(hint, "__name__", None) or str(hint).replace("typing.", "")


def own(value: Any, hint: Any) -> Any:
    """Convert without any library: containers, unions, data classes, and the standard library's types."""
    import typing
    from collections import abc

    if hasattr(hint, "__metadata__"):
        return own(value, hint.__origin__)
    if hint is typing.Any or isinstance(hint, (typing.TypeVar, str)):
        return value
    if hasattr(hint, "model_validate"):
        return hint.model_validate(value)
    origin, inner = typing.get_origin(hint) or hint, typing.get_args(hint)
    if inner and (origin is typing.Union or named(origin) == "UnionType"):
        return first(value, inner)
    if origin is typing.Literal:
        if not any(value == one and type(value) is type(one) for one in inner):
            raise ValueError("%s is none of %s" % (shown(value), ", ".join(map(shown, inner))))
        return value
    if hint is None or hint is type(None):
        return simple(value, type(None))
    if not isinstance(origin, type):
        return value
    if issubclass(origin, (abc.Mapping, dict)) and not hasattr(origin, "__annotations__"):
        keys, values = inner or (typing.Any, typing.Any)
        return {own(key, keys): own(one, values) for key, one in simple(value, dict).items()}
    if issubclass(origin, abc.Iterable) and origin.__module__ in ("builtins", "collections.abc") and origin is not str:
        return sequence(simple(value, list), origin, inner)
    return instance(value, origin)


def first(value: Any, kinds: Iterable[Any]) -> Any:
    """Return a value as the first of some types that takes it; its own counts before others."""
    for kind in sorted(kinds, key=lambda one: type(value) is not one):
        try:
            return own(value, kind)
        except (ValueError, TypeError, ArithmeticError):
            pass
    raise ValueError("%s is none of %s" % (shown(value), ", ".join(map(named, kinds))))


def sequence(values: List[Any], kind: Any, inner: Tuple[Any, ...]) -> Any:
    """Return a list as some kind of it."""
    if issubclass(kind, tuple) and inner and inner[-1] is not Ellipsis:
        if len(values) != len(inner):
            raise ValueError("%d values where %d are expected" % (len(values), len(inner)))
        return tuple(own(value, one) for value, one in zip(values, inner))
    made = [own(value, inner[0]) for value in values] if inner else values
    return made if not issubclass(kind, (tuple, set, frozenset)) else kind(made)


def instance(value: Any, kind: Any) -> Any:
    """Return an instance of a class, made of JSON."""
    import datetime as dt
    import decimal
    import enum
    import pathlib
    import uuid

    if kind in SIMPLE or kind is type(None):
        return simple(value, kind)
    if issubclass(kind, enum.Enum):
        return kind(value)
    if issubclass(kind, (dt.date, dt.time)):
        return kind.fromisoformat(simple(value, str).replace("Z", "+00:00"))
    if issubclass(kind, (pathlib.PurePath, uuid.UUID)):
        return kind(simple(value, str))
    if issubclass(kind, decimal.Decimal):
        return kind(str(value))
    if issubclass(kind, dt.timedelta):
        return kind(seconds=simple(value, float))
    if hasattr(kind, "__dataclass_fields__") or (hasattr(kind, "__total__") and issubclass(kind, dict)):
        return composed(simple(value, dict), kind)
    if isinstance(value, kind):
        return value
    raise ValueError("a value of JSON cannot become a %s" % named(kind))


def composed(members: Mapping[str, Any], kind: Any) -> Any:
    """Return a data class, or a typed dictionary, made of an object."""
    import typing

    hints = typing.get_type_hints(kind)
    for name in members:
        if name not in hints:
            raise ValueError("%s has no '%s'%s" % (named(kind), name, meant(name, hints)))
    return kind(**{name: own(value, hints[name]) for name, value in members.items()})


def plain(value: Any) -> Any:
    """Return something that JSON does not have as something that it has."""
    import enum

    kind = type(value)
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    if hasattr(kind, "__dataclass_fields__"):
        import dataclasses

        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if hasattr(kind, "__attrs_attrs__"):
        return {field.name: getattr(value, field.name) for field in kind.__attrs_attrs__}
    if hasattr(kind, "__struct_fields__"):  # msgspec's
        return {name: getattr(value, name) for name in kind.__struct_fields__}
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, (set, frozenset)):
        return sorted(value, key=repr)
    if hasattr(value, "isoformat"):
        return value.isoformat()
    if hasattr(value, "total_seconds"):
        return value.total_seconds()
    if hasattr(value, "__fspath__") or kind.__module__ in ("decimal", "uuid"):
        return str(value)
    if hasattr(value, "tolist"):
        return value.tolist()
    if hasattr(value, "keys"):
        return dict(value)
    raise TypeError("it holds a %s; return what JSON has, or a data class" % kind.__name__)
