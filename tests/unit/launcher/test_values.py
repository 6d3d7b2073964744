"""JSON that tasks leave: what is taken, and what is refused with which words."""

import json

import pytest
from hypothesis import given, strategies as st

from daggy.launcher.program.values import DEEPEST, MOST, compact

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(VALUES, st.booleans(), st.sampled_from([None, 1, 4]))
def test_a_value_comes_back_however_it_is_written(value: object, ascii: bool, indent: int | None) -> None:
    text = compact(json.dumps(value, ensure_ascii=ascii, indent=indent).encode())
    assert json.loads(text) == value
    assert text == json.dumps(value, ensure_ascii=False, separators=(",", ":"))


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"{", "no JSON: Expecting property name"),
        (b"1 2", "no JSON: Extra data"),
        (b"NaN", "no JSON: Out of range float values"),
        (b"[1e999]", "no JSON: Out of range float values"),
        (b'"\xff"', "text that is no Unicode"),
        (b'"\\ud800"', "text that is no Unicode"),
        (b'"%s"' % (b"a" * (MOST - 1)), f"larger than {MOST} bytes; put what is large into a file"),
        (b" " * (16 * MOST) + b"1", f"larger than {MOST} bytes"),
        (b"[" * (DEEPEST + 1) + b"]" * (DEEPEST + 1), f"nested more than {DEEPEST} deep"),
        (b"[" * 100_000, f"nested more than {DEEPEST} deep"),
    ],
)
def test_what_is_no_value_is_refused(data: bytes, told: str) -> None:
    with pytest.raises(ValueError, match=r".") as error:
        compact(data)
    assert told in str(error.value)


@pytest.mark.parametrize(
    "data",
    [b'"%s"' % (b"a" * (MOST - 2)), b"[" * DEEPEST + b"]" * DEEPEST, b'"%s"' % (b"\\u00e4" * (MOST // 2 - 1))],
    ids=["largest", "deepest", "escaped"],
)
def test_the_largest_values_are_taken(data: bytes) -> None:
    assert json.loads(compact(data)) == json.loads(data)
