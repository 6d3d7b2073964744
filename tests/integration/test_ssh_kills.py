"""Everything between a server and two machines that SSH reaches is killed at random while a run goes on.

The oracle is what the tasks themselves append: no more than a line an attempt (one that was lost may not have got so
far), and more than one attempt only for what was lost with its launcher.
"""

from __future__ import annotations

import contextlib
import json
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.integration.linger_rig import launchers
from tests.integration.serve_rig import Server
from tests.integration.sshd_rig import Sshd, sshd

TASKS = 400
RELAY = "import os,sys;n="


class Scene:
    """A server, two machines, and what of it can be killed."""

    def __init__(self, directory: Path, machines: list[Sshd]) -> None:
        self.directory, self.machines = directory, machines
        hosts = [machine.host(f"m{number}", resources={"cores": 3}) for number, machine in enumerate(machines)]
        known = directory / "known_hosts"
        known.write_text("".join(machine.known.read_text() for machine in machines))
        pool = machines[0].settings(
            executor="ssh", hosts=hosts, ssh=["-F", "none", "-o", f"UserKnownHostsFile={known}"]
        )
        self.configuration = directory / "daggy.json"
        self.configuration.write_text(json.dumps({"pools": {"default": pool}}))
        self.server = self.start()

    def start(self) -> Server:
        return Server(self.directory / "state", "--config", str(self.configuration))

    def kill_server(self) -> None:
        self.server.process.kill()
        self.server.process.wait()
        self.server.http.close()
        self.server = self.start()

    def kill_client(self) -> None:
        self._kill(one for one in psutil.Process(self.server.process.pid).children() if one.name() == "ssh")

    def kill_session(self) -> None:
        self._kill(psutil.Process(pid) for machine in self.machines for pid in machine.sessions)

    def kill_relay(self) -> None:
        sessions = (psutil.Process(pid) for machine in self.machines for pid in machine.sessions)
        below = (one for session in sessions for one in session.children(recursive=True))
        self._kill(one for one in below if RELAY in " ".join(one.cmdline()))

    def kill_launcher(self) -> None:
        known = (pid for machine in self.machines for pid in launchers(machine.directory))
        self._kill(psutil.Process(pid) for pid in known if psutil.pid_exists(pid))

    @staticmethod
    def _kill(processes: object) -> None:
        with contextlib.suppress(psutil.NoSuchProcess):
            for one in processes:  # type: ignore[attr-defined]
                one.kill()
                return


@pytest.mark.mill
@pytest.mark.parametrize("seed", [1, 2])
def test_nothing_is_lost_and_nothing_runs_twice_unnoticed(tmp_path: Path, seed: int) -> None:
    chance, log = random.Random(seed), tmp_path / "log"
    log.touch()
    with sshd(tmp_path / "sshd0") as one, sshd(tmp_path / "sshd1") as other:
        scene = Scene(tmp_path, [one, other])
        try:
            kills: list[Callable[[], None]] = [
                scene.kill_server, scene.kill_server, scene.kill_client, scene.kill_session, scene.kill_relay,
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
        finally:
            if scene.server.process.poll() is None:
                scene.server.process.kill()
                scene.server.process.wait()
            scene.server.http.close()
