"""Unused parameters: a warning, and an error where a substitution was clearly meant."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Mapping, Sequence
from itertools import islice
from typing import Protocol

from daggy.spec.model import Template, Templating, Values
from daggy.spec.problems import Problems, join
from daggy.spec.templating.expression import split
from daggy.spec.templating.recipe import texts_of
from daggy.spec.values import Parameters

FEW = 100
"""The most unused parameters that are searched for one by one in all texts."""

_WORD = re.compile(r"\w+")
_VARIABLE = re.compile(r"DAGGY_PARAM_(\w+)")


class Reading(Protocol):
    """What is known once all tasks have been read."""

    used: set[str]
    defaults: Parameters
    used_defaults: set[str]

    @property
    def tasks(self) -> Sequence[Template]:
        """All templates."""
        ...


def check_unused(declared: Parameters, reading: Reading, problems: Problems) -> None:
    """Report the parameters of a document that no template uses.

    Args:
        declared: The document's own parameters.
        reading: Its tasks.
        problems: Where to report.
    """
    places = (("parameters", declared, reading.used), ("defaults.parameters", reading.defaults, reading.used_defaults))
    for path, parameters, used in places:
        _check(parameters, used, path, reading.tasks, problems)


def check_own(template: Template, own: Parameters, uses: set[str], path: str, problems: Problems) -> None:
    """Report the parameters of a template that it does not use."""
    _check(own, uses, join(path, "parameters"), [template], problems)


def _check(
    declared: Parameters, used: Container[str], path: str, templates: Sequence[Template], problems: Problems
) -> None:
    unused = {name: spelling for name, spelling in declared.spellings.items() if name not in used}
    meant = unused if len(unused) <= FEW else _perhaps_meant(unused, templates)
    for name, spelling in unused.items():
        if name in meant:
            _report(name, spelling, join(path, spelling), templates, problems)
        else:
            problems.warn(join(path, spelling), f"nothing uses the parameter '{name}'")


def _perhaps_meant(unused: Iterable[str], templates: Iterable[Template]) -> set[str]:
    """Return up to FEW of many names that appear in some text, or may do so."""
    texts = (text for template in templates for _, text, _ in texts_of(template.details))
    words = {word for text in texts for word in _WORD.findall(text)}
    return set(islice((name for name in unused if name in words or not _WORD.fullmatch(name)), FEW))


def _report(name: str, spelling: str, path: str, templates: Iterable[Template], problems: Problems) -> None:
    word = re.compile(rf"(?<!\w){re.escape(name)}(?!\w)")
    for template in templates:
        for place, text, _ in texts_of(template.details):
            if name in text and word.search(_outside(text, template.templating)):
                where = f"tasks.{template.name}.details.{place}"
                problems.add(path, f"nothing uses '{name}', but it appears in {where}", _mend(name, spelling, template))
                return
    problems.warn(path, f"nothing uses the parameter '{name}'")


def _outside(text: str, templating: Templating) -> str:
    """Return what of a string stands outside expressions: inside, a name is a variable, perhaps of the task's own."""
    if templating is not Templating.JINJA or "{{" not in text:
        return text
    return "\0".join(before for before, _ in split(text))


def _mend(name: str, spelling: str, template: Template) -> str:
    if template.templating is Templating.JINJA:
        return f"write {{{{ {name} }}}}, or set templating to 'literal'"
    if template.templating is Templating.LITERAL:
        return f"literal templating replaces '{spelling}' exactly as written"
    return f'templating none replaces nothing: add "expand": ["{name}"] and read $DAGGY_PARAM_{name}'


def check_variables(
    template: Template, known: Mapping[str, Values], uses: set[str], path: str, problems: Problems
) -> None:
    """Warn of `$DAGGY_PARAM_…` of a parameter that does not apply to the template."""
    for place, text, _ in texts_of(template.details):
        for name in _VARIABLE.findall(text) if "DAGGY_PARAM_" in text else ():
            if name in known and name not in uses:
                where = join(path, f"details.{place}")
                problems.warn(where, f'DAGGY_PARAM_{name} is not set for this task; add "expand": ["{name}"]')
