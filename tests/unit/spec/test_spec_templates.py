from __future__ import annotations

import re
from decimal import Decimal

import pytest
from hypothesis import given, strategies as st

from daggy.errors import SpecError, TemplateError
from daggy.spec import Builtins, Details, ListValues, RunSpec, Template, Templating, compile_text, normalise, recipe
from daggy.spec.model import Value
from daggy.spec.numbers import Number

VALUES: dict[str, Value] = {"DATE": "2022-01-01", "N": 4, "X": Number("0.10"), "S": "it's", "E": ""}


def rendered(text: str, *, shell: bool = False) -> str:
    return compile_text(text, Templating.JINJA, shell=shell).render(VALUES)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("", ""),
        ("{{ DATE }}", "2022-01-01"),
        ("{{DATE}}-{{ N }}", "2022-01-01-4"),
        ("100% {{N}} %s", "100% 4 %s"),
        ("{{ X }} {{ X * 3 }} {{ X + 0.2 }}", "0.10 0.30 0.30"),
        ("{{ N * 2 }} {{ N / 2 }} {{ N // 3 }} {{ -X }}", "8 2.0 1 -0.10"),
        ("{{ 'a' if N > 3 else 'b' }}", "a"),
        ("{{ DATE | replace('-', '') }}", "20220101"),
        ("{{ DATE.split('-')[0] }}", "2022"),
        ("{{ DATE[:4] }}", "2022"),
        ("{{ '}}' }}{{ \"{{\" }}", "}}{{"),
        ("{{ {'a': {'b': 1}}['a']['b'] }}", "1"),
        ("{{ '%03d' % N }} {{ '%s' | format(S) }}", "004 it's"),
        ("{{ 'a' ~ N ~ X }}", "a40.10"),
        ("{{ N | raw }}", "4"),
        ("line\r\n{{ N }}\n", "line\r\n4\n"),
        (
            "{% if %} {# c #} ${#x} {{.Names}} {{ $x }} {{- .x }}",
            "{% if %} {# c #} ${#x} {{.Names}} {{ $x }} {{- .x }}",
        ),
        ("}} {{ N }} }}", "}} 4 }}"),
        ("{{ N == 4 }}", "True"),
        ("{{ E or 'none' }}", "none"),
        ("{{ '007' | int }}", "7"),
        ("{{ ['a', S] | join(',') }}", "a,it's"),
    ],
)
def test_expressions(text: str, expected: str) -> None:
    assert rendered(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("echo {{ S }}", "echo 'it'\"'\"'s'"),
        ("echo {{ N }}>file", "echo '4'>file"),
        ("echo {{ S | upper }}", "echo 'IT'\"'\"'S'"),
        ("echo {{ S | raw }}", "echo it's"),
        ('echo "{{ (S ~ N) | raw }}"', 'echo "it\'s4"'),
        ("echo {{ E }}", "echo ''"),
    ],
)
def test_what_is_substituted_in_shell_is_quoted(text: str, expected: str) -> None:
    assert rendered(text, shell=True) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{{ A", "'{{ A' is not closed by `}}`; write {{ \"{{\" }} for two braces"),
        ("{{}}", "'{{ }}' is empty; name a parameter between the braces"),
        ("{{-A-}}", "'{{-A-}}' has a sign next to its braces; put a space between them; white space is never removed"),
        (
            "{{ run }}",
            "'run' is no text; there are run.id, run.tags, task.name, task.index, attempt, run.tags.X and inputs.X",
        ),
        ("{{ run.foo }}", "'{{ run.foo }}': there is no 'run.foo'; did you mean 'run.id'?"),
        ("{{ A | uper }}", "'{{ A | uper }}': no filter named 'uper'; did you mean 'upper'?"),
        ("{{ A is strang }}", "'{{ A is strang }}': no test named 'strang'; did you mean 'string'?"),
        ("{{ A | raw | upper }}", "'{{ A | raw | upper }}' has `raw` inside; put it last: {{ (…) | raw }}"),
        ("{{ A ~ B | raw }}", "'{{ A ~ B | raw }}' has `raw` inside; put it last: {{ (…) | raw }}"),
    ],
)
def test_an_invalid_expression_is_refused(text: str, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        compile_text(text, Templating.JINJA)
    assert str(caught.value) == message


def test_every_fault_of_a_string_is_reported_at_once() -> None:
    with pytest.raises(SpecError) as caught:
        compile_text("echo '{{ A }}' {{ B C }} \"{{ D }}\"", Templating.JINJA, shell=True)
    assert [problem.message.split(";")[0] for problem in caught.value.problems] == [
        "'{{ B C }}' is not an expression: expected token 'end of print statement', got 'C'",
        "'A' is substituted inside quotes",
        "'D' is substituted inside quotes",
    ]
    assert caught.value.problems[1].mend == "remove the quotes: Daggy quotes it"


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("{{ A }}{{ B.c }}{{ C[D] }}", {"A", "B", "C", "D"}),
        ("{{ run.id }}{{ task.name ~ task.index }}{{ attempt }}", {"run.id", "task.name", "task.index", "attempt"}),
        ("{{ run.tags.env }}{{ run.tags['x'].upper() }}", {"run.tags.env", "run.tags.x"}),
        ("{{ run.tags[A] }}", {"run.tags", "A"}),
        ("{{ A.replace(B, C if D else E) }}", {"A", "B", "C", "D", "E"}),
        ("{{ A | default(B) }}{{ C is in [D] }}", {"A", "B", "C", "D"}),
    ],
)
def test_the_names_that_a_string_uses(text: str, names: set[str]) -> None:
    assert compile_text(text, Templating.JINJA).names == names


NAMES = st.sampled_from(["A", "B", "C"])
PARTS = st.lists(st.tuples(st.text(st.characters(exclude_characters="{}\0", exclude_categories=["Cs"])), NAMES))


@given(PARTS, st.fixed_dictionaries({name: st.text() | st.integers() for name in "ABC"}), st.integers(0, 2))
def test_names_alone_are_replaced_as_a_naive_replace_would(
    parts: list[tuple[str, str]], values: dict[str, Value], spaces: int
) -> None:
    blank = " " * spaces
    text = "".join(f"{before}{{{{{blank}{name}{blank}}}}}" for before, name in parts)
    expected = "".join(f"{before}{values[name]}" for before, name in parts)
    compiled = compile_text(text, Templating.JINJA)
    assert compiled.render(values) == expected
    assert compiled.names == {name for _, name in parts}
    assert compiled.constant == (not parts)


@given(st.text("{}AB '\"|.-+[]()x1\n\\~", max_size=30), st.booleans())
def test_any_text_compiles_or_says_why(text: str, shell: bool) -> None:
    try:
        compiled = compile_text(text, Templating.JINJA, shell=shell)
    except SpecError as error:
        assert error.problems  # noqa: PT017  # either is right
        return
    try:
        assert isinstance(compiled.render({"A": "a", "B": 2, "AB": "ab"}), str)
    except TemplateError as error:
        assert str(error)  # noqa: PT017  # either is right


@given(st.text(max_size=40))
def test_without_templating_a_text_is_itself(text: str) -> None:
    compiled = compile_text(text, Templating.NONE, shell=True)
    assert compiled.constant
    assert compiled.render({}) == text


@given(
    st.text("ABab{} ", max_size=30),
    st.dictionaries(st.sampled_from(["A", "AB", "B", "a b"]), st.text("AB", max_size=3)),
)
def test_literal_templating_is_a_replace_by_the_longest_first(text: str, values: dict[str, str]) -> None:
    marked = text
    order = sorted(values, key=lambda name: (-len(name), name))
    for position, name in enumerate(order):
        marked = marked.replace(name, chr(0xE000 + position))
    expected = re.sub("[\ue000-\ue010]", lambda found: values[order[ord(found[0]) - 0xE000]], marked)
    compiled = compile_text(text, Templating.LITERAL, spellings={name: name for name in values})
    assert compiled.render(values) == expected
    assert compiled.names == {name for position, name in enumerate(order) if chr(0xE000 + position) in marked}


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("a {{ X }}", "a {{X}}", True),
        ("{{ X*2 }}", "{{X * 2}}", True),
        ("{{ X | f( 'a  b' ) }}", "{{X|f('a  b')}}", True),
        ("{{ X | f('a b') }}", "{{ X | f('a  b') }}", False),
        ("a {{ X }}", "a  {{ X }}", False),
        ("{{ X }}", "{{ Y }}", False),
        ("{{ A in B }}", "{{ Ain B }}", False),
        ("{{ 1.5 }}", "{{ 1 .5 }}", False),
    ],
)
def test_normalised_texts_are_equal_if_only_white_space_in_expressions_differs(
    one: str, other: str, same: bool
) -> None:
    assert (normalise(one, Templating.JINJA) == normalise(other, Templating.JINJA)) is same
    assert normalise(one, Templating.LITERAL) == one


def make(details: Details, templating: Templating = Templating.JINJA) -> object:
    spec = RunSpec(
        tasks=(),
        parameters={"DATE": ListValues(("x",))},
        spellings={"DATE": "{{DATE}}"},
        directory="/base",
        tags={"e": "t"},
    )
    return recipe(Template("a", details, templating=templating), spec).render(
        VALUES, Builtins(7, {"e": "t"}, "a.N:4", 3, 2)
    )


def test_a_recipe_renders_every_string() -> None:
    details = Details(
        command=("x", "{{ N }}", "{{ N * 2 }}", "{{ run.id }}-{{ task.name }}-{{ task.index }}-{{ attempt }}"),
        environment={"A_{{ N }}": "{{ run.tags.e }}", "GONE": None},
        directory="out/{{ DATE }}",
        stdin="{{ run.tags['e'] ~ run.id }}\n",
    )
    assert make(details) == (["x", "4", "8", "7-a.N:4-3-2"], {"A_4": "t", "GONE": None}, "/base/out/2022-01-01", "t7\n")


def test_a_shell_recipe_and_the_directory() -> None:
    details = Details(shell="cat {{ S }}", directory="/absolute")
    assert make(details) == (["/bin/sh", "-c", "cat 'it'\"'\"'s'"], {}, "/absolute", None)
    assert make(Details(shell="cat", directory="d")) == (["/bin/sh", "-c", "cat"], {}, "/base/d", None)


def test_a_literal_recipe_replaces_what_was_written() -> None:
    details = Details(command=("echo", "{{DATE}} {{ DATE }} DATE"))
    assert make(details, Templating.LITERAL) == (["echo", "2022-01-01 {{ DATE }} DATE"], {}, "/base", None)
    assert make(details, Templating.NONE) == (["echo", "{{DATE}} {{ DATE }} DATE"], {}, "/base", None)


@pytest.mark.parametrize(
    ("details", "message"),
    [
        (Details(command=("a", "{{ N / 0 }}")), "details.command[1]: {{ N / 0 }}: division by zero"),
        (Details(shell="{{ N.x }}"), "details.shell: {{ N.x }}: 'int object' has no attribute 'x'"),
        (Details(command=("a",), environment={"{{ E }}": "1"}), "details.environment: '' is not a valid name"),
        (
            Details(command=("a",), environment={"{{ 'DAGGY_' }}": "1"}),
            "details.environment: 'DAGGY_' is not a valid name",
        ),
        (Details(command=("a",), stdin="{{ [N] }}"), "details.stdin: {{ [N] }}: it gives a list"),
        (
            Details(command=("a",), environment={"A": "{{ '\\x00' }}"}),
            "details.environment.A: {{ '\\x00' }}: it gives a NUL",
        ),
        (Details(command=("{{ Q }}",)), "details.command: 'Q' has no value here"),
    ],
)
def test_what_cannot_be_rendered_names_its_place(details: Details, message: str) -> None:
    with pytest.raises(TemplateError) as caught:
        make(details)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    "expression",
    [
        "''.__class__",
        "''['__class__']",
        "N.__class__",
        "DATE.format(N)",
        "'{0.__class__}' | format(N)",
        "DATE | attr('__class__')",
        "DATE.__init__.__globals__",
        "().__class__.__bases__[0]",
        "self",
        "self.__init__",
        "cycler",
        "lipsum.__globals__",
        "range(9)",
        "namespace()",
        "dict()",
        "[].append(1)",
        "{}.update(a=1)",
        "DATE.encode()",
        "DATE.upper.__self__",
        "DATE.upper.func",
        "DATE.upper.__class__",
        "N.to_bytes(100, 'big')",
        "X.as_tuple()",
        "X.text",
        "run.tags.items()",
        "run.tags.get('e')",
        "(1).real",
        "1.5.hex()",
    ],
)
def test_nothing_of_python_can_be_reached(expression: str) -> None:
    with pytest.raises((SpecError, TemplateError)):
        compile_text(f"{{{{ {expression} }}}}", Templating.JINJA).render(
            {**VALUES, "run": {"tags": {"e": "t"}, "id": 1}}
        )


@pytest.mark.parametrize(
    "expression",
    [
        "'x' * 10**9",
        "10**9 * 'x'",
        "10**10**10",
        "9**9**9**9",
        "X ** 10**9",
        "[1] * 10**9",
        "[[1] * 10**5] * 10**5 | join",
        "'%1000000000d' % 1",
        "'%1000000000d' | format(1)",
        "'%*d' % (1000000000, 1)",
        "'a'.ljust(10**9)",
        "'a' | center(10**9)",
        "('a' * 10**5).replace('a', 'b' * 10**5)",
        "('a' * 10**5) | replace('a', 'b' * 10**5)",
        "('a' * 10**5).join(['b'] * 10**5)",
        "['b'] * 10**5 | join('a' * 10**5)",
        "'1' * 10**6 | int",
        "'a'.zfill(10**9)",
        "(X * 10) ** (10**5)",
        "('9' * 5000) | int",
    ],
)
def test_no_expression_is_large(expression: str) -> None:
    try:
        text = compile_text(f"{{{{ {expression} }}}}", Templating.JINJA).render(VALUES)
    except (SpecError, TemplateError):
        return
    assert len(text) < 5000, "small because the filter says 0, or by the order of jinja2's powers"


def test_values_keep_their_type_in_expressions() -> None:
    assert compile_text("{{ D * 2 }}", Templating.JINJA).render({"D": Number("1.5")}) == "3.0"
    assert compile_text("{{ D }}", Templating.JINJA).render({"D": Decimal("0.30")}) == "0.30"
    assert compile_text("{{ D * 2 }}", Templating.JINJA).render({"D": "1"}) == "11"
