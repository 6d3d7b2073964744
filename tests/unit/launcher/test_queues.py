"""When places with a queue of their own are asked, and asked again."""

from __future__ import annotations

from hypothesis import given, strategies as st

from daggy.launcher.queues import DEAR, LONGEST_PAUSE, SELDOM, SOON, Backoff, PollSchedule


def test_a_place_that_refuses_for_days_is_tried_every_five_minutes() -> None:
    backoff, now, tries = Backoff(), 0.0, 0
    while now < 7 * 86400:
        backoff.failed(now)
        backoff.failed(now)  # with another one: that counts once
        tries += 1
        assert now < backoff.until <= now + LONGEST_PAUSE
        now = backoff.until
    assert 2010 < tries < 2030
    backoff.succeeded()
    assert backoff.until < now


@given(st.lists(st.floats(0, 30), min_size=2, max_size=20))
def test_polls_take_a_small_part_of_the_time_unless_one_was_slow_by_chance(took: list[float]) -> None:
    polls, now = PollSchedule(10.0), 100.0
    for before, seconds in zip([0.0, *took], took, strict=False):
        now = max(now, polls.next)
        polls.polled(now, now + seconds)
        now += seconds
        assert polls.next >= now + max(10.0, min(SELDOM, DEAR * min(before, seconds))) - 1e-6
    polls.soon(now)
    assert polls.next <= now + SOON


@given(st.lists(st.floats(0, 30), min_size=1, max_size=20))
def test_a_place_that_was_away_is_asked_again_soon_however_long_it_did_not_answer(took: list[float]) -> None:
    polls, now = PollSchedule(10.0), 100.0
    for seconds in took:
        now = max(now, polls.next)
        polls.failed(now, now + seconds)
        now += seconds
        assert now + 10.0 <= polls.next <= now + max(10.0, seconds) + 1e-6
    now = polls.next
    polls.polled(now, now + 0.1)
    assert polls.next <= now + 0.1 + 10.0
