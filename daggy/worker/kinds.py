"""The kinds `function`, `module`, `script` and `eval`: their settings, and the commands that they become."""

from __future__ import annotations

import functools
import keyword
import zlib
from base64 import b64encode
from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar

import msgspec
from attrs import field, frozen

from daggy.errors import Problem
from daggy.kind import Command, Listing, TaskKind
from daggy.validators import one_line

BOOT = """\
import binascii, json, sys, zlib
if sys.version_info < (3, 8):
    sys.exit("Python %d.%d is too old: 3.8 or newer is needed" % sys.version_info[:2])
told = json.loads(sys.stdin.buffer.read().decode())
space = {"__name__": "daggy.worker"}
exec(compile(zlib.decompress(binascii.a2b_base64(told["program"])), "<daggy>", "exec"), space)
space["VALUES"] = told["values"]
space["main"](told["call"])
"""
"""Executes the worker's texts on standard input, and has them do the call beside them."""

OR_BY_PYTHON = 'python=$1; shift; [ -x "$1" ] && exec "$@"; exec "$python" "$@"'
"""For a shell: runs a file that may be executed, any other one by an interpreter."""


@frozen
class _Settings:
    """What every one of these kinds has beside its own key.

    Args:
        arguments: JSON by name.
        python: The interpreter.
    """

    arguments: Mapping[str, Any] = field(factory=dict, kw_only=True)
    python: str = field(default="python3", validator=one_line, kw_only=True)


@frozen
class FunctionSettings(_Settings):
    """`function`: "package.module:name", found from the task's directory."""

    function: str = field(validator=one_line)


@frozen
class ModuleSettings(_Settings):
    """`module`: the name of a module that runs as `python -m` runs it."""

    module: str = field(validator=one_line)


@frozen
class ScriptSettings(_Settings):
    """`script`: a file's path."""

    script: str = field(validator=one_line)


@frozen
class EvalSettings(_Settings):
    """`eval`: Python source, whose last expression is the result. Nothing is substituted in it."""

    eval: str


class _Calling(TaskKind):
    """Runs the worker, which leaves what comes out as the task's result."""

    result = True

    def command(self, settings: Any) -> Command:
        """Return the interpreter with the worker's text and its call on standard input."""
        return self.command_with(settings, {})

    def command_with(self, settings: Any, inputs: Mapping[str, Any]) -> Command:
        """Return the same for a call that has inputs beside its arguments."""
        lists = {name: str(value) for name, value in inputs.items() if isinstance(value, Listing)}
        given = {name: value for name, value in inputs.items() if name not in lists}
        call = {**self.call(settings), "inputs": given, "lists": lists}
        return Command([settings.python, "-c", BOOT], stdin=to_json({**texts(), "call": call}))

    def call(self, settings: Any) -> dict[str, Any]:
        """Return what the worker is to do."""
        raise NotImplementedError


class FunctionKind(_Calling):
    """Calls a Python function by keyword."""

    Settings: ClassVar[type] = FunctionSettings

    def check(self, settings: FunctionSettings) -> Iterator[Problem]:
        """Return what cannot be a function's place, or a parameter's name."""
        yield from _check_python(settings)
        yield from _check_names(settings, "a parameter")
        if "{{" not in settings.function and not _is_place(settings.function):
            yield Problem("function", f"'{settings.function}' is no function's place", "write package.module:name")

    def call(self, settings: FunctionSettings) -> dict[str, Any]:
        """Return what the worker is to do."""
        if not _is_place(settings.function):
            raise ValueError(f"'{settings.function}' is no function's place; write package.module:name")
        return {"function": settings.function, "arguments": settings.arguments}


class EvalKind(_Calling):
    """Executes Python source with its arguments as variables."""

    Settings: ClassVar[type] = EvalSettings

    def check(self, settings: EvalSettings) -> Iterator[Problem]:
        """Return what cannot be executed."""
        yield from _check_python(settings)
        yield from _check_names(settings, "a variable")
        if not settings.eval.strip():
            yield Problem("eval", "is empty", "write an expression")

    def call(self, settings: EvalSettings) -> dict[str, Any]:
        """Return what the worker is to do."""
        return {"eval": settings.eval, "arguments": settings.arguments}


class ModuleKind(TaskKind):
    """Runs `python -m MODULE`, arguments as flags."""

    Settings: ClassVar[type] = ModuleSettings

    def check(self, settings: ModuleSettings) -> Iterator[Problem]:
        """Return what cannot be a module."""
        yield from _check_python(settings)
        if "{{" not in settings.module and not _is_module(settings.module):
            yield Problem("module", f"'{settings.module}' is not the name of a module", "write a path under `script`")

    def command(self, settings: ModuleSettings) -> Command:
        """Return the interpreter with the module and its flags."""
        if not _is_module(settings.module):
            raise ValueError(f"'{settings.module}' is not the name of a module")
        return Command([settings.python, "-m", settings.module, *flags(settings.arguments)])


class ScriptKind(TaskKind):
    """Runs a file, arguments as flags; Python's need no permission to be executed."""

    Settings: ClassVar[type] = ScriptSettings

    def check(self, settings: ScriptSettings) -> Iterator[Problem]:
        """Return what cannot be a script."""
        yield from _check_python(settings)
        if not settings.script:
            yield Problem("script", "is empty", "write a file's path")

    def command(self, settings: ScriptSettings) -> Command:
        """Return the file, or a shell that runs it by an interpreter if it may not be executed, with its flags."""
        if not settings.script:
            raise ValueError("script: is empty; write a file's path")
        path = settings.script if "/" in settings.script else f"./{settings.script}"
        words = [path, *flags(settings.arguments)]
        if path.endswith(".py"):
            return Command(["/bin/sh", "-c", OR_BY_PYTHON, "sh", settings.python, *words])
        return Command(words)


def _check_python(settings: _Settings) -> Iterator[Problem]:
    if not settings.python:
        yield Problem("python", "is empty", "name an interpreter")


def _check_names(settings: _Settings, noun: str) -> Iterator[Problem]:
    for name in settings.arguments:
        if not name.isidentifier() or keyword.iskeyword(name):
            yield Problem(f"arguments.{name}", f"'{name}' cannot be the name of {noun}", "use an identifier")


def _is_module(name: str) -> bool:
    return all(part.isidentifier() for part in name.split("."))


def _is_place(place: str) -> bool:
    module, colon, name = place.partition(":")
    return bool(colon) and _is_module(module) and name.isidentifier()


def flags(arguments: Mapping[str, Any]) -> list[str]:
    """Return arguments as words of a command line.

    `dry_run: true` is `--dry-run`, false and null are nothing, a list repeats the flag. A value follows its flag as a
    word of its own; one that begins with a dash would be taken for a flag, and is joined to it by `=`.
    """
    words: list[str] = []
    for name, value in arguments.items():
        flag = f"--{name.replace('_', '-')}"
        for one in value if isinstance(value, list) else [value]:
            if one is True:
                words.append(flag)
            elif one is not None and one is not False:
                text = one if isinstance(one, str) else to_json(one)
                words += [f"{flag}={text}"] if text.startswith("-") else [flag, text]
    return words


def _number(value: object) -> msgspec.Raw:
    if isinstance(value, Decimal):
        return msgspec.Raw(str(value).encode())  # as it was written
    raise TypeError(f"{type(value).__name__} is not JSON")


_ENCODER = msgspec.json.Encoder(enc_hook=_number, decimal_format="number")


def to_json(value: object) -> str:
    """Return arguments, or one of them, as JSON."""
    return _ENCODER.encode(value).decode()


def shown(stdin: str) -> str:
    """Return the call on a worker's standard input as people write one: `models.fit:fit(alpha=0.1)`."""
    call = msgspec.json.decode(stdin)["call"]
    given = {**call["arguments"], **call["inputs"], **call["lists"]}
    listed = ", ".join(f"{name}={to_json(value)}" for name, value in given.items())
    return f"{call['function']}({listed})" if "function" in call else f"eval({listed}): {call['eval']}"


@functools.cache
def texts() -> dict[str, str]:
    """Return the texts of the worker by name, compressed: they are written down with each call."""
    files = {name: Path(__file__).parent / f"{name}.py" for name in ("program", "values")}
    return {name: b64encode(zlib.compress(file.read_bytes(), 9)).decode() for name, file in files.items()}
