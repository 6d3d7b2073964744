"""What a stream of events says while nothing comes, and to whoever is too slow for it."""

from __future__ import annotations

import warnings
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import pytest
import trio

from daggy.engine.news import BACKLOG, News
from daggy.tracker import NewsItem

with warnings.catch_warnings():
    # Litestar renames what its parameters are called; the old names are those that every version we allow knows.
    warnings.simplefilter("ignore", DeprecationWarning)
    from daggy.server import events

FORGOTTEN = b'{"run_id":1,"forgotten":true}'


def news() -> News:
    async def kept(number: int) -> None:
        del number

    return News(0, lambda entries: 0, kept, None, lambda: 0.0)  # type: ignore[arg-type] # nothing is read back


def item(number: int, body: bytes = b"{}") -> NewsItem:
    return NewsItem(number, 1, 0.0, body)


async def taken(stream: AsyncGenerator[bytes, None], count: int) -> list[bytes]:
    async with aclosing(stream):
        return [await anext(stream) for _ in range(count)]


@pytest.mark.trio
async def test_a_silent_stream_says_that_it_is_there(autojump_clock: Any) -> None:
    with news().follow() as follower:
        began = trio.current_time()
        said = await taken(events._coming(follower, 0), 3)
    assert set(said) == {b": still there\n\n"}
    assert trio.current_time() - began == 3 * events.KEEP_ALIVE


@pytest.mark.trio
async def test_what_was_told_already_is_left_out(autojump_clock: Any) -> None:
    source = news()
    with source.follow() as follower:
        for number in (1, 2, 3):
            source._tell(item(number))
        (said,) = await taken(events._coming(follower, 2), 1)
    assert said == b"id: 3\nevent: run\ndata: {}\n\n"


@pytest.mark.trio
async def test_whoever_is_too_slow_is_told_to_look_again_and_followed_no_more(autojump_clock: Any) -> None:
    source = news()
    with source.follow() as follower:
        for number in range(1, BACKLOG + 3):
            source._tell(item(number))
        assert source.followers == 0
        said = [piece async for piece in events._coming(follower, 0)]
    assert len(said) == BACKLOG + 1
    assert said[-2].startswith(b"id: %d\n" % BACKLOG)
    assert said[-1] == b"event: reset\ndata: {}\n\n", "without a number: it is taken up behind the last that was heard"


def test_everybody_is_told_the_same_bytes() -> None:
    assert events.told_as(item(7)) is events.told_as(item(7))
    assert events.told_as(item(8, FORGOTTEN)) == b"id: 8\nevent: forgotten\ndata: " + FORGOTTEN + b"\n\n"
    named = b'{"tags":{"forgotten":1}}'
    assert events.told_as(item(9, named)).startswith(b"id: 9\nevent: run\n")
