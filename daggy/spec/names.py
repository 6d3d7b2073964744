"""Which names of templates and parameters are allowed."""

from __future__ import annotations

import re

from daggy.spec.fields import unfit
from daggy.spec.problems import Problems, quote
from daggy.spec.templating.expression import KEYWORDS

RESERVED = frozenset(
    ("run", "task", "attempt", "pool", "env", "secrets", "config", "state", "inputs", "outputs", "params")
)
"""Names that parameters cannot have: what templates use them for, or will."""

BAD = re.compile(r"[\s:/%\x00-\x1f\x7f-\x9f\ud800-\udfff]")
"""Characters that template names must not contain: task names are parsed, and used in paths."""

_BRACES = re.compile(r"\{\{\s*(.*?)\s*\}\}", re.DOTALL)


def check_template_name(name: str, path: str, problems: Problems) -> None:
    """Report an invalid template name."""
    found = BAD.search(name)
    if not name:
        problems.add(path, "a task's name is empty")
    elif found:
        problems.add(path, f"{quote(name)} holds {quote(found[0])}", "names have no white space, ':', '/' or '%'")
    elif name.isdigit():
        problems.add(path, f"'{name}' is all digits", "that would be a task's index")


def bare(spelling: str) -> str:
    """Return a parameter's name: what was written, without braces around it."""
    found = _BRACES.fullmatch(spelling)
    return found[1] if found else spelling


def check_parameter_name(name: str, path: str, problems: Problems, *, literal: bool) -> bool:
    """Report an invalid parameter name; return whether it is valid.

    Args:
        name: Without braces.
        path: Of the parameter.
        problems: Where to report.
        literal: Whether the spec's templating is literal: then any text is a name.
    """
    if not name or unfit(name):
        problems.add(path, f"{quote(name)} is not a valid parameter name")
    elif literal:
        return True
    elif not name.isidentifier():
        problems.add(path, f"{quote(name)} is not an identifier", "use letters, digits and '_'")
    elif name in RESERVED or name in KEYWORDS:
        problems.add(path, f"'{name}' is reserved", "give the parameter another name")
    else:
        return True
    return False
