"""Find executors and trackers by their entry points, check them, and give them their settings."""

from __future__ import annotations

import difflib
import functools
import inspect
import sys
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

import attrs

from daggy.errors import PluginError
from daggy.executor import Executor, Site
from daggy.settings import structure
from daggy.tracker import Tracker

EXECUTORS = "daggy.executors"
"""Entry point group of executors: name = "package:Class"."""
TRACKERS = "daggy.trackers"
"""Entry point group of trackers: name = "package:Class"."""

ALIASES = {EXECUTORS: {"local": "fork"}, TRACKERS: {"Memory": "memory"}}
"""Other names by which earlier configurations call a plug-in."""

_NOUNS = {EXECUTORS: "executor", TRACKERS: "tracker"}


def _points(group: str) -> tuple[EntryPoint, ...]:
    return _scan(group, tuple(sys.path))


@functools.cache
def _scan(group: str, path: tuple[str, ...]) -> tuple[EntryPoint, ...]:  # noqa: ARG001 - another path has other plug-ins
    """Return the entry points of a group; scanning what is installed takes 12 ms."""
    return tuple(entry_points(group=group))


def installed(group: str) -> tuple[str, ...]:
    """Return the names in an entry point group, sorted; nothing is imported."""
    return tuple(sorted({point.name for point in _points(group)}))


def executor_class(name: str) -> type[Executor]:
    """Import and check one executor.

    Raises:
        PluginError: there is none of this name, it cannot be imported, or it is not an executor.
    """
    plugin: type[Executor] = _checked(EXECUTORS, name, Executor)
    return plugin


def tracker_class(name: str) -> type[Tracker]:
    """Import and check one tracker.

    Raises:
        PluginError: there is none of this name, it cannot be imported, or it is not a tracker.
    """
    plugin: type[Tracker] = _checked(TRACKERS, name, Tracker)
    if not isinstance(getattr(plugin, "durable", None), bool):
        raise PluginError(
            f"tracker '{name}': {_place(plugin)} does not say whether it is durable; set 'durable' to a bool"
        )
    return plugin


def make_executor(name: str, settings: Mapping[str, Any], site: Site) -> Executor:
    """Return the executor `name` of a pool; `settings` is the pool's configuration without the key `executor`.

    Raises:
        PluginError: as `executor_class`, or the settings are wrong; every wrong one is named, one a line.
    """
    plugin = executor_class(name)
    executor = plugin(structure(settings, plugin.Settings, f"pool '{site.pool}' (executor '{name}')"), site)
    executor.name = ALIASES[EXECUTORS].get(name, name)
    return executor


def make_tracker(name: str, settings: Mapping[str, Any], directory: Path) -> Tracker:
    """Return the tracker `name` of a state directory; `settings` is its configuration without the key `type`.

    Raises:
        PluginError: as `tracker_class`, or the settings are wrong; every wrong one is named, one a line.
        DirectoryError: the directory cannot be used.
    """
    plugin = tracker_class(name)
    return plugin(structure(settings, plugin.Settings, f"tracker '{name}'"), directory)


def _checked(group: str, name: str, base: type) -> Any:
    noun = _NOUNS[group]
    plugin = _load(_find(group, name), f"{noun} '{name}'")
    wrong = "; ".join(_faults(plugin, base))
    if wrong:
        raise PluginError(f"{noun} '{name}': {_place(plugin)} {wrong}")
    return plugin


def _find(group: str, name: str) -> EntryPoint:
    wanted = ALIASES[group].get(name, name)
    points = {point.value: point for point in _points(group) if point.name == wanted}
    if len(points) > 1:
        owners = " and ".join(sorted(f"'{value}'" for value in points))
        raise PluginError(f"{_NOUNS[group]} '{name}' is registered as {owners}; uninstall one of them")
    for point in points.values():
        return point
    raise PluginError(_absence(_NOUNS[group], name, installed(group)))


def _absence(noun: str, name: str, names: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(names), 1)
    mend = f"did you mean '{close[0]}'? " if close else ""
    return f"no {noun} named '{name}'; {mend}installed: {', '.join(names) or 'none'}"


def _load(point: EntryPoint, what: str) -> object:
    try:
        return point.load()
    except Exception as error:  # third-party code runs here: what it raises is reported as its fault
        owner = point.dist.name if point.dist else point.value
        raise PluginError(
            f"{what}: '{point.value}' cannot be imported: {type(error).__name__}: {error}; reinstall '{owner}'"
        ) from error


def _faults(plugin: object, base: type) -> Iterator[str]:
    if not (isinstance(plugin, type) and issubclass(plugin, base)):
        yield f"is not a subclass of '{base.__module__}.{base.__name__}'"
        return
    if inspect.isabstract(plugin):
        yield f"does not define {', '.join(sorted(getattr(plugin, '__abstractmethods__', ())))}"
    settings = getattr(plugin, "Settings", None)
    if not (isinstance(settings, type) and attrs.has(settings)):
        yield "has no attrs class 'Settings'"


def _place(plugin: object) -> str:
    name = getattr(plugin, "__qualname__", repr(plugin))
    return f"'{getattr(plugin, '__module__', '')}:{name}'"
