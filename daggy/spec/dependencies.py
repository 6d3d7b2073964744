"""Reads the entries of `parents` and `children`."""

from __future__ import annotations

from collections import Counter

from daggy.spec.fields import items, noun, text
from daggy.spec.keys import DEPENDENCY, check_keys
from daggy.spec.model import Dependency, On
from daggy.spec.names import bare
from daggy.spec.problems import Problems, did_you_mean, join, kind, quote


def read_dependencies(value: object, path: str, problems: Problems) -> tuple[Dependency, ...]:
    """Read a list of tasks to wait for, or to be waited for by."""
    read = [_dependency(item, place, problems) for place, item in items(value, path, problems)]
    return tuple(dependency for dependency in read if dependency is not None)


def _dependency(value: object, path: str, problems: Problems) -> Dependency | None:
    if isinstance(value, str):
        name = noun(value, path, problems)
        return None if name is None else Dependency(name)
    if not isinstance(value, dict):
        problems.add(path, f"{kind(value)} where a task's name or an object is expected")
        return None
    check_keys(value, DEPENDENCY, "dependency", path, problems)
    if "task" not in value:
        problems.add(path, "no 'task'", "name the task that is meant")
        return None
    name = noun(value["task"], join(path, "task"), problems)
    match = read_match(value.get("match", ()), join(path, "match"), problems)
    on = _on(value.get("on", "completed"), join(path, "on"), problems)
    return None if name is None or on is None else Dependency(name, match, on)


def read_match(value: object, path: str, problems: Problems) -> tuple[str, ...] | None:
    """Read `match`: the parameters on which parent and child agree; None: all that both use."""
    if value is True:
        return None
    if value == ():
        return ()
    if value == [] or value is False or value is None:
        problems.add(path, "nothing to match", "leave `match` out to wait for all")
        return ()
    names = read_names(value, path, problems)
    for name, times in Counter(names).items():
        if times > 1:
            problems.add(path, f"'{name}' is given twice")
    return tuple(sorted(set(names)))


def _on(value: object, path: str, problems: Problems) -> On | None:
    known = {"completed": On.COMPLETED, "ended": On.ENDED}
    if isinstance(value, str) and value in known:
        return known[value]
    shown = quote(value) if isinstance(value, str) else kind(value)
    mend = "waiting for skipped tasks is not supported yet" if value == "skipped" else ""
    near = did_you_mean(value, known) if isinstance(value, str) else ""
    problems.add(path, f"{shown} is not a condition to wait for", mend or near or "'completed' or 'ended'")
    return None


def read_names(value: object, path: str, problems: Problems) -> list[str]:
    """Read a list of parameters, with or without braces."""
    read = [text(item, place, problems) for place, item in items(value, path, problems)]
    return [bare(name) for name in read if name is not None]
