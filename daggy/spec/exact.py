"""Strict JSON: duplicate keys are refused, numbers keep their text, and every error has its place."""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import Any, NoReturn

from daggy.errors import Problem, SpecError
from daggy.spec.numbers import Number, whole
from daggy.spec.problems import Problems, join, quote


class _Twice(dict[str, object]):
    """An object in which keys were given more than once."""

    keys_given_twice: tuple[str, ...] = ()


class Exact:
    """A decoder that counts what it decodes.

    `keys` is the number of keys seen in all objects so far.
    """

    def __init__(self) -> None:
        """Start with nothing decoded."""
        self.keys = 0
        self._twice = False
        self._decoder = json.JSONDecoder(
            object_pairs_hook=self._object, parse_float=Number, parse_int=whole, parse_constant=_refuse
        )

    def decode(self, data: bytes) -> object:
        """Return the plain data of a JSON text: strings, lists, dicts, bool, None, int and `Number`.

        Raises:
            SpecError: it is not JSON, or a key is given twice.
        """
        self._twice = False
        try:
            text = data.decode("utf-8-sig")
            value: object = self._decoder.decode(text)
        except json.JSONDecodeError as error:
            if not error.doc.strip():
                raise _wrong("is empty") from None
            raise _wrong(f"line {error.lineno}, column {error.colno}: {error.msg[:1].lower()}{error.msg[1:]}") from None
        except UnicodeDecodeError as error:
            raise _wrong(f"byte {error.start}: not UTF-8") from None
        except ValueError as error:
            raise _wrong(str(error)) from None
        except RecursionError:
            raise _wrong("nested too deep") from None
        if self._twice:
            problems = Problems()
            _report_twice(value, problems)
            problems.raise_if_any("")
        return value

    def _object(self, pairs: list[tuple[str, object]]) -> dict[str, object]:
        self.keys += len(pairs)
        members = dict(pairs)
        if len(members) == len(pairs):
            return members
        twice = _Twice(members)
        names = [name for name, _ in pairs]
        twice.keys_given_twice = tuple(name for name, times in Counter(names).items() if times > 1)
        self._twice = True
        return twice


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a JSON number")


def _wrong(message: str) -> SpecError:
    return SpecError([Problem("", message)])


def _report_twice(value: object, problems: Problems) -> None:
    waiting: list[tuple[str, object]] = [("", value)]
    while waiting:
        path, item = waiting.pop()
        if isinstance(item, _Twice):
            for name in item.keys_given_twice:
                problems.add(join(path, name), f"the key {quote(name)} is given twice", "keep one")
        if isinstance(item, dict):
            waiting += [(join(path, name), member) for name, member in item.items()]
        elif isinstance(item, list):
            waiting += [(join(path, f"[{position}]"), member) for position, member in enumerate(item)]


_BLANK_COLON = (b" :", b"\t:", b"\n:", b"\r:")
_SPACED = re.compile(rb'"[ \t\r\n]+:')
_ESCAPED = re.compile(rb"\\u00(?:22|3[aA]|20|09|0[aAdD])")


def count_keys(data: bytes) -> int:
    """Return how many keys a JSON text seems to have: never fewer than it has, more where strings look like keys."""
    keys = data.count(b'":')
    if data.count(b":") == keys or not any(pattern in data for pattern in _BLANK_COLON):
        return keys
    return keys + len(_SPACED.findall(data))


def countable(data: bytes) -> bool:
    """Return whether `count_keys` sees the same in this text as in the same data encoded anew."""
    return b"\\u" not in data or _ESCAPED.search(data) is None


def decode(data: bytes) -> Any:
    """Return the plain data of a JSON text.

    Raises:
        SpecError: it is not JSON, or a key is given twice.
    """
    return Exact().decode(data)
