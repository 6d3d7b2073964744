"""YAML and TOML documents as the plain data of JSON."""

from __future__ import annotations

import datetime as dt
import re
import tomllib
from collections.abc import Mapping
from typing import Any

import yaml

from daggy.errors import Problem, SpecError
from daggy.spec.numbers import Number, whole
from daggy.spec.problems import join, quote

MOST = 100_000
"""Values of a YAML document that may come from aliases: a few lines can expand to billions."""
DEEPEST = 100


def _wrong(path: str, message: str, mend: str = "") -> SpecError:
    return SpecError([Problem(path, message, mend)])


def read_toml(data: bytes) -> object:
    """Return a TOML document's data; dates and times become their text.

    Raises:
        SpecError: it is not TOML.
    """
    try:
        return _untimed(tomllib.loads(data.decode("utf-8-sig"), parse_float=_toml_float))
    except UnicodeDecodeError as error:
        raise _wrong("", f"byte {error.start}: not UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise _wrong("", f"not TOML: {error}") from None
    except ValueError as error:
        raise _wrong("", str(error)) from None
    except RecursionError:
        raise _wrong("", "nested too deep") from None


def _toml_float(text: str) -> Number:
    return Number(text.replace("_", "").removeprefix("+"))


def _untimed(value: Any) -> object:
    match value:
        case dict():
            return {key: _untimed(item) for key, item in value.items()}
        case list():
            return [_untimed(item) for item in value]
        case dt.datetime() | dt.date() | dt.time():
            return value.isoformat().replace("+00:00", "Z")
        case _:
            return value


class _Resolver(yaml.resolver.BaseResolver):
    """The implicit types of YAML 1.2's core schema: dates, `no` and `on` are strings."""


class _Loader(yaml.reader.Reader, yaml.scanner.Scanner, yaml.parser.Parser, yaml.composer.Composer, _Resolver):
    """PyYAML's parser up to nodes; this module interprets them."""

    def __init__(self, stream: bytes) -> None:
        yaml.reader.Reader.__init__(self, stream)
        yaml.scanner.Scanner.__init__(self)
        yaml.parser.Parser.__init__(self)
        yaml.composer.Composer.__init__(self)
        _Resolver.__init__(self)


_TAG = "tag:yaml.org,2002:"
for _name, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    (
        "float",
        r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        "-+.0123456789",
    ),
):
    _Resolver.add_implicit_resolver(_TAG + _name, re.compile(rf"(?:{_pattern})\Z"), list(_first))


def read_yaml(data: bytes) -> object:
    """Return a YAML document's data, by the core schema of YAML 1.2.

    Raises:
        SpecError: it is not YAML, or has a duplicate key, an explicit tag, or values that JSON lacks.
    """
    try:
        node = _Loader(data).get_single_node()
        return None if node is None else _Plain().read(node, "", 0)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise _wrong("", f"{place}{error.problem or error.context}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise _wrong("", f"not YAML: {' '.join(str(error).split())}") from None
    except RecursionError:
        raise _wrong("", "nested too deep") from None


class _Plain:
    """Turns nodes into plain data."""

    def __init__(self) -> None:
        self.left = MOST
        self.seen: set[int] = set()

    def read(self, node: yaml.Node, path: str, depth: int) -> object:
        self.left -= id(node) in self.seen
        self.seen.add(id(node))
        if self.left < 0 or depth > DEEPEST:
            raise _wrong(path, "nested too deep" if self.left >= 0 else "too large once its aliases are written out")
        tag = node.tag.removeprefix(_TAG)
        if isinstance(node, yaml.MappingNode) and tag == "map":
            return self._mapping(node, path, depth)
        if isinstance(node, yaml.SequenceNode) and tag == "seq":
            return [self.read(item, join(path, f"[{n}]"), depth + 1) for n, item in enumerate(node.value)]
        if isinstance(node, yaml.ScalarNode):
            return _scalar(node.value, tag, path)
        raise _wrong(path, f"the tag {quote(node.tag)}", "leave it out")

    def _mapping(self, node: yaml.MappingNode, path: str, depth: int) -> Mapping[str, object]:
        members: dict[str, object] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise _wrong(path, "a key that is no text")
            name: str = key.value
            line = key.start_mark.line + 1
            if name == "<<" and key.style is None:
                mend = "write its members out, or put what tasks share in 'defaults'"
                raise _wrong(path, f"the merge key '<<' (line {line}) is not part of YAML 1.2", mend)
            if name in members:
                raise _wrong(join(path, name), f"the key {quote(name)} is given twice (line {line})", "keep one")
            members[name] = self.read(value, join(path, name), depth + 1)
        return members


def _scalar(text: str, tag: str, path: str) -> object:
    try:
        match tag:
            case "str":
                return text
            case "null":
                return None
            case "bool":
                return text.lower() == "true"
            case "int" | "float" if _CHANGED.match(text):
                raise _wrong(path, *_altered(text))
            case "int":
                return whole(text)
            case "float":
                return _yaml_float(text)
    except ValueError as error:
        raise _wrong(path, str(error)) from None
    raise _wrong(path, f"the tag {quote(tag)}", "leave it out")


_CHANGED = re.compile(r"[-+]?0[0-9ox]")
"""Numbers that would lose their text: leading zeros, octal and hexadecimal ones. They are mostly names."""


def _altered(text: str) -> tuple[str, str]:
    """Return what is wrong with a number that would be kept as another text, and the mend."""
    if text.startswith(("0o", "0x")):
        number = str(int(text, 0)) if len(text) < 100 else "the number in decimal"
        return f"{quote(text)} is a number that JSON has in decimal only", f'write "{text}" for the text, or {number}'
    digits = text.lstrip("+-")
    sign = text[: len(text) - len(digits)].replace("+", "")
    plain = digits.lstrip("0")
    plain = plain if plain[:1].isdigit() else f"0{plain}"
    return f"{quote(text)} is a number with leading zeros", f'write "{text}" for the text, or {sign}{plain}'


def _yaml_float(text: str) -> Number:
    """Return a number whose text is JSON's: `.5` becomes `0.5`, `1.` becomes `1`."""
    sign = "-" if text.startswith("-") else ""
    mantissa, exponent, power = text.lstrip("+-").lower().partition("e")
    before, point, decimals = mantissa.partition(".")
    return Number(f"{sign}{before.lstrip('0') or '0'}{point if decimals else ''}{decimals}{exponent}{power}")
