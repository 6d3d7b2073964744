"""Reads `inputs`: what a task takes by name, values that the spec gives and results of other tasks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from attrs import evolve

from daggy.spec.dependencies import read_match
from daggy.spec.document import encode
from daggy.spec.fields import members, nested, noun, text
from daggy.spec.keys import INPUT, check_keys
from daggy.spec.model import Dependency, Input, Template
from daggy.spec.problems import Problems, join, kind, quote
from daggy.spec.templating.expression import KEYWORDS


def read_inputs(value: object, path: str, problems: Problems) -> dict[str, Input]:
    """Read the `inputs` of a task, by name.

    Args:
        value: As written.
        path: Of the object.
        problems: Where to report.
    """
    inputs: dict[str, Input] = {}
    for name, item in (members(value, path, problems) or {}).items():
        place = join(path, name)
        if not name.isidentifier() or name in KEYWORDS:
            problems.add(place, f"{quote(name)} cannot be the name of an input", "use letters, digits and '_'")
        elif (read := _input(item, place, problems)) is not None:
            inputs[name] = read
    return inputs


def _input(value: object, path: str, problems: Problems) -> Input | None:
    if not isinstance(value, dict):
        mend = 'write {"task": …} for a result, {"value": …} for a value'
        problems.add(path, f"{kind(value)} where an object is expected", mend)
        return None
    check_keys(value, INPUT, "input", path, problems)
    given = [key for key in ("task", "value") if key in value]
    if len(given) != 1:
        which = "both" if given else "neither"
        problems.add(path, f"{which} of 'task' and 'value' given", "give exactly one")
        return None
    if given == ["value"]:
        return _value(value, path, problems)
    task = noun(value["task"], join(path, "task"), problems)
    match = read_match(value.get("match", ()), join(path, "match"), problems)
    key = text(value["key"], join(path, "key"), problems) if "key" in value else ""
    return None if task is None or key is None else Input(task, match, key)


def _value(value: Mapping[str, object], path: str, problems: Problems) -> Input | None:
    for key in ("match", "key"):
        if key in value:
            problems.add(join(path, key), f"'{key}' beside a value", "it belongs to the result of a task")
    if not nested(value["value"], join(path, "value"), problems):
        return None
    return Input(value=encode(value["value"]).decode())


def with_parents(
    parents: Sequence[Dependency], inputs: Mapping[str, Input], path: str, problems: Problems
) -> tuple[tuple[Dependency, ...], Mapping[str, Input]]:
    """Return the parents of a task together with those whose results it takes, and its inputs.

    An input without `match` takes what the entry of its task in `parents` says.

    Args:
        parents: As written.
        inputs: As written.
        path: Of the task.
        problems: Where to report.
    """
    known = {parent.task: parent for parent in parents}
    added: list[Dependency] = []
    found = dict(inputs)
    for name, one in inputs.items():
        if not one.task:
            continue
        parent = known.get(one.task)
        if parent is None:
            parent = known[one.task] = Dependency(one.task, one.match)
            added.append(parent)
        if one.match == ():
            found[name] = evolve(one, match=parent.match)
        elif parent.match != one.match:
            message = f"'{one.task}' is matched differently elsewhere in this task"
            problems.add(join(path, f"inputs.{name}.match"), message, "match it alike in 'parents' and in all inputs")
    return (*parents, *added), found


def taken(templates: Iterable[Template]) -> set[str]:
    """Return the names of the templates whose results others take."""
    return {one.task for template in templates for one in template.inputs.values() if one.task}


def let_leave_results(templates: Sequence[Template], names: set[str]) -> None:
    """Let the tasks of these templates leave a result, whether or not the spec says so."""
    for template in templates:
        if template.name in names and not template.policy.result:
            object.__setattr__(template, "policy", evolve(template.policy, result=True))
