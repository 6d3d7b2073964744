"""A story under way: engines that come and go, what died of which fault, how far its tasks have come."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from tests.chaos.lives import Life
from tests.chaos.stage import PATIENCE, BrokenError, Stage
from tests.chaos.story import Step, Story

GIVEN = 30
"""Lines that a fault is given to happen before the story goes on."""

RESTARTS = 12
"""Starts in a row that may end before anything works: each spends a fault, and there are not more."""

KILLED = -9


class Progress:
    """One story on its stage; `counts` says what happened, `told` in which order."""

    is_over = False
    still = 0.5
    """Seconds without a line of the oracle after which nothing more is waited for."""

    def __init__(self, story: Story, stage: Stage) -> None:
        """Get ready; nothing is started."""
        self.story, self.stage = story, stage
        self.lives = [Life([script], f"story-{story.seed}-{script.name}") for script in story.scripts]
        self.counts: Counter[str] = Counter()
        self.told: list[str] = []
        self.cuts: list[int] = []
        self.engine_deaths: list[int] = []
        self.armed: Step | None = None
        self._began = time.monotonic()

    def note(self, told: str) -> None:
        """Write down what happens, and when; the same again says nothing new."""
        if self.told and self.told[-1].endswith(f" lines: {told}"):
            return
        self.told.append(f"{time.monotonic() - self._began:7.2f} s, {self.lines():4d} lines: {told}")

    def lines(self) -> int:
        """Return how many lines tasks have written."""
        return self.stage.oracle.read_bytes().count(b"\n")

    def until(self, condition: Callable[[], Any], told: str) -> None:
        """Wait until it holds; mind what dies meanwhile.

        Raises:
            BrokenError: it does not.
        """
        self.stage.until(lambda: self._holds(condition), told)

    def _holds(self, condition: Callable[[], Any]) -> bool:
        self.look()
        return bool(condition())

    def await_progress(self, part: float) -> bool:
        """Wait until tasks have come so far, or nothing happens; mind what dies. False: there is nothing left to do."""
        seen, since = -1, time.monotonic()
        reached = part * 2 * self.story.tasks
        given = max(reached, self.lines() + GIVEN)
        while True:
            self.look()
            lines = self.lines()
            if lines > seen:
                seen, since = lines, time.monotonic()
            if lines >= (reached if self.armed is None else given) or time.monotonic() > since + self.still:
                return True
            time.sleep(0.002)

    def look(self) -> None:
        """See to what died of a fault: with whom, and what comes after it."""
        stage, step = self.stage, self.armed
        if step is not None and self.count_fault():
            is_engine = step.faults[0].role == "engine"
            if step.with_launchers and is_engine:
                stage.kill_launchers()
            if step.with_launchers and not is_engine:
                stage.kill_engine()
            if is_engine and stage.engine is not None:
                stage.engine.wait(PATIENCE)
        if stage.engine is not None and stage.is_dead():
            self.rise()

    def count_fault(self) -> bool:
        """Return whether what is armed, and kills, has happened; it is armed no more then."""
        step = self.armed
        if step is None or step.kind == "full" or not self.stage.board.fired():
            return False
        self.armed = None
        self.counts["named boundary"] += 1
        self.counts[f"at {step.faults[0].place}"] += 1
        self.note(f"{step.faults[0]} has happened{', both die' if step.with_launchers else ''}")
        return True

    def rise(self) -> None:
        """Start the next engine; see that the last one did not end of itself."""
        engine = self.stage.engine
        if engine is not None:
            self.stage.reap()
            self.mind(engine.wait(0))
            self.engine_deaths.append(self.lines())
            if self.is_over:
                self.stage.engine = None
                return
        for _ in range(RESTARTS):
            if self.begin():
                return
            assert self.stage.engine is not None
            self.stage.reap()
            self.mind(self.stage.engine.wait(0))
            self.count_fault()
        raise BrokenError("an engine starts", f"{RESTARTS} in a row did not: {self.stage.said()[-1500:]}")

    def mind(self, code: int) -> None:
        """Check how an engine ended.

        Raises:
            BrokenError: nobody killed it.
        """
        is_full = self.armed is not None and self.armed.kind == "full"
        if code == KILLED or (is_full and code == 3):
            return
        raise BrokenError("what nobody kills lives", f"exit code {code}: {self.stage.said()[-1500:]}")

    def begin(self) -> bool:
        """Start an engine; return whether it came up."""
        self.note("an engine starts")
        if not self.stage.serve():
            return False
        self.after_start()
        return not self.stage.is_dead()

    def after_start(self) -> None:
        """Check what must be there when an engine has started."""
