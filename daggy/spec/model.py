"""The run spec as frozen values: validated, with all references to files resolved."""

from __future__ import annotations

import enum
import posixpath
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from types import MappingProxyType
from typing import Protocol, cast

from attrs import define, field, frozen

_NONE: Mapping[str, Values] = MappingProxyType({})  # one for a million templates without parameters of their own
_NO_TEXT: Mapping[str, str] = MappingProxyType({})
_NO_INPUTS: Mapping[str, Input] = MappingProxyType({})

Value = str | int | Decimal
"""One parameter value. Numbers keep their JSON text: `Decimal("0.30")` prints as written."""


class Values(Protocol):
    """The values of one parameter: a sequence that may never be written out."""

    def __len__(self) -> int:
        """Return how many there are: at least one."""
        ...

    def value(self, position: int) -> Value:
        """Return one value, as templates see it."""
        ...

    def text(self, position: int) -> str:
        """Return one value's text: its JSON text, strings without quotes. Values are equal if their texts are."""
        ...

    def texts(self) -> Sequence[str]:
        """Return all texts; a range is written out at each call."""
        ...

    def find(self, text: str) -> int:
        """Return the position of the value with this text, or -1."""
        ...


class Repeating:
    """Marks values that may repeat: a column of a sheet, of which only whole rows are distinct."""

    __slots__ = ()


class On(enum.IntEnum):
    """What of its parent a child waits for."""

    COMPLETED = 0
    ENDED = 1


class Templating(enum.Enum):
    """How strings of `details` become those of a task."""

    JINJA = "jinja"
    LITERAL = "literal"
    NONE = "none"


@frozen
class Dependency:
    """One entry of `parents` or `children`.

    `match` is empty for all-to-all, None for `true` (all parameters that both use).
    """

    task: str
    match: tuple[str, ...] | None = ()
    on: On = On.COMPLETED


@frozen
class Input:
    """One entry of `inputs`: a value, or results of the tasks of a template.

    Args:
        task: Whose results are taken; empty: it is a value.
        match: As that of a `Dependency`.
        key: What is taken of each result, an object; empty: all of it.
        value: JSON text.
    """

    task: str = ""
    match: tuple[str, ...] | None = ()
    key: str = ""
    value: str = ""


@frozen
class Details:
    """How a task is run. Exactly one of `command`, `shell` and `kind` is given. Strings are as written, not rendered.

    `settings` are those of the `kind`, as plain JSON data.
    """

    command: tuple[str, ...] | None = None
    shell: str | None = None
    environment: Mapping[str, str | None] = field(factory=dict)
    directory: str = ""
    timeout: float = 0.0  # seconds; 0: none
    grace: float = 5.0  # seconds
    stdin: str | None = None
    options: Mapping[str, object] = field(factory=dict)
    kind: str = ""
    settings: Mapping[str, object] = field(factory=dict)


@frozen
class Policy:
    """What scheduling needs of a template; shared by many of them, and hashable."""

    pool: str = ""  # empty: the default pool
    resources: tuple[tuple[str, float], ...] = (("cores", 1.0),)  # sorted by name
    priority: int = 0
    max_parallel: int | None = None
    max_retries: int = 0
    retry_delay: float = 0.0  # seconds
    retry_backoff: float = 2.0
    retry_on: frozenset[str | int] | None = (
        None  # reasons' names and exit codes; None: every reason that can be retried
    )
    crash_limit: int = 3
    is_generator: bool = False
    result: bool = False  # whether it may leave a result
    timeout: float = 0.0  # seconds, as in the details; 0: none
    is_source: bool = False  # whether it is source to be executed, which not every pool does


class Written(Protocol):
    """Details still as written, in bytes: a million explicit tasks keep no decoded objects."""

    def read(self) -> Details:
        """Return the details, decoded; the bytes were validated when the spec was read."""
        ...


def _read(details: Details | Written) -> Details:
    return details if isinstance(details, Details) else details.read()


Combination = tuple[tuple[str, str], ...]
"""Parameters with the text of a value of each, sorted by parameter."""


@define
class Draft:
    """A template under construction: a million of these cost a fraction of as many frozen ones."""

    name: str
    _details: Details | Written = field(eq=_read)
    policy: Policy = Policy()
    parents: tuple[Dependency, ...] = ()
    children: tuple[Dependency, ...] = ()
    parameters: Mapping[str, Values] = _NONE
    uses: tuple[str, ...] = ()
    templating: Templating = Templating.JINJA
    description: str = ""
    spellings: Mapping[str, str] = _NO_TEXT
    exclude: tuple[Combination, ...] = ()
    inputs: Mapping[str, Input] = _NO_INPUTS


@frozen
class Template(Draft):
    """One entry of `tasks`, defaults applied.

    `uses` are the run's parameters that apply to it, sorted: those that its strings mention, and `expand`; a zip group
    is in it whole. `parameters` are only those that overlay the run's, `spellings` the text that literal mode replaces
    for them. No task has all values of one of `exclude`. Each template named in `inputs` is one of `parents`, too.
    """

    @property
    def details(self) -> Details:
        """How its tasks are run. It may be decoded at each call, so keep it only while it is needed."""
        return _read(self._details)


def freeze(draft: Draft) -> Template:
    """Turn a draft into a template; both have the same fields in the same places."""
    draft.__class__ = Template
    return cast("Template", draft)


@frozen
class Defaults:
    """What a spec says for all its tasks; it applies to a generator's tasks too.

    Args:
        task: The object `defaults`, as plain JSON data.
        pool: The spec's `pool`, empty for the server's default.
        templating: The spec's.
    """

    task: Mapping[str, object] = field(factory=dict)
    pool: str = ""
    templating: Templating = Templating.JINJA


@frozen
class RunSpec:
    """A whole run spec. `tasks` keeps the order in which they were written.

    `parameters` are keyed by their names without braces; `spellings` gives, in literal mode, the text that is replaced.
    `directory` is absolute: relative `details.directory` resolve against it, after rendering. `called_from` is where
    the command line was called, if it lies there: both move with a project.
    """

    tasks: Sequence[Template]
    name: str = ""
    description: str = ""
    tags: Mapping[str, str] = field(factory=dict)
    parameters: Mapping[str, Values] = field(factory=dict)
    spellings: Mapping[str, str] = field(factory=dict)
    zip: tuple[tuple[str, ...], ...] = ()
    limits: Mapping[str, float] = field(factory=dict)
    max_failures: int | None = None
    warnings: tuple[str, ...] = ()
    directory: str = ""
    called_from: str = ""
    defaults: Defaults = Defaults()

    def values(self, template: Template, parameter: str) -> Values:
        """Return the values that a parameter has for a template."""
        own = template.parameters.get(parameter)
        return self.parameters[parameter] if own is None else own

    def is_sheet(self, group: tuple[str, ...]) -> bool:
        """Return whether values of some parameter of a zip group may repeat.

        A template then steps through the distinct rows of those that it uses, and each is matched by itself.
        """
        return any(isinstance(self.parameters[name], Repeating) for name in group)

    def has_moved_to(self, other: RunSpec) -> bool:
        """Return whether the directory of another spec is this one's, moved with where the command line was called."""
        here, there = self.called_from, other.called_from
        if not here or not there or here == there:
            return False
        return posixpath.relpath(self.directory, here) == posixpath.relpath(other.directory, there)

    def __iter__(self) -> Iterator[Template]:
        """Iterate over the templates."""
        return iter(self.tasks)
