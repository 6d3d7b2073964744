"""What a spec stands for, worked out by hand: every task by name, what it waits for, what is downstream of it."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping

from attrs import frozen

from tests.chaos.specs import Link, Script, Shape


@frozen
class Task:
    """One task.

    Args:
        name: Its name.
        shape: Its template.
        values: Of the parameters that it expands over.
        parents: Name and `on` of each task that it waits for.
        home: Name of the generator's task that it comes from; empty: of none.
    """

    name: str
    shape: Shape
    values: Mapping[str, str]
    parents: tuple[tuple[str, str], ...]
    home: str = ""


Tasks = dict[str, Task]


def expand(script: Script) -> Tasks:
    """Return every task of a spec, what its generators will add included."""
    tasks: Tasks = {}
    for shape in script.shapes:
        for values in _combinations(shape, script):
            _add(tasks, shape, values, script, "")
    return tasks


def _combinations(shape: Shape, script: Script) -> Iterable[dict[str, str]]:
    names = sorted(shape.parameters)
    for chosen in itertools.product(*(script.parameters[name] for name in names)):
        yield dict(zip(names, chosen, strict=True))


def _add(tasks: Tasks, shape: Shape, values: Mapping[str, str], script: Script, home: str) -> None:
    prefix = f"{home}/" if home else ""
    name = prefix + ".".join([shape.name, *(f"{key}:{value}" for key, value in values.items())])
    parents = [(home, "completed")] if home else []
    for link in shape.links:
        parents += [(one.name, link.on) for one in _linked(tasks, shape, values, link, home)]
    tasks[name] = Task(name, shape, values, tuple(dict.fromkeys(parents)), home)
    for inner in shape.generated or ():
        for chosen in _combinations(inner, script):
            _add(tasks, inner, chosen, script, name)


def _linked(tasks: Tasks, shape: Shape, values: Mapping[str, str], link: Link, home: str) -> list[Task]:
    """Return the tasks that a link leads to, and what those generate."""
    found = []
    for task in tasks.values():
        if task.shape.name == link.task and task.home == home and _matches(shape, values, link, task):
            found.append(task)
            found += [one for one in tasks.values() if one.home == task.name]
    return found


def _matches(shape: Shape, values: Mapping[str, str], link: Link, parent: Task) -> bool:
    if link.match is None:
        return True
    both = [name for name in shape.parameters if name in parent.shape.parameters]
    return all(values[name] == parent.values[name] for name in link.match or both)


def downstream(tasks: Tasks, names: Iterable[str]) -> set[str]:
    """Return these and everything that waits for them, however far; a generator's tasks are downstream of it."""
    children: dict[str, list[str]] = {}
    for task in tasks.values():
        for parent, _ in task.parents:
            children.setdefault(parent, []).append(task.name)
    found = {name for name in names if name in tasks}
    rest = list(found)
    while rest:
        new = [child for child in children.get(rest.pop(), ()) if child not in found]
        found.update(new)
        rest += new
    return found


def changed(before: Script, after: Script) -> set[str]:
    """Return the tasks that are new in a version, or defined in another way than in the one before."""
    old, new = expand(before), expand(after)
    return {name for name, task in new.items() if name not in old or _definition(task) != _definition(old[name])}


def _definition(task: Task) -> object:
    generated = task.shape.generated
    said = (task.shape.mark, task.shape.fails_below, task.shape.nap, task.shape.output, generated)
    return said, frozenset(task.parents)
