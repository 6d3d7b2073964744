"""From what a user names on the command line to a run spec, and to the bytes of it that a run keeps."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from attrs import field, frozen

from daggy.cli.origin import Origin
from daggy.cli.streams import read_input
from daggy.errors import Problem, SpecError, UsageError
from daggy.paths import current_directory
from daggy.plan import Plan, plan
from daggy.spec import Document, RunSpec, load_file, overlay, parse


@frozen
class Call:
    """What the command line says of a spec, read once; `spec` makes it a run spec for one first directory.

    Args:
        document: The document with parameters, tags and templating of the command line put in.
        max_failures: Instead of the document's; None: as it says.
        path: The spec's file; None for standard input.
    """

    document: Document = field(repr=False)
    max_failures: int | None = None
    path: Path | None = None

    def origin(self, state: Path | None) -> Origin | None:
        """Return where the command line is called, for a run that is kept in a state directory; None if nowhere.

        Raises:
            UsageError: it is needed and cannot be kept.
        """
        called_from = _called_from(self.document)
        return Origin.of(Path(called_from), state, self.path) if called_from else None

    def spec(self, origin: Origin | None = None) -> tuple[RunSpec, bytes]:
        """Return the run spec, and the JSON that a tracker keeps of it, which includes what the options say.

        Args:
            origin: Where the command line was first called for this run; None: it is now.

        Raises:
            SpecError: everything that is wrong with it.
        """
        raw = self.raw(origin)
        return parse(raw, source=self.document.source, directory="/"), raw  # it names an absolute one

    def raw(self, origin: Origin | None = None) -> bytes:
        """Return the JSON that is kept of the spec, whatever is wrong with it.

        Args:
            origin: Where the command line was first called for this run; None: it is now.
        """
        origin = origin or self.origin(None)
        others: dict[str, object] = dict(origin.members()) if origin else {}
        if self.max_failures is not None:
            others["max_failures"] = self.max_failures
        directory = str(origin.path) if origin else ""
        return overlay(self.document, directory=directory, name=self.document.name, others=others).raw

    def planned(self) -> Plan:
        """Return the plan of the spec, which is the same wherever it is called.

        Raises:
            SpecError: everything that is wrong with it.
        """
        spec, _ = self.spec(Origin(Path("/")))
        return plan_of(spec, self.document.source)


def _called_from(document: Document) -> str:
    """Return the current directory; empty if it cannot be kept and the document says where its tasks run.

    Raises:
        UsageError: it is needed, and it has been removed, or its name is not UTF-8.
    """
    mend = "give the spec an absolute 'directory'"
    try:
        directory = str(current_directory())
        directory.encode()
    except UsageError as error:
        problem = str(error)
    except UnicodeEncodeError as error:
        shown = os.fsencode(error.object).decode(errors="backslashreplace")
        problem = f"the name of the current directory is not UTF-8: '{shown}'; change to another one"
    else:
        return directory
    if document.has_absolute_directory:
        return ""
    raise UsageError(f"{problem}, or {mend}")


def plan_of(spec: RunSpec, source: str) -> Plan:
    """Return the plan of a spec; what is wrong with it names the file.

    Raises:
        SpecError: it cannot be planned.
    """
    try:
        return plan(spec)
    except SpecError as error:
        raise SpecError(error.problems, error.source or source) from None


def read_document(
    path: str, parameters: Mapping[str, str], tags: Mapping[str, str], templating: str | None, *,
    max_failures: int | None = None,
) -> Call:  # fmt: skip
    """Read a spec's file, or standard input for `-`.

    Raises:
        SpecError: it cannot be read.
    """
    values = {name: text.split(",") for name, text in parameters.items()}
    stdin = _read_input() if path == "-" else None
    document = load_file(path, values, stdin=stdin)
    place = None if stdin is not None else Path(path)
    return Call(overlay(document, tags=tags, templating=templating or ""), max_failures, place)


def _read_input() -> bytes:
    try:
        return read_input()
    except OSError as error:
        problem = Problem(
            "", f"cannot be read: {(error.strerror or str(error)).lower()}", "give a file, or pipe one in"
        )
        raise SpecError([problem], "standard input") from None
