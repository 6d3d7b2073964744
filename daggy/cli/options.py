"""Options and arguments that several commands share."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from daggy.cli import complete
from daggy.paths import DIRECTORY

Command = TypeVar("Command", bound=Callable[..., Any])
Decorator = Callable[[Command], Command]


class Text(click.types.StringParamType):
    """Text, which is kept and sent as UTF-8; the group of commands gives it to every option and argument of text."""

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the text, if it is not empty; bytes that the locale could not read are read as UTF-8."""
        if not value and _is_given(param, ctx):
            self.fail("it is empty; give a value", param, ctx)
        try:
            value.encode()
        except UnicodeEncodeError:
            given = os.fsencode(value)
            try:
                return given.decode()
            except UnicodeDecodeError:
                self.fail(f"'{given.decode(errors='backslashreplace')}' is not UTF-8", param, ctx)
        return value


class NonEmptyPath(click.Path):
    """A path that is not empty: an empty one, of a variable that is not set, would be the current directory."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path."""
        if value == "":
            self.fail("it is empty; give a path", param, ctx)
        return super().convert(value, param, ctx)


def _is_given(param: click.Parameter | None, ctx: click.Context | None) -> bool:
    """Return whether a parameter is on the command line: a default may be empty."""
    if param is None or ctx is None or param.name is None:
        return True
    return ctx.get_parameter_source(param.name) is ParameterSource.COMMANDLINE


def pair(ctx: click.Context, parameter: click.Parameter, texts: tuple[str, ...]) -> dict[str, str]:
    """Return `name=value` options as a mapping."""
    del ctx
    pairs = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not name or not equals:
            raise click.BadParameter(f"'{text}' is not of the form {parameter.metavar}")
        pairs[name] = value
    return pairs


def directory_option(command: Command) -> Command:
    """Add `--dir`, for commands that read or act; None is the default directory."""
    return directory(f"The state directory ({DIRECTORY}).", show_default="$XDG_STATE_HOME/daggy")(command)


def directory(text: str, **more: Any) -> Callable[[Command], Command]:
    """Return what adds `--dir` with this help; the command gets None if nothing names a directory."""
    return click.option(
        "--dir", "directory", envvar=DIRECTORY, metavar="DIR", callback=_refuse_empty_variable,
        type=NonEmptyPath(path_type=Path, file_okay=False), help=text, **more,
    )  # fmt: skip


def _refuse_empty_variable(ctx: click.Context, parameter: click.Parameter, named: Path | None) -> Path | None:
    del parameter
    if named is None and os.environ.get(DIRECTORY) == "" and not ctx.resilient_parsing:
        raise click.UsageError(f"{DIRECTORY} is empty; set it to a directory, or unset it", ctx)
    return named


def config_option(command: Command) -> Command:
    """Add `--config`."""
    return click.option(
        "--config", metavar="FILE", type=NonEmptyPath(path_type=Path, dir_okay=False),
        help="Read pools and tracker from this file, JSON or TOML.",
    )(command)  # fmt: skip


def json_option(command: Command) -> Command:
    """Add `--json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print the answer as one JSON value.")(command)


def quiet_option(command: Command) -> Command:
    """Add `--quiet`."""
    return click.option("-q", "--quiet", is_flag=True, help="Print failures only.")(command)


def run_argument(command: Command) -> Command:
    """Add the argument RUN."""
    return click.argument("which", metavar="RUN", shell_complete=complete.runs)(command)


def selectors_argument(command: Command) -> Command:
    """Add the argument SELECTOR, which may be given several times."""
    return click.argument("selectors", metavar="[SELECTOR]...", nargs=-1, shell_complete=complete.templates)(command)


def narrowing_options(command: Command) -> Command:
    """Add `--param` and `--state`, which narrow what a selector chooses."""
    by_state = click.option(
        "--state", "states", metavar="STATE", multiple=True, shell_complete=complete.task_states,
        help="Choose only tasks in this state. May be repeated.",
    )  # fmt: skip
    by_parameter = click.option(
        "--param", "where", metavar="NAME=VALUE", multiple=True, callback=pair,
        help="Choose only tasks with this value of a parameter. May be repeated.",
    )  # fmt: skip
    return by_parameter(by_state(command))


def document_options(command: Command) -> Command:
    """Add the argument SPEC and the options that override parts of it."""
    for option in (
        click.option(
            "--templating", type=click.Choice(["jinja", "literal", "none"]), help="Override the spec's templating."
        ),
        click.option(
            "--tag", "tags", metavar="KEY=VALUE", multiple=True, callback=pair,
            help="Set a tag of the run. May be repeated.",
        ),
        click.option(
            "-p", "--param", "parameters", metavar="NAME=V[,V…]", multiple=True, callback=pair,
            help="Set the values of a parameter. May be repeated.",
        ),
        click.argument("spec", metavar="SPEC", type=NonEmptyPath()),
    ):  # fmt: skip
        command = option(command)
    return command
