"""What an executor must still know, and still run, when it is closed and made again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from daggy.executor import Executor, Kill, Kind, Reason, Reports, Stop
from daggy.testing.drive import Drive, driving
from daggy.testing.entries import require
from daggy.testing.running import shell

if TYPE_CHECKING:
    from daggy.testing.executors import Bench


TASKS = 2
"""Tasks whose ends are told again."""


async def survives_its_end(bench: Bench) -> None:
    """Check that finishes are told again, by the next executor of the site, until they are acknowledged."""
    async with driving(bench.make(bench.site), bench.seconds) as drive:
        name = drive.machine()
        tickets = drive.launch([shell(0, "echo kept"), shell(1, "exit 4")], on=name)
        await drive.until_ended(tickets)
        drive.send(Stop())
        await drive.until_returned()
    await _recovered(bench, 4)
    executor, reports = await _recovered(bench, 5)
    async with driving(executor, bench.seconds, lambda drive: drive.take(reports, tickets, on=name)) as last:
        await last.until_ended(tickets)
        require(await last.read(tickets[0], "stdout") == b"kept\n", "output must be readable after a restart")
        last.acknowledge()
        last.send(Stop())
        await last.until_returned()
    require(not len((await bench.make(bench.site).recover(6)).rows), "what is acknowledged must not be told again")


async def _recovered(bench: Bench, epoch: int) -> tuple[Executor, Reports]:
    executor = bench.make(bench.site)
    reports = await executor.recover(epoch)
    if (reports.rows["kind"] == Kind.HELD).all() and len(reports.rows) == TASKS:
        return executor, reports  # its machines are heard later
    told = {(int(row["row"]["index"]), int(row["row"]["code"])) for row in reports.rows}
    require(told == {(0, 0), (1, 4)}, f"recover() must tell finishes until they are acknowledged, not {told}")
    return executor, reports


async def goes_on_when_left(bench: Bench) -> None:
    """Check that what runs on each machine goes on when its executor leaves, and is taken up where it runs."""
    first = bench.make(bench.site)
    require(not len((await first.recover(3)).rows), "recover() in a fresh site must give nothing")
    async with driving(first, bench.seconds) as drive:
        machines = [machine.name for machine in first.capacity()[:8]]
        tickets = [drive.launch([shell(number, "sleep 1000")], on=name)[0] for number, name in enumerate(machines)]
        for ticket in tickets:
            await drive.until_started(ticket)
        drive.send(Stop(leave=True))
        await drive.until_returned()
        require(not drive.ended, "what runs must go on when its executor leaves")
    executor = bench.make(bench.site)
    reports = await executor.recover(4)
    kinds = set(reports.rows["kind"].tolist())
    require(
        kinds <= {Kind.STARTED, Kind.HELD},
        "what goes on must be STARTED in recover(), or HELD where that is heard later",
    )

    def take(drive: Drive) -> None:
        for position, (ticket, name) in enumerate(zip(tickets, machines, strict=True)):
            mine = reports.rows["row"]["index"] == position
            drive.take(Reports(reports.rows[mine]), [ticket], on=name)
            require(ticket in drive.started or ticket in drive.held, f"recover() must tell that {ticket} still runs")

    async with driving(executor, bench.seconds, take) as last:
        for ticket in tickets:
            await last.until_started(ticket)
        last.send(Kill(tickets, "enough"))
        for report in await last.until_ended(tickets):
            require(report["row"]["reason"] == Reason.KILLED, "what goes on must end when it is killed")
