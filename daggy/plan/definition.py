"""What a template does: two tasks are the same work if their definitions, values and parents are equal."""

from __future__ import annotations

import json
import posixpath
from collections.abc import Callable

from attrs import field, fields, frozen

from daggy.kind import BUILT_IN
from daggy.spec.kinds import leaves, with_leaves
from daggy.spec.model import Details, RunSpec, Template, Templating
from daggy.spec.templating.recipe import spelled, texts_of
from daggy.spec.templating.text import compile_text, normalise

Pairs = tuple[tuple[str, str | None], ...]


@frozen
class Definition:
    """The parts of a template that make its tasks what they are, with white space inside expressions normalised.

    Timeouts, resources, pool, retries and the like are not part of it. Each field is named as people read it in
    "… changed".
    """

    command: tuple[str, ...] | None
    shell: str | None
    stdin: str | None
    settings: Pairs
    environment: Pairs
    directory: str
    is_generator: bool
    result: bool
    templating: Templating
    spelling: Pairs
    tags: Pairs
    inputs: Pairs


def definition(template: Template, spec: RunSpec) -> Definition:
    """Return a template's definition. `spec` gives tags, directory and spellings; nothing is rendered."""
    details = template.details
    templating = template.templating
    if templating is Templating.JINJA:
        varies = any("{{" in text for _, text, _ in texts_of(details))
    else:
        varies = templating is Templating.LITERAL and bool(template.uses)
    if not varies:
        templating = Templating.NONE

    def even(text: str) -> str:
        return normalise(text, templating)

    environment = {even(name): None if text is None else even(text) for name, text in details.environment.items()}
    spelling = spelled(template, spec) if templating is Templating.LITERAL else {}
    return Definition(
        None if details.command is None else tuple(map(even, details.command)),
        None if details.shell is None else even(details.shell),
        None if details.stdin is None else even(details.stdin),
        _settings(details, even),
        tuple(sorted(environment.items())),
        posixpath.join(spec.directory, even(details.directory)),
        template.policy.is_generator,
        template.policy.result,
        templating,
        tuple((name, spelling[name]) for name in template.uses if name in spelling),
        _tags(template, spec) if templating is Templating.JINJA else (),
        tuple(sorted((name, f"{one.task} {one.key} {one.value}") for name, one in template.inputs.items())),
    )


def _settings(details: Details, even: Callable[[str], str]) -> Pairs:
    """Return the settings of a task of some kind, by their first names; arguments one by one."""
    settings = with_leaves(details.settings, (even(text) for _, text in leaves(details.settings)))
    if details.kind in BUILT_IN:
        settings |= {f"arguments.{name}": value for name, value in settings.pop("arguments", {}).items()}
    else:
        settings = {f"{details.kind}.{key}": value for key, value in settings.items()}
    written = {key: json.dumps(value, sort_keys=True) for key, value in settings.items()}
    return tuple(sorted({**({details.kind: None} if details.kind else {}), **written}.items()))


def _tags(template: Template, spec: RunSpec) -> Pairs:
    """Return the run's tags that a template uses."""
    used: set[str] = set()
    for _, text, shell in texts_of(template.details):
        if "run" in text and "tags" in text:
            used |= compile_text(text, Templating.JINJA, shell=shell).names
    if "run.tags" in used or "run" in used:
        return tuple(sorted(spec.tags.items()))
    names = sorted(name.removeprefix("run.tags.") for name in used if name.startswith("run.tags."))
    return tuple((name, spec.tags.get(name)) for name in names)


def differences(old: Definition, new: Definition) -> str:
    """Return what differs, as in "command changed, tag 'env' changed"; empty if nothing does."""
    parts = []
    for attribute in fields(Definition):
        before, after = getattr(old, attribute.name), getattr(new, attribute.name)
        if before == after:
            continue
        if attribute.name in _BY_NAME:
            names = sorted({name for name, _ in set(before) ^ set(after)})
            parts += [f"{_BY_NAME[attribute.name]} '{name}' changed" for name in names]
        elif attribute.name != "templating" or not parts:  # a text that gained an expression has itself changed
            parts.append(f"{attribute.name} changed")
    return ", ".join(parts)


_BY_NAME = {
    "settings": "setting",
    "environment": "environment",
    "tags": "tag",
    "spelling": "spelling of",
    "inputs": "input",
}


@frozen
class Similar:
    """Finds most equal definitions by comparing how templates are written, without decoding them."""

    before: RunSpec
    after: RunSpec
    same_run: bool = field(init=False)

    @same_run.default
    def _compare_runs(self) -> bool:
        before, after = self.before, self.after
        return before.directory == after.directory and before.tags == after.tags

    @property
    def same_defaults(self) -> bool:
        """Return whether the same entry of `tasks`, byte by byte, has the same definition in both."""
        return self.same_run and self.before.defaults == self.after.defaults

    def surely(self, old: Template, new: Template) -> bool:
        """Return whether two definitions are equal; False if that cannot be seen without comparing them."""
        return (
            self.same_run
            and old.templating is new.templating
            and (old.policy.is_generator, old.policy.result) == (new.policy.is_generator, new.policy.result)
            and old.inputs == new.inputs
            and (new.templating is not Templating.LITERAL or not (old.uses or new.uses))
            and _written_alike(old, new)
        )


def _written_alike(old: Template, new: Template) -> bool:
    """Return whether details are equal; those still in the bytes in which they were written are not decoded first."""
    return old._details == new._details or old.details == new.details  # noqa: SLF001  # decoding a million takes seconds
