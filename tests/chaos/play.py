"""Plays a story: submits, asks, kills, restarts, until every run has ended."""

from __future__ import annotations

import contextlib
import random
import time

from daggy.client import ENDED
from tests.chaos import cuts
from tests.chaos.asking import Asking
from tests.chaos.lives import Ask, Life
from tests.chaos.stage import PATIENCE, BrokenError
from tests.chaos.story import ASKS, Step


class Play(Asking):
    """The steps of a story, and its end."""

    def play(self) -> None:
        """Do all steps and see every run to its end.

        Raises:
            BrokenError: something that is promised does not hold.
        """
        for step in self.story.steps:
            if not self.await_progress(step.after):
                break
            self.note(f"{step.kind} {' '.join(map(str, step.faults))}".strip())
            self.do(step)
        self.stage.board.clear()
        self.note("all is well from here on")
        self.armed = None
        self.finish()

    def do(self, step: Step) -> None:
        """Do one step."""
        self.look()
        dice = random.Random(step.seed)
        if step.kind in ("submit", *ASKS) and step.faults:
            self.arm(step)
        if step.kind == "submit":
            self.submit(self.lives[step.run])
        elif step.kind in ASKS:
            life = self.lives[step.run]
            if life.run:
                self.command(step.kind, life, dice)
        elif step.kind in ("fault", "full"):
            self.arm(step)
            self.counts["full"] += step.kind == "full"
            self.provoke(step, dice)
        elif step.kind == "clock":
            self.stage.board.move_clock(dice.choice([-7200.0, -5.0, 5.0, 3600.0, 70000.0]))
            self.counts["clock jumps"] += 1
        else:
            self.die(step.kind, dice)

    def arm(self, step: Step) -> None:
        """Have the faults of a step happen, and no earlier ones."""
        self.stage.board.arm(step.faults)
        self.armed = step

    def provoke(self, step: Step, dice: random.Random) -> None:
        """Have new processes come to what only happens at their start."""
        fault = step.faults[0]
        if step.kind == "fault" and fault.file == "other" and fault.role == "engine":
            self.stage.kill_engine()
        elif step.kind == "fault" and fault.role == "launcher" and (fault.file == "other" or dice.random() < 0.3):
            self.stage.kill_launchers(1)
        self.look()

    def die(self, kind: str, dice: random.Random) -> None:
        """Kill."""
        stage = self.stage
        time.sleep(dice.random() * 0.05)  # somewhere between two lines
        self.counts[kind] += 1
        if kind == "launcher":
            self.counts["launchers killed"] += stage.kill_launchers(1)
        elif kind == "engine":
            stage.kill_engine()
        elif kind == "both":
            if dice.random() < 0.5:
                stage.kill_launchers()
            stage.kill_engine()
            stage.kill_launchers()
        elif kind == "leave":
            self.on_left(stage.leave())
        elif kind == "power":
            stage.cut_power()
            self.cuts.append(self.lines())
            stage.board.boot(f"boot-{len(self.cuts)}")
            for done in cuts.mutilate(stage.state, stage.board.loose(), dice):
                self.note(f"  {done}")
            stage.board.settle()
        self.look()

    def on_left(self, code: int) -> None:
        """See how an engine that was asked to leave did so, and start the next one."""
        stage = self.stage
        if code not in (0, 130, -15) and not stage.board.fired():  # -15: it had not begun yet
            raise BrokenError("an engine leaves in order", f"exit code {code}: {stage.said()[-1500:]}")
        self.count_fault()
        self.engine_deaths.append(self.lines())
        stage.engine = None
        self.rise()

    def finish(self) -> None:
        """See every run to its end; then put what failed back in the queue, once, and see to that."""
        self.look()
        for life in self.lives:
            while not life.run:
                self.look()
                self.submit(life)
        self.until(self.stage.is_ready, "the server is ready")
        for life in self.lives:
            self.see_end(life)
        for life in self.lives:
            if self.ask(lambda client, life=life: client.run(life.run)["state"]) != "completed":  # type: ignore[misc]
                lines = self.lines()
                self.ask(lambda client, life=life: client.change(life.run, {"resume": True}))  # type: ignore[misc]
                life.asks.append(Ask("resume", frozenset(), lines, is_answered=True))
                self.see_end(life)
        for life in self.lives:
            self.listing(life)
        with contextlib.suppress(BrokenError):
            self.stage.until(lambda: not self.stage.tasks(), "", 2.0)  # what was killed takes a moment
        if left := self.stage.tasks():
            raise BrokenError("nothing runs after the end", f"processes {left} do")

    def see_end(self, life: Life) -> None:
        """Wait until a run has ended; as long as tasks write lines there is hope."""
        seen, since = -1, time.monotonic()
        while (told := self.ask(lambda client: client.run(life.run))) is None or told["state"] not in ENDED:
            self.look()
            lines = self.lines()
            if lines > seen:
                seen, since = lines, time.monotonic()
            if time.monotonic() > since + PATIENCE:
                raise BrokenError("every run ends", f"run {life.run}: {told}; {self.stage.said()[-1500:]}")
            time.sleep(0.02)
        self.note(f"run {life.run} is {told['state']}")
