"""Texts of rows: as a dictionary would keep them."""

from hypothesis import given, strategies as st

from daggy.run.texts import TextColumn


@given(st.dictionaries(st.integers(0, 50), st.text(alphabet=st.characters())), st.integers(0, 60), st.integers(0, 60))
def test_texts_are_found_as_in_a_dictionary(texts: dict[int, str], first: int, last: int) -> None:
    column = TextColumn()
    for number in sorted(texts):
        column.add(number, texts[number])
    kept = {number: text for number, text in texts.items() if text}
    assert len(column) == len(kept)
    assert [column.get(number) for number in range(60)] == [kept.get(number, "") for number in range(60)]
    assert column.between(first, last) == {n - first: text for n, text in kept.items() if first <= n < last}
