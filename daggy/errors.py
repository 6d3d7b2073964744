"""Every public error: whose fault it is, and how to fix it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from attrs import frozen


@frozen
class Problem:
    """One thing that is wrong with what a user wrote.

    Args:
        path: Place in the document, as in `tasks.report.parents[0]`; empty for the whole.
        message: What is wrong: lower case, quoting the user's noun.
        mend: How to fix it; empty if the message says so already.
    """

    path: str
    message: str
    mend: str = ""

    def __str__(self) -> str:
        """Return the one line that a user reads, without the file's name."""
        text = f"{self.path}: {self.message}" if self.path else self.message
        return f"{text}; {self.mend}" if self.mend else text


class DaggyError(Exception):
    """Base of all errors of Daggy. `exit_code` is what the CLI ends with."""

    exit_code = 1


class UsageError(DaggyError):
    """The caller asked for something that does not exist or is not possible. The caller's fault."""

    exit_code = 2


class SpecError(UsageError):
    """A run spec is wrong. The author's fault; `problems` names every place and its mend."""

    def __init__(self, problems: Iterable[Problem], source: str = "") -> None:
        """Keep the problems; `source` is the file's name, put before each line."""
        self.problems = tuple(problems)
        self.source = source
        super().__init__(self.problems, source)

    def __str__(self) -> str:
        """Return one line a problem."""
        prefix = f"{self.source}: " if self.source else ""
        return "\n".join(f"{prefix}{problem}" for problem in self.problems)


class NotFoundError(UsageError):
    """What was named does not exist (any more): a run, a task, a version. The caller's fault."""


class ConflictError(UsageError):
    """The request does not fit the present state. The caller's fault."""


class PreconditionError(ConflictError):
    """Something has changed since the caller read it (`If-Match`). The caller reads it again."""


class TooLargeError(UsageError):
    """A document or its expansion is larger than the operator allows. The operator may raise the limit."""


class UnavailableError(DaggyError):
    """Daggy cannot do this at the moment: it is stopping, or something that it needs is missing. Try again."""

    exit_code = 3


class NoRoomError(UnavailableError):
    """State cannot be saved for lack of space. The operator fixes that."""


class TemplateError(DaggyError):
    """A value cannot be rendered for one task. The spec author's fault; ends the attempt with reason `template`."""


class MissingInputError(DaggyError):
    """An input of one task is not there. The task's that should have left it; ends the attempt with `missing`."""


class DirectoryError(DaggyError):
    """A state directory cannot be used: in use, unreadable, of another version. The operator fixes that."""

    exit_code = 3


class TrackerError(DaggyError):
    """A tracker could not save or read. Retried; the disk or service is at fault."""

    exit_code = 3


class FencedError(DaggyError):
    """Another engine has taken over: this one keeps nothing any more, ends what it runs, and stops. Nobody's fault."""

    exit_code = 3


class PluginError(UsageError):
    """A plug-in cannot be found, loaded or configured. The message names it and the mend."""


class SettingsError(PluginError):
    """Settings are wrong. `problems` names every place in them, and its mend."""

    def __init__(self, problems: Iterable[Problem], source: str) -> None:
        """Keep the problems; `source` is put before each line."""
        self.problems = tuple(problems)
        super().__init__("\n".join(f"{source}: {problem}" for problem in self.problems))


class InternalError(DaggyError):
    """An internal rule was broken. A bug: please report it with this message."""


def leaves(error: BaseException) -> Iterator[BaseException]:
    """Yield the exceptions in a group, however nested, or the one exception."""
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from leaves(inner)
    else:
        yield error
