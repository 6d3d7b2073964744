"""The story of one task, as short as it can be told: what was done and asked, what really happened, what was kept."""

from __future__ import annotations

from collections.abc import Iterator

from daggy.attempt import Reason, State
from daggy.engine.engine import Engine
from daggy.run import states
from daggy.run.run import story as story_of
from daggy.tracker import Attempts, Entry, Generated, Moved, Submitted
from tests.simulation.story import Story


def unended(engine: Engine) -> Iterator[tuple[str, int, str]]:
    """Yield what is known of tasks that never came to an end: text, run and name."""
    for run in engine.runs.values():
        for index in [] if run.is_ended else run.frontier.where(states.IS_ACTIVE).tolist():
            yield f"{story_of(run, index)}; in flight {run.frontier.in_flight}", run.id, run.plan.name(index)


def report(story: Story, run: int, name: str) -> Iterator[str]:
    """Yield the shortest story of one task: what was done and asked, what really happened to it, and what was kept."""
    told = [(at, said) for at, said, about in story.asked if about in (0, run)]
    mine = [one for one in story.world.log if one.ticket.run == run and one.name == name]
    told += [(one.at, f"{one.what} {one.ticket}{'' if one.what == 'start' else ' ' + one.reason.name}") for one in mine]
    yield f"  the story of '{name}' in run {run}:"
    yield from (f"  {at:10.4f} {said}" for at, said in sorted(told, key=lambda one: one[0]))
    indexes = {(one.ticket.version, one.ticket.index) for one in mine}
    for entry in story.entries:
        if getattr(entry, "run", 0) == run:
            yield from _kept(entry, indexes)


def _kept(entry: Entry, indexes: set[tuple[int, int]]) -> Iterator[str]:
    if isinstance(entry, Attempts):
        for row in entry.rows:
            if (entry.version, int(row["index"])) in indexes:
                what = f"index {row['index']} attempt {row['attempt']}"
                outcome = State(int(row["outcome"])).name
                yield f"  kept: version {entry.version} {what} {Reason(int(row['reason'])).name} -> {outcome}"
    elif isinstance(entry, Moved):
        moved = f"{entry.ranges.tolist()} to {entry.state.name} ({entry.cause})"
        yield f"  kept: version {entry.version} moved {moved}, in flight {entry.flying.tolist()}"
    elif isinstance(entry, Submitted | Generated):
        yield f"  kept: {type(entry).__name__} version {entry.version}"
