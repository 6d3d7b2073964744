"""Reads `details`: how a task is run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from daggy.kind import BUILT_IN, KINDS, kind_of
from daggy.spec.earlier import translated
from daggy.spec.fields import amounts, items, length, members, nested, text, timeout, unfit
from daggy.spec.keys import DETAILS, check_keys
from daggy.spec.kinds import BESIDE, read_built_in, read_kind
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
        if key in BUILT_IN and not default:
            read = read_built_in(key, written, path, problems)
        else:
            read = read_kind(key, value, place, problems) if key in kinds else _read(key, value, place, problems)
        if read is not None:
            given |= {"kind": key, "settings": read} if key in kinds or key in BUILT_IN else {key: read}
    runs = [key for key in ("command", "shell", *sorted(BUILT_IN), *kinds) if key in written]
    if default:
        for key in runs:
            problems.add(join(path, key), f"a default '{key}'", "each task says what it runs")
    elif not runs:
        problems.add(path, "nothing to run", f"give one of command, shell, {', '.join(sorted(BUILT_IN))}")
    elif len(runs) > 1:
        problems.add(path, f"{_all(runs)} given", "give exactly one")
    _check_beside(runs, written, path, problems, default=default)
    return given


def _check_beside(
    runs: list[str], written: Mapping[str, object], path: str, problems: Problems, *, default: bool
) -> None:
    """Report keys that what is run does not have."""
    if "stdin" in written and any(key not in READING for key in runs):
        (kind,) = [key for key in runs if key not in READING][:1]
        problems.add(join(path, "stdin"), f"'stdin' beside '{kind}'", "remove it: tasks of a kind say what they read")
    for key in BESIDE if len(runs) == 1 and runs[0] not in BUILT_IN else ():
        if key in written:
            mend = f"remove it, or put it into '{runs[0]}'; it goes with {', '.join(sorted(BUILT_IN))}"
            problems.add(join(path, key), f"'{key}' beside '{runs[0]}'", mend)
    if default and "arguments" in written:
        problems.add(join(path, "arguments"), "default arguments", "each task gives its own")


READING = ("command", "shell", "module", "script")
"""What is run that may have a text on standard input."""


def _all(runs: list[str]) -> str:
    first, last = ", ".join(f"'{key}'" for key in runs[:-1]), f"'{runs[-1]}'"
    return f"{'both of' if len(runs) == 2 else 'all of'} {first} and {last}"


def _read(key: str, value: object, place: str, problems: Problems) -> Any:
    match key:
        case "command":
            return _command(value, place, problems)
        case "shell" | "directory" | "stdin" | "python":
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
        if given["kind"] in BUILT_IN and "python" in inherited:
            given = {**given, "settings": {"python": inherited["python"], **given["settings"]}}
    given = {key: value for key, value in given.items() if key != "python"}  # it is among the settings
    if not inherited:
        return Details(**{key: value for key, value in given.items() if key != "resources"})
    merged = {**inherited, **given}
    for key in ("environment", "options"):
        if key in inherited and key in given:
            merged[key] = {**inherited[key], **given[key]}
    for key in ("resources", "python"):
        merged.pop(key, None)
    if merged.get("kind", "command") not in READING:
        merged.pop("stdin", None)  # a default one
    return Details(**merged)
