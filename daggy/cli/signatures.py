"""Whether calls of functions fit their signatures, as far as the functions can be found on this machine."""

from __future__ import annotations

import difflib
import posixpath
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import trio

from daggy.plan import Plan
from daggy.spec.model import Template
from daggy.spec.templating.recipe import texts_of
from daggy.worker.listing import Module, functions_of

MOST = 1000
"""Templates that are looked at."""

AT_ONCE = 2
"""Modules that are read at once."""


def misfits(plan: Plan) -> list[str]:
    """Return, in a line each, arguments that functions lack, and those that they need and are not given.

    A process of the task's interpreter imports each module. One that cannot be imported here may be where the task
    runs: nothing is said of it.
    """
    calls: dict[Module, list[Template]] = defaultdict(list)
    for template in _templates(plan):
        settings, directory = template.details.settings, template.details.directory
        function, python = str(settings["function"]), str(settings.get("python", "python3"))
        place = posixpath.join(plan.spec.directory, directory)
        if "{{" not in function + python + directory:
            calls[Module(function.partition(":")[0], python, place)].append(template)
    found = trio.run(_read, list(calls)) if calls else {}
    return [line for module, templates in calls.items() for line in _misfits(templates, found[module])]


def _templates(plan: Plan) -> Iterator[Template]:
    for block in plan.blocks:
        if len(block.templates) <= MOST:
            yield from (template for template in block.templates if template.details.kind == "function")


async def _read(modules: Sequence[Module]) -> Mapping[Module, Mapping[str, Any]]:
    found: dict[Module, Mapping[str, Any]] = {}
    limiter = trio.CapacityLimiter(AT_ONCE)

    async def read(module: Module) -> None:
        async with limiter:
            told = await functions_of(module)
            found[module] = {function["name"]: function["parameters"] for function in told["functions"]}

    async with trio.open_nursery() as nursery:
        for module in modules:
            nursery.start_soon(read, module)
    return found


def _misfits(templates: Sequence[Template], functions: Mapping[str, Any]) -> Iterator[str]:
    for template in templates:
        function = str(template.details.settings["function"])
        if function in functions:
            yield from _misfit(template, function.partition(":")[2], functions[function])


def _misfit(template: Template, name: str, schema: Mapping[str, Any]) -> Iterator[str]:
    arguments: Any = template.details.settings.get("arguments", {})
    texts = [text for _, text, _ in texts_of(template.details)]
    inputs = [one for one in template.inputs if not any(f"inputs.{one}" in text for text in texts)]
    given = {one: f"details.arguments.{one}" for one in arguments} | {one: f"inputs.{one}" for one in inputs}
    known = schema["properties"]
    for one, place in given.items() if not schema["additionalProperties"] else ():
        if one not in known:
            close = difflib.get_close_matches(one, known, 1)
            mend = f"did you mean '{close[0]}'?" if close else f"it has: {', '.join(known) or 'none'}"
            yield f"tasks.{template.name}.{place}: {name}() has no parameter '{one}'; {mend}"
    for parameter in schema["required"]:
        if parameter not in given:
            yield f"tasks.{template.name}.details.arguments: {name}() needs '{parameter}'; give it"
