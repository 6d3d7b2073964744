"""Turn a mapping from a configuration into a frozen settings class, with every wrong key named."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import GenericAlias
from typing import Any, TypeVar, get_args, get_origin

import attrs
import cattrs
from cattrs import BaseConverter, ClassValidationError, Converter, IterableValidationError
from cattrs.cols import is_mapping, is_sequence, list_structure_factory, mapping_structure_factory
from cattrs.errors import ForbiddenExtraKeysError
from cattrs.gen import make_dict_structure_fn

from daggy.errors import Problem, SettingsError

T = TypeVar("T")

_BOOLEANS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def structure(settings: Mapping[str, Any], into: type[T], source: str) -> T:
    """Return settings as an instance of `into`, an attrs class; texts (from the environment) may stand for numbers.

    Args:
        settings: Keys and JSON-like values. Keys that `into` lacks are refused.
        into: The attrs class; its validators count. Where a class within it has a method `of`, a text may stand for an
            object: that makes one of it.
        source: Whose settings, put before each line of an error.

    Raises:
        SettingsError: with all that is wrong.
    """
    try:
        return _CONVERTER.structure(settings, into)
    except cattrs.BaseValidationError as error:
        raise SettingsError(_problems(error, ""), source) from error


def _problems(error: BaseException, path: str) -> Iterator[Problem]:
    if isinstance(error, ClassValidationError):
        grouped, others = error.group_exceptions()
        for inner, note in grouped:
            yield from _problems(inner, f"{path}.{note.name}" if path else note.name)
        for other in others:
            yield from _problems(other, path)
    elif isinstance(error, IterableValidationError):
        items, others = error.group_exceptions()
        for inner, place in items:
            yield from _problems(inner, f"{path}[{place.index!r}]")
        for other in others:
            yield from _problems(other, path)
    elif isinstance(error, ForbiddenExtraKeysError):
        yield from _extra(error, path)
    elif isinstance(error, KeyError):
        yield Problem(path, "is missing", "give it a value")
    else:
        yield Problem(path, str(error))


def _extra(error: ForbiddenExtraKeysError, path: str) -> Iterator[Problem]:
    known = [attribute.name for attribute in attrs.fields(error.cl)]
    for key in sorted(map(str, error.extra_fields)):
        close = difflib.get_close_matches(key, known, 1)
        mend = f"did you mean '{close[0]}'?" if close else f"there are: {', '.join(known) or 'none'}"
        yield Problem(path, f"no setting named {key!r}", mend)


def _integer(value: Any, _: type) -> int:
    if isinstance(value, str):
        value = _number(value)
    if isinstance(value, (int, float)) and not isinstance(value, bool) and value == int(value):
        return int(value)
    raise ValueError(f"must be a whole number, not {value!r}")


def _decimal(value: Any, _: type) -> float:
    if isinstance(value, str):
        value = _number(value)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    raise ValueError(f"must be a number, not {value!r}")


def _number(text: str) -> str | float:
    try:
        return int(text)
    except ValueError:
        try:
            return float(text)
        except ValueError:
            return text


def _boolean(value: Any, _: type) -> bool:
    if isinstance(value, str):
        value = _BOOLEANS.get(value.lower(), value)
    if isinstance(value, bool):
        return value
    raise ValueError(f"must be true or false, not {value!r}")


def _text(value: Any, _: type) -> str:
    if isinstance(value, str):
        return value
    raise ValueError(f"must be a string, not {value!r}")


def _path(value: Any, kind: type) -> Path:
    return Path(value if isinstance(value, Path) else _text(value, kind))


def _only(kind: type, noun: str, hook: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """Return a hook that refuses other kinds of values: a string is not a list of its letters."""

    def structured(value: Any, into: Any) -> Any:
        if not isinstance(value, kind):
            raise TypeError(f"must be {noun}, not {value!r}")
        return hook(value, into)

    return structured


def _list_hook(into: Any, converter: BaseConverter) -> Callable[[Any, Any], Any]:
    return _only(list, "a list", list_structure_factory(into, converter))


def _tuple_hook(into: Any, converter: BaseConverter) -> Callable[[Any, Any], Any]:
    items = GenericAlias(list, (get_args(into)[0],))
    hook = converter.get_structure_hook(items)
    return lambda value, _: tuple(hook(value, items))


def _mapping_hook(into: Any, converter: BaseConverter) -> Callable[[Any, Any], Any]:
    return _only(Mapping, "an object", mapping_structure_factory(into, converter))


def _class_hook(into: Any, converter: BaseConverter) -> Callable[[Any, Any], Any]:
    hook = make_dict_structure_fn(into, converter, _cattrs_forbid_extra_keys=True, _cattrs_detailed_validation=True)
    structured = _only(Mapping, "an object", hook)
    if not hasattr(into, "of"):
        return structured
    return lambda value, kind: into.of(value) if isinstance(value, str) else structured(value, kind)


def _is_tuple(into: Any) -> bool:
    return get_origin(into) is tuple and get_args(into)[1:] == (Ellipsis,)


def _converter() -> Converter:
    converter = Converter(forbid_extra_keys=True)
    converter.register_structure_hook(int, _integer)
    converter.register_structure_hook(float, _decimal)
    converter.register_structure_hook(bool, _boolean)
    converter.register_structure_hook(str, _text)
    converter.register_structure_hook(Path, _path)
    converter.register_structure_hook_factory(attrs.has, _class_hook)
    converter.register_structure_hook_factory(is_mapping, _mapping_hook)
    converter.register_structure_hook_factory(is_sequence, _list_hook)
    converter.register_structure_hook_factory(_is_tuple, _tuple_hook)
    return converter


_CONVERTER = _converter()
