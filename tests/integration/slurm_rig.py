"""A real Slurm on loopback, for tests: four nodes on this machine, no accounting, ended by process ids."""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.integration.serve_rig import PATIENCE, Server, serving, shell

NODES = 4
CORES = 8
POOL = "hpc"
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel", "scontrol", "sinfo")

CONFIGURATION = """\
ClusterName=daggytest
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={socket}
CredType=cred/munge
StateSaveLocation={place}/state
SlurmdSpoolDir={place}/spool.%n
SlurmctldPidFile={place}/slurmctld.pid
SlurmdPidFile={place}/slurmd.%n.pid
SlurmctldLogFile={place}/slurmctld.log
SlurmdLogFile={place}/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
DefMemPerCPU=64
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_min_interval=0,bf_interval=1,default_queue_depth=1000
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
AccountingStorageType=accounting_storage/none
ReturnToService=2
MaxArraySize=1001
MaxJobCount=20000
MinJobAge=300
KillWait=2
SlurmctldTimeout=30
SlurmdTimeout=10
CompleteWait=0
PreemptType=preempt/partition_prio
PreemptMode=CANCEL
LaunchParameters=disable_send_gids
SlurmdParameters=config_overrides
NodeName=n[1-{nodes}] NodeAddr=127.0.0.1 NodeHostname={host} Port=[{first}-{last}] CPUs={cores} CoresPerSocket={cores} \
Sockets=1 ThreadsPerCore=1 RealMemory=4000 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=4:00:00 PriorityTier=1 GraceTime=2 State=UP
PartitionName=other Nodes=ALL MaxTime=INFINITE PriorityTier=2 State=UP
"""


CAUSES = ("cancelled", "preempted", "failed")
"""What ends jobs: a stranger, a job that takes their place, their node."""


def need_slurm() -> None:
    """Skip where there is no Slurm; in CI that is a failure."""
    missing = [name for name in PROGRAMS if shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin") is None]
    if missing:
        text = f"{', '.join(missing)} not found: install slurm-wlm and munge"
        pytest.fail(text) if os.environ.get("CI") else pytest.skip(text)


def _free_ports(count: int) -> int:
    """Return the first of several consecutive free ports, below the range that outgoing connections use."""
    while True:
        port = random.randrange(20_000, 32_000 - count)
        try:
            with contextlib.ExitStack() as taken:
                for more in range(count):
                    taken.enter_context(socket.create_server(("127.0.0.1", port + more)))
        except OSError:
            continue
        return port


class Slurm:
    """A cluster, in a folder of a short name: the addresses of its daemons' sockets have a hundred bytes at most."""

    def __init__(self) -> None:
        """Configure it; nothing runs yet."""
        self.place = place = Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp"))
        place.chmod(0o755)
        self.configuration = place / "slurm.conf"
        self.socket = place / "socket"
        for name in ["state", *(f"spool.n{number}" for number in range(1, NODES + 1))]:
            (place / name).mkdir()
        (place / "munge.key").write_bytes(os.urandom(128))
        (place / "munge.key").chmod(0o600)
        host, port = socket.gethostname().partition(".")[0], _free_ports(NODES + 1)
        self.configuration.write_text(
            CONFIGURATION.format(
                host=host, port=port, first=port + 1, last=port + NODES, user=getpass.getuser(), place=place,
                socket=self.socket, nodes=NODES, cores=CORES,
            )
        )  # fmt: skip
        self.environment = {
            **os.environ,
            "SLURM_CONF": str(self.configuration),
            "PATH": f"{os.environ['PATH']}:/usr/sbin",
        }

    def call(self, *argv: str, stdin: str | None = None, seconds: float = PATIENCE) -> str:
        """Run one of its programs; return what it prints."""
        done = subprocess.run(
            argv, input=stdin, capture_output=True, text=True, timeout=seconds, env=self.environment, check=False
        )
        assert done.returncode == 0, f"{argv}: {done.stderr}"
        return done.stdout

    def start(self) -> None:
        munge = ("munged", "--force", f"--socket={self.socket}", *(f"--{name}={self.place}/{file}" for name, file in (
            ("key-file", "munge.key"), ("pid-file", "munged.pid"), ("log-file", "munged.log"),
            ("seed-file", "munged.seed"),
        )))  # fmt: skip
        self.call(*munge)
        self.start_controller()
        for number in range(1, NODES + 1):
            self.start_node(number)
        self.until(lambda: self.call("sinfo", "-h", "-N", "-p", "main", "-t", "idle", "-o", "%N").count("n") == NODES)

    def start_controller(self) -> None:
        self.call("slurmctld", "-i")

    def start_node(self, number: int) -> None:
        self.call("slurmd", "-N", f"n{number}")

    def revive(self, number: int) -> None:
        """Start the daemon of a node that was killed; return once jobs run there again."""
        self.start_node(number)
        self.until(lambda: self.call("srun", "-n", "1", "-w", f"n{number}", "hostname", seconds=20))

    def pid(self, name: str) -> int:
        """Of a daemon: slurmctld, slurmd.n1."""
        return int((self.place / f"{name}.pid").read_text())

    def signal(self, name: str, number: int) -> None:
        """Signal a daemon; one that is killed is waited for."""
        process = psutil.Process(self.pid(name))
        process.send_signal(number)
        if number == signal.SIGKILL:
            process.wait(PATIENCE)

    def until(self, condition: Callable[[], Any], seconds: float = PATIENCE) -> None:
        deadline = time.monotonic() + seconds
        while True:
            with contextlib.suppress(AssertionError, subprocess.TimeoutExpired):
                if condition():
                    return
            assert time.monotonic() < deadline, (self.place / "slurmctld.log").read_text()[-2000:]
            time.sleep(0.05)  # there is no event of Slurm to wait for

    def jobs(self) -> list[tuple[str, str, str]]:
        """Those that wait or run: id, state, name."""
        printed = self.call("squeue", "-h", "-r", "-o", "%i|%T|%j")
        return [(one.split("|")[0], one.split("|")[1], one.split("|")[2]) for one in printed.splitlines()]

    def failed(self) -> list[str]:
        """The names of jobs that have failed."""
        return self.call("squeue", "-h", "-t", "FAILED", "-o", "%j").split()

    def node_of(self, job: str) -> int:
        """The number of the node on which a job runs."""
        return int(self.call("squeue", "-h", "-j", job, "-o", "%N").strip().removeprefix("n"))

    @contextlib.contextmanager
    def ended(self, job: str, cause: str) -> Iterator[None]:
        """Have something else end a job: one of `CAUSES`."""
        node = self.node_of(job)
        if cause == "cancelled":
            self.call("scancel", job)
        elif cause == "preempted":
            self.call("sbatch", "-p", "other", "-w", f"n{node}", "--exclusive", "-o", "/dev/null", "--wrap", "true")
        else:
            self.call("scontrol", "update", f"NodeName=n{node}", "State=DOWN", "Reason=tests")
        yield
        if cause == "failed":
            with contextlib.suppress(AssertionError):  # it may have come back by itself
                self.call("scontrol", "update", f"NodeName=n{node}", "State=RESUME")
            self.until(lambda: "down" not in self.call("sinfo", "-h", "-n", f"n{node}", "-o", "%T"))

    def stop(self) -> None:
        """End all jobs and all daemons; remove what they wrote."""
        with contextlib.suppress(Exception):
            self.call("scancel", f"--user={getpass.getuser()}", seconds=10)
            self.until(lambda: not self.jobs(), seconds=20)
        killed = []
        for path in self.place.glob("*.pid"):
            with contextlib.suppress(psutil.Error, ValueError, OSError):
                killed.append(psutil.Process(int(path.read_text())))
                killed[-1].kill()
        psutil.wait_procs(killed, PATIENCE)
        shutil.rmtree(self.place, ignore_errors=True)


@contextlib.contextmanager
def cluster() -> Iterator[Slurm]:
    need_slurm()
    slurm = Slurm()
    try:
        slurm.start()
        yield slurm
    finally:
        slurm.stop()


class Site:
    """A server with a pool of a cluster."""

    def __init__(self, slurm: Slurm, place: Path, port: int, **settings: Any) -> None:
        self.slurm, self.place, self.state = slurm, place, place / "state"
        pool = {
            "executor": "slurm",
            "shared": str(place / "shared"),
            "time": "10m",
            "cores": 4,
            "most": 4,
            "shared_is_local": True,
        }
        pool |= settings
        name = pool.pop("name", POOL)
        self.config = place / "daggy.json"
        self.config.write_text(
            json.dumps({"agents": {"ip": "127.0.0.1", "port": port}, "pools": {name: {"idle": "10s", **pool}}})
        )

    @contextlib.contextmanager
    def serving(self, *arguments: str) -> Iterator[Server]:
        found: Any = self.variables
        with serving(self.state, "--config", str(self.config), *arguments, **found) as server:
            yield server

    @property
    def variables(self) -> dict[str, str]:
        return {name: self.slurm.environment[name] for name in ("SLURM_CONF", "PATH")}

    def jobs(self, state: str = "") -> list[str]:
        """Ids of this pool's jobs, or of those in a state."""
        return [job for job, found, name in self.slurm.jobs() if self.instance in name and state in ("", found)]

    @property
    def instance(self) -> str:
        """What the names of all jobs of its server have in common."""
        return (self.state / "instance").read_text().split()[0]


@contextlib.contextmanager
def site(slurm: Slurm, place: Path, **settings: Any) -> Iterator[Site]:
    """Make a site; its jobs are cancelled at the end."""
    made = Site(slurm, place, _free_ports(1), **settings)
    try:
        yield made
    finally:
        with contextlib.suppress(Exception):
            if jobs := made.jobs():
                slurm.call("scancel", *jobs)
        with contextlib.suppress(Exception):
            slurm.until(lambda: not made.jobs(), seconds=30)


def nodes(server: Server) -> list[dict[str, Any]]:
    """The nodes that a server lists."""
    return list(server.get("/nodes")["items"])


def lines(path: Path) -> Sequence[str]:
    """The lines of a file that tasks append to."""
    return path.read_text().splitlines() if path.exists() else []


def runs_again(one: Site, cause: str) -> None:
    """Run a task whose job is ended by something else: it was lost, and the next attempt completes."""
    gate, ran = one.place / "gate", one.place / "ran"
    with one.serving() as server:
        run = server.submit({"a": shell(f"echo >> {ran}; [ -e {gate} ] || exec sleep 1000")})
        server.until(lambda: lines(ran))
        gate.touch()
        (job,) = one.jobs("RUNNING")
        with one.slurm.ended(job, cause):
            assert server.ended(run)["state"] == "completed"
        attempts = server.get(f"/runs/{run}/tasks/0")["attempts"]
        assert [attempt["reason"] for attempt in attempts] == ["lost", "ok"]
        assert "Slurm job" in attempts[0]["message"]
