"""A story: what is submitted, asked, killed and broken, in which order; all of it follows from a seed."""

from __future__ import annotations

import random

from attrs import field, frozen

from tests.chaos import faults
from tests.chaos.faults import Fault
from tests.chaos.naive import expand
from tests.chaos.specs import Script, Writer

ASKS = ("edit", "requeue", "requeue", "kill task", "resume", "kill run")
DEATHS = ("engine", "engine", "launcher", "both", "fault", "fault", "fault", "full", "full", "power", "clock", "leave")


@frozen
class Step:
    """One thing that happens.

    Args:
        kind: `submit`, one of ASKS, or one of DEATHS.
        after: How far everything has come before it happens: a part of all tasks' starts.
        run: Which run it is about, of those of the story.
        seed: For whatever else is chosen when it happens.
        faults: What is armed; of a command, just before it is sent.
        with_launchers: Whether launchers die with the engine that a fault ends, or the engine with a launcher.
    """

    kind: str
    after: float
    run: int = 0
    seed: int = 0
    faults: tuple[Fault, ...] = ()
    with_launchers: bool = False


@frozen
class Story:
    """A story.

    Args:
        seed: What it follows from.
        is_command: Whether `daggy run` plays it, or else a server.
        leaves: Whether servers that end in order leave running what runs.
        workers: How many tasks at a time.
        scripts: The specs that are submitted.
        steps: What happens.
    """

    seed: int
    is_command: bool
    leaves: bool
    workers: int
    scripts: tuple[Script, ...]
    steps: tuple[Step, ...] = field(repr=False)

    @property
    def tasks(self) -> int:
        """How many tasks its runs have at first."""
        return sum(len(expand(script)) for script in self.scripts)


def story(seed: int) -> Story:
    """Return the story of a seed."""
    dice = random.Random(seed)
    is_command = dice.random() < 0.2
    count = 1 if is_command else dice.choice([1, 1, 2, 2, 3, 4])
    writer = Writer(dice, may_fail=dice.random() < 0.4)
    scripts = tuple(writer.script(f"run{number}", dice.randint(20, 150) // count) for number in range(count))
    deaths = [_death(dice) for _ in range(dice.randint(1, 5))]
    asks = [] if is_command else [_ask(dice, count) for _ in range(dice.choice([0, 0, 1, 2, 4]))]
    if is_command and dice.random() < 0.5:
        asks = [Step("edit", dice.random(), 0, dice.getrandbits(32))]
    late = [Step("submit", dice.random() * 0.5, number, 0, _under_fire(dice)) for number in range(1, count)]
    rest = sorted([*deaths, *asks, *late], key=lambda step: step.after)
    leaves, workers = dice.random() < 0.4, dice.choice([2, 2, 3, 6])
    return Story(seed, is_command, leaves, workers, scripts, (Step("submit", 0.0), *rest))


def _ask(dice: random.Random, runs: int) -> Step:
    return Step(dice.choice(ASKS), dice.random(), dice.randrange(runs), dice.getrandbits(32), _under_fire(dice))


def _under_fire(dice: random.Random) -> tuple[Fault, ...]:
    """Return what kills an engine while it keeps a command, or nothing."""
    return (faults.death_of_a_commit(dice),) if dice.random() < 0.4 else ()


def _death(dice: random.Random) -> Step:
    kind, seed = dice.choice(DEATHS), dice.getrandbits(32)
    armed: tuple[Fault, ...] = ()
    if kind == "fault":
        armed = (faults.any_death(dice),)
    elif kind == "full":
        armed = faults.any_full_disk(dice)
    return Step(kind, dice.random() * 0.95, 0, seed, armed, dice.random() < 0.3)
