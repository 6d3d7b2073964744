"""Everything between a server and two machines that call in is killed, or frozen, at random while a run goes on.

The oracle is what the tasks themselves append: no more than a line an attempt (one that was lost may not have got so
far), and more than one attempt only for what was lost with its launcher.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.integration.agent_rig import Agent, Field, field
from tests.integration.linger_rig import launchers
from tests.integration.serve_rig import Server

TASKS = 400
NAMES = ("a", "b")


class Scene:
    """A server, two agents, and what of it can be killed."""

    def __init__(self, place: Field, chance: random.Random) -> None:
        self.place, self.chance = place, chance
        self.server = self.start()
        self.token = place.token()
        self.agents = {name: self.join(name) for name in NAMES}

    def start(self) -> Server:
        port = str(self.place.port)
        return Server(self.place.state, "--config", str(self.place.config), "--port", port)

    def join(self, name: str) -> Agent:
        return self.place.agent("--resource", "cores=3", name=name, token=self.token)

    def kill_server(self) -> None:
        self.server.process.kill()
        self.server.process.wait()
        self.server.http.close()
        self.server = self.start()

    def kill_agent(self) -> None:
        name = self.chance.choice(NAMES)
        self.agents[name].send(signal.SIGKILL)
        self.agents[name].process.wait()
        self.agents[name] = self.join(name)

    def freeze_agent(self) -> None:
        agent = self.agents[self.chance.choice(NAMES)]
        agent.send(signal.SIGSTOP)
        self.kill_launcher()
        agent.send(signal.SIGCONT)

    def kill_relay(self) -> None:
        with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
            for pid in self.agents[self.chance.choice(NAMES)].children():
                os.kill(pid, signal.SIGKILL)

    def kill_launcher(self) -> None:
        alive = [pid for pid in launchers(self.place.place) if psutil.pid_exists(pid)]
        if alive:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.chance.choice(alive), signal.SIGKILL)

    def end(self) -> None:
        if self.server.process.poll() is None:
            self.server.process.kill()
            self.server.process.wait()
        self.server.http.close()


@pytest.mark.mill
@pytest.mark.parametrize("seed", [1, 2])
def test_nothing_is_lost_and_nothing_runs_twice_unnoticed(tmp_path: Path, seed: int) -> None:
    chance, log = random.Random(seed), tmp_path / "log"
    log.touch()
    with field(tmp_path) as place, contextlib.ExitStack() as stack:
        scene = Scene(place, chance)
        stack.callback(scene.end)
        kills: list[Callable[[], None]] = [
            scene.kill_server, scene.kill_agent, scene.kill_agent, scene.freeze_agent, scene.kill_relay,
            scene.kill_launcher,
        ]  # fmt: skip
        task = {"details": {"shell": f"echo {{{{ N }}}} >> {log}; sleep 0.1"}}
        run = scene.server.submit({"one": task}, parameters={"N": {"range": [0, TASKS]}})
        for done in range(TASKS // 16, TASKS, TASKS // 16):
            scene.server.until(lambda done=done: len(log.read_text().splitlines()) >= done)  # type: ignore[misc]
            chance.choice(kills)()
        assert scene.server.ended(run)["counts"]["completed"] == TASKS
        lines = Counter(int(line) for line in log.read_text().split())
        tasks = scene.server.get(f"/runs/{run}/tasks", limit=TASKS)["items"]
        tried = {int(one["parameters"]["N"]): one["attempts"] for one in tasks}
        assert all(1 <= lines[number] <= tried[number] for number in range(TASKS)), (lines, tried)
        for index in (one["index"] for one in tasks if one["attempts"] > 1):
            first, *_ = scene.server.get(f"/runs/{run}/tasks/{index}")["attempts"]
            assert (first["reason"], first["message"]) == ("lost", "its launcher died")
        assert scene.server.stop() == 0
