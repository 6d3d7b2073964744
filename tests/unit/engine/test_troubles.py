"""What keeps an engine from going on is told when it begins and when it is over, and never in a flood."""

from hypothesis import given, strategies as st

from daggy.engine.troubles import Troubles

MATTER = "state can be saved"


def told(looks: list[tuple[str, float]]) -> list[tuple[float, str]]:
    troubles, now, lines = Troubles(), 0.0, []
    for text, pause in looks:
        now += pause
        lines += [(now, line) for line in troubles.news({MATTER: text}, now)]
    return lines


def test_a_trouble_is_told_at_once_and_so_is_its_end() -> None:
    looks = [("", 1.0), ("disk full", 0.5), ("disk full", 60.0), ("", 0.5), ("", 0.9), ("", 0.1)]
    assert told(looks) == [(1.5, "disk full"), (62.0, f"{MATTER} again")]


def test_one_that_comes_and_goes_is_told_as_one_that_lasts() -> None:
    looks = [("disk full", 0.5), ("", 0.5)] * 100 + [("", 1.0), ("disk full", 1.0), ("", 1.0), ("", 1.0), ("", 1.0)]
    lines = told(looks)
    assert lines == [
        (0.5, "disk full"),
        (1.0, f"{MATTER} again"),
        (1.5, "disk full (2 times so far)"),
        (101.0, f"{MATTER} again (100 times so far)"),
        (102.0, "disk full (101 times so far)"),
        (105.0, f"{MATTER} again (101 times so far)"),
    ]


@given(st.lists(st.tuples(st.sampled_from(["", "", "a", "b"]), st.floats(0, 3)), max_size=500))
def test_what_was_told_last_is_true_in_the_end_and_there_are_never_many(looks: list[tuple[str, float]]) -> None:
    lines = told([*looks, (looks[-1][0] if looks else "", 600.0)])
    if looks:
        assert bool(lines and not lines[-1][1].startswith(MATTER)) == bool(looks[-1][0])
    assert len(lines) <= 24
