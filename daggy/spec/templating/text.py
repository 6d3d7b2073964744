"""The strings of `details`: parsed into pieces once, rendered for each task."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import cast

from attrs import field, frozen

from daggy.errors import Problem, SpecError, TemplateError
from daggy.spec.model import Templating
from daggy.spec.templating import expression, shell
from daggy.spec.templating.expression import BUILTINS, Expression
from daggy.spec.templating.literal import cut

LARGEST = 4 << 20
"""Characters of one rendered string that holds expressions."""

_NO_SPELLINGS: Mapping[str, str] = MappingProxyType({})


@frozen
class Variable:
    """A substitution that is only a name; with `raw` it is not quoted in `shell`."""

    name: str
    raw: bool = False


Piece = str | Variable | Expression


def _format(pieces: Iterable[Piece]) -> str:
    """Return the pieces as the left side of `%`."""
    return "".join(piece.replace("%", "%%") if isinstance(piece, str) else "%s" for piece in pieces)


@frozen
class Text:
    """One string of `details`, compiled.

    Args:
        pieces: What it is made of, in order; literal text is never empty.
        shell: Whether what is substituted is quoted for a shell.
        names: The variables that it uses: parameters, and builtins with their dots (`run.id`, `run.tags.env`).
    """

    pieces: tuple[Piece, ...]
    shell: bool = False
    names: frozenset[str] = field(init=False)
    _format: str = field(init=False, repr=False, eq=False)
    _keys: tuple[str, ...] | None = field(init=False, repr=False, eq=False)

    def __attrs_post_init__(self) -> None:
        """Prepare the fast path: a text whose substitutions are only names is one `%`."""
        found: set[str] = set()
        for piece in self.pieces:
            if isinstance(piece, Variable):
                found.add(piece.name)
            elif isinstance(piece, Expression):
                found |= piece.names
        plain = all(isinstance(piece, str) or (isinstance(piece, Variable) and not self.shell) for piece in self.pieces)
        keys = tuple(piece.name for piece in self.pieces if isinstance(piece, Variable))
        object.__setattr__(self, "names", frozenset(found))
        object.__setattr__(self, "_format", _format(self.pieces))
        object.__setattr__(self, "_keys", keys if plain else None)

    @property
    def constant(self) -> bool:
        """Whether it is the same for every task."""
        return not self.names and all(isinstance(piece, str) for piece in self.pieces)

    @property
    def plain(self) -> tuple[str, str] | None:
        """The left side of `%` and its one variable, if the text has no more."""
        return (self._format, self._keys[0]) if self._keys is not None and len(self._keys) == 1 else None

    @property
    def is_value(self) -> bool:
        """Whether it is one substitution and nothing else: it has a `value`."""
        return len(self.pieces) == 1 and not isinstance(self.pieces[0], str)

    def value(self, values: Mapping[str, object]) -> object:
        """Return what its one substitution stands for, as JSON has it: a number is no string.

        Args:
            values: As for `render`.

        Raises:
            TemplateError: it cannot be computed, or a variable is missing.
        """
        (piece,) = self.pieces
        try:
            if isinstance(piece, Expression):
                return piece.value(values)
            assert isinstance(piece, Variable)
            family, _, name = piece.name.partition(".")
            if family == "inputs" and name:
                return cast("Mapping[str, object]", values["inputs"])[name]
            return values[piece.name]
        except KeyError as error:
            raise TemplateError(f"'{error.args[0]}' has no value here") from None

    def render(self, values: Mapping[str, object]) -> str:
        """Return the string for one task.

        Args:
            values: Parameters' values, and what `Builtins.variables` gives if `names` holds any of those.

        Raises:
            TemplateError: an expression cannot be computed, or a variable is missing.
        """
        try:
            if self._keys is None:
                return self._slowly(values)
            return self._format % tuple([values[key] for key in self._keys])
        except KeyError as error:
            raise TemplateError(f"'{error.args[0]}' has no value here") from None

    def _slowly(self, values: Mapping[str, object]) -> str:
        texts = []
        size = 0
        for piece in self.pieces:
            if isinstance(piece, str):
                text = piece
            else:
                text = str(values[piece.name]) if isinstance(piece, Variable) else piece.render(values)
                text = shell.quote(text) if self.shell and not piece.raw else text
            texts.append(text)
            size += len(text)
            if size > LARGEST:
                raise TemplateError(f"the text is larger than {LARGEST} characters")
        return "".join(texts)


def compile_text(
    text: str, templating: Templating, *, shell: bool = False, spellings: Mapping[str, str] = _NO_SPELLINGS
) -> Text:
    """Parse a string into its pieces.

    Args:
        text: As written.
        templating: Of its template.
        shell: Whether it is a shell command: what is substituted is quoted.
        spellings: In literal mode, the text that stands for each parameter.

    Raises:
        SpecError: all that is wrong with it, each with an empty path.
    """
    if templating is Templating.NONE or (templating is Templating.JINJA and "{{" not in text):
        return Text((text,) if text else (), shell)
    if templating is Templating.JINJA:
        return _compile_jinja(text, shell)
    pieces = tuple(Variable(piece.name) if not isinstance(piece, str) else piece for piece in cut(text, spellings))
    _check_quotes(pieces, shell)
    return Text(pieces, shell)


@lru_cache(maxsize=8192)
def _compile_jinja(text: str, shell: bool) -> Text:
    pieces: list[Piece] = []
    problems: list[Problem] = []
    for before, source in expression.split(text):
        if before:
            pieces.append(before)
        if source:
            try:
                pieces.append(_substitution(source))
            except SpecError as error:
                problems += error.problems
                pieces.append(Variable("", raw=True))
    _check_quotes(tuple(pieces), shell, problems)
    return Text(tuple(pieces), shell)


def _substitution(source: str) -> Piece:
    plain = expression.PLAIN.fullmatch(source)
    if plain is None or plain[1] in expression.KEYWORDS:
        return _parse(source)
    name = plain[1]
    is_member = (name.startswith("run.tags.") and name.count(".") == 2) or (
        name.startswith("inputs.") and name.count(".") == 1
    )
    if "." not in name or name in BUILTINS[:-1] or is_member:
        if name in ("run", "task", "run.tags", "inputs"):
            raise SpecError(
                [Problem("", f"'{name}' is no text", f"there are {', '.join(BUILTINS)}, run.tags.X and inputs.X")]
            )
        return Variable(name, raw=plain[2] is not None)
    return _parse(source)


def _parse(source: str) -> Expression:
    from daggy.spec.templating.grammar import parse  # most runs have no expressions, and start without jinja2

    return parse(source)


def _check_quotes(pieces: tuple[Piece, ...], quoted: bool, problems: list[Problem] | None = None) -> None:
    problems = [] if problems is None else problems
    substitutions = [piece for piece in pieces if not isinstance(piece, str)]
    if quoted and not all(piece.raw for piece in substitutions):
        marked = "".join(piece if isinstance(piece, str) else shell.MARK for piece in pieces)
        for piece, place in zip(substitutions, shell.places(marked), strict=True):
            if place and not piece.raw:
                shown = piece.name if isinstance(piece, Variable) else piece.source.strip()
                problems.append(Problem("", f"'{shown}' is substituted inside {place}", shell.MENDS[place]))
    if problems:
        raise SpecError(problems)


def normalise(text: str, templating: Templating) -> str:
    """Return a string so that two are equal if their templates are: white space inside expressions does not count."""
    if templating is not Templating.JINJA or "{{" not in text:
        return text
    parts = expression.split(text)
    return "".join(f"{before}{{{{{expression.tokens(source)}}}}}" if source else before for before, source in parts)
