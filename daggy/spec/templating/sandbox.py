"""The jinja2 environment of expressions: from strings and numbers to a string or number, in bounded time and space."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from functools import partial
from typing import Any

from jinja2 import StrictUndefined, Undefined, nodes
from jinja2.compiler import CodeGenerator
from jinja2.exceptions import FilterArgumentError, SecurityError, TemplateRuntimeError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from daggy.spec.numbers import Number, number

LARGEST = 1 << 18
"""Characters of a string, or of a list written out, at every step of an expression."""
_BITS = 4096  # of an integer

# fmt: off
FILTERS = (
    "abs", "capitalize", "center", "count", "d", "default", "first", "float", "format", "int", "join", "last",
    "length", "list", "lower", "max", "min", "replace", "reverse", "round", "string", "title", "trim", "truncate",
    "upper", "urlencode", "wordcount",
)
# fmt: on
"""The allowed filters of jinja2; `raw` is Daggy's own."""

# fmt: off
METHODS = frozenset((
    "capitalize", "casefold", "center", "count", "endswith", "find", "index", "isalnum", "isalpha", "isascii",
    "isdecimal", "isdigit", "isidentifier", "islower", "isnumeric", "isspace", "istitle", "isupper", "join",
    "ljust", "lower", "lstrip", "partition", "removeprefix", "removesuffix", "replace", "rfind", "rindex", "rjust",
    "rpartition", "rsplit", "rstrip", "split", "splitlines", "startswith", "strip", "swapcase", "title", "upper",
    "zfill",
))
# fmt: on
"""The methods of strings that an expression may call."""

_NESTED = frozenset((list, tuple, dict))
_WIDTH = re.compile(r"%[^a-zA-Z%]*")


def _refuse() -> SecurityError:
    return SecurityError(f"the result would be larger than {LARGEST} characters")


def _weight(value: object) -> int:
    """Return about how many characters a value's text has, lists within lists written out; no further than LARGEST.

    A list may hold another a thousand times, and so on: a small object in memory can take forever to visit.
    """
    if isinstance(value, str):
        return len(value)
    weight, waiting = 0, [value]
    while waiting and weight <= LARGEST:
        item = waiting.pop()
        if isinstance(item, Mapping):
            item = (*item, *item.values())
        if not isinstance(item, list | tuple):
            weight += len(str(item))
        elif _NESTED.isdisjoint(map(type, item)):
            weight += 2 * len(item) + sum(map(len, map(str, item)))
        else:
            weight += 2 * len(item) + 2
            waiting += item
    return weight


def _bounded(value: Any) -> Any:
    if isinstance(value, int):
        if value.bit_length() > _BITS:
            raise SecurityError("a number has too many digits")
    elif isinstance(value, str | list | tuple | Mapping) and _weight(value) > LARGEST:
        raise _refuse()
    return value


def _multiply(left: Any, right: Any) -> Any:
    for sequence, times in ((left, right), (right, left)):
        if isinstance(sequence, str | list | tuple) and isinstance(times, int) and _weight(sequence) * times > LARGEST:
            raise _refuse()
    return left * right


def _power(left: Any, right: Any) -> Any:
    if isinstance(left, int) and isinstance(right, int) and left.bit_length() * abs(right) > _BITS:
        raise SecurityError("a number has too many digits")
    if isinstance(left, Decimal) and abs(right) > _BITS:
        raise SecurityError("a number has too many digits")
    return left**right


def _format(text: Any, *arguments: Any, **named: Any) -> Any:
    """Return `text % arguments` unless a width or many long arguments would make it huge."""
    text = str(text)
    fields = _WIDTH.findall(text)
    widths = [int(digits) for found in fields for digits in re.findall(r"[0-9]{1,9}", found)]
    longest = max([0, *map(_weight, arguments), *map(_weight, named.values())])
    if any("*" in found for found in fields):
        raise SecurityError("a width of `*`: write the number")
    if len(text) + sum(widths) + len(fields) * longest > LARGEST:
        raise _refuse()
    return text % (named or arguments)


def _modulo(left: Any, right: Any) -> Any:
    if not isinstance(left, str):
        return left % right
    if isinstance(right, Mapping):
        return _format(left, **right)
    return _format(left, *(right if isinstance(right, tuple) else (right,)))


def _join(_: Any, items: Any, separator: Any = "") -> str:
    texts = list(map(str, items))
    if sum(map(len, texts)) + len(str(separator)) * len(texts) > LARGEST:
        raise _refuse()
    return str(separator).join(texts)


def _replace(_: Any, text: Any, old: Any, new: Any, count: int | None = None) -> str:
    text, old, new = str(text), str(old), str(new)
    if len(text) + text.count(old) * len(new) > LARGEST:
        raise _refuse()
    return str(text.replace(old, new, -1 if count is None else count))


def _method(text: str, name: str, *arguments: Any) -> Any:
    """Call a method of a string with bounded arguments."""
    if any(isinstance(argument, int) and abs(argument) > LARGEST for argument in arguments):
        raise _refuse()
    if name == "join":
        return _join(None, arguments[0], text)
    if name == "replace":
        return _replace(None, text, *arguments)
    return _bounded(getattr(text, name)(*arguments))


def _guarded(original: Callable[..., Any]) -> Callable[..., Any]:
    """Return the filter with bounded arguments and result; jinja2's own marks stay on it."""

    def guarded(*arguments: Any, **named: Any) -> Any:
        for value in (*arguments[1:], *named.values()):
            if isinstance(value, int) and abs(value) > LARGEST:
                raise _refuse()
        return _bounded(original(*arguments, **named))

    for mark in ("jinja_pass_arg", "jinja_async_variant"):
        if hasattr(original, mark):
            setattr(guarded, mark, getattr(original, mark))
    return guarded


def _as_int(value: Any, default: int = 0) -> int:
    try:
        return int(str(value)) if isinstance(value, str) else int(value)
    except (TypeError, ValueError, OverflowError):
        return default


class _Generator(CodeGenerator):
    """Bounds values built without operator or filter: lists, maps, and texts joined by `~`."""

    def visit(self, node: nodes.Node, *arguments: Any, **named: Any) -> None:
        """Write the code of a node."""
        if isinstance(node, nodes.Concat):
            node, call = nodes.Tuple(node.nodes, "load"), "str_join(environment.bounded("
        elif isinstance(node, nodes.List | nodes.Tuple | nodes.Dict):
            call = "(environment.bounded("
        else:
            super().visit(node, *arguments, **named)
            return
        self.write(call)
        super().visit(node, *arguments, **named)
        self.write("))")


class Environment(ImmutableSandboxedEnvironment):
    """Expressions see their variables, METHODS of strings, FILTERS and nothing else of Python."""

    intercepted_binops = frozenset(["+", "*", "**", "%"])
    code_generator_class = _Generator
    bounded = staticmethod(_bounded)

    def __init__(self) -> None:
        """Make the environment: no globals, no constant folding."""
        super().__init__(undefined=StrictUndefined, optimized=False, autoescape=False)
        self.globals.clear()
        self.filters = {name: _guarded(self.filters[name]) for name in FILTERS}
        own = {"join": partial(_join, None), "replace": partial(_replace, None), "format": _format, "int": _as_int}
        self.filters |= own | {"raw": lambda value: value}

    def call_binop(self, context: Any, operator_: str, left: Any, right: Any) -> Any:  # noqa: ARG002
        """Compute within bounds."""
        compute = {"+": operator.add, "*": _multiply, "**": _power, "%": _modulo}[operator_]
        return _bounded(compute(left, right))

    def getattr(self, obj: Any, attribute: str) -> Any:
        """Return a member of a mapping, or one of METHODS; no other attribute of anything is ever touched."""
        if isinstance(obj, Mapping) and attribute in obj:
            return obj[attribute]
        if isinstance(obj, str) and attribute in METHODS:
            return partial(_method, obj, attribute)
        return self.undefined(obj=obj, name=attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        """Return an item or a slice; never an attribute."""
        try:
            return obj[argument]
        except (AttributeError, TypeError, LookupError, ValueError):
            return self.undefined(obj=obj, name=argument)


ENVIRONMENT = Environment()


def text_of(result: object) -> str:
    """Return the text of an expression's result.

    Raises:
        ValueError: it is undefined, neither a string nor a number, too long, or holds a NUL character.
    """
    if isinstance(result, Undefined):
        str(result)  # raises jinja2's error
    if not isinstance(result, str | int | float | Decimal):
        noun = "nothing" if result is None else "a list" if isinstance(result, list | tuple) else "no text"
        raise ValueError(f"it gives {noun}; a string or a number is expected")  # noqa: TRY004
    if isinstance(result, Decimal) and not isinstance(result, Number):
        result = number(result)
    text = str(_bounded(result))
    if "\0" in text:
        raise ValueError("it gives a NUL character")
    if not text.isascii():
        text.encode()  # raises for a lone surrogate
    return text


def value_of(result: object) -> object:
    """Return an expression's result as JSON has it: null, true and false, lists and objects besides texts and numbers.

    Raises:
        ValueError: JSON has no such value, or it is too large.
    """
    if result is None or isinstance(result, bool):
        return result
    if isinstance(result, Mapping):
        return {text_of(key): value_of(item) for key, item in _bounded(result).items()}
    if isinstance(result, list | tuple):
        return [value_of(item) for item in _bounded(result)]
    text = text_of(result)
    if isinstance(result, float) and not math.isfinite(result):
        raise ValueError(f"it gives {text}, which is not a number of JSON")
    if isinstance(result, Decimal):
        return result if isinstance(result, Number) else number(result)
    return result


def explain(error: Exception) -> str:
    """Return the message of an expression's error."""
    if isinstance(error, ZeroDivisionError):
        return "division by zero"
    text = str(error)[:300]
    if isinstance(error, TemplateRuntimeError | ValueError | TypeError | FilterArgumentError):  # their texts are whole
        return text or type(error).__name__
    return f"{type(error).__name__}: {text}"
