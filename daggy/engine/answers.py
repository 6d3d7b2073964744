"""Answers of generators: read, checked, and added to their runs."""

from __future__ import annotations

import trio
from attrs import define

from daggy.engine.admission import check_generated
from daggy.engine.commits import Commits
from daggy.engine.state import EngineState
from daggy.errors import SpecError, UnavailableError
from daggy.run.growth import on_bad_answer, on_generated
from daggy.run.run import Answer, Run
from daggy.spec import parse_fragment

READ_AGAIN = 1.0
"""Seconds before an answer is asked for again whose machine cannot be reached."""

LARGEST = 1_000_000_000
"""Bytes that a generator may answer."""


@define(eq=False)
class Answers:
    """Reads what generators answered and lets their runs grow."""

    state: EngineState
    commits: Commits

    async def apply(self, run: Run, answer: Answer) -> None:
        """Read an answer and let the run grow by it; a bad one ends the generator's attempt."""
        message, data = "", b""
        try:
            data = await self._read(run, answer)
        except (OSError, ValueError) as error:
            message = f"its answer cannot be read: {error}"
        index = run.launched.get(answer.ticket, answer.index)
        if index in run.answering and run.ticket(index) == answer.ticket:  # else an edit has removed its task
            message = message or self._grow(run, index, data)
            if message:
                on_bad_answer(run, index, message, self.state.now())
        self.state.acks.release(answer.ticket)
        self.commits.give(run, barrier=True)
        self.state.due.touch(run)
        self.state.wake()

    async def _read(self, run: Run, answer: Answer) -> bytes:
        link = self.state.dispatcher.link_of(run.frontier.queue_of(answer.index).policy.pool)
        if link.executor is None:
            raise OSError("its executor has ended")
        ticket = answer.ticket
        while True:
            try:
                return await link.executor.read_log(run.id, ticket.version, answer.row, "answer", 0, LARGEST)
            except UnavailableError:  # its machine is away; its end is not acknowledged before the answer is read
                await trio.sleep(READ_AGAIN)

    def _grow(self, run: Run, index: int, data: bytes) -> str:
        """Return why an answer cannot be used; empty if it was."""
        try:
            fragment = parse_fragment(data, run.plan.spec, source=run.plan.name(index))
            check_generated(fragment, self.state.dispatcher)
            on_generated(run, index, fragment, data, self.state.now())
        except SpecError as error:
            return str(error)
        return ""
