"""The server's parts, which every route uses."""

from __future__ import annotations

import os

import trio
from attrs import define, field

from daggy.engine.configuration import Configuration
from daggy.engine.engine import Engine
from daggy.engine.intake.reading import Intake
from daggy.errors import ConflictError, NoRoomError, UnavailableError
from daggy.worker.listing import Listing


@define(eq=False)
class Service:
    """One server's parts.

    Args:
        engine: The engine, open.
        configuration: The operator's.
        intake: Reads specs.
        token: Required of every request.
        submitting: A lock for each key under which something is being submitted.
        takes_runs: Whether runs can be submitted and edited: not where there is one, that of a `daggy run`.
    """

    engine: Engine
    configuration: Configuration
    intake: Intake
    token: str
    submitting: dict[str, trio.Lock] = field(factory=dict)
    takes_runs: bool = field(default=True, kw_only=True)
    listing: Listing = field(init=False)
    """Functions and scripts."""

    @listing.default
    def _list(self) -> Listing:
        return self.configuration.listing()

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

    def refuse_if_one_run(self) -> None:
        """Refuse submissions, changes of specs and removals where there is one run, that of a `daggy run`.

        Raises:
            ConflictError: this is such a place.
        """
        if not self.takes_runs:
            process = os.getpid()
            raise ConflictError(
                f"a 'daggy run' (process {process}) uses '{self.engine.directory.path}': its run can be watched and "
                f"killed, not changed; end it with 'kill -INT {process}' and give the same command again, with an "
                "edited spec or --rerun; submit other runs to a 'daggy serve' with another --dir"
            )
