"""What a story asked of each run, and when: what the oracle holds Daggy to."""

from __future__ import annotations

from collections import Counter

from attrs import define, field, frozen

from tests.chaos import naive
from tests.chaos.naive import Tasks
from tests.chaos.specs import Script


@frozen
class Ask:
    """One command about one run.

    Args:
        kind: `edit`, `requeue`, `kill task`, `kill run`, `resume`.
        names: The tasks that it is about; of an edit, those that are new or changed.
        lines: How many lines the oracle had before it was sent.
        is_answered: Whether Daggy said that it is done; if not it may be so all the same.
        keeps: Whether what is downstream is kept.
    """

    kind: str
    names: frozenset[str]
    lines: int
    is_answered: bool
    keeps: bool = False


@define(eq=False)
class Life:
    """A run of a story.

    Args:
        scripts: The versions of its spec.
        key: Under which it is submitted.
        run: Its id; 0: it was not acknowledged yet.
        is_sent: Whether a submission was sent at all.
        asks: All that was asked of it.
        listings: By version the name of each index.
    """

    scripts: list[Script]
    key: str
    run: int = 0
    is_sent: bool = False
    asks: list[Ask] = field(factory=list)
    listings: dict[int, dict[int, str]] = field(factory=dict)
    _tasks: dict[int, Tasks] = field(factory=dict)

    def tasks(self, version: int = 0) -> Tasks:
        """Return every task of a version, by default of the present one."""
        version = version or len(self.scripts)
        if version not in self._tasks:
            self._tasks[version] = naive.expand(self.scripts[version - 1])
        return self._tasks[version]

    def asked(self, *kinds: str) -> bool:
        """Return whether anything of these kinds was asked, heard or not."""
        return any(ask.kind in kinds for ask in self.asks)

    def may_repeat(self) -> Counter[str]:
        """Return by task how often what was asked may have had it run again after it was completed.

        An edit resumes too; to resume touches what is completed only downstream of an end that was no completion.
        """
        counts: Counter[str] = Counter()
        everything = self.tasks()
        for version in range(1, len(self.scripts)):
            everything = {**self.tasks(version), **everything}
        for ask in self.asks:
            chosen = set(ask.names) if ask.keeps else naive.downstream(everything, ask.names)
            if ask.kind in ("edit", "resume"):
                loose = [task.name for task in everything.values() if any(on == "ended" for _, on in task.parents)]
                chosen |= naive.downstream(everything, loose)
            if not ask.kind.startswith("kill"):
                counts.update(chosen)
        return counts
