"""Turns a JSON document into a validated RunSpec, or reports everything that is wrong with it."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from typing import Any

from attrs import evolve

from daggy.errors import SpecError
from daggy.spec.collector import quiet_collector
from daggy.spec.document import CALLED_FROM
from daggy.spec.fields import amounts, integer, members, noun, text
from daggy.spec.inputs import let_leave_results, taken
from daggy.spec.keys import FRAGMENT, TOP, check_keys, ignored
from daggy.spec.model import Defaults, RunSpec, Templating
from daggy.spec.problems import Problems, join, kind
from daggy.spec.source import SMALL, Source, open_source
from daggy.spec.task import read_defaults, read_templating
from daggy.spec.templates import Reader
from daggy.spec.unused import check_unused
from daggy.spec.values import Parameters, read_parameters, read_zip, zipped_in

VERSION = 1
"""The newest version of the format that this version of Daggy reads."""


def parse(data: bytes, *, source: str = "", directory: str | None, name: str = "") -> RunSpec:
    """Read and check a run spec.

    Args:
        data: JSON, UTF-8.
        source: The file's name, for errors.
        directory: Absolute: where a relative `directory` resolves, and the default. None: the spec must say.
        name: The run's name if the spec gives none.

    Raises:
        SpecError: all that is wrong with it.
    """
    try:
        with quiet_collector(freeze=len(data) > 100 * SMALL):
            return _parse(open_source(data), source, directory, name)
    except SpecError as error:
        raise SpecError(error.problems, source) from None


def _parse(document: Source, source: str, directory: str | None, name: str) -> RunSpec:
    problems = Problems()
    data = document.members
    check_keys(data, TOP, "top", "", problems)
    _check_version(data.get("version", VERSION), problems)
    templating = _given(data, "templating", read_templating, Templating.JINJA, problems)
    defaults = Defaults(
        members(data.get("defaults", {}), "defaults", problems) or {},
        _given(data, "pool", noun, "", problems),
        templating,
    )
    inherited = read_defaults(defaults.task, problems)
    literal = Templating.LITERAL in (templating, inherited.get("templating"))
    zipped = zipped_in(data.get("zip"))
    parameters = read_parameters(data.get("parameters", {}), "parameters", problems, literal=literal, zipped=zipped)
    groups = read_zip(data.get("zip"), parameters.values, (), problems, literal=literal)
    spec = RunSpec(
        tasks=(),
        name=_given(data, "name", noun, name, problems),
        description=_given(data, "description", text, "", problems),
        tags=_tags(data.get("tags", {}), problems),
        parameters={**parameters.values, **groups.columns},
        spellings=parameters.spellings,
        zip=groups.names,
        limits=amounts(data.get("limits", {}), "limits", problems),
        max_failures=_given(data, "max_failures", integer(1, 2**32 - 1), None, problems),
        directory=_directory(data.get("directory"), directory, data.get(CALLED_FROM), templating, problems),
        called_from=_called_from(data.get("directory"), data.get(CALLED_FROM)),
        defaults=defaults,
    )
    return _with_tasks(document, spec, inherited, parameters, problems, source)


def _with_tasks(
    document: Source,
    spec: RunSpec,
    inherited: Mapping[str, Any],
    declared: Parameters,
    problems: Problems,
    source: str,
    *,
    empty: bool = False,
) -> RunSpec:
    reader = Reader(spec, inherited, problems)
    if document.tasks is not None:
        reader.read_source(document, pack=not empty)
    elif "tasks" in document.members:
        reader.read_all(document.members["tasks"])
    elif not empty:
        problems.add("", "no 'tasks'", "name at least one")
    if not reader.read and not problems and not empty:
        problems.add("tasks", "there are no tasks", "name at least one")
    tasks = reader.tasks
    if reader.packed is None and (names := taken(tasks)):
        let_leave_results(tasks, names)
    if reader.complete:
        check_unused(declared, reader, problems)
        for position, combination in enumerate(() if empty else inherited.get("exclude", ())):
            if combination not in reader.excluded:
                problems.warn(f"defaults.exclude[{position}]", "no task could have these values")
    problems.raise_if_any(source)
    return evolve(spec, tasks=tasks, warnings=tuple(problems.warnings))


def _given(data: Mapping[str, object], key: str, read: Any, default: Any, problems: Problems) -> Any:
    if key not in data:
        return default
    value = read(data[key], key, problems)
    return default if value is None else value


def _check_version(value: object, problems: Problems) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        problems.add("version", f"{kind(value)} where the format version is expected", f"write {VERSION}")
    elif value > VERSION:
        problems.add(
            "version", f"version {value} is newer than this version of Daggy reads", f"the newest it reads is {VERSION}"
        )


def _tags(value: object, problems: Problems) -> dict[str, str]:
    tags: dict[str, str] = {}
    for name, item in (members(value, "tags", problems) or {}).items():
        path = join("tags", name)
        key, read = noun(name, path, problems), text(item, path, problems)
        if key is not None and read is not None:
            tags[key] = read
    return tags


def _directory(value: object, base: str | None, called_from: object, templating: Templating, problems: Problems) -> str:
    given = None if value is None else text(value, "directory", problems)
    written = (given or "").removeprefix(called_from if isinstance(called_from, str) else "")
    if templating is Templating.JINJA and "{{" in written:
        problems.add("directory", "the spec's directory is no template", "put it in `details` of `defaults`")
    if base is None and (given is None or not posixpath.isabs(given)):
        problems.add("directory", "no absolute directory", "give the directory in which tasks run")
        return ""
    return posixpath.join(base or "", given or "").rstrip("/") or "/"


def _called_from(directory: object, called_from: object) -> str:
    """Return where the command line was called, if the spec's directory lies there."""
    if not isinstance(called_from, str) or not isinstance(directory, str) or not posixpath.isabs(called_from):
        return ""
    inside = posixpath.normpath(directory) == called_from or posixpath.normpath(directory).startswith(f"{called_from}/")
    return called_from if inside else ""


def parse_fragment(data: bytes, run: RunSpec, *, source: str = "") -> RunSpec:
    """Read and check a generator's answer: `{"tasks": …}`, or the tasks alone; an empty one has no tasks.

    Args:
        data: JSON, UTF-8.
        run: The spec of the run; its parameters, defaults, templating, pool and directory apply.
        source: What to call the answer in errors.

    Returns:
        The run's spec with these tasks in place of its own.

    Raises:
        SpecError: all that is wrong with it.
    """
    if not data.strip():
        return evolve(run, tasks=(), warnings=())
    try:
        with quiet_collector(freeze=False):
            document = open_source(data)
            if document.tasks is None and "tasks" not in document.members:
                document = open_source(b'{"tasks":' + data.removeprefix(b"\xef\xbb\xbf") + b"}")
            return _parse_fragment(document, run, source)
    except SpecError as error:
        raise SpecError(error.problems, source) from None


def _parse_fragment(document: Source, run: RunSpec, source: str) -> RunSpec:
    problems = Problems()
    data = document.members
    for key in [key for key in data if key not in FRAGMENT and not ignored(key)]:
        mend = "put it in the run's spec" if key in TOP else "a generator answers with 'tasks', 'parameters', 'zip'"
        problems.add(key, f"unknown key '{key}'", mend)
    inherited = read_defaults(run.defaults.task, Problems())
    literal = Templating.LITERAL in (run.defaults.templating, inherited.get("templating"))
    zipped = zipped_in(data.get("zip"))
    own = read_parameters(data.get("parameters", {}), "parameters", problems, literal=literal, zipped=zipped)
    values = {**run.parameters, **own.values}
    groups = read_zip(data.get("zip"), values, run.zip, problems, literal=literal)
    spec = evolve(
        run,
        parameters={**values, **groups.columns},
        spellings={**run.spellings, **own.spellings},
        zip=run.zip + groups.names,
        warnings=(),
    )
    return _with_tasks(document, spec, inherited, own, problems, source, empty=True)
