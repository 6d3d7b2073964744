"""What executors of real processes must do: outcomes, output, limits, kill, recall, stop."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from daggy.executor import (
    ANSWER,
    STOPPED,
    Executor,
    Kill,
    Kind,
    Launch,
    Reason,
    Recall,
    Rows,
    Site,
    Stop,
    Ticket,
    Work,
)
from daggy.testing.drive import Drive
from daggy.testing.entries import require

LONG = 600
"""Seconds that a task sleeps that is meant to be ended."""


class Bench(Protocol):
    """How to get an executor that runs, for one check."""

    @property
    def make(self) -> Callable[[Site], Executor]:
        """Make an executor."""

    @property
    def site(self) -> Site:
        """The site of the check."""

    @property
    def seconds(self) -> float:
        """How long anything may take."""

    def drive(self) -> AbstractAsyncContextManager[Drive]:
        """Make an executor, and run it."""


def shell(index: int, text: str, **others: Any) -> Launch:
    """Return a launch of `/bin/sh -c TEXT`."""
    return Launch(
        index, 1, ["/bin/sh", "-c", text], others.pop("environment", {}), others.pop("directory", "/"), **others
    )


async def _tells_how_it_ended(bench: Bench) -> None:
    async with bench.drive() as drive:
        launches = [
            shell(0, "exit 3"),
            shell(1, "echo complaint >&2"),
            shell(2, "kill -9 $$"),
            Launch(3, 1, ["daggy-no-such-program"], {}, "/"),
            Launch(4, 1, ["true"], {}, "/daggy/no/such/directory"),
        ]
        reports = await drive.until_ended(tickets := drive.launch(launches, width=2))
    expected = [(Reason.EXIT, 3), (Reason.OK, 0), (Reason.SIGNAL, -9), (Reason.SPAWN, None), (Reason.SPAWN, None)]
    for launch, report, (reason, code) in zip(launches, reports, expected, strict=True):
        row = report["row"]
        found = Reason(int(row["reason"]))
        require(found is reason, f"{launch.argv} in '{launch.directory}' must end with {reason.name}, not {found.name}")
        require(code is None or row["code"] == code, f"{launch.argv} must have code {code}, not {row['code']}")
    for ticket, report in zip(tickets[3:], reports[3:], strict=True):
        require(bool(drive.messages[ticket]), "an attempt that could not start must have a message that says why")
        require(report["row"]["started"] == 0, "an attempt that could not start must have started 0")


async def _keeps_output(bench: Bench) -> None:
    async with bench.drive() as drive:
        noisy = drive.launch([shell(0, r"printf 'one\ntwo'; printf '\377\000' >&2"), shell(1, "true")])
        silent = await drive.until_ended(noisy)
        row = silent[0]["row"]
        require((int(row["stdout"]), int(row["stderr"])) == (7, 2), "stdout and stderr must be counted in bytes")
        require(await drive.read(noisy[0], "stdout") == b"one\ntwo", "read_log must give standard output")
        require(await drive.read(noisy[0], "stderr") == b"\xff\0", "read_log must give standard error, byte for byte")
        require(await drive.read(noisy[0], "stdout", 2, 3) == b"e\nt", "read_log must give the range asked for")
        require(await drive.read(noisy[0], "stdout", 99, 3) == b"", "read_log beyond the end must give nothing")
        require(await drive.read(noisy[1], "stdout") == b"", "output of a silent task must be empty")
        big = drive.launch([shell(2, "head -c 3000000 /dev/zero")])
        await drive.until_ended(big)
        require(drive.ended[big[0]]["row"]["stdout"] == 3_000_000, "big outputs must be counted")
        require(await drive.read(big[0], "stdout", 2_999_990, 100) == bytes(10), "big outputs must be kept whole")


async def _sets_up_the_process(bench: Bench) -> None:
    names = "$DAGGY_RUN_ID $DAGGY_TASK_INDEX $DAGGY_ATTEMPT"
    async with bench.drive() as drive:
        environment = {"MARK": "a b", "DAGGY_TASK": "t", "HOME": None}
        launches = [
            shell(
                4,
                f'echo {names} "$DAGGY_TASK" "$MARK" "${{HOME-unset}}"; pwd',
                environment=environment,
                directory="/usr",
            ),
            shell(5, "cat", stdin="ä\n"),
            shell(6, "cat; echo end"),
            Launch(7, 1, ["true"], {"PATH": "/daggy/no/such/directory"}, "/"),
        ]
        tickets = drive.launch(launches)
        await drive.until_ended(tickets)
        told = await drive.read(tickets[0], "stdout")
        require(told == b"7 4 1 t a b unset\n/usr\n", f"environment and directory must be the task's, not {told!r}")
        require(await drive.read(tickets[1], "stdout") == "ä\n".encode(), "stdin must be the string given")
        require(await drive.read(tickets[2], "stdout") == b"end\n", "stdin must be empty unless given")
        found = drive.ended[tickets[3]]["row"]["reason"]
        require(found == Reason.SPAWN, "a program must be sought on the task's own PATH")


async def _ends_what_takes_too_long(bench: Bench) -> None:
    async with bench.drive() as drive:
        gentle = shell(0, f"sleep {LONG}", timeout=0.2)
        stubborn = shell(1, f"trap '' TERM; sleep {LONG} & wait; sleep {LONG}", timeout=0.2, grace=0.2)
        for report in await drive.until_ended(drive.launch([gentle, stubborn], width=2)):
            require(report["row"]["reason"] == Reason.TIMEOUT, "an attempt that took too long must end with TIMEOUT")


async def _kills(bench: Bench) -> None:
    async with bench.drive() as drive:
        first, polite, waiting = drive.launch(
            [shell(0, f"sleep {LONG}"), shell(1, f"trap 'exit 0' TERM; sleep {LONG} & wait"), shell(2, "true")], width=2
        )
        await drive.until_started(first)
        await drive.until_started(polite)
        drive.send(Kill([waiting, first, polite], "killed by a check"))
        for ticket, report in zip((first, polite), await drive.until_ended([first, polite]), strict=True):
            require(report["kind"] == Kind.FINISHED, "a running task that is killed must be FINISHED")
            require(
                report["row"]["reason"] == Reason.KILLED, "a killed task must have reason KILLED, whatever its exit"
            )
            require(drive.messages[ticket] == "killed by a check", "a killed task must have the message of the kill")
        report = (await drive.until_ended([waiting]))[0]
        require(report["kind"] == Kind.RECALLED, "a task that is killed before it started must be RECALLED")


async def _recalls(bench: Bench) -> None:
    async with bench.drive() as drive:
        running, *waiting, kept = drive.launch([shell(0, f"sleep {LONG}"), *(shell(n, "true") for n in (1, 2, 3))])
        await drive.until_started(running)
        drive.send(Recall([running, *waiting]))
        for report in await drive.until_ended(waiting):
            require(report["kind"] == Kind.RECALLED, "a waiting task that is recalled must be RECALLED")
        require(running not in drive.ended, "a running task must not be recalled")
        drive.send(Kill([running]))
        require((await drive.until_ended([kept]))[0]["kind"] == Kind.FINISHED, "what was not recalled must run")
        again = drive.launch([shell(1, "true")._replace(attempt=2)])
        require(
            (await drive.until_ended(again))[0]["kind"] == Kind.FINISHED, "a recalled task must run when sent again"
        )


async def _keeps_to_the_width(bench: Bench) -> None:
    async with bench.drive() as drive:
        one = drive.launch([shell(n, "sleep 0.02") for n in range(8)], lane=1, width=1)
        require(_most(await drive.until_ended(one)) == 1, "a lane of width 1 must run one task at once")
        started = [float(drive.ended[ticket]["row"]["started"]) for ticket in one]
        require(started == sorted(started), "tasks of a lane must start in order")
        two = drive.launch([shell(n, "sleep 0.02") for n in range(20, 26)], lane=1, width=2)
        require(_most(await drive.until_ended(two)) <= 2, "a lane of width 2 must run two tasks at once at most")
        left = drive.launch([shell(40, f"sleep {LONG}")], lane=2, width=1)
        right = drive.launch([shell(41, "true")], lane=3, width=1)
        await drive.until_ended(right)
        require(left[0] not in drive.ended, "a full lane must not hold up another")


def _most(reports: Iterable[Rows]) -> int:
    """Return how many of these attempts ran at once, at most."""
    moments = [(float(report["row"]["started"]), 1) for report in reports]
    moments += [(float(report["row"]["ended"]), -1) for report in reports]
    running = most = 0
    for _, step in sorted(moments):
        running += step
        most = max(most, running)
    return most


async def _stops(bench: Bench) -> None:
    async with bench.drive() as drive:
        running, waiting = drive.launch([shell(0, f"trap 'exit 0' TERM; sleep {LONG} & wait"), shell(1, "true")])
        await drive.until_started(running)
        drive.send(Stop())
        await drive.until_returned()
        _require_stopped(drive, running, waiting)


async def _stops_at_once(bench: Bench) -> None:
    async with bench.drive() as drive:
        stubborn = shell(0, f"trap '' TERM; while :; do sleep {LONG} & wait; done", grace=float(LONG))
        running, waiting = drive.launch([stubborn, shell(1, "true")])
        await drive.until_started(running)
        drive.send(Stop())
        await drive.until_ended([waiting])
        require(running not in drive.ended, "Stop must leave a task its grace")
        drive.send(Stop(immediate=True))
        await drive.until_returned()
        _require_stopped(drive, running, waiting)


def _require_stopped(drive: Drive, running: Ticket, waiting: Ticket) -> None:
    require(drive.ended[waiting]["kind"] == Kind.RECALLED, "Stop must recall what waits")
    row = drive.ended[running]["row"]
    require(row["reason"] == Reason.KILLED, "what Stop ends must have reason KILLED, whatever its exit")
    require(bool(row["flags"] & STOPPED), "what Stop ends must have the flag STOPPED")


async def _answers(bench: Bench) -> None:
    async with bench.drive() as drive:
        if any(drive.executor.check(Work("command", {"cores": 1.0}, None, is_generator=True))):
            return
        spoken = shell(0, "echo '{}'", generator=True)
        written = shell(1, 'echo noise; echo \'{"tasks": {}}\' > "$DAGGY_GENERATE"', generator=True)
        tickets = drive.launch([spoken, written])
        first, second = await drive.until_ended(tickets)
        require(not first["row"]["flags"] & ANSWER, "only an answer in $DAGGY_GENERATE may have the flag ANSWER")
        require(bool(second["row"]["flags"] & ANSWER), "an answer in $DAGGY_GENERATE must have the flag ANSWER")
        require(await drive.read(tickets[1], "answer") == b'{"tasks": {}}\n', "read_log must give the answer")


async def _keeps_results(bench: Bench) -> None:
    async with bench.drive() as drive:
        if any(drive.executor.check(Work("command", {"cores": 1.0}, None, is_generator=False, result=True))):
            return
        texts = [
            'echo \'{"a": [1, "ä"]}\' > "$DAGGY_RESULT"',
            'printf 1 > "$DAGGY_RESULT"; printf 22 > "$DAGGY_RESULT"; exit 3',
            'echo "{" > "$DAGGY_RESULT"',
            "true",
            "echo ${DAGGY_RESULT-unset}",
        ]
        launches = [shell(at, text, result=at < 4) for at, text in enumerate(texts)]
        tickets = drive.launch(launches, width=2)
        found = [Reason(int(report["row"]["reason"])) for report in await drive.until_ended(tickets)]
        results = [drive.results[ticket] for ticket in tickets]
        expected = [Reason.OK, Reason.EXIT, Reason.RESULT, Reason.OK, Reason.OK]
        require(found == expected, f"a task whose result is no JSON must end with RESULT, no other, not {found}")
        wanted = ['{"a":[1,"ä"]}', "22", "", "", ""]
        require(results == wanted, f"results must be {wanted}, however the tasks end, not {results}")
        require("no JSON" in drive.messages[tickets[2]], "a bad result must have a message that says what is wrong")
        told = await drive.read(tickets[4], "stdout")
        require(told == b"unset\n", "a task that leaves no result must not have DAGGY_RESULT")


async def _keeps_notes(bench: Bench) -> None:
    async with bench.drive() as drive:
        if any(drive.executor.check(Work("command", {"cores": 1.0}, None, is_generator=False, result=True))):
            return  # what cannot keep results keeps no notes either
        told = """printf '{"step": 1}' > "$DAGGY_NOTE.new"; mv "$DAGGY_NOTE.new" "$DAGGY_NOTE"; """
        until = f"trap 'cat $DAGGY_NOTE.end; exit 0' TERM; sleep {LONG} & wait"
        running, ended, after = drive.launch(
            [
                shell(0, told + until),
                shell(1, told + """printf '{"step": 2}' > "$DAGGY_NOTE"; exit 3"""),
                shell(2, 'cat "$DAGGY_NOTE_BEFORE"', note='{"step":0}'),
            ],
            width=3,
        )
        await drive.until(lambda: running in drive.notes, "a note must be told while its task runs")
        await drive.until_ended([ended, after])
        require(drive.notes[running] == '{"step":1}', f"a note must be told as it is, not {drive.notes[running]}")
        require(drive.notes.get(ended) == '{"step":2}', "the last note must be told with the end of its task")
        before = await drive.read(after, "stdout")
        require(before == b'{"step":0}', f"$DAGGY_NOTE_BEFORE must hold the last attempt's note, not {before!r}")
        drive.send(Kill([running], ""))
        await drive.until_ended([running])
        why = await drive.read(running, "stdout")
        require(why == b"killed", f"a task with a note must find in $DAGGY_NOTE.end why it ends, not {why!r}")


CHECKS: Sequence[Callable[[Bench], Awaitable[None]]] = (
    _tells_how_it_ended,
    _keeps_output,
    _sets_up_the_process,
    _ends_what_takes_too_long,
    _kills,
    _recalls,
    _keeps_to_the_width,
    _stops,
    _stops_at_once,
    _answers,
    _keeps_results,
    _keeps_notes,
)
