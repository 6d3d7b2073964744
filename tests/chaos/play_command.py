"""Plays a story with `daggy run --dir`: the same command again and again, until the run has ended."""

from __future__ import annotations

import json
import random
import sqlite3
from contextlib import closing, suppress

from tests.chaos.lives import Ask, Life
from tests.chaos.naive import changed
from tests.chaos.play import Play
from tests.chaos.specs import Writer
from tests.chaos.stage import BrokenError
from tests.chaos.story import Step

INTERRUPTED = 130


class CommandPlay(Play):
    """One run, without a server; a server looks at it in the end."""

    still = 1.5

    def begin(self) -> bool:
        """Start the command."""
        if self.is_over:
            return super().begin()
        life = self.lives[0]
        (self.stage.home / "spec.json").write_text(json.dumps(life.scripts[-1].document(self.stage.home)))
        self.note("the command is started")
        self.stage.start("run", "--dir", "state", "--output", "none", "--config", str(self.stage.config), "spec.json")
        if life.is_sent:
            life.asks.append(Ask("resume", frozenset(), self.lines(), is_answered=False))
        life.is_sent = True
        return True

    def mind(self, code: int) -> None:
        """See whether it has come to the run's end."""
        if not self.is_over and code in (0, 1):
            self.is_over = True
            self.note(f"the command is over: {code}")
        elif code != INTERRUPTED:
            super().mind(code)

    def on_left(self, code: int) -> None:
        """See whether the run has ended; else start the command again."""
        if code in (0, 1):
            self.stage.engine = None
            self.mind(code)
        else:
            super().on_left(code)

    def do(self, step: Step) -> None:
        """Do one step, unless all is over."""
        if step.kind == "submit":
            self.begin()
        elif not self.is_over:
            super().do(step)

    def await_progress(self, part: float) -> bool:
        """Wait until tasks have come so far; False: the run has ended."""
        return super().await_progress(part) and not self.is_over

    def command(self, kind: str, life: Life, dice: random.Random) -> None:
        """Edit the run: kill the command and start it with another spec."""
        self.until(lambda: self.is_over or self.version(), "the run is kept")
        if self.is_over:
            return
        script = Writer(dice, may_fail=False).edited(life.scripts[-1])
        names = frozenset(changed(life.scripts[-1], script))
        life.asks.append(Ask("edit", names, self.lines(), is_answered=True))
        life.scripts.append(script)
        self.stage.kill_engine()
        self.rise()
        self.counts["commands"] += 1
        self.until(lambda: self.is_over or self.version() == len(life.scripts), "the edit is kept")

    def version(self) -> int:
        """Return the version of the run's spec that is kept; 0: none."""
        with suppress(sqlite3.Error):
            path = self.stage.state / "daggy.db"
            with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
                found = database.execute("SELECT version FROM runs WHERE run = 1").fetchone()
                return int(found[0]) if found else 0
        return 0

    def finish(self) -> None:
        """See the command to its end, then have a server look."""
        self.until(lambda: self.is_over, "the command ends")
        self.lives[0].run = 1
        self.rise()
        super().finish()

    def after_start(self) -> None:
        """Check that the server finds the run as the command left it."""
        told = self.ask(lambda client: client.run(1))
        if told is None or told["version"] != len(self.lives[0].scripts):
            raise BrokenError("what was acknowledged is kept", f"{told} of {len(self.lives[0].scripts)} versions")
