"""Every odd child that a task can be, run by the fork executor as real processes."""

from __future__ import annotations

import os
import signal
import time
from functools import partial
from pathlib import Path

import pytest
import trio

from daggy.executor import ANSWER, LINKED, STOPPED, Kill, Kind, Reason, Recall, Request, Stop
from daggy_fork import ForkExecutor, ForkSettings
from tests.integration.fork_rig import DEADLINE, Rig, alive, appears, becomes, gone, python, rig, site


@pytest.mark.trio
@pytest.mark.parametrize("durable", [False, True])
async def test_output_status_and_times_of_a_plain_command(tmp_path: Path, durable: bool) -> None:
    async with rig(tmp_path, durable=durable) as at_work:
        before = time.time()
        row = await at_work.run("sh", "-c", "echo out; echo err >&2; exit 3")
        assert (row["reason"], row["code"]) == (Reason.EXIT, 3)
        assert before <= row["started"] <= row["ended"] <= time.time()
        assert row["rss_kb"] > 0
        assert await at_work.output(0) == b"out\n"
        assert await at_work.output(0, "stderr") == b"err\n"
        assert row["launcher"] == 1


@pytest.mark.trio
async def test_error_text_on_stderr_is_no_failure(tmp_path: Path) -> None:
    async with rig(tmp_path) as at_work:
        row = await at_work.run("sh", "-c", "echo 'ERROR: fatal' >&2")
        assert row["reason"] == Reason.OK
        assert row["stderr"] == 13


@pytest.mark.trio
@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["no-such-program", "x"], ["no such file: 'no-such-program'", "PATH="]),
        (["./missing"], ["no such file: './missing'"]),
        (["./plain"], ["not executable: './plain'"]),
        (["./script"], ["interpreter"]),
        (["./text"], ["#!"]),
        ([""], ["empty command"]),
        ([], ["empty command"]),
        (["true", "a\0b"], ["null"]),
    ],
)
async def test_missing_binary_is_a_report_and_hangs_nothing(tmp_path: Path, argv: list[str], words: list[str]) -> None:
    (tmp_path / "plain").write_text("echo\n")
    for name, text in (("script", "#!/no/such/interpreter\n"), ("text", "echo hello\n")):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    async with rig(tmp_path) as at_work:
        row = await at_work.run(*argv)
        assert row["reason"] == Reason.SPAWN
        assert row["started"] == 0
        for word in words:
            assert word in at_work.messages[0]
        assert (await at_work.run("true", index=1))["reason"] == Reason.OK


@pytest.mark.trio
async def test_a_directory_that_does_not_exist(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    async with rig(tmp_path) as at_work:
        for index, (name, words) in enumerate([("gone", "no such directory"), ("file", "not a directory")]):
            row = await at_work.run("true", index=index, directory=tmp_path / name)
            assert row["reason"] == Reason.SPAWN
            assert at_work.messages[index] == f"{words}: '{tmp_path / name}'"


@pytest.mark.trio
async def test_programs_are_found_on_the_tasks_own_path_and_in_its_directory(tmp_path: Path) -> None:
    (tmp_path / "bin" / "tool").mkdir(parents=True)  # a directory of that name is not the program
    (tmp_path / "other").mkdir()
    tool = tmp_path / "other" / "tool"
    tool.write_text("#!/bin/sh\necho found $PWD\n")
    tool.chmod(0o755)
    async with rig(tmp_path) as at_work:
        for index, (argv, path) in enumerate([("tool", f"{tmp_path}/bin:other:/bin"), ("./other/tool", "/bin")]):
            assert (await at_work.run(argv, index=index, environment={"PATH": path}))["reason"] == Reason.OK
            assert await at_work.output(index) == f"found {tmp_path}\n".encode()


@pytest.mark.trio
async def test_environment_is_inherited_overlaid_and_unset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OUTER", "1")
    monkeypatch.setenv("UNSET", "1")
    monkeypatch.setenv("DAGGY_TOKEN", "secret")
    async with rig(tmp_path, environment={"POOL": "p", "BOTH": "pool"}) as at_work:
        await at_work.run("env", environment={"UNSET": None, "BOTH": "task", "DAGGY_TASK": "a.X:1"}, index=5)
        lines = (await at_work.output(5)).decode().splitlines()
        assert {"OUTER=1", "POOL=p", "BOTH=task", "DAGGY_TASK=a.X:1", "DAGGY_RUN_ID=7", "DAGGY_TASK_INDEX=5"} <= {
            *lines
        }
        assert "DAGGY_ATTEMPT=1" in lines
        assert f"DAGGY_TICKET={site(tmp_path, durable=False).instance}:7.1.5.1.1" in lines
        assert not [line for line in lines if line.startswith(("UNSET", "DAGGY_TOKEN", "DAGGY_GENERATE"))]


@pytest.mark.trio
async def test_a_pool_may_refuse_to_inherit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OUTER", "1")
    async with rig(tmp_path, inherit=False) as at_work:
        await at_work.run("env")
        names = {line.partition(b"=")[0] for line in (await at_work.output(0)).splitlines()}
        assert names == {
            b"PATH",
            *(b"DAGGY_" + name for name in (b"RUN_ID", b"TASK_INDEX", b"ATTEMPT", b"TICKET", b"NOTE")),
        }


@pytest.mark.trio
async def test_standard_input_is_the_string_or_empty(tmp_path: Path) -> None:
    async with rig(tmp_path) as at_work:
        text = "größer\n" * 100_000
        await at_work.run("cat", stdin=text)
        assert await at_work.output(0) == text.encode()
        assert (await at_work.run("cat", index=1))["stdout"] == 0


@pytest.mark.trio
async def test_children_have_default_signals_and_no_descriptors_of_ours(tmp_path: Path) -> None:
    async with rig(tmp_path) as at_work:
        await at_work.run(
            "sh",
            "-c",
            "grep -E 'Sig(Blk|Ign)' /proc/self/status; ls /proc/self/fd; cut -d' ' -f6 /proc/self/stat; echo $$",
        )
        words = (await at_work.output(0)).decode().split()
        assert int(words[1], 16) == 0
        assert int(words[3], 16) & (1 << 31) - 1 == 0  # the C library keeps 32 and 33 for itself
        assert words[4:8] == ["0", "1", "2", "3"]  # 3 is the directory that ls reads
        assert words[-1] == words[-2]


@pytest.mark.trio
async def test_a_child_that_closes_its_streams(tmp_path: Path) -> None:
    async with rig(tmp_path) as at_work:
        row = await at_work.run("sh", "-c", "echo before; exec >&- 2>&- <&-; exit 4")
        assert (row["reason"], row["code"]) == (Reason.EXIT, 4)
        assert await at_work.output(0) == b"before\n"


@pytest.mark.trio
async def test_a_grandchild_that_keeps_writing_lives_on_and_is_not_heard(tmp_path: Path) -> None:
    """The attempt ends with its own process; nobody else's output is touched by what it left behind."""
    loop = f"while :; do echo noise; echo noise >&2; done & echo $! > {tmp_path}/pid; echo mine"
    async with rig(tmp_path, workers=1) as at_work:
        await at_work.run("sh", "-c", loop)
        pid = int(await appears(tmp_path / "pid"))
        try:
            for index in range(1, 40):
                await at_work.run("sh", "-c", f"echo {index}", index=index, width=1)
                assert await at_work.output(index) == b"%d\n" % index
                assert at_work.finished[index]["stderr"] == 0
            assert b"mine\n" in await at_work.output(0)
            assert alive(pid)
        finally:
            os.kill(pid, signal.SIGKILL)


@pytest.mark.trio
async def test_outputs_of_many_tasks_never_mix(tmp_path: Path) -> None:
    async with rig(tmp_path, durable=True) as at_work:
        script = (
            "echo out $DAGGY_TASK_INDEX; test $((DAGGY_TASK_INDEX % 3)) = 0 || echo err $DAGGY_TASK_INDEX > /dev/stderr"
        )
        at_work.launch(*(at_work.task("sh", "-c", script, index=index) for index in range(200)))
        await at_work.until(lambda: len(at_work.finished) == 200)
        for index in range(200):
            assert await at_work.output(index) == b"out %d\n" % index
            assert await at_work.output(index, "stderr") == (b"" if index % 3 == 0 else b"err %d\n" % index)


@pytest.mark.trio
async def test_grandchildren_do_not_survive_a_kill_even_outside_the_session(tmp_path: Path) -> None:
    code = f"""
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        open({str(tmp_path / "pid")!r}, 'w').write(f'{{os.getpid()}}\\n')
        time.sleep(1000)
    os._exit(0)
time.sleep(1000)
"""
    async with rig(tmp_path) as at_work:
        at_work.launch(at_work.task(*python(code)))
        pid = int(await appears(tmp_path / "pid"))
        at_work.send.send_nowait(Kill([at_work.ticket(0)], "enough"))
        await at_work.until(lambda: 0 in at_work.finished)
        assert at_work.finished[0]["reason"] == Reason.KILLED
        assert at_work.messages[0] == "enough"
        await gone(pid)


@pytest.mark.trio
async def test_a_timed_out_process_that_ignores_term_is_not_left_alive(tmp_path: Path) -> None:
    script = f"trap '' TERM; echo $$ > {tmp_path}/pid; while :; do sleep 0.01; done"
    async with rig(tmp_path) as at_work:
        row = await at_work.run("sh", "-c", script, timeout=0.3, grace=0.2)
        assert (row["reason"], row["code"]) == (Reason.TIMEOUT, -signal.SIGKILL)
        assert row["ended"] - row["started"] >= 0.5
        assert "0.3 s" in at_work.messages[0]
        assert not alive(int((tmp_path / "pid").read_text()))


@pytest.mark.trio
async def test_what_a_killed_task_leaves_has_its_grace_too(tmp_path: Path) -> None:
    """Its own process ends at TERM; the one behind it is still writing down what it has."""
    save = f"sleep 0.5; echo saved > {tmp_path}/saved; exit"
    slow = f"trap '{save}' TERM; echo ready > {tmp_path}/ready; while :; do sleep 0.01; done"
    async with rig(tmp_path) as at_work:
        at_work.launch(
            at_work.task("sh", "-c", f"(sleep 0.1; {slow}) & trap 'exit 0' TERM; while :; do sleep 0.01; done")
        )
        await appears(tmp_path / "ready")
        at_work.send.send_nowait(Kill([at_work.ticket(0)]))
        await at_work.until(lambda: 0 in at_work.finished)
        assert (tmp_path / "saved").read_text() == "saved\n"


@pytest.mark.trio
async def test_exit_after_term_counts_as_killed_whatever_the_status(tmp_path: Path) -> None:
    script = f"trap 'exit 0' TERM; echo ready > {tmp_path}/ready; while :; do sleep 0.01; done"
    async with rig(tmp_path) as at_work:
        at_work.launch(at_work.task("sh", "-c", script))
        await appears(tmp_path / "ready")
        at_work.send.send_nowait(Kill([at_work.ticket(0)], "by a user"))
        await at_work.until(lambda: 0 in at_work.finished)
        row = at_work.finished[0]
        assert (row["reason"], row["code"], row["flags"]) == (Reason.KILLED, 0, 0)


@pytest.mark.trio
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGPIPE, signal.SIGXFSZ, signal.SIGTERM])
async def test_a_child_that_dies_of_a_signal(tmp_path: Path, number: signal.Signals) -> None:
    async with rig(tmp_path) as at_work:
        row = await at_work.run("sh", "-c", f"kill -{number.value} $$")
        assert (row["reason"], row["code"]) == (Reason.SIGNAL, -number)


@pytest.mark.trio
async def test_a_child_that_stops_itself_can_be_killed(tmp_path: Path) -> None:
    async with rig(tmp_path) as at_work:
        row = await at_work.run("sh", "-c", "kill -STOP $$", timeout=0.3, grace=10)
        assert (row["reason"], row["code"]) == (Reason.TIMEOUT, -signal.SIGTERM)
        assert row["ended"] - row["started"] < 8


@pytest.mark.trio
async def test_a_zombies_parent(tmp_path: Path) -> None:
    code = "import os, time\nfor _ in range(3):\n  if os.fork() == 0: os._exit(1)\ntime.sleep(0.1)"
    async with rig(tmp_path) as at_work:
        assert (await at_work.run(*python(code)))["reason"] == Reason.OK
        told = f"open({str(tmp_path / 'z')!r}, 'w').write('z\\n')"
        code = f"import os, time\nif os.fork() == 0: os._exit(1)\n{told}\ntime.sleep(100)"
        at_work.launch(at_work.task(*python(code), index=1))
        await appears(tmp_path / "z")
        at_work.send.send_nowait(Kill([at_work.ticket(1)]))
        await at_work.until(lambda: 1 in at_work.finished)


@pytest.mark.trio
async def test_a_gigabyte_of_output_is_not_copied(tmp_path: Path) -> None:
    async with rig(tmp_path) as at_work:
        row = await at_work.run("sh", "-c", "head -c 1000000000 /dev/zero; echo end >&2")
        assert row["stdout"] == 1_000_000_000
        assert row["flags"] & LINKED
        read = at_work.executor.read_log
        assert await read(7, 1, row, "stdout", 999_999_990, 100) == bytes(10)
        assert await at_work.output(0, "stderr") == b"end\n"
        assert (await at_work.run("true", index=1))["reason"] == Reason.OK


@pytest.mark.trio
async def test_output_that_is_no_text_comes_back_as_it_was(tmp_path: Path) -> None:
    every = r"for i in range(256): sys.stdout.buffer.write(bytes([i]) * 300)"
    async with rig(tmp_path) as at_work:
        await at_work.run(*python(f"import sys\n{every}"))
        assert await at_work.output(0) == b"".join(bytes([i]) * 300 for i in range(256))


@pytest.mark.trio
async def test_output_beyond_the_pools_limit_ends_the_attempt(tmp_path: Path) -> None:
    async with rig(tmp_path, output_bytes=100_000) as at_work:
        row = await at_work.run("yes")
        assert row["reason"] == Reason.OUTPUT
        assert "100000 bytes" in at_work.messages[0]
        assert row["stdout"] == len(await at_work.output(0)) == 100_000
        row = await at_work.run("head", "-c", "100001", "/dev/zero", index=1)
        assert (row["reason"], row["stdout"]) == (Reason.OUTPUT, 100_000)
        row = await at_work.run("head", "-c", "100000", "/dev/zero", index=2)
        assert (row["reason"], row["stdout"]) == (Reason.OK, 100_000)


@pytest.mark.trio
@pytest.mark.parametrize(("out", "err"), [(10, 90_000), (90_000, 10), (50_000, 50_000), (60_000, 60_000)])
async def test_each_stream_keeps_what_the_other_leaves_of_the_limit(tmp_path: Path, out: int, err: int) -> None:
    async with rig(tmp_path, output_bytes=1000) as at_work:
        row = await at_work.run("sh", "-c", f"head -c {out} /dev/zero; head -c {err} /dev/zero >&2")
        assert row["reason"] == Reason.OUTPUT
        assert row["stdout"] + row["stderr"] == 1000
        assert min(row["stdout"], row["stderr"]) == min(out, err, 500)
        assert len(await at_work.output(0)) == row["stdout"]
        assert len(await at_work.output(0, "stderr")) == row["stderr"]


@pytest.mark.trio
async def test_output_is_cut_while_a_task_refuses_to_end(tmp_path: Path) -> None:
    stubborn = (
        "import os, signal, sys, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "sys.stdout.write('x' * 200_000)\n"
        "sys.stdout.flush()\n"
        "while os.fstat(1).st_size > 100_000: time.sleep(0.01)\n"
    )
    async with rig(tmp_path, output_bytes=100_000) as at_work:
        row = await at_work.run(*python(stubborn), grace=60.0)
        assert (row["reason"], row["code"], row["stdout"]) == (Reason.OUTPUT, 0, 100_000)


@pytest.mark.trio
async def test_long_arguments_and_environments(tmp_path: Path) -> None:
    async with rig(tmp_path) as at_work:
        await at_work.run("printf", "%s", "x" * 100_000)
        assert await at_work.output(0) == b"x" * 100_000
        big: dict[str, str | None] = {f"V{i}": "y" * 10_000 for i in range(100)}
        row = await at_work.run("sh", "-c", 'printf %s "$V99"', index=1, environment=big)
        assert row["stdout"] == 10_000
        row = await at_work.run("true", "z" * 300_000, index=2)
        assert row["reason"] == Reason.SPAWN
        assert "too long" in at_work.messages[2]


@pytest.mark.trio
async def test_output_can_be_read_while_the_task_runs(tmp_path: Path) -> None:
    script = f"echo so far; echo told > {tmp_path}/told; while ! test -e {tmp_path}/go; do sleep 0.01; done; echo end"
    async with rig(tmp_path) as at_work:
        at_work.launch(at_work.task("sh", "-c", script))
        await appears(tmp_path / "told")
        await at_work.until(lambda: 0 in at_work.started)
        assert await at_work.output(0) == b"so far\n"
        (tmp_path / "go").write_text("")
        await at_work.until(lambda: 0 in at_work.finished)
        assert await at_work.output(0) == b"so far\nend\n"


@pytest.mark.trio
async def test_output_of_a_long_task_gets_names_and_a_pack_in_the_end(tmp_path: Path) -> None:
    packs = tmp_path / "runs" / "7" / "packs"
    script = f"echo so far; while ! test -e {tmp_path}/go; do sleep 0.01; done; echo end"
    async with rig(tmp_path) as at_work:
        at_work.launch(at_work.task("sh", "-c", script))
        await becomes(lambda: list(packs.glob("*.stdout")))
        assert [path.read_bytes() for path in packs.glob("*.stdout")] == [b"so far\n"]
        (tmp_path / "go").write_text("")
        await at_work.until(lambda: 0 in at_work.finished)
        assert not at_work.finished[0]["flags"]
        assert await at_work.output(0) == b"so far\nend\n"
        assert [path.name for path in packs.iterdir()] == [f"1.{at_work.finished[0]['pack']}"]


@pytest.mark.trio
async def test_output_that_was_there_before_is_neither_given_out_nor_removed(tmp_path: Path) -> None:
    packs = tmp_path / "runs" / "7" / "packs"
    packs.mkdir(parents=True)
    old = [packs / f"1.{number}{end}" for number in range(1, 9) for end in ("", ".stdout", ".stderr")]
    for path in old:
        path.write_text("old")
    script = f"echo so far; while ! test -e {tmp_path}/go; do sleep 0.01; done"
    async with rig(tmp_path) as at_work:
        at_work.launch(at_work.task("sh", "-c", script))
        await becomes(lambda: len(list(packs.iterdir())) > len(old))
        (tmp_path / "go").write_text("")
        await at_work.until(lambda: 0 in at_work.finished)
        row = await at_work.run("sh", "-c", "head -c 2000000 /dev/zero", index=1)
        assert row["flags"] & LINKED
        assert await at_work.output(0) == b"so far\n"
        assert await at_work.output(1) == bytes(2000000)
    assert {path.read_text() for path in old} == {"old"}


@pytest.mark.trio
async def test_a_damaged_pack_says_so_and_a_lost_one_too(tmp_path: Path) -> None:
    async with rig(tmp_path) as at_work:
        row = await at_work.run("echo", "hello")
        pack = tmp_path / "runs" / "7" / "packs" / f"1.{row['pack']}"
        pack.write_bytes(b"jello\n")
        with pytest.raises(ValueError, match="damaged"):
            await at_work.output(0)
        pack.unlink()
        with pytest.raises(FileNotFoundError):
            await at_work.output(0)


@pytest.mark.trio
async def test_a_generator_answers_in_a_file_or_on_standard_output(tmp_path: Path) -> None:
    async with rig(tmp_path) as at_work:
        row = await at_work.run("sh", "-c", 'echo log; echo {} > "$DAGGY_GENERATE"', generator=True)
        assert row["flags"] & ANSWER
        assert await at_work.output(0, "answer") == b"{}\n"
        assert await at_work.output(0) == b"log\n"
        row = await at_work.run("echo", "{1}", generator=True, index=1)
        assert not row["flags"] & ANSWER
        assert await at_work.output(1, "answer") == b"{1}\n"


@pytest.mark.trio
@pytest.mark.parametrize("odd", ["mkfifo $DAGGY_GENERATE", "mkdir $DAGGY_GENERATE", "ln -s / $DAGGY_GENERATE"])
async def test_an_answer_that_is_no_file_holds_nothing_up(tmp_path: Path, odd: str) -> None:
    async with rig(tmp_path) as at_work:
        row = await at_work.run("sh", "-c", odd, generator=True)
        assert row["flags"] & ANSWER
        with pytest.raises(ValueError, match="is no file"):
            await at_work.output(0, "answer")
        assert (await at_work.run("true", index=1))["reason"] == Reason.OK


@pytest.mark.trio
async def test_lanes_keep_their_order_and_their_width(tmp_path: Path) -> None:
    script = f"echo start >> {tmp_path}/log; sleep 0.02; echo end >> {tmp_path}/log"
    async with rig(tmp_path) as at_work:
        at_work.launch(*(at_work.task("sh", "-c", script, index=index) for index in range(60)), width=3)
        await at_work.until(lambda: len(at_work.finished) == 60)
    running = most = 0
    for line in (tmp_path / "log").read_text().split():
        running += 1 if line == "start" else -1
        most = max(most, running)
    assert most == 3


@pytest.mark.trio
async def test_a_kill_is_not_queued_behind_work_and_waiting_tasks_come_back(tmp_path: Path) -> None:
    async with rig(tmp_path) as at_work:
        at_work.launch(*(at_work.task("sleep", "1000", index=index) for index in range(50)), width=2)
        await at_work.until(lambda: {0, 1} <= {*at_work.started})
        at_work.send.send_nowait(Recall([at_work.ticket(index) for index in (0, 10, 49)]))
        await at_work.until(lambda: {*at_work.recalled} == {10, 49})
        at_work.send.send_nowait(Kill([at_work.ticket(index) for index in range(50)]))
        await at_work.until(lambda: len(at_work.recalled) == 48)
        await at_work.until(lambda: {*at_work.finished} == {0, 1})
        assert sorted(at_work.recalled) == list(range(2, 50))


@pytest.mark.trio
async def test_stop_gives_back_what_waits_and_says_that_daggy_stopped(tmp_path: Path) -> None:
    executor = ForkExecutor(ForkSettings(workers=2), site(tmp_path, durable=False))
    send, receive = trio.open_memory_channel[Request](100)
    at_work = Rig(executor, tmp_path, send)
    with trio.fail_after(DEADLINE):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(executor.run, receive, at_work.report, lambda: None)
            trapped = f"trap '' TERM; echo $$ > {tmp_path}/pid; while :; do sleep 0.01; done"
            at_work.launch(at_work.task("sh", "-c", trapped, grace=100), width=1)
            at_work.launch(at_work.task("true", index=1), width=1)
            await appears(tmp_path / "pid")
            send.send_nowait(Stop())
            await at_work.until(lambda: at_work.recalled == [1])
            send.send_nowait(Stop(immediate=True))
    row = at_work.finished[0]
    assert (row["reason"], row["flags"] & STOPPED) == (Reason.KILLED, STOPPED)
    assert at_work.messages[0] == "daggy stopped"


@pytest.mark.trio
async def test_swift_tasks_are_reported_once_and_slow_ones_when_they_start(tmp_path: Path) -> None:
    async with rig(tmp_path) as at_work:
        await at_work.run("true")
        assert at_work.sequence == [(Kind.FINISHED, 0)]
        await at_work.run("sleep", "0.3", index=1)
        assert at_work.sequence[1:] == [(Kind.STARTED, 1), (Kind.FINISHED, 1)]


@pytest.mark.trio
async def test_tasks_do_not_wait_behind_long_ones_while_a_launcher_is_idle(tmp_path: Path) -> None:
    """After many short tasks some that only end once all of them run, wherever they were sent first."""
    meet = "echo > here.$DAGGY_TASK_INDEX; while test $(ls here.* | wc -l) -lt $0; do sleep 0.01; done"
    async with rig(tmp_path) as at_work:
        for start, meeting in ((0, 4), (1000, 8), (2000, 12)):
            quick = [at_work.task("true", index=index) for index in range(start, start + 100)]
            slow = [at_work.task("sh", "-c", meet, str(meeting), index=start + 100 + number) for number in range(4)]
            at_work.launch(*quick)
            at_work.launch(*slow)
            await at_work.until(partial(lambda count: len(at_work.finished) == count, 26 * meeting))
            await at_work.run("true", index=start + 500)
            del at_work.finished[start + 500]
        assert {int(row["reason"]) for row in at_work.finished.values()} == {Reason.OK}
        assert len(at_work.finished) == 312
