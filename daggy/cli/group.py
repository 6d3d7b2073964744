"""The group of commands, and how everything that they raise is reported."""

from __future__ import annotations

import errno
import importlib
import os
from collections.abc import Mapping
from typing import NamedTuple

import click

from daggy.cli.start import INTERRUPTED
from daggy.cli.streams import LostAnswerError, show

ENVIRONMENT: Mapping[int, str] = {
    errno.ENOSPC: "make room",
    errno.EDQUOT: "make room",
    errno.EFBIG: "raise the limit of a file's size (ulimit -f)",
    errno.EROFS: "choose a place that can be written",
    errno.EIO: "check the disk",
    errno.ENOMEM: "free memory",
    errno.EAGAIN: "raise the limit of processes (ulimit -u)",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
    errno.ENFILE: "close files elsewhere",
    errno.EACCES: "check its permissions",
    errno.EPERM: "check its permissions",
    errno.ENAMETOOLONG: "use a shorter name",
    errno.ELOOP: "check its symbolic links",
}
"""Errors of the system that are no bug wherever they come from, and what mends them."""


class Entry(NamedTuple):
    """A command that is not imported yet: where it is, and its line in the list of commands."""

    place: str
    help: str


COMMANDS = {
    "run": Entry("daggy.cli.run:run", "Run a spec until it has ended."),
    "each": Entry("daggy.cli.each:each", "Run a command for each line of a file."),
    "serve": Entry("daggy.cli.serve:serve", "Start the server."),
    "submit": Entry("daggy.cli.submit:submit", "Submit a spec to a server."),
    "check": Entry("daggy.cli.check:check", "Validate a spec and show its plan."),
    "schema": Entry("daggy.cli.schema:schema", "Print the JSON Schema of run specs."),
    "call": Entry("daggy.cli.call:call", "Call a Python function."),
    "functions": Entry("daggy.cli.functions:functions", "List the functions that can be called."),
    "graph": Entry("daggy.cli.graph:graph", "Draw the graph of a spec or a run."),
    "ls": Entry("daggy.cli.ls:ls", "List runs."),
    "show": Entry("daggy.cli.show:show", "Show a run with its counts of tasks."),
    "tasks": Entry("daggy.cli.tasks:tasks", "List the tasks of a run."),
    "logs": Entry("daggy.cli.logs:logs", "Print the output of tasks."),
    "result": Entry("daggy.cli.result:result", "Print what tasks came to."),
    "explain": Entry("daggy.cli.explain:explain", "Explain why tasks do not run, or why they ran again."),
    "token": Entry("daggy.cli.token:token", "Print the server's access token."),
    "wait": Entry("daggy.cli.wait:wait", "Wait until a run has ended."),
    "watch": Entry("daggy.cli.wait:watch", "Show the progress of a run until it has ended."),
    "kill": Entry("daggy.cli.commands:kill", "Kill a run, or some of its tasks."),
    "resume": Entry("daggy.cli.commands:resume", "Queue the failed tasks of a run again."),
    "requeue": Entry("daggy.cli.commands:requeue", "Run tasks again, and the tasks downstream of them."),
    "plan": Entry("daggy.cli.commands:plan", "Show what an edit of a run would change."),
    "edit": Entry("daggy.cli.commands:edit", "Replace the spec of a run."),
    "agent": Entry("daggy.cli.agent:agent", "Let a server run tasks on this machine."),
    "nodes": Entry("daggy.cli.nodes:nodes", "List the machines of the server's pools."),
    "drain": Entry("daggy.cli.nodes:drain", "Have a machine take no new tasks."),
    "undrain": Entry("daggy.cli.nodes:undrain", "Let a machine take tasks again."),
    "completion": Entry("daggy.cli.completion:completion", "Print a script for completion in a shell."),
    "version": Entry("daggy.cli.version:version", "Print the version of Daggy."),
}


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
        from daggy.cli.options import Text  # help must not wait for it

        for parameter in command.params:
            if parameter.type is click.STRING:
                parameter.type = Text()
        return command

    def invoke(self, ctx: click.Context) -> object:
        """Call the command."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:  # click would take any for standard output's, and exit without a word
            raise ExceptionGroup("", [error]) from None

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
    epilog="Each command has its own --help. Exit codes: 0 all tasks completed, 1 some did not, 2 bad usage or spec, "
    "3 no server, or a directory, tracker or standard output cannot be used, 130 interrupted, 141 the reader of "
    "standard output has gone.",
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Print the version of Daggy.",
)
def cli() -> None:
    """Daggy runs tasks that depend on each other: a directed acyclic graph of them."""


def call(arguments: list[str] | None) -> int:
    """Run the command line; return the exit code. Nothing is ever answered with a traceback."""
    try:
        result = cli.main(arguments, prog_name="daggy", standalone_mode=False)
    except click.exceptions.Exit as error:
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except SystemExit as error:  # click ends so when it has completed a word for a shell
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException as error:  # any error is reported in lines, with an exit code
        if isinstance(error, GeneratorExit):
            raise
        return _report(error)
    return result if isinstance(result, int) else 0


def _report(error: BaseException) -> int:
    """Print what was raised, and return the exit code that it asks for."""
    from daggy.errors import leaves  # help must not wait for it

    raised = [leaf for leaf in leaves(error) if not isinstance(leaf, (KeyboardInterrupt, click.Abort))]
    return max(map(_report_one, raised)) if raised else INTERRUPTED


def _report_one(error: BaseException) -> int:
    from daggy.errors import DaggyError, InternalError, UnavailableError  # help must not wait for these

    if isinstance(error, LostAnswerError):
        show(error)
        return error.exit_code
    if isinstance(error, DaggyError) and not isinstance(error, InternalError):
        click.echo(str(error), err=True)
        return error.exit_code
    if isinstance(error, OSError) and error.errno is not None and error.errno in ENVIRONMENT:
        place = f" '{error.filename}':" if error.filename else ""
        click.echo(f"daggy:{place} {os.strerror(error.errno).lower()}; {ENVIRONMENT[error.errno]}", err=True)
        return UnavailableError.exit_code
    _report_bug(error)
    return 1


def _report_bug(error: BaseException) -> None:
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
