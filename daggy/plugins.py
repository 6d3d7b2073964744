"""Executors and trackers: found by their entry points, checked, and given their settings."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from daggy.entry_points import Group, place_of
from daggy.errors import PluginError
from daggy.executor import Executor, Site
from daggy.settings import structure
from daggy.tracker import Tracker

EXECUTORS = Group("daggy.executors", "executor", Executor, {"local": "fork"})
TRACKERS = Group("daggy.trackers", "tracker", Tracker, {"Memory": "memory"})


def executor_class(name: str) -> type[Executor]:
    """Import and check one executor.

    Raises:
        PluginError: there is none of this name, it cannot be imported, or it is not an executor.
    """
    plugin: type[Executor] = EXECUTORS.load(name)
    return plugin


def tracker_class(name: str) -> type[Tracker]:
    """Import and check one tracker.

    Raises:
        PluginError: there is none of this name, it cannot be imported, or it is not a tracker.
    """
    plugin: type[Tracker] = TRACKERS.load(name)
    if not isinstance(getattr(plugin, "durable", None), bool):
        raise PluginError(
            f"tracker '{name}': {place_of(plugin)} does not say whether it is durable; set 'durable' to a bool"
        )
    return plugin


def make_executor(name: str, settings: Mapping[str, Any], site: Site) -> Executor:
    """Return the executor `name` of a pool; `settings` is the pool's configuration without the key `executor`.

    Raises:
        PluginError: as `executor_class`, or the settings are wrong; every wrong one is named, one a line.
    """
    plugin = executor_class(name)
    executor = plugin(structure(settings, plugin.Settings, f"pool '{site.pool}' (executor '{name}')"), site)
    executor.name = EXECUTORS.aliases.get(name, name)
    return executor


def make_tracker(name: str, settings: Mapping[str, Any], directory: Path) -> Tracker:
    """Return the tracker `name` of a state directory; `settings` is its configuration without the key `type`.

    Raises:
        PluginError: as `tracker_class`, or the settings are wrong; every wrong one is named, one a line.
        DirectoryError: the directory cannot be used.
    """
    plugin = tracker_class(name)
    return plugin(structure(settings, plugin.Settings, f"tracker '{name}'"), directory)
