"""`daggy run --dir` as a process that gets killed, and an oracle of what ran that knows nothing of Daggy's code."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from tests.integration.command_rig import PROGRAM

DEADLINE = 60.0
OK, KILLED, LOST = 0, 4, 9  # reasons, as they are stored
COMPLETED, QUEUED, ERRORED = 3, 1, 4  # outcomes

SAID = 'echo "{} $DAGGY_TASK_INDEX $DAGGY_ATTEMPT $DAGGY_TASK" >> "$ORACLE"'
ENGINE = "$(sed -n 's/^PPid:[^0-9]*//p' /proc/$PPID/status)"
"""In a task's shell: the process id of the engine; its launcher's is $PPID."""


def told(work: str = ":") -> dict[str, Any]:
    """Details of a task that writes down when it starts and, unless `work` fails, when it ends."""
    return {"shell": f"{SAID.format('start')}; {work} || exit; {SAID.format('end')}"}


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


class Rig:
    """A directory, its spec, and everything that was ever said of its tasks."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.log = path / "oracle"
        self.log.touch()
        self.database = path / "state" / "daggy.db"
        kept = {key: value for key, value in os.environ.items() if not key.startswith("DAGGY_")}
        self.environment = {**kept, "ORACLE": str(self.log), "NO_COLOR": "1"}
        self._started: list[subprocess.Popen[str]] = []

    def write(self, tasks: Mapping[str, Any], **more: Any) -> None:
        (self.path / "spec.json").write_text(json.dumps({"name": "oracle", "tasks": tasks, **more}))

    def start(self, *options: str) -> subprocess.Popen[str]:
        """Start `daggy run` and let it run."""
        process = subprocess.Popen(
            [*PROGRAM, "run", "--dir", "state", *options, "spec.json"],
            cwd=self.path,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._started.append(process)
        return process

    def run(self, *options: str) -> tuple[int, str]:
        """Run it to its end; return the exit code and what it said."""
        process = self.start(*options)
        _, said = process.communicate(timeout=DEADLINE)
        return process.returncode, said

    def end(self) -> None:
        for process in self._started:
            if process.poll() is None:
                process.kill()
            process.communicate()

    def lines(self) -> list[tuple[str, int, int, str]]:
        """What tasks said so far: start or end, index, attempt, name."""
        whole = self.log.read_text().rpartition("\n")[0].splitlines()
        return [(what, int(index), int(attempt), name) for what, index, attempt, name in map(str.split, whole)]

    def names(self, what: str = "start") -> list[str]:
        return [name for said, _, _, name in self.lines() if said == what]

    def until(self, condition: Callable[[], Any], process: subprocess.Popen[str] | None = None) -> None:
        """Look until it is so: other processes tell nobody."""
        deadline = time.monotonic() + DEADLINE
        while not condition():
            assert process is None or process.poll() is None, f"ended too early: {process.communicate()[1]}"
            assert time.monotonic() < deadline, "never happened"
            time.sleep(0.005)

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(f"file:{self.database}?mode=ro", uri=True)) as connection:
            return connection.execute(statement).fetchall()

    def attempts(self) -> list[tuple[int, int, int, int]]:
        """(index, attempt, reason, outcome) of every attempt that the database holds."""
        return self.query("SELECT task_index, attempt, reason, outcome FROM attempts ORDER BY id")

    def check(self, parents: Callable[[str], list[str]] = lambda _: []) -> None:
        """Nothing ran twice unnoticed, nothing before its parents, all that counts did run to its end."""
        lines, rows = self.lines(), self.attempts()
        starts = Counter((index, attempt) for what, index, attempt, _ in lines if what == "start")
        ends = {(index, attempt) for what, index, attempt, _ in lines if what == "end"}
        assert not [ticket for ticket, count in starts.items() if count > 1], "one ticket, one start"
        known = {(index, attempt): reason for index, attempt, reason, _ in rows}
        assert len(known) == len(rows), "one ticket, one end"
        assert set(starts) <= set(known), "a start of which nobody knows the end"
        done = Counter(index for (index, _), reason in known.items() if reason == OK)
        assert set(done) == {index for index, _ in starts}, "not all that started was completed"
        assert not [index for index, count in done.items() if count > 1], "what is completed is not run again"
        assert {ticket for ticket, reason in known.items() if reason == OK} <= ends
        ended: set[str] = set()
        for what, _, _, name in lines:
            if what == "end":
                ended.add(name)
            else:
                assert ended.issuperset(parents(name)), f"{name} began before its parents ended"


def launchers(engine: int) -> list[int]:
    """The process ids of an engine's launchers; none if it has gone."""
    try:
        listed = [(task / "children").read_text().split() for task in Path(f"/proc/{engine}/task").iterdir()]
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [int(pid) for pids in listed for pid in pids]


def kill(*pids: int) -> None:
    """SIGKILL; some may have gone by themselves."""
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


@contextmanager
def rig(path: Path) -> Iterator[Rig]:
    made = Rig(path)
    try:
        yield made
    finally:
        made.end()
