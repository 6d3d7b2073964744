"""Checks an expression with jinja2's own parser; nothing is compiled here."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from jinja2 import nodes
from jinja2.exceptions import TemplateSyntaxError

from daggy.errors import Problem, SpecError
from daggy.spec.problems import did_you_mean, quote
from daggy.spec.templating.expression import BUILTINS, Expression
from daggy.spec.templating.sandbox import ENVIRONMENT

LONGEST = 4000
"""Characters of one expression."""


def _wrong(message: str, mend: str = "") -> SpecError:
    return SpecError([Problem("", message, mend)])


@lru_cache(maxsize=4096)
def parse(source: str) -> Expression:
    """Check the syntax of an expression and find the variables it uses. Nothing is compiled yet.

    Raises:
        SpecError: it is not an expression, or uses something unknown.
    """
    shown = quote("{{" + source + "}}")
    if not source.strip():
        raise _wrong(f"{shown} is empty", "name a parameter between the braces")
    if source[0] in "-+" or source[-1] in "-+":
        raise _wrong(f"{shown} has a sign next to its braces", "put a space between them; white space is never removed")
    if len(source) > LONGEST:
        raise _wrong(f"{shown} has more than {LONGEST} characters")
    try:
        expression = _expression(source, shown)
        _check_filters(expression, shown)
        names = frozenset(_names(expression, shown))
    except RecursionError:
        raise _wrong(f"{shown} is nested too deep") from None
    return Expression(source, names, isinstance(expression, nodes.Filter) and expression.name == "raw")


def _expression(source: str, shown: str) -> nodes.Expr:
    mend = 'write {{ "{{" }} for two literal braces'
    try:
        (output,) = ENVIRONMENT.parse(f"{{{{ {source} }}}}").body
    except TemplateSyntaxError as error:
        raise _wrong(f"{shown} is not an expression: {error.message}", mend) from None
    except (ValueError, MemoryError) as error:
        raise _wrong(f"{shown} is not an expression: {type(error).__name__}", mend) from None
    if (
        not isinstance(output, nodes.Output)
        or len(output.nodes) != 1
        or isinstance(output.nodes[0], nodes.TemplateData)
    ):
        raise _wrong(f"{shown} is not an expression", mend)
    return output.nodes[0]


def _check_filters(expression: nodes.Expr, shown: str) -> None:
    inner = [expression.node] if isinstance(expression, nodes.Filter) and expression.name == "raw" else [expression]
    filters = [found for node in inner if node is not None for found in (node, *node.find_all(nodes.Filter))]
    for found in filters:
        if isinstance(found, nodes.Filter) and found.name == "raw":
            raise _wrong(f"{shown} has `raw` inside", "put it last: {{ (…) | raw }}")
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
    yield _builtin(path, shown) if path[0] in ("run", "task", "inputs") else path[0]
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
    if path[0] == "inputs" and len(path) > 1 and path[1]:
        return name
    if name not in BUILTINS:
        raise _wrong(
            f"{shown}: there is no '{name}'", did_you_mean(name, BUILTINS) or f"there are {', '.join(BUILTINS)}"
        )
    return ".".join(path[:3]) if name == "run.tags" and len(path) > 2 and path[2] else name
