"""Templates that once ended in a traceback, or grew until memory was full."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable

import pytest

from daggy.errors import SpecError, TemplateError
from daggy.spec import Templating, compile_text
from tests.hostile.test_hostile_targets import patience

MUCH = 32 << 20
"""Bytes that no expression needs: some times the largest value that it may come to."""


def rendered(expression: str, value: object) -> str:
    return compile_text(f"{{{{ {expression} }}}}", Templating.JINJA, shell=False).render({"A": value})


@pytest.mark.parametrize("link", [".a", "+A", "[0]", "**2"])
def test_a_chain_that_is_too_long_for_the_parser_is_refused(link: str) -> None:
    with pytest.raises(SpecError, match="nested too deep"):
        compile_text(f"{{{{ A{link * 1300} }}}}", Templating.JINJA)


@pytest.mark.parametrize("link", ["|upper", "|lower"])
def test_a_chain_that_is_too_long_for_the_compiler_cannot_be_rendered(link: str) -> None:
    with pytest.raises(TemplateError, match="RecursionError"):
        rendered(f"A{link * 600}", "x")


GROWING: dict[str, tuple[str, Callable[[], object]]] = {
    "lists within lists": ("[[[[A] * 1000] * 1000] * 1000] * 1000 | string", lambda: "x"),
    "lists within lists as an argument": ("'%s' % ([[[[A] * 200] * 200] * 200] * 200,)", lambda: "x"),
    "a list of one text many times": (f"[{'A,' * 1500}] | string | length", lambda: "\U000e0001" * 200_000),
    "a map of one text many times": (
        "{" + ",".join(f"{number}: A" for number in range(400)) + "} | string | length",
        lambda: "\U000e0001" * 200_000,
    ),
    "an index that is shown": (f"'x'[[{'A,' * 1500}]]", lambda: "\U000e0001" * 200_000),
    "texts side by side": (f"({'A ~ ' * 900} A) | length", lambda: "x" * 200_000),
}


@pytest.mark.parametrize("name", GROWING)
def test_what_would_fill_the_memory_is_refused_before_it_does(name: str) -> None:
    expression, value = GROWING[name]
    given = value()
    tracemalloc.start()
    try:
        with patience(), pytest.raises(TemplateError, match="would be larger than"):
            rendered(expression, given)
        assert tracemalloc.get_traced_memory()[1] < MUCH
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        ("[] | first | default('none')", "none"),
        ("{'small': [1, 2], 'x': [3, [4, 'five']]}[A][1][1]", "five"),
        ("(('ab,' * 1000).split(',') * 20) | length", "20020"),
        ("([1, 'a', [2]] * 1000 + [A]) | last", "x"),
        ("A ~ 1 ~ 1.5 ~ 'y'", "x11.5y"),
        ("'%s and %s' % (A, [1, 2])", "x and [1, 2]"),
        ("A in ('x', 'y') and (A, 2) != (A, 3)", "True"),
    ],
)
def test_what_is_small_is_as_it_was(expression: str, text: str) -> None:
    assert rendered(expression, "x") == text
