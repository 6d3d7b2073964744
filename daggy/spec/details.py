"""Reads `details`: how a task is run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from daggy.kind import KINDS, kind_of
from daggy.spec.earlier import translated
from daggy.spec.fields import amounts, items, length, members, nested, text, timeout, unfit
from daggy.spec.keys import DETAILS, check_keys
from daggy.spec.kinds import read_kind
from daggy.spec.model import Details
from daggy.spec.numbers import plain
from daggy.spec.problems import Problems, join, kind, quote

Given = Mapping[str, Any]
"""The keys that were given, with the values read."""


def read_details(data: object, path: str, problems: Problems, *, default: bool = False) -> dict[str, Any]:
    """Read `details`; `resources`, which are also accepted here, stay among the keys.

    Args:
        data: As written.
        path: Of the object.
        problems: Where to report.
        default: Whether this is `defaults.details`, which gives everything but what to run.
    """
    listed = members(data, path, problems)
    if listed is None:
        return {}
    written = translated(listed, path, problems)
    known = [*DETAILS, "resources"]
    installed = () if written.keys() <= {*known} else KINDS.installed()
    kinds = [key for key in written if key in installed]
    check_keys(written, [*known, *installed], "details", path, problems)
    given: dict[str, Any] = {}
    for key, value in written.items():
        place = join(path, key)
        read = read_kind(key, value, place, problems) if key in kinds else _read(key, value, place, problems)
        if read is not None:
            given |= {"kind": key, "settings": read} if key in kinds else {key: read}
    runs = [key for key in ("command", "shell", *kinds) if key in written]
    if default:
        for key in runs:
            problems.add(join(path, key), f"a default '{key}'", "each task says what it runs")
    elif not runs:
        problems.add(path, "neither of 'command' and 'shell' given", "give exactly one")
    elif len(runs) > 1:
        problems.add(path, f"{_all(runs)} given", "give exactly one")
    if kinds and "stdin" in written:
        problems.add(
            join(path, "stdin"), f"'stdin' beside '{kinds[0]}'", "remove it: tasks of a kind say what they read"
        )
    return given


def _all(runs: list[str]) -> str:
    first, last = ", ".join(f"'{key}'" for key in runs[:-1]), f"'{runs[-1]}'"
    return f"{'both of' if len(runs) == 2 else 'all of'} {first} and {last}"


def _read(key: str, value: object, place: str, problems: Problems) -> Any:
    match key:
        case "command":
            return _command(value, place, problems)
        case "shell" | "directory" | "stdin":
            return text(value, place, problems)
        case "environment":
            return _environment(value, place, problems)
        case "timeout":
            return timeout(value, place, problems)
        case "grace":
            return length(value, place, problems)
        case "options":
            return _options(value, place, problems)
        case "resources":
            return amounts(value, place, problems)
    return None


def _command(value: object, path: str, problems: Problems) -> tuple[str, ...] | None:
    if isinstance(value, str):
        problems.add(path, "a string where a list of strings is expected", "use `shell` for one string")
        return None
    if value == []:
        problems.add(path, "the command is empty", "name at least a program")
        return None
    words = [text(item, place, problems) for place, item in items(value, path, problems)]
    return tuple(word for word in words if word is not None) or None


def _environment(value: object, path: str, problems: Problems) -> dict[str, str | None]:
    environment: dict[str, str | None] = {}
    for name, item in (members(value, path, problems) or {}).items():
        place = join(path, name)
        if why := wrong_variable(name):
            problems.add(place, *why)
        elif item is None:
            environment[name] = None
        elif isinstance(item, dict) and list(item) == ["secret"]:
            problems.add(place, "secrets are not supported yet", "let the command read it from a file")
        else:
            read = text(item, place, problems)
            if read is not None:
                environment[name] = read
    return environment


def wrong_variable(name: str) -> tuple[str, str] | None:
    """Return the problem with the name of an environment variable, and its mend; None if it is valid."""
    if not name or "=" in name or unfit(name):
        return f"{quote(name)} is not a valid name of an environment variable", "it must not be empty or contain `=`"
    if name.startswith("DAGGY_"):
        return f"'{name}' is reserved", "Daggy sets the variables that start with DAGGY_"
    return None


def _options(value: object, path: str, problems: Problems) -> dict[str, object]:
    options: dict[str, object] = {}
    for name, item in (members(value, path, problems) or {}).items():
        place = join(path, name)
        if not isinstance(item, dict):
            problems.add(place, f"{kind(item)} where an object is expected", "options are those of one executor")
        elif nested(item, place, problems):
            options[name] = plain(item)
    return options


def merge_details(inherited: Given, given: Given) -> Details:
    """Return the details of a task: what it gives over the defaults, `environment` and `options` by key."""
    if "kind" in given:
        inherited = {"grace": kind_of(given["kind"]).grace, **inherited}
    if not inherited:
        return Details(**{key: value for key, value in given.items() if key != "resources"})
    merged = {**inherited, **given}
    for key in ("environment", "options"):
        if key in inherited and key in given:
            merged[key] = {**inherited[key], **given[key]}
    merged.pop("resources", None)
    if "kind" in merged:
        merged.pop("stdin", None)  # a default one
    return Details(**merged)
