"""Reads the settings of a kind in `details`: what stands under its name, or beside it where the kind is built in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from daggy.errors import PluginError, SettingsError
from daggy.kind import BUILT_IN, TaskKind, kind_of
from daggy.spec.fields import members, nested
from daggy.spec.model import Details
from daggy.spec.numbers import plain
from daggy.spec.problems import Problems, join


def read_kind(name: str, value: object, path: str, problems: Problems) -> dict[str, Any] | None:
    """Read the settings of a kind; None: they are wrong, or it cannot be loaded.

    Args:
        name: The kind's.
        value: As written.
        path: Of the object.
        problems: Where to report.
    """
    written = members(value, path, problems)
    if written is None or not nested(written, path, problems):
        return None
    settings: Any = plain(written)
    try:
        kind = kind_of(name)
    except PluginError as error:
        problems.add(path, str(error))
        return None
    return settings if _check(kind, settings, path, problems) else None


BESIDE = ("arguments", "python")
"""Settings of all kinds that are built in, beside that under the kind's own name."""


def read_built_in(name: str, details: Mapping[str, object], path: str, problems: Problems) -> dict[str, Any] | None:
    """Read the settings of a kind that is built in; None: they are wrong.

    Args:
        name: The kind's.
        details: As written, with other keys.
        path: Of details.
        problems: Where to report.
    """
    written = {key: details[key] for key in (name, *BESIDE) if key in details}
    if not nested(written, path, problems):
        return None
    settings: Any = plain(written)
    source = settings[name]
    if name == "eval" and isinstance(source, str) and "{{" in source:
        mend = "give the value in `arguments`: it is a variable of the source"
        problems.add(join(path, "eval"), "nothing is substituted in a source, and it holds '{{'", mend)
        return None
    return settings if _check(kind_of(name), settings, path, problems) else None


def substituted(details: Details) -> Iterator[tuple[str, str]]:
    """Yield every string in the settings of a kind in which values are put in, with its path in details."""
    for path, text in leaves(details.settings, "" if details.kind in BUILT_IN else details.kind):
        if not is_source(details.kind, path):
            yield path, text


def is_source(kind: str, path: str) -> bool:
    """Return whether a string in settings is a program, which is executed as it is written."""
    return kind == path == "eval"


def is_typed(kind: str, path: str) -> bool:
    """Return whether a string in settings that is one substitution and nothing else becomes the value itself."""
    return kind in BUILT_IN and path.startswith("arguments")


def _check(kind: TaskKind, settings: Mapping[str, Any], path: str, problems: Problems) -> bool:
    """Report what is wrong with settings; return whether nothing is."""
    try:
        found = list(kind.check(structured(kind, settings, path)))
    except SettingsError as error:
        unknown = {place for place, text in leaves(settings) if "{{" in text}  # known when a task is rendered
        found = [problem for problem in error.problems if problem.path not in unknown]
    problems.adopt(path, found)
    return not found


def structured(kind: TaskKind, settings: Mapping[str, Any], source: str) -> Any:
    """Return settings as the kind has them.

    Raises:
        SettingsError: with all that is wrong.
    """
    from daggy.settings import structure  # what it needs takes 150 ms, and most specs name no kind

    return structure(settings, kind.Settings, source)


def leaves(value: object, path: str = "") -> Iterator[tuple[str, str]]:
    """Yield every string in settings, with its path."""
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from leaves(inner, join(path, key))
    elif isinstance(value, list):
        for position, inner in enumerate(value):
            yield from leaves(inner, f"{path}[{position}]")


def with_leaves(value: object, strings: Iterator[object]) -> Any:
    """Return settings with other values in place of their strings, in the order of `leaves`."""
    if isinstance(value, str):
        return next(strings)
    if isinstance(value, Mapping):
        return {key: with_leaves(inner, strings) for key, inner in value.items()}
    if isinstance(value, list):
        return [with_leaves(inner, strings) for inner in value]
    return value
