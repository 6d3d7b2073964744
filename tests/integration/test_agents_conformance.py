"""The agent executor fulfils the interface: machines that call in are machines like all others."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from daggy.executor import Arrival, Reports, Request, Site, Visit
from daggy.launcher import bundle, command_line
from daggy.testing import check_executor
from daggy_agent import AgentExecutor, AgentSettings


class LocalVisit(Visit):
    """A relay on this machine, in place of a connection that an agent has opened."""

    def __init__(self, line: command_line.CommandLine) -> None:
        self.line = line
        _, self.words = trio.open_memory_channel[Mapping[str, Any]](0)

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self.line.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self.line.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        return await self.line.receive_some(max_bytes)

    async def say(self, word: Mapping[str, Any]) -> None:
        await trio.lowlevel.checkpoint()

    async def aclose(self) -> None:
        await self.line.aclose()


class Joined(AgentExecutor):
    """One that a machine joins as soon as it runs, again and again."""

    def __init__(self, settings: AgentSettings, site: Site) -> None:
        super().__init__(settings, site)
        self.far = site.directory.parent / "far"

    async def run(
        self,
        requests: trio.MemoryReceiveChannel[Request],
        report: Callable[[Reports], None],
        changed: Callable[[], None],
    ) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._call_in)
            await super().run(requests, report, changed)
            nursery.cancel_scope.cancel()

    async def _call_in(self) -> None:
        arrival = Arrival("box", "agent", str(self.far), str(self.far), {"cores": 2})
        while True:
            await trio.testing.wait_all_tasks_blocked()  # it runs by then
            program = bundle.relay(arrival.directory)
            line = await command_line.start(bundle.boot(sys.executable, program), program)
            try:
                await self.join(arrival, LocalVisit(line))
            finally:
                with trio.CancelScope(shield=True):
                    await line.aclose()


@pytest.mark.slow
def test_the_agent_executor_passes_the_checks(tmp_path: Path) -> None:
    trio.run(
        lambda: check_executor(
            lambda site: Joined(AgentSettings(), site), tmp_path, durable=True, linger=True, seconds=60
        )
    )
