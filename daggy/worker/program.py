"""The worker: calls a function, or evaluates a source, and leaves what it returns as the task's result.

Standard library only, Python 3.8 or newer: its text travels with each call. What takes long to load is imported where
it is needed.
"""

from __future__ import annotations

import json
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, Iterable, Iterator, List, Mapping, NoReturn, Tuple

VALUES = ""
"""The text of the conversions, compressed and in base64, which has come with the call."""

PLAIN = {"int": int, "float": float, "str": str, "bool": bool, "list": list, "dict": dict, "object": object}
"""Types that JSON has, by how hints are written."""

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
        call: `function`, as "package.module:name", or `eval`, a source; `arguments` and `inputs`, by name; `lists`,
            by name the paths of files with one value a line, as JSON.
    """
    process, code = os.getpid(), 0
    sys.path[0] = os.getcwd()
    try:
        leave("!" + UNFINISHED)
    except OSError as error:
        sys.exit("daggy: no result can be left in '%s': %s" % (error.filename, error.strerror))
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
    arguments, inputs = call.get("arguments", {}), dict(call.get("inputs", {}))
    for name, path in call.get("lists", {}).items():
        with open(path, encoding="utf-8") as file:
            inputs[name] = [json.loads(line) for line in file]
    for name in arguments:
        if name in inputs:
            raise CallError("'%s' is an argument and an input; give it once" % name)
    return dict(arguments, **inputs)


def found(place: str) -> Any:
    """Import and return a function.

    Args:
        place: "package.module:name".
    """
    module_name, _, name = place.partition(":")
    try:
        __import__(module_name)
        module = sys.modules[module_name]
    except ModuleNotFoundError as error:
        if error.name is None or not (module_name + ".").startswith(error.name + "."):
            raise
        where = "in '%s', nor has %s one" % (os.getcwd(), sys.executable)
        raise CallError("there is no module '%s' %s" % (error.name, where)) from None
    if not hasattr(module, name):
        raise CallError("the module '%s' has no '%s'%s" % (module_name, name, values().meant(name, vars(module))))
    function: Any = getattr(module, name)
    if isinstance(function, type):
        raise CallError("'%s' is a class; name a function that makes and uses one" % place)
    if not callable(function):
        raise CallError("'%s' is no function" % place)
    return function


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
        raise CallError("%s() has no parameter '%s'%s%s" % (name, unknown[0], values().meant(unknown[0], names), has))
    missing = [one for one in names if one not in given and parameters[one].default is inspect.Parameter.empty]
    if missing:
        raise CallError("%s() needs the argument '%s'" % (name, "', '".join(missing)))
    by_name = converted_all(function, given)
    first = [one for one in names if parameters[one].kind is inspect.Parameter.POSITIONAL_ONLY and one in given]
    return [by_name.pop(one) for one in first], by_name


def converted_all(function: Any, given: Mapping[str, Any]) -> Dict[str, Any]:
    """Return arguments as the function's hints want them."""
    hints = hints_of(function, given)
    made = {}
    for name, value in given.items():
        try:
            made[name] = converted(value, hints[name]) if name in hints else value
        except (ValueError, TypeError, ArithmeticError) as error:
            raise CallError("argument '%s': %s" % (name, one_line(str(error)))) from None
    return made


def converted(value: Any, hint: Any) -> Any:
    """Return an argument as its hint wants it; one of JSON's own types mostly is."""
    if type(value) is hint:
        return value
    return float(value) if hint is float and type(value) is int else values().converted(value, hint)


def values() -> Any:
    """Return the module of conversions, made of its text when it is needed first."""
    if not VALUES:
        from daggy.worker import values as module  # this text has not travelled

        return module
    import binascii
    import types
    import zlib

    name = "<daggy.worker.values>"
    if name not in sys.modules:
        sys.modules[name] = types.ModuleType(name)
        text = zlib.decompress(binascii.a2b_base64(VALUES))
        exec(compile(text, "<daggy>", "exec"), vars(sys.modules[name]))  # noqa: S102 - it is ours
    return sys.modules[name]


def hints_of(function: Any, names: Iterable[str]) -> Mapping[str, Any]:
    """Return the types that a function's signature names, as far as they can be found."""
    function = getattr(function, "__wrapped__", function)
    written = getattr(function, "__annotations__", None) or {}
    hints = {name: PLAIN.get(hint, hint) if isinstance(hint, str) else hint for name, hint in written.items()}
    if any(isinstance(hints[name], str) or hints[name] not in PLAIN.values() for name in names if name in hints):
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


def written(value: Any) -> str:
    """Return a result as JSON; if it is far too large, enough of it that this is seen."""
    parts, size = [], 0
    try:
        for part in json.JSONEncoder(
            ensure_ascii=False, separators=(",", ":"), default=lambda one: values().plain(one)
        ).iterencode(value):
            parts.append(part)
            size += len(part)
            if size > LARGEST:
                break
    except (TypeError, ValueError, RecursionError) as error:
        return "!its result is no JSON: %s" % one_line(str(error))
    return "".join(parts)
