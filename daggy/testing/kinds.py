"""What every kind of task must do: `check_kind`."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import attrs

from daggy.errors import Problem, SettingsError
from daggy.kind import Command, TaskKind
from daggy.settings import structure
from daggy.testing.entries import require

PATIENCE = 60.0
"""Seconds that the command of an example may take."""

WRONG: Mapping[str, Any] = {"daggy": [{"testing": None}]}
"""A value that hardly any setting takes."""


def check_kind(kind: type[TaskKind], directory: Path, *examples: Mapping[str, Any]) -> None:
    """Hold a kind to the rules by which Daggy uses it.

    Args:
        kind: The class.
        directory: Where the commands of the examples run.
        examples: Settings as they stand in `details`, with all their strings rendered; their commands must end well.

    Raises:
        AssertionError: with the rule that is broken.
    """
    made = kind()
    require(attrs.has(made.Settings), "Settings is an attrs class")
    require(made.grace >= 0, "grace is not negative")
    require(bool(examples), "there is an example")
    for example in examples:
        _check_example(made, example)
        _check_wrong(made, example)
        _check_substitutions(made, example)
        _run(made.command(_structured(made, example)), directory)


def _check_example(kind: TaskKind, example: Mapping[str, Any]) -> None:
    before = deepcopy(example)
    problems = list(kind.check(_structured(kind, example)))
    require(not problems, f"an example is accepted: {[str(problem) for problem in problems]}")
    command = kind.command(_structured(kind, example))
    require(isinstance(command, Command), "command() returns a Command")
    require(bool(command.argv), "a command names a program")
    texts = [*command.argv, *command.environment, *command.environment.values()]
    require(all(isinstance(text, str) for text in texts), "a command is made of strings")
    require(command == kind.command(_structured(kind, example)), "equal settings make equal commands")
    require(example == before, "settings are not changed")


def _check_wrong(kind: TaskKind, example: Mapping[str, Any]) -> None:
    found = _problems(kind, {**example, "daggy-testing": 1})
    require(any("daggy-testing" in str(problem) for problem in found), "an unknown key is refused by its name")
    for key in example:
        found = _problems(kind, {**example, key: WRONG})
        named = any(problem.path == key or problem.path.startswith((f"{key}.", f"{key}[")) for problem in found)
        require(named, f"a wrong value is refused with its path: {key}")


def _check_substitutions(kind: TaskKind, example: Mapping[str, Any]) -> None:
    for key in (key for key, value in example.items() if isinstance(value, str)):
        found = _problems(kind, {**example, key: "{{ daggy }}"})
        told = [str(problem) for problem in found]
        require(not any(problem.path == key for problem in found), f"a substitution is accepted: {key}: {told}")


def _problems(kind: TaskKind, settings: Mapping[str, Any]) -> list[Problem]:
    try:
        return list(kind.check(_structured(kind, settings)))
    except SettingsError as error:
        return list(error.problems)


def _structured(kind: TaskKind, settings: Mapping[str, Any]) -> Any:
    return structure(deepcopy(settings), kind.Settings, "settings")


def _run(command: Command, directory: Path) -> None:
    done = subprocess.run(
        command.argv, input=command.stdin or "", text=True, capture_output=True, timeout=PATIENCE, check=False,
        cwd=directory, env={**os.environ, **command.environment},
    )  # fmt: skip
    require(done.returncode == 0, f"the command of an example ends well: {done.returncode}, {done.stderr[-1000:]}")
