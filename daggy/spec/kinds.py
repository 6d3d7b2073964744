"""Reads what stands under the name of a kind in `details`: its settings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from daggy.errors import PluginError, SettingsError
from daggy.kind import TaskKind, kind_of
from daggy.spec.fields import members, nested
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


def with_leaves(value: object, strings: Iterator[str]) -> Any:
    """Return settings with other strings in place of theirs, in the order of `leaves`."""
    if isinstance(value, str):
        return next(strings)
    if isinstance(value, Mapping):
        return {key: with_leaves(inner, strings) for key, inner in value.items()}
    if isinstance(value, list):
        return [with_leaves(inner, strings) for inner in value]
    return value
