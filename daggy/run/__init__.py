"""The state of one run: frontier, ledger, and the handlers that change them. Pure.

Scripts call `daggy.run(spec)`, and a package is an attribute of its parent, so this one can be called.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any


class _Callable(ModuleType):
    """This package, called as the function of `daggy.script`."""

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        return importlib.import_module("daggy.script").run(*arguments, **named)


sys.modules[__name__].__class__ = _Callable
