"""Whatever dies or freezes between here and a machine that SSH reaches: nothing is lost, and nothing runs twice. One
that cannot run anything is refused, with what to do.
"""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from daggy.attempt import Reason
from daggy.executor import NodeState
from daggy.launcher import mux
from daggy.settings import structure
from daggy_ssh import SshExecutor, SshSettings
from tests.integration.fork_rig import Rig, at_work_with, becomes, site
from tests.integration.sshd_rig import Sshd, sshd

APPEND = "echo {0} >> log; until [ -e gate ]; do sleep 0.02; done; echo end {0} >> log"
QUICK = ["-o", "ServerAliveInterval=1", "-o", "ServerAliveCountMax=2"]


@pytest.fixture
def far(tmp_path: Path) -> Iterator[Sshd]:
    with sshd(tmp_path / "sshd") as server:
        yield server


@asynccontextmanager
async def at_work(
    directory: Path, far: Sshd, /, lease: str = "60s", *, up: bool = True, **more: Any
) -> AsyncIterator[Rig]:
    """Run a pool of one host; with `up`, once it is."""
    (directory / "state" / "runs" / "7" / "packs").mkdir(parents=True, exist_ok=True)  # as an engine does
    pool = far.settings(lease=lease, hosts=[far.host(resources={"cores": 4})], **more)
    pool["ssh"] = [*pool["ssh"], *QUICK]
    executor = SshExecutor(structure(pool, SshSettings, "pool"), site(directory / "state", durable=True))
    async with at_work_with(executor, directory) as rig:
        if up:
            await becomes(executor.capacity)
        yield rig


def gated(rig: Rig, *indexes: int) -> None:
    rig.launch(*(rig.task("sh", "-c", APPEND.format(index), index=index) for index in indexes))


def client() -> int:
    """The ssh that this process runs."""
    (found,) = [one for one in psutil.Process().children() if one.name() == "ssh"]
    return found.pid


def relays(far: Sshd) -> list[int]:
    """What the server of SSH runs for those who are logged in."""
    below = [one for session in far.sessions for one in psutil.Process(session).children(recursive=True)]
    return [one.pid for one in below if "import os;n=" in " ".join(one.cmdline())]


def kill_client(far: Sshd) -> None:
    os.kill(client(), signal.SIGKILL)


def kill_sessions(far: Sshd) -> None:
    for pid in far.sessions:
        for one in psutil.Process(pid).children(recursive=True):
            if one.name() == "sshd":
                one.kill()
        os.kill(pid, signal.SIGKILL)


def kill_relay(far: Sshd) -> None:
    (pid,) = relays(far)
    os.kill(pid, signal.SIGKILL)


def restart_server(far: Sshd) -> None:
    sessions = far.sessions
    far.stop()
    for pid in sessions:
        os.kill(pid, signal.SIGKILL)
    far.start()


def freeze_client(far: Sshd) -> None:
    os.kill(client(), signal.SIGSTOP)


def freeze_session(far: Sshd) -> None:
    (pid,) = far.sessions
    os.kill(pid, signal.SIGSTOP)


@pytest.mark.trio
@pytest.mark.parametrize(
    "disturb", [kill_client, kill_sessions, kill_relay, restart_server, freeze_client, freeze_session]
)
async def test_what_dies_or_freezes_on_the_way_costs_nothing(
    tmp_path: Path, far: Sshd, monkeypatch: pytest.MonkeyPatch, disturb: object
) -> None:
    assert callable(disturb)
    monkeypatch.setattr(mux, "ANSWER", 3.0)
    async with at_work(tmp_path, far, lease="8s") as rig:
        gated(rig, 1, 2)
        await rig.until(lambda: {1, 2} <= rig.started.keys())
        before = client()
        disturb(far)
        await becomes(lambda: not rig.executor.capacity())
        (node,) = rig.executor.nodes()
        assert node.state == NodeState.SILENT
        assert node.lost_in is not None
        await becomes(lambda: rig.executor.capacity() and client() != before)
        (tmp_path / "gate").touch()
        await rig.until(lambda: {1, 2} <= rig.finished.keys())
        assert [int(row["reason"]) for row in rig.finished.values()] == [Reason.OK] * 2
    assert sorted((tmp_path / "log").read_text().splitlines()) == ["1", "2", "end 1", "end 2"]


UNFIT = [
    ({"setup": "ulimit -f 0"}, "a launcher cannot be started: ", 'set "directory" of the pool to another place'),
    ({"directory": "/dev/null/x"}, "'/dev/null/x' cannot be used: ", "to one that can be written to"),
    ({"python": "/usr/bin/nopython"}, "", 'set "python" of the pool'),
    ({"setup": "yes welcome"}, "its login prints without end", "print nothing when it is not interactive"),
    ({"ssh": ["-F", "none", "-o", "UserKnownHostsFile=/dev/null"]}, "its host key is not known", " 127.0.0.1 true"),
]


@pytest.mark.trio
@pytest.mark.parametrize(("pool", "begins", "ends"), UNFIT)
async def test_a_machine_that_cannot_run_anything_says_what_to_do(
    tmp_path: Path, far: Sshd, pool: dict[str, Any], begins: str, ends: str
) -> None:
    async with at_work(tmp_path, far, up=False, **pool) as rig:
        await becomes(lambda: rig.executor.nodes()[0].state == NodeState.REFUSED)
        why = rig.executor.nodes()[0].why
        assert why.startswith(begins)
        assert why.endswith(ends)
        assert rig.executor.trouble == f"far is refused: {why}"
