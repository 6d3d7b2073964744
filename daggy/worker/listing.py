"""What there is to call: functions of modules, read by a process of their interpreter, and scripts of folders."""

from __future__ import annotations

import functools
import json
import os
import re
import subprocess
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from math import inf
from pathlib import Path
from typing import Any, Self

import trio
from attrs import define, field, frozen

from daggy.validators import one_line

PATIENCE = 30.0
"""Seconds that a module may take."""

AGE = 5.0
"""Seconds after which modules are read again."""

MOST_OF_A_SCRIPT = 1 << 16
"""Bytes of a script in which its comment block is looked for."""

MODULES = ("program", "values", "describe")
"""What travels, in the order of imports."""

BOOT = """\
import json, sys, types
told = json.loads(sys.stdin.buffer.read().decode())
names = ["daggy", "daggy.worker", *told["modules"]]
for name in names:
    module = sys.modules[name] = types.ModuleType(name)
    exec(compile(told["modules"].get(name, ""), "<daggy>", "exec"), vars(module))
for name in names:
    del sys.modules[name]
module.main(told["module"])
"""
"""Makes modules of the texts on standard input, and calls the last one."""

_BLOCK = re.compile(r"^# /// script$\n(?P<content>(?:^#(?:| .*)$\n)+?)^# ///$", re.MULTILINE)

Json = Mapping[str, Any]


@frozen
class Module:
    """A module whose functions are shown.

    Args:
        module: Its name.
        python: The interpreter that imports it.
        directory: Where it is looked for first; relative to where this process was started.
    """

    module: str = field(validator=one_line)
    python: str = field(default="python3", validator=one_line)
    directory: str = ""

    @classmethod
    def of(cls, text: str) -> Self:
        """Return the module of this name."""
        return cls(text)


@define(eq=False)
class Listing:
    """What a configuration shows.

    Args:
        modules: Whose functions are shown.
        folders: Whose scripts are.
    """

    modules: Sequence[Module]
    folders: Sequence[str]
    _lock: trio.Lock = field(factory=trio.Lock, init=False)
    _read: float = field(default=-inf, init=False)
    _told: tuple[Sequence[Json], Sequence[str]] = field(default=((), ()), init=False)

    async def functions(self) -> tuple[Sequence[Json], Sequence[str]]:
        """Return all functions, as `functions_of` has them, and what is wrong with modules; read once in a while."""
        async with self._lock:
            if trio.current_time() - self._read > AGE:
                found = [await functions_of(module) for module in self.modules]
                functions = [function for one in found for function in one["functions"]]
                pairs = zip(self.modules, found, strict=True)
                problems = [f"{module.module}: {one['problem']}" for module, one in pairs if one["problem"]]
                self._told, self._read = (functions, problems), trio.current_time()
            return self._told

    async def scripts(self) -> Sequence[Json]:
        """Return all scripts."""
        return await trio.to_thread.run_sync(lambda: list(scripts_in(self.folders)))


async def functions_of(module: Module) -> Json:
    """Return a module's `functions`, and the `problem` with it, empty if there is none.

    A function has `name`, `description`, and JSON Schemas of `parameters` and of what it `returns`.
    """
    told = json.dumps({"modules": _texts(), "module": module.module}).encode()
    try:
        with trio.fail_after(PATIENCE):
            done = await trio.run_process(
                [module.python, "-c", BOOT],
                stdin=told, cwd=module.directory or None, capture_stdout=True, stderr=subprocess.DEVNULL, check=False,
            )  # fmt: skip
    except trio.TooSlowError:
        return _unread(f"takes more than {PATIENCE:g} s to be imported")
    except OSError as error:
        return _unread(f"'{error.filename or module.python}': {(error.strerror or str(error)).lower()}")
    try:
        answer: Json = json.loads(done.stdout)
    except ValueError:
        return _unread(f"ends its process when it is imported, with exit code {done.returncode}")
    return answer


def _unread(problem: str) -> Json:
    return {"functions": [], "problem": problem}


@functools.cache
def _texts() -> dict[str, str]:
    folder = Path(__file__).parent
    return {f"daggy.worker.{name}": (folder / f"{name}.py").read_text("utf-8") for name in MODULES}


def scripts_in(folders: Sequence[str]) -> Iterator[Json]:
    """Yield the scripts of folders: files that may be executed, and Python's.

    A script has a `name`, its path, and what it says of itself in a block of comments (`# /// script`), in the table
    `tool.daggy`: its `description` and the JSON Schema of its `parameters`.
    """
    for folder in folders:
        try:
            files = sorted(path for path in Path(folder).iterdir() if path.is_file() and path.name[0] != ".")
        except OSError:
            continue  # there may be none yet
        for path in files:
            if path.suffix == ".py" or os.access(path, os.X_OK):
                yield {"name": str(path), **said_by(path)}


def said_by(path: Path) -> Json:
    """Return the `description` and the `parameters` that a script has in its block of comments."""
    try:
        with path.open("rb") as file:
            text = file.read(MOST_OF_A_SCRIPT).decode(errors="replace")
        found = _BLOCK.search(text)
        lines = found["content"].splitlines() if found else []
        block = "\n".join(line[2:] for line in lines)
        told = tomllib.loads(block).get("tool", {}).get("daggy", {})
    except (OSError, tomllib.TOMLDecodeError, AttributeError):
        told = {}
    told = told if isinstance(told, dict) else {}
    parameters = told.get("parameters")
    schema = {"type": "object", "properties": parameters} if isinstance(parameters, dict) else {}
    return {"description": str(told.get("description", "")), "parameters": schema}
