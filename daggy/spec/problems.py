"""Collects all problems of a document, so that a user sees them at once."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from itertools import islice

from attrs import define, field

from daggy.errors import Problem, SpecError

MOST = 1000
"""Problems kept; the rest is only counted."""

PATIENCE = 20_000
"""Comparisons of wrong names with known ones, for suggestions, per document."""

CANDIDATES = 5000
"""Names among which the nearest one is looked up."""


@define
class Problems:
    """The problems and warnings found so far, in the order of the document."""

    found: list[Problem] = field(factory=list)
    warnings: list[str] = field(factory=list)
    more: int = 0
    _compared: int = field(default=0, init=False)

    @property
    def full(self) -> bool:
        """Whether further problems are only counted."""
        return len(self.found) >= MOST

    def add(self, path: str, message: str, mend: str = "") -> None:
        """Record one problem."""
        if self.full:
            self.more += 1
        else:
            self.found.append(Problem(path, message, mend))

    def adopt(self, path: str, problems: Iterable[Problem]) -> None:
        """Record problems whose paths are relative to `path`."""
        for problem in problems:
            self.add(join(path, problem.path), problem.message, problem.mend)

    def warn(self, path: str, message: str) -> None:
        """Record one warning."""
        if len(self.warnings) < MOST:
            self.warnings.append(f"{path}: {message}")

    def suggest(self, word: str, known: Iterable[str]) -> str:
        """Return `did you mean 'x'?` for the nearest known word, else nothing; nothing once too many were compared."""
        if self.full or self._compared >= PATIENCE:
            return ""
        candidates = list(islice(known, CANDIDATES))
        self._compared += len(candidates)
        return did_you_mean(word, candidates)

    def __bool__(self) -> bool:
        """Whether there are problems; warnings do not count."""
        return bool(self.found)

    def raise_if_any(self, source: str) -> None:
        """Raise what was found.

        Raises:
            SpecError: there is at least one problem.
        """
        if self.more:
            self.found.append(Problem("", f"{self.more} more problems", "fix these first"))
        if self.found:
            raise SpecError(self.found, source)


def join(path: str, key: str) -> str:
    """Return the path of a member, as in `tasks.report`; a key that starts with `[` is an index."""
    if not path or not key:
        return path or key
    return f"{path}{key}" if key.startswith("[") else f"{path}.{key}"


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return `did you mean 'x'?` for the nearest known word, else nothing."""
    near = nearest(word, known)
    return f"did you mean '{near}'?" if near else ""


def nearest(word: str, known: Iterable[str]) -> str:
    """Return the known word that is most like this one, empty if none is. At most some thousand words are compared."""
    if len(word) > 100:
        return ""
    candidates = [other for other in islice(known, CANDIDATES) if abs(len(other) - len(word)) <= 3]
    lower = {other.lower(): other for other in reversed(candidates)}
    near = difflib.get_close_matches(word.lower(), lower, n=1, cutoff=0.6)
    return lower[near[0]] if near else ""


def kind(value: object) -> str:
    """Return the kind of a plain JSON value, in JSON's terms."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case str():
            return "a string"
        case list():
            return "a list"
        case dict():
            return "an object"
        case _:
            return "a number"


def quote(text: str) -> str:
    """Return a user's word in quotes, shortened if it is very long."""
    return repr(text if len(text) <= 80 else text[:77] + "...")
