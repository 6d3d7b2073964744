"""Names: made, read back, refused."""

import pytest
from attrs import evolve
from hypothesis import given, strategies as st

from daggy.errors import UsageError
from daggy.plan import Plan, names, plan
from daggy.spec.model import RunSpec, Template
from daggy.spec.numbers import Number
from daggy.spec.parameters import ListValues
from tests.unit.plan.naive import ECHO, encode

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)


@given(TEXT)
def test_quoting_is_as_documented(text: str) -> None:
    quoted = names.quote(text)
    assert quoted == encode(text)
    assert not any(char in ":/" or char.isspace() or ord(char) < 32 for char in quoted)


KEYS = st.one_of(st.sampled_from(["A", "B", "C"]), TEXT.filter(bool))
TEMPLATES = st.sampled_from(["t", "a.b", "x.y.z", "."])


@given(st.dictionaries(KEYS, st.one_of(TEXT, st.text("ab.:", max_size=6)), max_size=3), TEMPLATES)
def test_any_text_reads_back(texts: dict[str, str], template: str) -> None:
    texts = dict(sorted(texts.items()))
    name = names.join(template, texts)
    assert names.split(name) == ("", template, texts)
    assert names.split(names.join(f"gen.A:1.5/{template}", texts)) == ("gen.A:1.5", template, texts)
    assert names.canonical(name) == name


@given(st.dictionaries(st.sampled_from(["A", "B", "C"]), TEXT, max_size=3), TEMPLATES)
def test_a_name_is_understood_with_dots_encoded_and_with_characters_that_need_not_be(
    texts: dict[str, str], template: str
) -> None:
    texts = dict(sorted(texts.items()))
    more = ".".join([template, *(f"{key}:{names.quote(text).replace('.', '%2E')}" for key, text in texts.items())])
    assert names.split(more) == ("", template, texts)
    assert names.canonical(more) == names.join(template, texts)
    typed = {key: text.replace("/", "").replace("%", "").replace(".", "").strip() for key, text in texts.items()}
    assert names.split(".".join([template, *(f"{key}:{text}" for key, text in typed.items())])) == ("", template, typed)


def test_names_keep_dots_and_read_back_in_a_plan() -> None:
    parameters = {"OMEGA": ListValues((Number("2.0"), "a.b")), "x.y": ListValues(("1.5",))}
    made = plan(RunSpec((Template("fit", ECHO, uses=("OMEGA", "x.y")),), parameters=parameters))
    assert made.names(range(2)) == ["fit.OMEGA:2.0.x%2Ey:1.5", "fit.OMEGA:a.b.x%2Ey:1.5"]
    assert [made.index(name) for name in made.names(range(2))] == [0, 1]
    assert made.index("fit.OMEGA:2%2E0.x%2Ey:1%2E5") == 0


def zipped() -> Plan:
    parameters = {"A": ListValues(("1", "2")), "B": ListValues(("x", "y")), "C": ListValues((1, 2, 3, 4, 5))}
    spec = RunSpec(tasks=(), parameters=parameters, zip=(("B", "A"),))
    return plan(evolve(spec, tasks=(Template("t", ECHO, uses=("A", "B", "C")), Template("plain", ECHO))))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tt", "no task named 'tt'; did you mean 't'?"),
        ("t", "no task named 't'; the parameters of 't' are 'A', 'B', 'C'"),
        ("t.A:1.B:x", "no task named 't.A:1.B:x'; the parameters of 't' are 'A', 'B', 'C'"),
        ("t.A:1.B:x.C:9", "no task of 't' has C '9'; it has '1', '2', '3', … '5'"),
        ("t.A:1.B:y.C:1", "no task named 't.A:1.B:y.C:1'; its values belong to different steps of a zip"),
        ("plain.A:1", "no task named 'plain.A:1'; the parameters of 'plain' are none"),
        ("gen/t", "no task named 'gen/t'"),
    ],
)
def test_a_wrong_name_says_what_there_is(name: str, message: str) -> None:
    with pytest.raises(KeyError) as caught:
        zipped().index(name)
    assert caught.value.args == (message,)


def test_select_says_what_there_is() -> None:
    with pytest.raises(UsageError, match="task 't' has no parameter 'D'; it has 'A', 'B', 'C'"):
        zipped().select("t", {"D": "1"})
    with pytest.raises(UsageError, match="task 'plain' has no parameter 'A'; it has none"):
        zipped().select("plain", {"A": "1"})
    with pytest.raises(UsageError, match="no task named 'plane'; did you mean 'plain'"):
        zipped().select("plane", {})
    assert zipped().select("t", {"A": "1", "B": "y"}).tolist() == []
    assert zipped().select("t", {"B": "y", "C": "3"}).tolist() == [7]
