"""The kind `beam`: what stands under `details.beam`, and the command that it becomes."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from attrs import field, frozen

from daggy.errors import Problem
from daggy.kind import Command, TaskKind
from daggy.validators import one_line

MODULES = ("telling", "choices", "note", "jobs", "hooks", "worker")
"""What travels with a command, in the order of their imports."""

BOOT = """\
import json, sys, types
told = json.load(sys.stdin)
sys.modules["daggy_beam"] = types.ModuleType("daggy_beam")
for name, text in told["modules"].items():
    module = sys.modules[name] = types.ModuleType(name)
    exec(compile(text, "<%s>" % name, "exec"), vars(module))
del sys.modules["daggy_beam"]
module.main(told["order"])
"""
"""Makes modules of the texts on standard input and calls the last one."""

DOWNLOADS = "tries to download another runner"

ENDS = ("cancel", "drain")

OURS = {
    "runner": "write `runner` beside `options`",
    "job_name": "remove it: each attempt's job has its own, in DAGGY_SESSION",
}
"""Options of Beam that a task cannot give, and what to do instead."""


@frozen
class BeamSettings:
    """What stands under `details.beam`. Exactly one of `module` and `file` is given.

    Args:
        module: Runs as `python -m` runs it, found from the task's directory.
        file: A program's path.
        arguments: What the program finds in `sys.argv`.
        runner: Name of one of Beam's runners, or a class in full; empty: as the program says.
        options: Beam's pipeline options by name, above the program's own.
        python: An interpreter that has Apache Beam.
        on_kill: What is done with the job if the task is killed or out of time: "cancel", or "drain" if it can be.
    """

    module: str = field(default="", validator=one_line)
    file: str = field(default="", validator=one_line)
    arguments: tuple[str, ...] = ()
    runner: str = field(default="", validator=one_line)
    options: Mapping[str, Any] = field(factory=dict)
    python: str = field(default="python3", validator=one_line)
    on_kill: str = "cancel"


class BeamKind(TaskKind):
    """Runs a Beam program under a worker that follows its job, takes it up again, and cancels it."""

    Settings = BeamSettings
    grace = 60.0
    result = True

    def check(self, settings: BeamSettings) -> Iterator[Problem]:
        """Return what cannot work, whatever the program does."""
        if bool(settings.module) == bool(settings.file):
            said = "both of 'module' and 'file' given" if settings.module else "neither 'module' nor 'file' given"
            yield Problem("", said, "give exactly one")
        if "{{" not in settings.module and not all(map(str.isidentifier, filter(None, settings.module.split(".")))):
            yield Problem("module", f"'{settings.module}' is not the name of a module", "write a path under `file`")
        if not settings.python:
            yield Problem("python", "is empty", "name an interpreter that has Apache Beam")
        runner = short(settings.runner)
        if runner == "direct":
            yield Problem("runner", f"'{settings.runner}' {DOWNLOADS}", "name FnApiRunner")
        if "{{" not in settings.on_kill and settings.on_kill not in ENDS:
            yield Problem("on_kill", f"'{settings.on_kill}' is no way to end a job", 'write "cancel" or "drain"')
        if runner == "fnapi" and settings.on_kill == "drain":
            yield Problem("on_kill", "FnApiRunner cannot drain a pipeline", 'write "cancel", or leave it out')
        for name, value in settings.options.items():
            yield from (Problem(f"options.{name}", *wrong) for wrong in wrong_option(name, value))

    def command(self, settings: BeamSettings) -> Command:
        """Return the interpreter with the worker's texts and its order on standard input."""
        if bool(settings.module) == bool(settings.file):
            raise ValueError("exactly one of 'module' and 'file' must not be empty")
        if short(settings.runner) == "direct":
            raise ValueError(f"runner: '{settings.runner}' {DOWNLOADS}; name FnApiRunner")
        if settings.on_kill not in ENDS:
            raise ValueError(f"on_kill: '{settings.on_kill}' is neither cancel nor drain")
        order = {
            "module": settings.module,
            "file": settings.file,
            "arguments": list(settings.arguments),
            "runner": settings.runner,
            "options": dict(settings.options),
            "on_kill": settings.on_kill,
        }
        return Command([settings.python, "-c", BOOT], stdin=json.dumps({"modules": texts(), "order": order}))


def short(runner: str) -> str:
    """Return the name of a runner as Beam compares it."""
    return runner.rpartition(".")[2].lower().removesuffix("runner")


def wrong_option(name: str, value: Any) -> Iterator[tuple[str, str]]:
    """Yield the problems of an option that do not depend on the runner, each with its mend."""
    if name in OURS:
        yield f"'{name}' is Daggy's", OURS[name]
    if name.startswith("-"):
        yield "begins with a dash", f"write '{name.lstrip('-')}'"
    if value is None:
        yield "is null", "leave it out"
    if isinstance(value, list) and not all(isinstance(item, str | int | float) for item in value):
        yield "is a list of something else than strings and numbers", "give one value an item"


@functools.cache
def texts() -> dict[str, str]:
    """Return the modules that run on the task's machine, name to text."""
    folder = Path(__file__).parent
    return {f"daggy_beam.{name}": (folder / f"{name}.py").read_text() for name in MODULES}
