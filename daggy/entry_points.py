"""Find plug-ins by their entry points, and check what is found."""

from __future__ import annotations

import difflib
import functools
import inspect
import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import attrs
from attrs import field, frozen

from daggy.errors import PluginError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint


@frozen
class Group:
    """A kind of plug-in.

    Args:
        name: The group of entry points: name = "package:Class".
        noun: What people call one of them.
        base: The class that each must be a subclass of.
        aliases: Other names by which earlier configurations call one.
    """

    name: str
    noun: str
    base: type
    aliases: dict[str, str] = field(factory=dict, hash=False)

    def installed(self) -> tuple[str, ...]:
        """Return the names of those that are installed, sorted; nothing is imported."""
        return tuple(sorted({point.name for point in _points(self.name)}))

    def load(self, name: str) -> Any:
        """Import and check the class of one of them.

        Raises:
            PluginError: there is none of this name, it cannot be imported, or it is not what it should be.
        """
        plugin = _load(self._find(name), f"{self.noun} '{name}'")
        wrong = "; ".join(_faults(plugin, self.base))
        if wrong:
            raise PluginError(f"{self.noun} '{name}': {place_of(plugin)} {wrong}")
        return plugin

    def _find(self, name: str) -> EntryPoint:
        wanted = self.aliases.get(name, name)
        points = {point.value: point for point in _points(self.name) if point.name == wanted}
        if len(points) > 1:
            owners = " and ".join(sorted(f"'{value}'" for value in points))
            raise PluginError(f"{self.noun} '{name}' is registered as {owners}; uninstall one of them")
        for point in points.values():
            return point
        raise PluginError(_absence(self.noun, name, self.installed()))


def _points(group: str) -> tuple[EntryPoint, ...]:
    return _scan(group, tuple(sys.path))


@functools.cache
def _scan(group: str, path: tuple[str, ...]) -> tuple[EntryPoint, ...]:  # noqa: ARG001 - another path has other plug-ins
    """Return the entry points of a group; scanning what is installed takes 12 ms."""
    from importlib.metadata import entry_points  # most commands look for no plug-in: another 40 ms

    return tuple(entry_points(group=group))


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


def place_of(plugin: object) -> str:
    """Return where a plug-in's class is, for messages."""
    name = getattr(plugin, "__qualname__", repr(plugin))
    return f"'{getattr(plugin, '__module__', '')}:{name}'"
