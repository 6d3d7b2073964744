"""What runs on other machines as one text, such as a relay and its launchers; all that it needs is a Python."""

from __future__ import annotations

import functools
import hashlib
from importlib.resources import files
from pathlib import Path

from daggy.launcher.program.relay import unpack

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
if sys.version_info < (3, 8):
    sys.exit("Python %d.%d is too old: 3.8 or newer is needed" % sys.version_info[:2])
sys.meta_path.insert(0, Bundle())
"""

_RELAY = """\
from daggy.launcher.program.relay import main, unpack
main(lambda: unpack(SOURCES, DIGEST, DIRECTORY))
"""

BOOT = 'import os;n=%d;b=b"";exec("while len(b)<n: b+=os.read(0,n-len(b)) or os._exit(1)");exec(b)'
"""A program that reads another one of so many bytes from its standard input, and becomes it. One line, with nothing in
it that any shell would replace within single quotes."""


@functools.cache
def _sources() -> dict[str, str]:
    sources = {"daggy": "", "daggy.launcher": "", PACKAGE: ""}
    for file in sorted(files(PACKAGE).iterdir(), key=lambda file: file.name):
        if file.name.endswith(".py") and file.name != "__init__.py":
            sources[f"{PACKAGE}.{file.name[:-3]}"] = file.read_text("utf-8")
    return sources


def relay(directory: str) -> bytes:
    """Return a program that, run by any Python of 3.8 or newer, is a relay on its standard input and output.

    Args:
        directory: Where it writes the program of its launchers, once for each version of it; `~` is understood.
    """
    sources = _sources()
    return f"SOURCES = {sources!r}\nDIGEST, DIRECTORY = {_digest(sources)!r}, {directory!r}\n{_LOADER}{_RELAY}".encode()


def _digest(sources: dict[str, str]) -> str:
    return hashlib.sha256(repr(sources).encode()).hexdigest()[:16]


def install(directory: Path) -> Path:
    """Write the modules below a directory, once for each version of them, and return the folder that holds them.

    An interpreter that runs them from there keeps what it has compiled beside them, for the next one.

    Raises:
        OSError: they cannot be written.
    """
    sources = _sources()
    return Path(unpack(sources, _digest(sources), str(directory)))


def boot(python: str, program: bytes) -> list[str]:
    """Return the argv of an interpreter that reads a program of this length from its standard input and runs it."""
    return [python, "-I", "-S", "-E", "-X", "utf8", "-c", BOOT % len(program)]
