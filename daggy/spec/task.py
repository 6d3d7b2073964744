"""Reads one entry of `tasks`, or `defaults`: everything that does not depend on the rest of the spec."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from daggy.attempt import Reason
from daggy.kind import BUILT_IN, kind_of
from daggy.spec.dependencies import read_dependencies, read_names
from daggy.spec.details import Given, read_details
from daggy.spec.exclude import read_exclude
from daggy.spec.fields import amounts, backoff, boolean, integer, items, length, noun, text
from daggy.spec.inputs import read_inputs
from daggy.spec.keys import DEFAULTS, OWN, POLICY, TASK, check_keys
from daggy.spec.model import Policy, Templating
from daggy.spec.problems import Problems, join, kind, quote

RETRIED = ("exit", "signal", "timeout", "spawn", "generator", "memory", "result")
"""Reasons that `retry_on` may name."""

_Reader = Callable[[object, str, Problems], Any]


def read_task(
    data: Mapping[str, object], path: str, problems: Problems, *, extra: tuple[str, ...] = ()
) -> dict[str, Any]:
    """Read an entry of `tasks`.

    Args:
        data: As written.
        path: Of the entry.
        problems: Where to report.
        extra: Further keys that are known here; they are not read.

    Returns:
        What was given, read, by key; `details` is a map of its own, `parameters` stay as written.
    """
    check_keys(data, [*TASK, *extra], "task", path, problems)
    if "details" not in data:
        problems.add(path, "no 'details'", "they say how the task is run")
    given = _read_known(data, path, problems, TASK)
    name = given.get("details", {}).get("kind")
    if given.get("result") is False and name in BUILT_IN and kind_of(name).result:
        problems.add(
            join(path, "result"), f"false for a task of the kind '{name}'", "remove it: it always has a result"
        )
    return given


def read_defaults(data: Mapping[str, object], problems: Problems) -> dict[str, Any]:
    """Read `defaults`: the keys of a task but `parents`, `children` and what it runs."""
    for key in OWN:
        if key in data:
            problems.add(join("defaults", key), f"a default '{key}'", "each task names its own")
    known = [*DEFAULTS, *OWN]
    check_keys(data, known, "task", "defaults", problems)
    return _read_known(data, "defaults", problems, DEFAULTS)


def _read_known(data: Mapping[str, object], path: str, problems: Problems, known: list[str]) -> dict[str, Any]:
    given: dict[str, Any] = {}
    for key, value in data.items():
        if key not in known:
            continue
        if key == "details":
            read = read_details(value, join(path, key), problems, default=path == "defaults")
        else:
            read = _READERS[key](value, join(path, key), problems)
        if read is not None:
            given[key] = read
    _join_resources(given, path, problems)
    return given


def _join_resources(given: dict[str, Any], path: str, problems: Problems) -> None:
    inside = given.get("details", {}).pop("resources", None)
    if inside is not None:
        beside = given.get("resources", {})
        for name in inside.keys() & beside.keys():
            if inside[name] != beside[name]:
                problems.add(join(path, "resources"), f"'{name}' is given twice with different values", "give it once")
        given["resources"] = {**beside, **inside}


def _expand(value: object, path: str, problems: Problems) -> tuple[str, ...]:
    return tuple(read_names(value, path, problems))


def _retry_on(value: object, path: str, problems: Problems) -> frozenset[str | int]:
    reasons: set[str | int] = set()
    if value == []:
        problems.add(path, "no reason to retry", "set `max_retries` to 0")
    for place, item in items(value, path, problems):
        if (isinstance(item, int) and not isinstance(item, bool) and 1 <= item <= 255) or (
            item in RETRIED and isinstance(item, str)
        ):
            reasons.add(item)
        else:
            problems.add(place, _not_retried(item), f"exit codes from 1 to 255, or {', '.join(RETRIED)}")
    return frozenset(reasons)


def _not_retried(item: object) -> str:
    if not isinstance(item, str):
        return f"{item} is not the exit code of a failure" if kind(item) == "a number" else f"{kind(item)} is no reason"
    known = item.upper() in Reason.__members__
    return f"'{item}' is never retried" if known else f"no reason named {quote(item)}"


def _templating(value: object, path: str, problems: Problems) -> Templating | None:
    known = {mode.value: mode for mode in Templating}
    if isinstance(value, str) and value in known:
        return known[value]
    shown = quote(value) if isinstance(value, str) else kind(value)
    problems.add(path, f"{shown} is not a templating mode", f"there are {', '.join(known)}")
    return None


def _as_written(value: object, path: str, problems: Problems) -> object:
    if not isinstance(value, dict):
        problems.add(path, f"{kind(value)} where an object is expected")
        return None
    return value


_READERS: Mapping[str, _Reader] = {
    "description": text,
    "parents": read_dependencies,
    "children": read_dependencies,
    "inputs": read_inputs,
    "parameters": _as_written,
    "expand": _expand,
    "exclude": read_exclude,
    "is_generator": boolean,
    "result": boolean,
    "max_retries": integer(0, 60_000),
    "retry_delay": length,
    "retry_backoff": backoff,
    "retry_on": _retry_on,
    "crash_limit": integer(0, 60_000),
    "priority": integer(-(2**31), 2**31 - 1),
    "max_parallel": integer(1, 2**32 - 1),
    "pool": noun,
    "resources": amounts,
    "templating": _templating,
}

read_templating = _templating


def merge_policy(inherited: Given, given: Given, pool: str) -> Policy:
    """Return a task's policy: what it gives over the defaults, `resources` by key, over one core.

    Args:
        inherited: The spec's defaults.
        given: What the task gives.
        pool: The spec's.
    """
    said = {key: value for source in (inherited, given) for key, value in source.items() if key in POLICY}
    for source in (inherited, given):
        if "timeout" in (details := source.get("details", {})):
            said["timeout"] = details["timeout"]
    resources = {"cores": 1.0, **inherited.get("resources", {}), **given.get("resources", {})}
    said["resources"] = tuple(sorted(resources.items()))
    said.setdefault("pool", pool)
    if name := given.get("details", {}).get("kind"):
        said["is_source"] = name == "eval"
        has_result = kind_of(name).result
        said["result"] = (has_result and name in BUILT_IN) or said.get("result", has_result)
    return Policy(**said)
