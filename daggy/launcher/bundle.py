"""The launcher as one text, to be sent to machines that have a Python and nothing of ours."""

from __future__ import annotations

from importlib.resources import files

PROGRAM = ("wire", "task", "journal", "outputs", "processes", "start", "linger", "launcher", "program")
"""The modules that the launcher consists of, each after those that it imports: standard library only, Python 3.8."""

_LOADER = """\
import sys, types
for name in ("daggy", "daggy.launcher"):
    sys.modules[name] = types.ModuleType(name)
for name, text in SOURCES:
    module = sys.modules["daggy.launcher." + name] = types.ModuleType("daggy.launcher." + name)
    exec(compile(text, "daggy/launcher/%s.py" % name, "exec"), module.__dict__)
module.main()
"""


def source() -> str:
    """Return a program that, run by any Python of 3.8 or newer, is the launcher on its standard input and output."""
    home = files("daggy.launcher")
    sources = [(name, (home / f"{name}.py").read_text("utf-8")) for name in PROGRAM]
    return f"SOURCES = {sources!a}\n{_LOADER}"
