"""What is asked of a server while it dies: again if it was not heard, and never twice by accident."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable

import httpx
from attrs import evolve

from daggy.client import Client
from daggy.errors import DaggyError, NotFoundError
from tests.chaos.lives import Ask, Life
from tests.chaos.naive import changed
from tests.chaos.progress import RESTARTS, Progress
from tests.chaos.specs import Json, Script, Writer
from tests.chaos.stage import BrokenError


class Asking(Progress):
    """The commands of a story."""

    def after_start(self) -> None:
        """Check that whatever was acknowledged is there."""
        for life in self.lives:
            if life.run:
                told = self.ask(lambda client, life=life: client.run(life.run))  # type: ignore[misc]
                if told is not None and told["version"] < len(life.scripts):
                    raise BrokenError("what was acknowledged is kept", f"run {life.run} is at {told['version']}")
            elif life.is_sent:
                self.submit(life)

    def ask(self, request: Callable[[Client], Json]) -> Json | None:
        """Return what a server answers; None if it refuses, or nobody heard it."""
        client = self.stage.client
        if client is None:
            return None
        try:
            return request(client)
        except NotFoundError as error:
            raise BrokenError("what was acknowledged is kept", str(error)) from error
        except DaggyError as error:
            self.note(f"  not answered: {error}")
            return None

    def submit(self, life: Life) -> None:
        """Submit a run, again under its key if the answer was not heard."""
        life.is_sent = True
        if self.stage.client is None:
            self.rise()
        run = self.ask(lambda client: client.submit(life.scripts[0].document(self.stage.home), key=life.key))
        if run is not None:
            life.run = int(run)
        elif self.stage.is_dead():
            self.look()

    def command(self, kind: str, life: Life, dice: random.Random) -> None:
        """Ask something of a run."""
        if kind == "edit":
            self.edit(life, dice)
            return
        names = list(life.tasks())
        chosen = frozenset(dice.sample(names, min(len(names), dice.choice([1, 1, 3]))))
        keeps = kind == "requeue" and dice.random() < 0.2
        there = self.listing(life)
        known = sorted(chosen & set(there.values()))
        lines = self.lines()
        if kind == "requeue" and known:
            asked = {"requeue": known, "keep_downstream": keeps}
            told = self.ask(lambda client: client.change(life.run, asked))
        elif kind == "kill task" and known:
            told = self.ask(lambda client: client.kill(life.run, known))
        elif kind == "kill run":
            told = self.ask(lambda client: client.kill(life.run))
        elif kind == "resume":
            told = self.ask(lambda client: client.change(life.run, {"resume": True}))
        else:
            return
        self.note(f"  {kind} of {', '.join(known)} in run {life.run}{' alone' if keeps else ''}")
        life.asks.append(Ask(kind, frozenset(known), lines, told is not None, keeps))
        self.counts["commands"] += 1

    def listing(self, life: Life) -> dict[int, str]:
        """Return the names of a run's tasks by index; keep them for its version."""

        def look(client: Client) -> tuple[int, dict[int, str]]:
            version = client.run(life.run)["version"]
            return version, {task["index"]: task["name"] for task in client.all_tasks(life.run, limit=1000)}

        found = self.ask(look)
        if found is None:
            return {}
        version, names = found
        life.listings.setdefault(version, {}).update(names)
        return dict(names)

    def edit(self, life: Life, dice: random.Random) -> None:
        """Put another version in a run's place, if nobody was faster."""
        script = Writer(dice, may_fail=False).edited(life.scripts[-1])
        self.listing(life)
        ask = Ask("edit", frozenset(changed(life.scripts[-1], script)), self.lines(), is_answered=False)
        for _ in range(RESTARTS):
            self.look()
            at = self.ask(lambda client: client.run(life.run)["version"])
            if at is None:
                continue  # whether the last one was kept is to be known before it is sent again
            told = "done" if at > len(life.scripts) else self.patch(life, script)
            if told == "done":
                life.scripts.append(script)
                life.asks.append(evolve(ask, is_answered=True))
                self.counts["commands"] += 1
                self.note(f"  run {life.run} is at version {len(life.scripts)}")
                return
            if told == "full":
                time.sleep(0.1)
        self.note("  the edit was refused")

    def patch(self, life: Life, script: Script) -> str:
        """Send an edit; return what came of it: done, full, unheard."""
        http = self.stage.http
        if http is None:
            return "unheard"
        body = json.dumps({"spec": script.document(self.stage.home)})
        path = f"/runs/{life.run}"
        try:
            tag = http.get(path).headers.get("ETag", "")
            answer = http.patch(path, content=body, headers={"If-Match": tag, "Content-Type": "application/json"})
        except httpx.TransportError:
            return "unheard"
        if answer.status_code == 200:
            return "done"
        if answer.status_code in (412, 503):
            return "unheard"
        if answer.status_code == 507:
            return "full"
        raise BrokenError("an edit is taken or refused with a reason", f"{answer.status_code}: {answer.text}")
