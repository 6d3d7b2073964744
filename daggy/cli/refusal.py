"""One run a directory: a spec with another name is refused."""

from __future__ import annotations

from pathlib import Path

from daggy.errors import UsageError
from daggy.spec import RunSpec
from daggy.tracker import RunRecord


def refuse_other(record: RunRecord, spec: RunSpec, directory: Path) -> None:
    """Refuse a spec that is not that of the directory's run.

    Raises:
        UsageError: its name is another.
    """
    if record.name != spec.name:
        there, here = record.name or "(without a name)", spec.name or "(without a name)"
        raise UsageError(
            f"directory '{directory}' holds the run '{there}', and this spec is '{here}'; "
            "keep it in another one with --dir, or name it the same to make it an edit"
        )
