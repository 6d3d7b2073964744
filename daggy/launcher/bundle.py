"""The launcher as one text, to be sent to machines that have a Python and nothing of ours."""

from __future__ import annotations

from importlib.resources import files

PACKAGE = "daggy.launcher.program"

_LOADER = """\
import sys
from importlib.machinery import ModuleSpec
class Bundle:
    def find_spec(self, name, path=None, target=None):
        return ModuleSpec(name, self, is_package=not SOURCES[name]) if name in SOURCES else None
    def create_module(self, spec):
        return None
    def exec_module(self, module):
        exec(compile(SOURCES[module.__name__], module.__name__.replace(".", "/") + ".py", "exec"), module.__dict__)
sys.meta_path.insert(0, Bundle())
from daggy.launcher.program.main import main
main()
"""


def source() -> str:
    """Return a program that, run by any Python of 3.8 or newer, is the launcher on its standard input and output."""
    sources = {"daggy": "", "daggy.launcher": "", PACKAGE: ""}
    for file in files(PACKAGE).iterdir():
        if file.name.endswith(".py") and file.name != "__init__.py":
            sources[f"{PACKAGE}.{file.name[:-3]}"] = file.read_text("utf-8")
    return f"SOURCES = {sources!a}\n{_LOADER}"
