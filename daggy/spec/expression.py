"""The expressions `{{ … }}` of a text: where they are, what they use, what they give."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cached_property, lru_cache

import jinja2
from attrs import frozen
from jinja2 import nodes
from jinja2.exceptions import FilterArgumentError, SecurityError, TemplateRuntimeError, TemplateSyntaxError

from daggy.errors import Problem, SpecError, TemplateError
from daggy.spec.problems import did_you_mean, quote
from daggy.spec.sandbox import ENVIRONMENT, text_of

LONGEST = 4000
"""Characters of one expression."""

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
# A Go template such as `{{.Names}}` or `{{ $x }}` can never be an expression: it stands for itself.
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
            break  # a string that does not end: the first `}}` will do, and jinja2 says what is wrong
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
    def _compiled(self) -> jinja2.environment.TemplateExpression:
        return ENVIRONMENT.compile_expression(self.source, undefined_to_none=False)

    def render(self, variables: Mapping[str, object]) -> str:
        """Return its text.

        Args:
            variables: Values by name; builtins as objects (`run` is a mapping).

        Raises:
            TemplateError: it cannot be computed.
        """
        try:
            return text_of(self._compiled(dict(variables)))
        except Exception as error:  # an expression is a user's program: whatever it raises is its author's to mend
            raise TemplateError(f"{{{{ {self.source.strip()} }}}}: {_explain(error)}") from error


def _explain(error: Exception) -> str:
    if isinstance(error, ZeroDivisionError):
        return "division by zero"
    if isinstance(error, SecurityError | TemplateRuntimeError | ValueError | TypeError | FilterArgumentError):
        return str(error)[:300] or type(error).__name__
    return f"{type(error).__name__}: {str(error)[:300]}"


@lru_cache(maxsize=4096)
def parse(source: str) -> Expression:
    """Check the syntax of an expression and find the variables it uses. Nothing is compiled yet.

    Raises:
        SpecError: it is no expression, or uses what there is not.
    """
    shown = quote("{{" + source + "}}")
    if not source.strip():
        raise _wrong(f"{shown} is empty", "name a parameter between the braces")
    if source[0] in "-+" or source[-1] in "-+":
        raise _wrong(f"{shown} has a sign at its braces", "put a space between them; white space is never removed")
    if len(source) > LONGEST:
        raise _wrong(f"{shown} has more than {LONGEST} characters")
    expression = _expression(source, shown)
    _check_filters(expression, shown)
    raw = isinstance(expression, nodes.Filter) and expression.name == "raw"
    return Expression(source, frozenset(_names(expression, shown)), raw)


def _expression(source: str, shown: str) -> nodes.Expr:
    mend = 'write {{ "{{" }} for two braces that are meant as such'
    try:
        (output,) = ENVIRONMENT.parse(f"{{{{ {source} }}}}").body
    except TemplateSyntaxError as error:
        raise _wrong(f"{shown} is no expression: {error.message}", mend) from None
    except (RecursionError, ValueError, MemoryError) as error:
        raise _wrong(f"{shown} is no expression: {type(error).__name__}", mend) from None
    if (
        not isinstance(output, nodes.Output)
        or len(output.nodes) != 1
        or isinstance(output.nodes[0], nodes.TemplateData)
    ):
        raise _wrong(f"{shown} is no expression", mend)
    return output.nodes[0]


def _check_filters(expression: nodes.Expr, shown: str) -> None:
    inner = [expression.node] if isinstance(expression, nodes.Filter) and expression.name == "raw" else [expression]
    filters = [found for node in inner if node is not None for found in (node, *node.find_all(nodes.Filter))]
    for found in filters:
        if isinstance(found, nodes.Filter) and found.name == "raw":
            raise _wrong(f"{shown} has `raw` inside", "it stands last: {{ (…) | raw }}")
    for found in (expression, *expression.find_all((nodes.Filter, nodes.Test))):
        if isinstance(found, nodes.Filter) and found.name not in ENVIRONMENT.filters:
            raise _wrong(f"{shown}: no filter named '{found.name}'", did_you_mean(found.name, ENVIRONMENT.filters))
        if isinstance(found, nodes.Test) and found.name not in ENVIRONMENT.tests:
            raise _wrong(f"{shown}: no test named '{found.name}'", did_you_mean(found.name, ENVIRONMENT.tests))


def _names(node: nodes.Node, shown: str) -> Iterator[str]:
    path = _path(node)
    if path is None:
        for child in node.iter_child_nodes():
            yield from _names(child, shown)
        return
    yield _builtin(path, shown) if path[0] in ("run", "task") else path[0]
    for item in (node, *node.find_all(nodes.Getitem)):
        if isinstance(item, nodes.Getitem):
            yield from _names(item.arg, shown)


def _path(node: nodes.Node) -> list[str] | None:
    """Return the names of `a.b["c"]`, empty for one that is computed; None for anything but a variable's member."""
    if isinstance(node, nodes.Name):
        return [node.name]
    if not isinstance(node, nodes.Getattr | nodes.Getitem):
        return None
    inner = _path(node.node)
    if inner is None:
        return None
    if isinstance(node, nodes.Getattr):
        return [*inner, node.attr]
    member = node.arg.value if isinstance(node.arg, nodes.Const) else ""
    return [*inner, member if isinstance(member, str) else ""]


def _builtin(path: list[str], shown: str) -> str:
    name = ".".join(path[:2])
    if name not in BUILTINS:
        raise _wrong(
            f"{shown}: there is no '{name}'", did_you_mean(name, BUILTINS) or f"there are {', '.join(BUILTINS)}"
        )
    return ".".join(path[:3]) if name == "run.tags" and len(path) > 2 and path[2] else name
