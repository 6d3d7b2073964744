"""All strings of one template's details, compiled: renders a task's values into what is executed."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple, cast

from attrs import frozen

from daggy.errors import PluginError, TemplateError
from daggy.kind import BUILT_IN, kind_of
from daggy.spec.kinds import is_source, is_typed, leaves, structured, substituted, with_leaves
from daggy.spec.model import Details, RunSpec, Template, Templating
from daggy.spec.templating.text import Text, compile_text

_NOTHING: Mapping[str, object] = MappingProxyType({})
_NO_SPELLINGS: Mapping[str, str] = MappingProxyType({})


class Rendered(NamedTuple):
    """What is executed for one task. Tasks may share its lists and maps: copy before changing them.

    `environment` holds only what the spec says; None unsets. `directory` is absolute if the spec's is.
    """

    argv: list[str]
    environment: dict[str, str | None]
    directory: str
    stdin: str | None


@frozen
class Builtins:
    """The built-in variables of templates, for one attempt."""

    run_id: int
    tags: Mapping[str, str]
    task_name: str
    task_index: int
    attempt: int

    def variables(self) -> dict[str, object]:
        """Return them by name, as plain substitutions (`run.id`) and expressions (`run`) look them up."""
        return {
            "run.id": self.run_id,
            "task.name": self.task_name,
            "task.index": self.task_index,
            "attempt": self.attempt,
            "run": {"id": self.run_id, "tags": self.tags},
            "task": {"name": self.task_name, "index": self.task_index},
        } | {f"run.tags.{name}": value for name, value in self.tags.items()}


def texts_of(details: Details) -> list[tuple[str, str, bool]]:
    """Return every string of details that is a template: its path, the string, and whether it is a shell command."""
    texts = [(f"command[{position}]", word, False) for position, word in enumerate(details.command or ())]
    if details.shell is not None:
        texts.append(("shell", details.shell, True))
    for name, value in details.environment.items():
        texts.append(("environment", name, False))
        if value is not None:
            texts.append((f"environment.{name}", value, False))
    if details.directory:
        texts.append(("directory", details.directory, False))
    if details.stdin is not None:
        texts.append(("stdin", details.stdin, False))
    texts += [(path, text, False) for path, text in substituted(details)]
    return texts


_rendered = tuple.__new__  # a named tuple's own constructor takes as long as rendering a plain task


class Recipe:
    """One template's details, ready to be rendered for any of its tasks.

    `names` are the variables that its strings use: parameters, and builtins with their dots (`run.tags.env`). `details`
    are its source, kept so that they are not decoded again.
    """

    details: Details

    __slots__ = ("_base", "_fixed", "_plain", "_rest", "_shell", "_texts", "_words", "details", "names")

    def __init__(self, argv: Sequence[Text], rest: Rest, base: str) -> None:
        """Keep the compiled strings; render those that are the same for every task.

        Args:
            argv: The words; for `shell` those of `/bin/sh -c`.
            rest: The other strings.
            base: What a relative directory resolves against.
        """
        self._base = base
        self._rest = rest
        self._shell = any(text.shell for text in argv)
        self._words = [text.render(_NOTHING) if text.constant else "" for text in argv]
        varying = [(position, text) for position, text in enumerate(argv) if not text.constant]
        self._plain = [(position, *text.plain) for position, text in varying if text.plain is not None]
        self._texts = [(position, text) for position, text in varying if text.plain is None]
        texts = (*argv, *rest.texts())
        self.names: frozenset[str] = frozenset().union(*(text.names for text in texts))
        self._fixed: Rendered | None = None
        if all(text.constant for text in rest.texts()):
            self._fixed = rest.render(_NOTHING, self._words, base)

    @classmethod
    def constant(cls, rendered: Rendered) -> Recipe:
        """Return the recipe of a template without substitutions."""
        self = cls.__new__(cls)
        self.names = frozenset()
        self._plain, self._texts, self._fixed = [], [], rendered
        return self

    def render(self, values: Mapping[str, object], builtins: Builtins | None = None) -> Rendered:
        """Return what is executed for one task: about a microsecond if its strings hold only `{{ NAME }}`.

        Args:
            values: Of the template's parameters, by name.
            builtins: Needed if `names` holds any of theirs.

        Raises:
            TemplateError: a string cannot be rendered; the message names it.
        """
        fixed = self._fixed
        if fixed is not None and not self._plain and not self._texts:
            return fixed
        if builtins is not None:
            values = {**values, **builtins.variables()}
        argv = self._words.copy()
        try:
            for position, template, key in self._plain:
                argv[position] = template % values[key]
        except KeyError as error:
            raise TemplateError(f"details.command: '{error.args[0]}' has no value here") from None
        for position, text in self._texts:
            argv[position] = _render(text, values, "shell" if self._shell else f"command[{position}]")
        if fixed is not None:
            return _rendered(Rendered, (argv, fixed.environment, fixed.directory, fixed.stdin))
        return self._rest.render(values, argv, self._base)


class KindRecipe(Recipe):
    """The details of a template of some kind: what is executed is the kind's, of settings that are rendered first."""

    __slots__ = ("_kind", "_name", "_settings", "_strings", "_typed")

    def __init__(self, details: Details, rest: Rest, base: str, text: Callable[[str], Text]) -> None:
        """Keep the compiled strings.

        Args:
            details: The template's.
            rest: The strings beside the settings.
            base: What a relative directory resolves against.
            text: Compiles a string.
        """
        self._base, self._rest, self._name = base, rest, details.kind
        self._kind, self._settings = kind_of(details.kind), details.settings
        kind = details.kind
        self._strings: list[tuple[str, Text]] = []
        self._typed: set[str] = set()
        for path, written in leaves(details.settings, "" if kind in BUILT_IN else kind):
            compiled = Text((written,) if written else ()) if is_source(kind, path) else text(written)
            self._strings.append((path, compiled))
            if compiled.is_value and is_typed(kind, path):
                self._typed.add(path)
        self.names = frozenset().union(*(one.names for one in (*(one for _, one in self._strings), *rest.texts())))

    def render(self, values: Mapping[str, object], builtins: Builtins | None = None) -> Rendered:
        """Return what is executed for one task; most of the time goes into making and checking its settings.

        The kind is given those inputs that no string uses.

        Raises:
            TemplateError: a string cannot be rendered, or the settings are wrong; the message names it.
        """
        if builtins is not None:
            values = {**values, **builtins.variables()}
        strings = (
            _value(text, values, path) if path in self._typed else _render(text, values, path)
            for path, text in self._strings
        )
        place = f"details.{self._name}"
        try:
            settings = structured(self._kind, with_leaves(self._settings, strings), place)
            given = cast("Mapping[str, Any]", values.get("inputs", _NOTHING))
            inputs = {name: value for name, value in given.items() if f"inputs.{name}" not in self.names}
            command = self._kind.command_with(settings, inputs) if inputs else self._kind.command(settings)
        except PluginError as error:
            raise TemplateError(str(error)) from error
        except ValueError as error:
            raise TemplateError(f"{place}: {error}") from error
        told = self._rest.render(values, command.argv, self._base)
        stdin = told.stdin if command.stdin is None else command.stdin
        return Rendered(command.argv, {**command.environment, **told.environment}, told.directory, stdin)


@frozen(eq=False)
class Rest:
    """The strings of details beside the words: environment in the order written (None unsets), directory, stdin."""

    environment: tuple[tuple[Text, Text | None], ...]
    directory: Text
    stdin: Text | None

    def texts(self) -> list[Text]:
        """Return all of them."""
        every = (*(text for pair in self.environment for text in pair), self.directory, self.stdin)
        return [text for text in every if text is not None]

    def render(self, values: Mapping[str, object], argv: list[str], base: str) -> Rendered:
        """Return them rendered, beside words that are."""
        environment: dict[str, str | None] = {}
        for name, value in self.environment:
            key = _render(name, values, "environment")
            if not key or "=" in key or key.startswith("DAGGY_") or key in environment:
                raise TemplateError(f"details.environment: '{key}' is not a valid name, is reserved, or is given twice")
            environment[key] = None if value is None else _render(value, values, f"environment.{key}")
        directory = (
            posixpath.join(base, _render(self.directory, values, "directory")) if self.directory.pieces else base
        )
        return Rendered(
            argv, environment, directory, None if self.stdin is None else _render(self.stdin, values, "stdin")
        )


def _render(text: Text, values: Mapping[str, object], place: str) -> str:
    try:
        return text.render(values)
    except TemplateError as error:
        raise TemplateError(f"details.{place}: {error}") from error


def _value(text: Text, values: Mapping[str, object], place: str) -> object:
    try:
        return text.value(values)
    except TemplateError as error:
        raise TemplateError(f"details.{place}: {error}") from error


def recipe(template: Template, spec: RunSpec) -> Recipe:
    """Compile a template's details. Keep the result: it serves all its tasks.

    Args:
        template: Of `spec`.
        spec: Where it stands.
    """
    details = template.details
    made = _compile_kind(template, details, spec) if details.kind else _compile(template, details, spec)
    made.details = details
    return made


def _compile(template: Template, details: Details, spec: RunSpec) -> Recipe:
    spellings = spelled(template, spec) if template.templating is Templating.LITERAL else _NO_SPELLINGS
    fixed = not _has_braces(details) if template.templating is Templating.JINJA else not spellings
    if fixed:
        directory = posixpath.join(spec.directory, details.directory) if details.directory else spec.directory
        argv = list(details.command or ("/bin/sh", "-c", details.shell or ""))
        return Recipe.constant(Rendered(argv, dict(details.environment), directory, details.stdin))

    def text(written: str, shell: bool = False) -> Text:
        return compile_text(written, template.templating, shell=shell, spellings=spellings)

    if details.shell is not None:
        words = [Text(("/bin/sh",)), Text(("-c",)), text(details.shell, shell=True)]  # noqa: S604  # quotes for a shell, starts none
    else:
        words = [text(word) for word in details.command or ()]
    return Recipe(words, _compile_rest(details, text), spec.directory)


def _compile_rest(details: Details, text: Callable[[str], Text]) -> Rest:
    environment = tuple(
        (text(name), None if value is None else text(value)) for name, value in details.environment.items()
    )
    return Rest(environment, text(details.directory), None if details.stdin is None else text(details.stdin))


def _compile_kind(template: Template, details: Details, spec: RunSpec) -> Recipe:
    spellings = spelled(template, spec) if template.templating is Templating.LITERAL else _NO_SPELLINGS

    def text(written: str) -> Text:
        return compile_text(written, template.templating, spellings=spellings)

    return KindRecipe(details, _compile_rest(details, text), spec.directory, text)


def _has_braces(details: Details) -> bool:
    for word in details.command or (details.shell or "",):
        if "{{" in word:
            return True
    rest = (details.directory, details.stdin or "", *details.environment, *details.environment.values())
    return any("{{" in text for text in rest if text)


def spelled(template: Template, spec: RunSpec) -> Mapping[str, str]:
    """Return the text that literal mode replaces for each parameter that a template can use."""
    known = {**spec.spellings, **template.spellings}
    return {name: known.get(name, name) for name in (*spec.parameters, *template.parameters)}
