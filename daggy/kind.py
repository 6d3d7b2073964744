"""What a kind of task is: a plug-in that turns an entry of `details` into a command, which any executor runs."""

from __future__ import annotations

import abc
import functools
import importlib
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from attrs import field, frozen

from daggy.entry_points import Group
from daggy.errors import Problem


@frozen
class Command:
    """What is executed for one task of a kind.

    Args:
        argv: The program and its arguments, as in `details.command`.
        environment: Variables beside those that the task sets, which count first.
        stdin: Text on standard input; None: it is empty.
    """

    argv: list[str]
    environment: Mapping[str, str] = field(factory=dict)
    stdin: str | None = None


class Listing(str):
    """The path of a file with one JSON value a line: what an input is that takes many results."""

    __slots__ = ()


class TaskKind(abc.ABC):
    """Turns what stands under its name in `details` into a command.

    `Settings` is a frozen attrs class, structured by cattrs from that object. Its strings may hold substitutions: they
    are rendered before a task's settings are made. One instance of a kind serves all tasks of it.
    """

    Settings: ClassVar[type]

    grace: ClassVar[float] = 5.0
    """Seconds between TERM and KILL for tasks that do not say."""

    result: ClassVar[bool] = False
    """Whether its tasks leave a result, where a task does not say."""

    def check(self, settings: Any) -> Iterable[Problem]:
        """Return what is wrong with settings beyond their form; paths are relative to them.

        It is asked when a run is submitted, with strings as written, and not if a substitution stands for something
        else than a string.
        """
        del settings
        return ()

    @abc.abstractmethod
    def command(self, settings: Any) -> Command:
        """Return what is executed for one task, without looking at anything but its settings.

        Raises:
            ValueError: these settings of this task make no sense; its text says why, with the mend.
        """

    def command_with(self, settings: Any, inputs: Mapping[str, Any]) -> Command:
        """Return what is executed for one task that has inputs.

        The default is for kinds whose tasks use them in the strings of their settings, and in no other way.

        Args:
            settings: As for `command`.
            inputs: By name, JSON data; a `Listing` stands for a list.

        Raises:
            ValueError: as `command`.
        """
        del inputs
        return self.command(settings)


KINDS = Group("daggy.kinds", "kind", TaskKind)

BUILT_IN = {
    "eval": "daggy.worker.kinds:EvalKind",
    "function": "daggy.worker.kinds:FunctionKind",
    "module": "daggy.worker.kinds:ModuleKind",
    "script": "daggy.worker.kinds:ScriptKind",
}
"""Kinds whose settings stand beside each other in `details`; each is the name of one of them."""


def kind_of(name: str) -> TaskKind:
    """Return a kind by its name.

    Raises:
        PluginError: there is none of this name, it cannot be imported, or it is not a kind.
    """
    if name in BUILT_IN:
        return _built_in(name)
    made: TaskKind = KINDS.load(name)()
    return made


@functools.cache
def _built_in(name: str) -> TaskKind:
    module, _, kind = BUILT_IN[name].partition(":")
    made: TaskKind = getattr(importlib.import_module(module), kind)()  # most specs name none, and need not wait for it
    return made
