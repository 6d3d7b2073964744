"""Messages about what may happen again and again: said at first, later seldom, and counted."""

from __future__ import annotations

from attrs import define, field

FIRST_PAUSE = 10.0
"""Seconds without a message after the first one; doubled with each further one."""

LONGEST_PAUSE = 3600.0
"""Seconds without a message, at most; what has not happened for so long is new again."""

KINDS = 10
"""Different texts that are said at once."""


@define(eq=False)
class Seldom:
    """Says which of many messages about one matter are to be written."""

    _known: set[str] = field(factory=set)
    _count: int = 0
    _last: float = 0.0
    _next: float = 0.0
    _pause: float = FIRST_PAUSE

    def of(self, text: str, now: float) -> str:
        """Return what is to be written about one more happening: the text, with how often it happened; else nothing.

        Args:
            text: What happened.
            now: Seconds on a clock that never goes back.
        """
        if now - self._last >= LONGEST_PAUSE:
            self._known, self._count, self._pause, self._next = set(), 0, FIRST_PAUSE, now
        self._last = now
        self._count += 1
        is_due = now >= self._next
        if not is_due and (text in self._known or len(self._known) == KINDS):
            return ""
        if len(self._known) < KINDS:
            self._known.add(text)
        if is_due:
            self._next = now + self._pause
            self._pause = min(LONGEST_PAUSE, self._pause * 2)
        return text if self._count == 1 else f"{text} ({self._count:,} times so far)"
