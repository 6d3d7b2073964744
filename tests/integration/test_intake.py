"""Large specs are read in a process of their own: what comes back, what goes wrong, and that the loop goes on."""

import gc
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import trio
import trio.testing

from daggy.engine.configuration import Limits
from daggy.engine.directory import StateDirectory
from daggy.engine.engine import Engine
from daggy.engine.intake import reading
from daggy.engine.intake.reading import COMMAND, Accepted, Intake
from daggy.errors import InternalError, SpecError, TooLargeError, UnavailableError
from daggy.plan import plan
from daggy.spec import parse
from daggy.spec.packed import PackedTemplates
from daggy.testing.noop import NoopExecutor, NoopSettings
from daggy_sqlite import SqliteTracker

Json = dict[str, Any]
DEADLINE = 60
Children = Callable[[], list[psutil.Process]]


def living() -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if child.status() != psutil.STATUS_ZOMBIE]


@pytest.fixture
def children() -> Children:
    """Returns the living children of this process; not those that were there before the test, as launchers linger."""
    before = living()
    return lambda: [child for child in living() if child not in before]


def document(count: int = 5000, **rest: Any) -> bytes:
    """A spec of some hand-written tasks, a layer of a hundred waiting for the one above, and a template."""
    tasks: Json = {
        f"t{number}": {
            "details": {"command": ["echo", str(number)]},
            "parents": [f"t{number - 100}"] if number >= 100 else [],
        }
        for number in range(count)
    }
    tasks["each"] = {"details": {"shell": "echo {{ N }}"}, "parents": ["t1"]}
    values = {"N": [f"value-{number}" for number in range(count)]}
    return json.dumps({"directory": "/", "name": "n", "parameters": values, "tasks": tasks, **rest}).encode()


@pytest.fixture(autouse=True)
def _everything_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "IN_THREAD", 0)


def as_here(found: Accepted, raw: bytes) -> bool:
    spec = parse(raw, directory=None)
    made = plan(spec)
    assert found.raw == raw
    assert (found.plan.digest, found.plan.size) == (made.digest, made.size)
    assert found.plan.spec is found.spec
    return found.spec == spec


@pytest.mark.trio
async def test_a_spec_is_read_in_a_process_as_it_is_here(tmp_path: Path, children: Children) -> None:
    raw = document()
    path = tmp_path / "body"
    path.write_bytes(raw)
    with trio.fail_after(DEADLINE):
        from_memory, from_file = await Intake().read(raw), await Intake().read(path)
    assert isinstance(from_memory.plan.blocks[0].templates, PackedTemplates)
    assert as_here(from_memory, raw)
    assert as_here(from_file, raw)
    assert children() == []


@pytest.mark.trio
@pytest.mark.parametrize("limit", [0, 1 << 30])
async def test_small_specs_are_read_without_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, limit: int) -> None:
    monkeypatch.setattr(reading, "IN_THREAD", 1 << 30)
    monkeypatch.setattr(reading, "AT_ONCE", limit)
    raw = document(10)
    path = tmp_path / "body"
    path.write_bytes(raw)
    nobody = Intake(command=("/nowhere",))
    assert as_here(await nobody.read(raw), raw)
    assert as_here(await nobody.read(path), raw)
    rest, found = await nobody.read_member(b'{"resume": true, "spec": ' + raw + b"}", "spec")
    assert (rest, found is not None and as_here(found, raw)) == (b'{"resume":true}', True)
    assert await nobody.read_member(b'{"resume": true}', "spec") == (b'{"resume":true}', None)


@pytest.mark.trio
async def test_a_member_is_read_and_the_rest_comes_back(tmp_path: Path) -> None:
    raw = document(50)
    path = tmp_path / "body"
    path.write_bytes(b'{"resume": true, "spec": ' + raw + b', "requeue": {"state": "errored"}}')
    rest, found = await Intake().read_member(path, "spec")
    assert json.loads(rest) == {"resume": True, "requeue": {"state": "errored"}}
    assert found is not None
    assert as_here(found, raw)


@pytest.mark.trio
async def test_a_member_may_not_be_there() -> None:
    assert await Intake().read_member(b'{"resume": true}', "spec") == (b'{"resume":true}', None)


@pytest.mark.trio
@pytest.mark.parametrize("body", [b"[1]", b'{"spec": {}', b""])
async def test_what_is_no_object_comes_back_whole(body: bytes) -> None:
    assert await Intake().read_member(body, "spec") == (body, None)


@pytest.mark.trio
async def test_all_problems_come_back() -> None:
    wrong = document(10, unknown=1, tags={"a": 1})
    with pytest.raises(SpecError) as here:
        parse(wrong, directory=None)
    with pytest.raises(SpecError) as there:
        await Intake().read(wrong)
    assert there.value.problems == here.value.problems
    assert len(there.value.problems) > 1


@pytest.mark.trio
async def test_what_cannot_be_planned_is_told() -> None:
    tasks = {"a": {"details": {"shell": "x"}, "parents": ["b"]}}
    with pytest.raises(SpecError, match="no task named 'b'"):
        await Intake().read(json.dumps({"directory": "/", "tasks": tasks}).encode())


@pytest.mark.trio
async def test_more_tasks_than_are_accepted_are_refused() -> None:
    with pytest.raises(TooLargeError, match=r"comes to 20 tasks, and this server accepts 19; .*limits\.tasks"):
        await Intake(Limits(tasks=19)).read(document(10))
    with pytest.raises(TooLargeError):
        await Intake(Limits(tasks=19)).read_member(b'{"spec": ' + document(10) + b"}", "spec")


class Endless:
    """A process that reads nothing, ever; says its id when it has begun."""

    def __init__(self, path: Path) -> None:
        self._path = path / "begun"
        os.mkfifo(self._path)
        code = f"import os, time; open({str(self._path)!r}, 'w').write(str(os.getpid())); time.sleep(1000)"
        self.command = (sys.executable, "-c", code)

    async def begun(self) -> psutil.Process:
        with trio.fail_after(DEADLINE):
            return psutil.Process(int(await trio.to_thread.run_sync(self._path.read_text)))


@pytest.mark.trio
async def test_a_process_that_is_killed_is_told(tmp_path: Path, children: Children) -> None:
    endless = Endless(tmp_path)

    async def kill() -> None:
        (await endless.begun()).send_signal(signal.SIGKILL)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(kill)
        with pytest.raises(UnavailableError, match="was killed by SIGKILL; perhaps memory ran out"):
            await Intake(command=endless.command).read(document(5))
    assert children() == []


@pytest.mark.trio
@pytest.mark.parametrize(
    ("command", "told"),
    [
        ((sys.executable, "-c", "raise SystemExit(7)"), "ended with status 7, and submit it again"),
        (("/nowhere/python",), "no process can be started to read the spec: No such file"),
    ],
)
async def test_a_process_that_does_not_work_is_told(command: tuple[str, ...], told: str) -> None:
    with trio.fail_after(DEADLINE), pytest.raises(UnavailableError, match=told):
        await Intake(command=command).read(document(5))


@pytest.mark.trio
async def test_too_little_memory_is_told() -> None:
    full = "import daggy.engine.intake.worker as w; w.plan = lambda spec: bytes(1 << 60); w.main()"
    with trio.fail_after(DEADLINE), pytest.raises(UnavailableError, match="not enough memory"):
        await Intake(command=(*COMMAND[:3], full)).read(document(5))


@pytest.mark.trio
async def test_a_bug_is_told_and_asks_for_a_report(capfd: pytest.CaptureFixture[str]) -> None:
    broken = "import daggy.engine.intake.worker as w; w.plan = lambda spec: 1 / 0; w.main()"
    with trio.fail_after(DEADLINE), pytest.raises(InternalError, match="ZeroDivisionError: division by zero"):
        await Intake(command=(*COMMAND[:3], broken)).read(document(5))
    assert "Traceback" in capfd.readouterr().err


@pytest.mark.trio
async def test_the_process_ends_with_whoever_waits_for_it_and_the_next_one_has_its_turn(
    tmp_path: Path, children: Children
) -> None:
    endless = Endless(tmp_path)
    reader, done = Intake(command=endless.command), []

    async def read(number: int) -> None:
        done.append((await reader.read(document(number))).plan.size)

    with trio.fail_after(DEADLINE):
        async with trio.open_nursery() as others:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(read, 9)
                child = await endless.begun()
                reader.command = COMMAND
                for number in (4, 3, 2):
                    others.start_soon(read, number)
                    await trio.testing.wait_all_tasks_blocked()
                assert [child.pid] == [one.pid for one in children()]
                nursery.cancel_scope.cancel()
            assert not child.is_running()
    assert done == [8, 6, 4]
    assert children() == []


def test_the_process_leaves_when_its_server_has_gone(tmp_path: Path) -> None:
    read, write = os.pipe()
    code = f"import os, sys; from daggy.engine.intake import worker; os.write({write}, b'%d' % os.getpid()); "
    code += "sys.stdin.readline(); worker._leave_with_stdin()"
    child = psutil.Popen([sys.executable, "-c", code], stdin=-1, pass_fds=[write])
    assert os.read(read, 100) == str(child.pid).encode()
    assert child.stdin is not None
    child.stdin.write(b"{}\n")
    child.stdin.close()
    assert child.wait(DEADLINE) == 1
    os.close(read)
    os.close(write)


@pytest.fixture
def _collector() -> Iterator[None]:
    was = gc.isenabled()
    yield
    (gc.enable if was else gc.disable)()
    gc.unfreeze()


@pytest.mark.trio
@pytest.mark.usefixtures("_collector")
@pytest.mark.parametrize("on", [True, False])
async def test_the_collector_is_left_as_it_was(on: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MANY", 1)
    (gc.enable if on else gc.disable)()
    gc.unfreeze()
    await Intake().read(document(50))
    assert gc.isenabled() is on
    assert gc.get_freeze_count() > 0


@pytest.mark.trio
async def test_descriptors_and_memory_are_given_back() -> None:
    reader, process = Intake(), psutil.Process()
    await reader.read(document(50))
    gc.collect()
    before, maps = process.num_fds(), mapped()
    for _ in range(3):
        await reader.read(document(5000))
    assert process.num_fds() == before
    gc.collect()
    assert mapped() == maps


def mapped() -> int:
    return Path("/proc/self/maps").read_text().count("memfd:daggy-")


@asynccontextmanager
async def opened(directory: StateDirectory) -> AsyncIterator[Engine]:
    tracker = SqliteTracker(SqliteTracker.Settings(), directory.path)
    twin = SqliteTracker.open_readonly(SqliteTracker.Settings(), directory.path)
    make = {"default": lambda site: NoopExecutor(NoopSettings(), site)}
    engine = Engine(tracker, make, directory, twin=twin, follow=True)
    with trio.fail_after(DEADLINE):
        async with engine.open():
            await engine.runs.take_up()
            yield engine
    twin.close()
    tracker.close()


@pytest.mark.trio
async def test_a_run_that_was_read_apart_is_edited_and_read_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, children: Children
) -> None:
    monkeypatch.setattr("daggy.engine.archive.LARGE", 0)
    reader, raw = Intake(), document()
    edited = raw.replace(b'["echo", "150"]', b'["echo", "other"]').replace(b'"t4999"', b'"added"')
    with StateDirectory.open(tmp_path) as directory:
        async with opened(directory) as engine:
            accepted = await reader.read(raw)
            number = await engine.commands.submit(accepted.spec, accepted.raw, made=accepted.plan)
            await engine.runs.ended(number)
            accepted = await reader.read(edited)
            changes = await engine.commands.edit(number, accepted.spec, accepted.raw, made=accepted.plan)
            assert [(row.kept, row.added, row.removed, row.changed) for row in changes.rows()] == [
                (4998, 1, 1, 1),
                (5000, 0, 0, 0),
            ]
            await engine.runs.ended(number)
            run = engine.runs[number]
            wanted = run.frontier.attempt.tolist()
            assert sorted(run.plan.names(np.flatnonzero(run.frontier.attempt == 2)))[:3] == ["t1050", "t1150", "t1250"]
        async with opened(directory) as engine:
            run = await engine.runs.find(number)
            assert (run.version, run.counts()["completed"], run.plan.size) == (2, 10_000, 10_000)
            assert run.frontier.attempt.tolist() == wanted
            assert isinstance(run.plan.blocks[0].templates, PackedTemplates)
    assert children() == []
