"""Names: made, read back, refused."""

import pytest
from attrs import evolve
from hypothesis import given, strategies as st

from daggy.errors import UsageError
from daggy.plan import Plan, names, plan
from daggy.spec.model import RunSpec, Template
from daggy.spec.parameters import ListValues
from tests.unit.plan.naive import ECHO, encode

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)


@given(TEXT)
def test_quoting_is_as_documented(text: str) -> None:
    quoted = names.quote(text)
    assert quoted == encode(text)
    assert not any(char in ".:/" or char.isspace() or ord(char) < 32 for char in quoted)


@given(st.dictionaries(st.sampled_from(["A", "B", "C"]), TEXT), st.sampled_from(["t", "a.b", "x.y.z", "."]))
def test_any_text_reads_back(texts: dict[str, str], template: str) -> None:
    texts = dict(sorted(texts.items()))
    assert names.split(names.join(template, texts)) == ("", template, texts)
    assert names.split(names.join(f"gen.A:1/{template}", texts)) == ("gen.A:1", template, texts)


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
