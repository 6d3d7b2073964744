"""Messages that come again and again are said at first, then seldom, and counted."""

from hypothesis import given, strategies as st

from daggy.seldom import KINDS, LONGEST_PAUSE, Seldom

Happened = list[tuple[str, float]]


def said(happened: Happened) -> list[str]:
    seldom, now, lines = Seldom(), 0.0, []
    for text, pause in happened:
        now += pause
        lines.append(seldom.of(text, now))
    return lines


def test_what_comes_all_the_time_is_said_at_once_and_then_ever_more_seldom_with_a_count() -> None:
    lines = said([("no room", 1.0)] * 200)
    assert [(at, line) for at, line in enumerate(lines) if line] == [
        (0, "no room"),
        (10, "no room (11 times so far)"),
        (30, "no room (31 times so far)"),
        (70, "no room (71 times so far)"),
        (150, "no room (151 times so far)"),
    ]


def test_another_text_is_said_at_once_and_after_a_long_silence_all_is_new() -> None:
    lines = said([("a", 0.0), ("b", 1.0), ("a", 1.0), ("a", LONGEST_PAUSE)])
    assert lines == ["a", "b (2 times so far)", "", "a"]


@given(st.lists(st.tuples(st.sampled_from("abcdefghijklmnopqrstuvwxyz"), st.floats(0, 30)), max_size=400))
def test_there_are_never_many(happened: Happened) -> None:
    hours = sum(pause for _, pause in happened) / 3600
    assert sum(map(bool, said(happened))) <= KINDS + 10 + hours
