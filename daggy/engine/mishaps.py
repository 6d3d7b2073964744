"""Machines on which one attempt after the other cannot be started or is lost: one would eat a whole run. Pure."""

from __future__ import annotations

from attrs import define, field

from daggy.attempt import Kind, Reason, Rows

MOST = 8
"""Attempts in a row that may go wrong on a machine while others work."""

FIRST_PAUSE, LONGEST_PAUSE = 30.0, 600.0
"""Seconds for which such a machine takes nothing; doubled each time."""


@define(eq=False)
class Mishaps:
    """Attempts in a row that could not be started or were lost, by the number of their place."""

    streaks: dict[int, int] = field(factory=dict)
    pauses: dict[int, float] = field(factory=dict)
    _sound: set[int] = field(factory=set)  # where an attempt has run since the last one that went wrong

    def note(self, rows: Rows) -> list[int]:
        """Take note of reports; return the places with MOST or more attempts in a row that went wrong."""
        ended = rows[rows["kind"] == Kind.FINISHED]["row"]
        wrong = (ended["reason"] == Reason.SPAWN) | (ended["reason"] == Reason.LOST)
        if not wrong.any():
            self._on_sound(set(ended["place"].tolist()))
            return []
        for place, is_wrong in zip(ended["place"].tolist(), wrong.tolist(), strict=True):
            if is_wrong:
                self.streaks[place] = self.streaks.get(place, 0) + 1
                self._sound.discard(place)
            else:
                self._on_sound({place})
        return [place for place in set(ended["place"].tolist()) if self.streaks.get(place, 0) >= MOST]

    def _on_sound(self, places: set[int]) -> None:
        self._sound |= places
        for place in places & self.streaks.keys():
            del self.streaks[place]
            self.pauses.pop(place, None)

    def is_sound(self, place: int) -> bool:
        """Return whether an attempt has run there, and none has gone wrong since."""
        return place in self._sound

    def pause(self, place: int) -> float:
        """Return for how many seconds a place is to take nothing; the next mishap there is one too many again."""
        self.streaks[place] = MOST - 1
        seconds = self.pauses[place] = min(LONGEST_PAUSE, 2 * self.pauses.get(place, FIRST_PAUSE / 2))
        return seconds
