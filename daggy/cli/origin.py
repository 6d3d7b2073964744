"""Where the command line was first called for a kept run: relative directories start there, also once it has moved."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
from attrs import frozen

from daggy.errors import UsageError
from daggy.spec import CALLED_FROM

FROM_STATE, FROM_SPEC = f"{CALLED_FROM}-state", f"{CALLED_FROM}-spec"
"""Keys of a kept spec: the way there from the state directory and from the spec, as far as these lie within it."""


@frozen
class Origin:
    """Where the command line was called, and the ways there, empty where there is none."""

    path: Path
    from_state: str = ""
    from_spec: str = ""

    @classmethod
    def of(cls, path: Path, state: Path | None, spec: Path | None) -> Origin:
        """Return an origin with the ways there from a state directory and a spec that lie within it."""
        return cls(path, _way(state, path), _way(spec and spec.parent, path))

    @classmethod
    def kept(cls, raw: bytes) -> Origin | None:
        """Return the origin that a kept spec names; None if it names none."""
        members = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])

        def text(key: str) -> str:
            return msgspec.json.decode(members[key], type=str) if key in members else ""

        path = text(CALLED_FROM)
        return cls(Path(path), text(FROM_STATE), text(FROM_SPEC)) if path else None

    def is_here(self) -> bool:
        """Return whether it is the current directory."""
        try:
            return self.path.samefile(Path())
        except OSError:
            return False

    def members(self) -> dict[str, str]:
        """Return what a kept spec says of it."""
        ways = {FROM_STATE: self.from_state, FROM_SPEC: self.from_spec}
        return {CALLED_FROM: str(self.path)} | {key: way for key, way in ways.items() if way}

    def moved(self, state: Path, spec: Path | None) -> Origin:
        """Return the origin by the present places of state directory and spec: it moves with them.

        Raises:
            UsageError: they have moved apart, or the origin is gone.
        """
        places = {
            _real(place / way)
            for place, way in ((state, self.from_state), (spec and spec.parent, self.from_spec))
            if way and place is not None
        }
        here = _real(self.path)
        if len(places) > 1 and here not in places:
            raise UsageError(
                f"the run was started in '{self.path}', and its state directory '{state}' and its spec "
                "have moved apart; move them back together, or start in another --dir"
            )
        path = self.path if here in places or not places else places.pop()
        if not path.is_dir():
            raise UsageError(
                f"the run was started in '{path}', which does not exist any more; restore it, or start in another --dir"
            )
        return Origin(path, self.from_state, self.from_spec)


def _way(start: Path | None, path: Path) -> str:
    """Return the way from a place to a directory that it lies within; empty if it does not."""
    if start is None:
        return ""
    real, inner = _real(path), _real(start)
    return os.path.relpath(real, inner) if inner.is_relative_to(real) and real != Path("/") else ""


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))
