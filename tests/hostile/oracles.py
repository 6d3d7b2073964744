"""What has to hold of hostile input beside that nothing unforeseen is raised."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence

from daggy.errors import DaggyError, InternalError

ATTACK = "x' \" \\ ` $( ${ $(( ( ) { } ; & | # <<E\nE\n*"
"""A value that changes what a shell reads, wherever it is not quoted as it should be."""

SHELLS = ("/bin/sh", "/bin/bash")
"""Those that read a command without running it, as far as they are there."""


def outcome(attempt: Callable[[], object], *documented: type[Exception]) -> object:
    """Return what an attempt comes to: a value, or the text of an error that may come out of it.

    Args:
        attempt: What is tried.
        documented: What it may raise beside errors of Daggy.
    """
    try:
        return attempt()
    except InternalError:
        raise
    except DaggyError as error:
        said = str(error)
    except documented as error:
        return f"{type(error).__name__}: {error}"
    assert said, "an error says what is wrong"
    return said


def reads_alike(scripts: Sequence[str], shell: str) -> bool:
    """Return whether a shell finds all scripts well formed, or none. Nothing of them is run."""
    return len({_is_well_formed(script, shell) for script in scripts}) == 1


def _is_well_formed(script: str, shell: str) -> bool:
    done = subprocess.run(
        [shell, "-n"],
        input=script.encode(errors="replace"),
        capture_output=True,
        env={"PATH": "/nonexistent"},
        timeout=20,
        check=False,
    )
    return done.returncode == 0
