"""The server's parts, which every route uses."""

from __future__ import annotations

import trio
from attrs import define, field

from daggy.engine.configuration import Configuration
from daggy.engine.engine import Engine
from daggy.engine.intake.reading import Intake
from daggy.errors import NoRoomError, UnavailableError


@define(eq=False)
class Service:
    """One server's parts.

    Args:
        engine: The engine, open.
        configuration: The operator's.
        intake: Reads specs.
        token: Required of every request.
        submitting: A lock for each key under which something is being submitted.
    """

    engine: Engine
    configuration: Configuration
    intake: Intake
    token: str
    submitting: dict[str, trio.Lock] = field(factory=dict)

    def refuse_if_held_up(self) -> None:
        """Refuse changes while state cannot be saved.

        Raises:
            NoRoomError: the tracker cannot keep anything.
            UnavailableError: the server is stopping, or has not begun.
        """
        if self.engine.trouble:
            raise NoRoomError(f"cannot save state at the moment: {self.engine.trouble}")
        if self.engine.is_stopping:
            raise UnavailableError("the server is stopping; submit it to the next one")
