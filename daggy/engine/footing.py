"""What an engine stands on: its files in the state directory, which others may remove or replace."""

from __future__ import annotations

from collections.abc import Mapping

import trio
from attrs import define, field

from daggy.engine.directory import StateDirectory

PERIOD = 1.0
"""Seconds between two looks: no event tells that a file was removed."""


@define(eq=False)
class Footing:
    """Remembers the files that an engine began with.

    Args:
        directory: The state directory.
        lost: What has been removed, with what that means; empty while all is there.
    """

    directory: StateDirectory
    lost: str = ""
    _known: Mapping[str, tuple[int, int]] = field(init=False)

    @_known.default
    def _at_first(self) -> Mapping[str, tuple[int, int]]:
        return self.directory.essentials()

    async def until_lost(self) -> None:
        """Return once one of them is not there any more, or is another one."""
        while not self.lost:
            await trio.sleep(PERIOD)
            present = self.directory.essentials()
            gone = [name for name, file in self._known.items() if present.get(name) != file]
            if gone:
                self.lost = self._said(gone[0], is_whole=not present)

    def _said(self, name: str, *, is_whole: bool) -> str:
        path = self.directory.path
        what = f"directory '{path}'" if is_whole else f"'{path / name}'"
        return (
            f"{what} was removed, moved or replaced while Daggy used it: running tasks were ended, and nothing more is "
            "kept; if it was moved, start again with --dir and its new place"
        )
