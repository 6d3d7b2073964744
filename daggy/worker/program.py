"""The worker: calls a function, or evaluates a source, and leaves what it returns as the task's result.

One file, standard library only, Python 3.8 or newer: its text travels with each call. Modules that take long to load
are imported where they are needed.
"""

from __future__ import annotations

import json
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, Iterable, Iterator, List, Mapping, NoReturn, Tuple

LARGEST = 1 << 20
"""Bytes of a result as it is written; how many are kept is the launcher's affair."""

UNFINISHED = "its process ended before the call returned"

OWN = ("<daggy>", "<string>", "<frozen importlib", os.path.join("importlib", "__init__.py"))
"""Files whose frames are not the user's."""


class CallError(Exception):
    """What the author of a task has to mend, in one line."""


def main(call: Mapping[str, Any]) -> NoReturn:
    """Do what a call says, leave the result, and exit.

    Args:
        call: `function`, as "package.module:name", or `eval`, a source; `arguments` and `inputs`, by name.
    """
    process, code = os.getpid(), 0
    sys.path[0] = os.getcwd()
    leave("!" + UNFINISHED)
    try:
        value = evaluated(call) if "eval" in call else called(call)
        text = written(value)
    except SystemExit as error:
        code, text = ended(error)
    except BaseException as error:  # noqa: BLE001 - the user's code has failed: that is told, and the exit code says so
        code, text = failed(error)
    if os.getpid() != process:  # what the function has forked came back here, too
        flush()
        os._exit(code)
    leave(text)
    sys.exit(code)


def flush() -> None:
    """Write what was printed."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "flush"):  # the function may have put anything there
            stream.flush()


def leave(text: str) -> None:
    """Leave a result, as JSON; or after a `!` why there is none."""
    if os.environ.get("DAGGY_RESULT"):
        with open(os.environ["DAGGY_RESULT"], "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)


def ended(error: SystemExit) -> Tuple[int, str]:
    """Return the exit code of a SystemExit, as the interpreter has it, and what is left as a result."""
    if error.code is None or isinstance(error.code, int):
        return (error.code or 0) & 255, "" if not error.code else "!exited with %d" % error.code
    sys.stderr.write("%s\n" % (error.code,))
    return 1, "!" + one_line(str(error.code))


def failed(error: BaseException) -> Tuple[int, str]:
    """Print what was raised; return the exit code and what is left as a result."""
    if isinstance(error, CallError):
        sys.stderr.write("daggy: %s\n" % error)
        return 1, "!" + one_line(str(error))
    code = 137 if isinstance(error, MemoryError) else 1
    try:
        import traceback

        told = traceback.TracebackException(type(error), error, error.__traceback__)
        for one in chain(told):
            one.stack = traceback.StackSummary.from_list([frame for frame in one.stack if is_users(frame.filename)])
        sys.stderr.write("".join(told.format()))
        return code, "!" + one_line(list(told.format_exception_only())[-1])
    except MemoryError:
        return code, "!MemoryError"


def chain(told: Any) -> Iterator[Any]:
    """Yield an error with those that it came from, and those within it."""
    waiting, seen = [told], set()
    while waiting:
        one = waiting.pop()
        if one is not None and id(one) not in seen:
            seen.add(id(one))
            yield one
            waiting += [one.__cause__, one.__context__, *(getattr(one, "exceptions", None) or ())]


def is_users(file: str) -> bool:
    """Return whether a frame is of the user's code."""
    return not any(part in file for part in OWN)


def one_line(text: str) -> str:
    """Return a text in one line of bearable length."""
    line = " ".join(text.split())
    return line if len(line) <= 500 else line[:499] + "\u2026"


# Calling.


def called(call: Mapping[str, Any]) -> Any:
    """Call a function; return what it returns."""
    function, name = found(call["function"]), call["function"].partition(":")[2]
    given = given_in(call)
    places, named = bound(function, name, given)
    value = function(*places, **named)
    if hasattr(value, "__await__"):
        import asyncio

        async def awaited() -> Any:
            return await value

        return asyncio.run(awaited())
    return value


def given_in(call: Mapping[str, Any]) -> Dict[str, Any]:
    """Return the arguments of a call with its inputs, by name."""
    arguments, inputs = call.get("arguments", {}), call.get("inputs", {})
    for name in arguments:
        if name in inputs:
            raise CallError("'%s' is an argument and an input; give it once" % name)
    return dict(arguments, **inputs)


def found(place: str) -> Any:
    """Import and return a function.

    Args:
        place: "package.module:name".
    """
    import importlib

    module_name, _, name = place.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not (module_name + ".").startswith(error.name + "."):
            raise
        where = "in '%s', nor has %s one" % (os.getcwd(), sys.executable)
        raise CallError("there is no module '%s' %s" % (error.name, where)) from None
    if not hasattr(module, name):
        raise CallError("the module '%s' has no '%s'%s" % (module_name, name, meant(name, vars(module))))
    function: Any = getattr(module, name)
    if isinstance(function, type):
        raise CallError("'%s' is a class; name a function that makes and uses one" % place)
    if not callable(function):
        raise CallError("'%s' is no function" % place)
    return function


def meant(name: str, known: Iterable[str]) -> str:
    """Return which name was meant, for a message; empty if none comes near."""
    import difflib

    near = difflib.get_close_matches(name, [one for one in known if not one.startswith("__")], 1)
    return "; did you mean '%s'?" % near[0] if near else ""


def bound(function: Any, name: str, given: Dict[str, Any]) -> Tuple[List[Any], Dict[str, Any]]:
    """Return the arguments of a call, those by place and those by name, converted as the signature says."""
    import types

    code: Any = getattr(function, "__code__", None)
    if not isinstance(function, types.FunctionType) or code.co_flags & 0x0C or hasattr(function, "__wrapped__"):
        return bound_by_signature(function, name, given)
    known = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    needed = set(known[: code.co_argcount - len(function.__defaults__ or ())])
    needed |= set(known[code.co_argcount :]) - set(function.__kwdefaults__ or ())
    if getattr(code, "co_posonlyargcount", 0) or not needed <= set(given) <= set(known):
        return bound_by_signature(function, name, given)
    return [], converted_all(function, given)


def bound_by_signature(function: Any, name: str, given: Dict[str, Any]) -> Tuple[List[Any], Dict[str, Any]]:
    """Do the same for any callable; raise a CallError if the arguments do not fit."""
    import inspect

    try:
        parameters = inspect.signature(function).parameters
    except (ValueError, TypeError):  # some functions written in C do not say
        return [], given
    kinds = [parameter.kind for parameter in parameters.values()]
    names = [name for name, one in parameters.items() if one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)]
    unknown = [one for one in given if one not in names]
    if unknown and inspect.Parameter.VAR_KEYWORD not in kinds:
        has = "; it has: %s" % ", ".join(names) if names else "; it has none"
        raise CallError("%s() has no parameter '%s'%s%s" % (name, unknown[0], meant(unknown[0], names), has))
    missing = [one for one in names if one not in given and parameters[one].default is inspect.Parameter.empty]
    if missing:
        raise CallError("%s() needs the argument '%s'" % (name, "', '".join(missing)))
    values = converted_all(function, given)
    by_place = [one for one in names if parameters[one].kind is inspect.Parameter.POSITIONAL_ONLY and one in values]
    return [values.pop(one) for one in by_place], values


def converted_all(function: Any, given: Mapping[str, Any]) -> Dict[str, Any]:
    """Return arguments as the function's hints want them."""
    hints = hints_of(function, given)
    values = {}
    for name, value in given.items():
        try:
            values[name] = converted(value, hints[name]) if name in hints else value
        except (ValueError, TypeError, ArithmeticError, CallError) as error:
            raise CallError("argument '%s': %s" % (name, one_line(str(error)))) from None
    return values


def hints_of(function: Any, names: Iterable[str]) -> Mapping[str, Any]:
    """Return the types that a function's signature names, as far as they can be found."""
    function = getattr(function, "__wrapped__", function)
    written = getattr(function, "__annotations__", None) or {}
    hints = {name: PLAIN.get(hint, hint) if isinstance(hint, str) else hint for name, hint in written.items()}
    if any(isinstance(hints[name], str) or hints[name] not in SIMPLE for name in names if name in hints):
        import typing

        more: Any = {"include_extras": True} if sys.version_info >= (3, 9) else {}
        try:
            hints = typing.get_type_hints(function, **more)
        except Exception:  # noqa: BLE001 - a name that only type checkers import, or a syntax of newer versions
            hints = {name: hint for name, hint in hints.items() if not isinstance(hint, str)}
    return hints


def evaluated(call: Mapping[str, Any]) -> Any:
    """Execute a source with its arguments as variables; return the value of an expression at its end."""
    import ast
    import linecache
    import types

    source, file = call["eval"], "<eval>"
    linecache.cache[file] = (len(source), None, source.splitlines(True), file)
    tree = ast.parse(source, file)
    module = sys.modules["__main__"] = types.ModuleType("__main__")
    space = vars(module)
    space.update(given_in(call))
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, file, "exec"), space)  # noqa: S102 - the pool allows it
    return eval(compile(ast.Expression(last.value), file, "eval"), space) if last else None  # noqa: S307 - idem


# From JSON to what hints name.

PLAIN = {"int": int, "float": float, "str": str, "bool": bool, "list": list, "dict": dict, "object": object}
SIMPLE = set(PLAIN.values())


def converted(value: Any, hint: Any) -> Any:
    """Return a JSON value as the type that a hint names.

    Raises:
        ValueError, TypeError, CallError: it is none.
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
        except (ValueError, TypeError, ArithmeticError, CallError):
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


# From what a function returns to JSON.


def written(value: Any) -> str:
    """Return a result as JSON; if it is far too large, enough of it that this is seen."""
    parts, size = [], 0
    try:
        for part in json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), default=plain).iterencode(value):
            parts.append(part)
            size += len(part)
            if size > LARGEST:
                break
    except (TypeError, ValueError, RecursionError) as error:
        return "!its result is no JSON: %s" % one_line(str(error))
    return "".join(parts)


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
