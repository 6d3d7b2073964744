"""The group of commands, and what becomes of everything that is raised under it."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Iterator
from typing import NamedTuple

import click

INTERRUPTED = 130
BROKEN_PIPE = 141  # as a program that dies of SIGPIPE


class Entry(NamedTuple):
    """A command that is not imported yet: where it is, and its line in the list of commands."""

    place: str
    help: str


COMMANDS = {
    "run": Entry("daggy.cli.run:run", "Run a spec to its end."),
    "serve": Entry("daggy.cli.serve:serve", "Serve runs to whoever has the token."),
    "submit": Entry("daggy.cli.submit:submit", "Submit a spec to a server."),
    "check": Entry("daggy.cli.check:check", "Validate a spec, and show what it comes to."),
    "schema": Entry("daggy.cli.schema:schema", "Print the JSON Schema of run specs."),
    "graph": Entry("daggy.cli.graph:graph", "Draw a spec or a run, by template."),
    "ls": Entry("daggy.cli.ls:ls", "List runs."),
    "show": Entry("daggy.cli.show:show", "Show a run with its counts."),
    "tasks": Entry("daggy.cli.tasks:tasks", "List tasks of a run."),
    "logs": Entry("daggy.cli.logs:logs", "Print what tasks wrote."),
    "explain": Entry("daggy.cli.explain:explain", "Say why tasks do not run, or why they ran again."),
    "token": Entry("daggy.cli.token:token", "Print what whoever asks the server has to show."),
    "wait": Entry("daggy.cli.wait:wait", "Wait until a run has ended."),
    "watch": Entry("daggy.cli.wait:watch", "Show how a run goes until it has ended."),
    "kill": Entry("daggy.cli.commands:kill", "Kill a run, or tasks of it."),
    "resume": Entry("daggy.cli.commands:resume", "Put what failed back in the queue."),
    "requeue": Entry("daggy.cli.commands:requeue", "Run tasks again, and what is downstream."),
    "plan": Entry("daggy.cli.commands:plan", "Show what an edit of a run would do."),
    "edit": Entry("daggy.cli.commands:edit", "Replace the spec of a run."),
    "completion": Entry("daggy.cli.completion:completion", "Print a script that completes commands in a shell."),
    "version": Entry("daggy.cli.version:version", "Print which Daggy this is."),
}


class ReaderGone(Exception):  # noqa: N818 - no error: whoever reads has had enough
    """Standard output is a pipe that nobody reads any more; click would take a broken pipe for a fault of ours."""


class LazyGroup(click.Group):
    """A group whose commands are imported when they are called: help is there at once."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - as click calls it
        """Return the names of all commands."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - as click calls it
        """Import and return one command."""
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name].place.partition(":")
        command: click.Command = getattr(importlib.import_module(module), name)
        return command

    def invoke(self, ctx: click.Context) -> object:
        """Call the command."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise ReaderGone from None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or say which one was meant."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            from difflib import get_close_matches  # every import costs each call

            close = get_close_matches(args[0], COMMANDS, 1)
            mend = f"did you mean '{close[0]}'?" if close else f"there are: {', '.join(COMMANDS)}"
            ctx.fail(f"no command named '{args[0]}'; {mend}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - as click calls it
        """Write the list of commands, without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.help) for name, entry in COMMANDS.items()])


def _print_version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted:
        from daggy.cli.version import version  # every import costs each call

        version.main([], standalone_mode=False)
        ctx.exit()


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Each command has its own --help. Exit codes: 0 all completed, 1 some task did not, 2 bad usage or spec, "
    "3 directory or tracker cannot be used, 130 interrupted.",
)
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version, help="As `version`."
)
def cli() -> None:
    """Daggy runs work modelled as a directed acyclic graph."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit code. Nothing is ever answered with a traceback."""
    try:
        return _flushed(lambda: _called(arguments))
    except (ReaderGone, BrokenPipeError):
        # What is still buffered would fail again when the interpreter exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE


def _flushed(call: Callable[[], int]) -> int:
    code = call()
    sys.stdout.flush()
    return code


def _called(arguments: list[str] | None) -> int:
    try:
        result = cli.main(arguments, prog_name="daggy", standalone_mode=False)
    except click.exceptions.Exit as error:
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (ReaderGone, BrokenPipeError):
        raise
    except BaseException as error:  # whatever it is, a user gets lines and an exit code
        if isinstance(error, (SystemExit, GeneratorExit)):
            raise
        return _told(error)
    return result if isinstance(result, int) else 0


def _told(error: BaseException) -> int:
    """Say what was raised, and return the exit code that it asks for."""
    from daggy.errors import DaggyError, InternalError  # help must not wait for these

    leaves = list(_leaves(error))
    if any(isinstance(leaf, BrokenPipeError) for leaf in leaves):
        raise ReaderGone
    if all(isinstance(leaf, (KeyboardInterrupt, click.Abort)) for leaf in leaves):
        return INTERRUPTED
    code = 1
    for leaf in leaves:
        if isinstance(leaf, DaggyError) and not isinstance(leaf, InternalError):
            click.echo(str(leaf), err=True)
            code = max(code, leaf.exit_code)
        elif not isinstance(leaf, (KeyboardInterrupt, click.Abort)):
            _tell_bug(leaf)
    return code


def _leaves(error: BaseException) -> Iterator[BaseException]:
    """Yield what a group of exceptions holds, or the one exception."""
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error


def _tell_bug(error: BaseException) -> None:
    """Name a bug in one line, and keep its traceback in a file."""
    import tempfile  # a bug is rare, and every import costs each call
    import traceback

    said = str(error).partition("\n")[0]
    try:
        with tempfile.NamedTemporaryFile("w", prefix="daggy-bug-", suffix=".txt", delete=False) as file:
            traceback.print_exception(error, file=file)
        kept = f"the traceback is in '{file.name}'"
    except OSError:
        kept = "its traceback could not be written"
    click.echo(f"daggy: this is a bug in Daggy: {type(error).__name__}: {said}; {kept}: please report it", err=True)
