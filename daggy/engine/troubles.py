"""What keeps an engine from going on, as people are told: when it begins, when it is over, and never in a flood."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from attrs import define, field

FIRST_PAUSE = 1.0
"""Seconds that a second trouble must be over before that is told; doubled each time."""

LONGEST_PAUSE = 600.0
"""Seconds that it must be over at most, and after which an earlier one is forgotten."""


@define(eq=False)
class Trouble:
    """One matter that may be in trouble.

    Args:
        told: What was told of the trouble that is not known to be over; empty if there is none.
        is_on: Whether it was in trouble when last looked at.
        count: How often it was.
        since: Since when it is, or is not.
        pause: Seconds that it must be over before that is told.
    """

    told: str = ""
    is_on: bool = False
    count: int = 0
    since: float = 0.0
    pause: float = 0.0


@define(eq=False)
class Troubles:
    """Looks at troubles and says what is news: that one has begun, at once; that it is over, the first time at
    once, later once it has lasted.

    A trouble that comes and goes is told as one that goes on; a pair of messages comes after ever longer pauses.
    """

    _all: dict[str, Trouble] = field(factory=dict)

    def news(self, present: Mapping[str, str], now: float) -> Iterator[str]:
        """Yield what is to be told.

        Args:
            present: What is wrong, by what holds when all is well (`state can be saved`); empty if nothing is.
            now: Seconds on a clock that never goes back.
        """
        for matter, text in present.items():
            trouble = self._all.setdefault(matter, Trouble())
            if bool(text) != trouble.is_on:
                trouble.is_on, trouble.since = bool(text), now
                trouble.count += trouble.is_on
            if text and not trouble.told:
                trouble.told = text
                yield text + _often(trouble)
            elif not text and now - trouble.since >= trouble.pause:
                if trouble.told:
                    yield f"{matter} again" + _often(trouble)
                    trouble.told, trouble.pause = "", min(LONGEST_PAUSE, trouble.pause * 2 or FIRST_PAUSE)
                elif now - trouble.since >= LONGEST_PAUSE:
                    del self._all[matter]


def _often(trouble: Trouble) -> str:
    return f" ({trouble.count:,} times so far)" if trouble.count > 1 else ""
