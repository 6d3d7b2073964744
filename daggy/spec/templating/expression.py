"""The expressions `{{ … }}` of a text: finding, parsing and evaluating them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from attrs import frozen

from daggy.errors import Problem, SpecError, TemplateError
from daggy.spec.problems import quote

if TYPE_CHECKING:
    from jinja2.environment import TemplateExpression

BUILTINS = ("run.id", "run.tags", "task.name", "task.index", "attempt")
"""What a template may use besides parameters."""

KEYWORDS = frozenset(
    ["and", "else", "false", "False", "if", "in", "is", "none", "None", "not", "or", "self", "true", "True"]
)
"""Words that an expression cannot use as the name of a variable."""

PLAIN = re.compile(r"\s*([^\W\d]\w*(?:\.[^\W\d]\w*)*)\s*(\|\s*raw\s*)?")
_STRING = r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\""
_SCAN = re.compile(rf"{_STRING}|[(){{}}\[\]]|['\"]", re.DOTALL)
_TOKEN = re.compile(rf"{_STRING}|\d+\.\d+|\w+|[^\w\s]", re.DOTALL)
# A Go template such as `{{.Names}}` or `{{ $x }}` cannot be an expression: it is literal text.
_FOREIGN = re.compile(r"[-\s]*[.$]")


def _wrong(message: str, mend: str = "") -> SpecError:
    return SpecError([Problem("", message, mend)])


def split(text: str) -> Iterator[tuple[str, str]]:
    """Cut a text at its expressions: pairs of literal text and the expression after it (empty at the end).

    Raises:
        SpecError: an expression is not closed.
    """
    start = 0
    while True:
        begin = text.find("{{", start)
        while begin >= 0 and _FOREIGN.match(text, begin + 2):
            begin = text.find("{{", begin + 2)
        if begin < 0:
            yield text[start:], ""
            return
        end = _closing(text, begin + 2)
        if end < 0:
            near = quote(text[begin : begin + 30])
            raise _wrong(f"{near} is not closed by `}}}}`", 'write {{ "{{" }} for two braces')
        yield text[start:begin], text[begin + 2 : end] or " "
        start = end + 2


def _closing(text: str, start: int) -> int:
    """Return where the `}}` of an expression is, strings and inner braces passed over; -1: nowhere."""
    depth = 0
    at = start
    while found := _SCAN.search(text, at):
        sign, at = found[0], found.end()
        if sign in "([{":
            depth += 1
        elif sign in (")", "]") or (sign == "}" and depth):
            depth = max(0, depth - 1)
        elif sign == "}" and text.startswith("}", at):
            return found.start()
        elif sign in "'\"":
            break  # an unterminated string: stop at the first `}}`, and jinja2 reports what is wrong
    return text.find("}}", start)


def tokens(source: str) -> str:
    """Return an expression with one space between any two tokens: equal for texts that differ only in white space."""
    return " ".join(_TOKEN.findall(source))


@frozen(slots=False)
class Expression:
    """One expression that is more than a name.

    Args:
        source: What stands between the braces.
        names: The variables it uses; members of `run`, `task` and `run.tags` with their names, as `run.tags.env`.
        raw: Whether it ends in `| raw`.
    """

    source: str
    names: frozenset[str]
    raw: bool = False

    @cached_property
    def _compiled(self) -> TemplateExpression:
        from daggy.spec.templating.sandbox import ENVIRONMENT  # most runs have no expressions, and start without jinja2

        return ENVIRONMENT.compile_expression(self.source, undefined_to_none=False)

    def render(self, variables: Mapping[str, object]) -> str:
        """Return its text.

        Args:
            variables: Values by name; builtins as objects (`run` is a mapping).

        Raises:
            TemplateError: it cannot be computed.
        """
        from daggy.spec.templating.sandbox import text_of

        text: str = self._computed(variables, text_of)
        return text

    def value(self, variables: Mapping[str, object]) -> object:
        """Return its result as JSON has it.

        Args:
            variables: As for `render`.

        Raises:
            TemplateError: it cannot be computed.
        """
        from daggy.spec.templating.sandbox import value_of

        return self._computed(variables, value_of)

    def _computed(self, variables: Mapping[str, object], taken: Callable[[object], Any]) -> Any:
        from daggy.spec.templating.sandbox import explain

        try:
            return taken(self._compiled(dict(variables)))
        except Exception as error:  # an expression is a user's program: whatever it raises is the author's error
            raise TemplateError(f"{{{{ {self.source.strip()} }}}}: {explain(error)}") from error
