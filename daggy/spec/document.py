"""Reads documents from files, with everything that they refer to, as JSON."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from attrs import evolve, field, frozen

from daggy.errors import Problem, SpecError
from daggy.spec.exact import count_keys, decode
from daggy.spec.names import bare
from daggy.spec.numbers import Number, parse_value
from daggy.spec.problems import Problems, join, kind, quote
from daggy.spec.sheets import read_sheets
from daggy.spec.source import SMALL


def _reader(extension: str) -> Callable[[bytes], object] | None:
    """Return what reads files with this extension, None for JSON."""
    if extension not in (".yaml", ".yml", ".toml"):
        return None
    from daggy.spec.formats import read_toml, read_yaml  # JSON, the usual format, does not load the other parsers

    return read_toml if extension == ".toml" else read_yaml


CALLED_FROM = "x-called-from"
"""Key that a kept spec has beside its own: the current directory of the command line when the run was made."""


@frozen
class Document:
    """A self-contained run spec as JSON.

    Args:
        raw: The JSON.
        source: Its name in errors: the file's.
        name: The run's name if the document gives none: the file's name without its extension.
    """

    raw: bytes = field(repr=False)
    source: str = ""
    name: str = ""

    @property
    def data(self) -> Any:
        """The document as plain data, decoded at each call."""
        return decode(self.raw)

    @property
    def has_absolute_directory(self) -> bool:
        """Whether its tasks run in a directory that does not depend on the current one."""
        given = decode(_json(_members(self).get("directory", "")))
        return isinstance(given, str) and Path(given).is_absolute()


def load_file(
    path: Path | str, overrides: Mapping[str, Sequence[str]] | None = None, *, stdin: bytes | None = None
) -> Document:
    """Read a run spec from a file.

    Args:
        path: JSON, or YAML or TOML by its extension; `-` is standard input, JSON.
        overrides: Values of parameters that count instead of the document's.
        stdin: What standard input holds, for `-`.

    Returns:
        The document, files of lines and sheets read: relative to the document's directory, or the current one for `-`.

    Raises:
        SpecError: it cannot be read, or is not what its extension says.
    """
    from_stdin = str(path) == "-"
    path = Path(path)
    source, name = ("standard input", "") if from_stdin else (str(path), _text(path.stem))
    try:
        data = (stdin or b"") if from_stdin else _bytes_of(path)
        read = _reader(path.suffix.lower())
        if read is not None:
            data = encode(_object(read(data)))
        escaped = read is None and b"\\u" in data and len(data) <= SMALL  # a key may be written in escapes
        if b'"lines"' in data or b'"csv"' in data or escaped:
            data = _with_files(data, Path() if from_stdin else path.parent)
        return overlay(Document(data, source, name), parameters=overrides or {})
    except SpecError as error:
        raise SpecError(error.problems, source) from None


def _text(name: str) -> str:
    """Return a file's name as text, whatever bytes it is."""
    return os.fsencode(name).decode(errors="replace")


def _bytes_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SpecError([Problem("", f"cannot be read: {error.strerror or error}")]) from None


def _object(value: object) -> dict[str, object]:
    if not isinstance(value, dict):
        raise SpecError([Problem("", f"{kind(value)} where an object with 'tasks' is expected")])
    return value


def overlay(
    document: Document,
    *,
    parameters: Mapping[str, Sequence[str]] | None = None,
    tags: Mapping[str, str] | None = None,
    templating: str = "",
    directory: str = "",
    name: str = "",
    others: Mapping[str, object] | None = None,
) -> Document:
    """Return a document with some of its top-level members replaced.

    Args:
        document: What to start from.
        parameters: Values by name; texts that JSON reads as numbers become numbers.
        tags: Added to the document's.
        templating: Replaces the document's.
        directory: The first directory of the run: the document's own resolves against it.
        name: The run's if the document gives none.
        others: Further members.

    Raises:
        SpecError: the document is not JSON, or those members are no objects.
    """
    if not (parameters or tags or templating or directory or name or others):
        return document
    members = _members(document)
    if parameters:
        merged = _plain_member(members, "parameters", document)
        for parameter, texts in parameters.items():
            spelling = next((key for key in merged if bare(key) == bare(parameter)), parameter)
            merged[spelling] = [parse_value(text) for text in texts]
        members["parameters"] = merged
    if tags:
        members["tags"] = {**_plain_member(members, "tags", document), **tags}
    if templating:
        members["templating"] = templating
    if directory:
        given = decode(_json(members.get("directory", "")))
        members["directory"] = str(Path(directory, given)) if isinstance(given, str) else given
    members |= others or {}
    if name:
        members.setdefault("name", name)
    return evolve(document, raw=encode(members))


def _members(document: Document) -> dict[str, Any]:
    """Return the members of a document's object; in a large one they stay bytes."""
    if len(document.raw) > SMALL:
        try:
            members = _decode_members(document.raw)
            if count_keys(document.raw) == len(members) + sum(count_keys(bytes(member)) for member in members.values()):
                return members
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            pass
        # Perhaps a key is given twice: read to the letter, it says so.
    try:
        return _object(document.data)
    except SpecError as error:
        raise SpecError(error.problems, document.source) from None


_decode_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def _json(value: object) -> bytes:
    return bytes(value) if isinstance(value, msgspec.Raw) else encode(value)


def _plain_member(members: Mapping[str, object], key: str, document: Document) -> dict[str, Any]:
    value = decode(_json(members.get(key, {})))
    if not isinstance(value, dict):
        raise SpecError([Problem(key, f"{kind(value)} where an object is expected")], document.source)
    return value


def _encode_number(value: object) -> msgspec.Raw:
    if isinstance(value, Number):
        return msgspec.Raw(value.text.encode())
    raise TypeError(f"{type(value).__name__} is not JSON")


_encoder = msgspec.json.Encoder(enc_hook=_encode_number)


def encode(value: object) -> bytes:
    """Return plain data as JSON.

    Raises:
        SpecError: a string holds half a surrogate pair, or it is nested too deep.
    """
    try:
        return _encoder.encode(value)
    except UnicodeEncodeError:
        raise SpecError([Problem("", "a string holds half a surrogate pair")]) from None
    except RecursionError:
        raise SpecError([Problem("", "nested too deep")]) from None


def _with_files(data: bytes, directory: Path) -> bytes:
    document = _object(decode(data))
    problems = Problems()
    tasks = document.get("tasks")
    places: list[tuple[str, object]] = [("", document), ("defaults", document.get("defaults"))]
    if isinstance(tasks, dict):
        places += [(join("tasks", name), task) for name, task in tasks.items()]
    elif isinstance(tasks, list):
        places += [(f"tasks[{position}]", task) for position, task in enumerate(tasks)]
    for path, place in places:
        parameters = place.get("parameters") if isinstance(place, dict) else None
        if isinstance(parameters, dict):
            _read_lines(parameters, join(path, "parameters"), directory, problems)
    groups = document.get("zip")
    if isinstance(groups, list):
        read_sheets(groups, directory, problems)
    problems.raise_if_any("")
    return encode(document)


def _read_lines(parameters: dict[str, Any], path: str, directory: Path, problems: Problems) -> None:
    for name, value in parameters.items():
        if isinstance(value, dict) and list(value) == ["lines"]:
            file = value["lines"]
            place = join(path, f"{name}.lines")
            if not isinstance(file, str) or not file or "\0" in file:
                problems.add(place, f"{kind(file)} where a file name is expected")
                continue
            try:
                parameters[name] = lines_of((directory / file).read_bytes())
            except UnicodeDecodeError as error:
                problems.add(place, f"{quote(file)} is not UTF-8 at byte {error.start}")
            except (OSError, ValueError) as error:
                reason = error.strerror if isinstance(error, OSError) else error
                problems.add(place, f"{quote(file)} cannot be read: {reason}", "it is relative to the spec's directory")


def lines_of(data: bytes) -> list[str]:
    """Return the lines of a file, ended by LF or CRLF, blank ones left out.

    Raises:
        UnicodeDecodeError: it is not UTF-8.
    """
    lines = (line.removesuffix("\r") for line in data.decode("utf-8-sig").split("\n"))
    return [line for line in lines if line.strip()]
