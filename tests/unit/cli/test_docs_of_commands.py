"""docs/cli.md and the commands have the same options."""

import re
from pathlib import Path

import click
import pytest

from daggy.cli.group import COMMANDS, cli

PAGE = (Path(__file__).parents[3] / "docs" / "cli.md").read_text()

SECTIONS = {
    title.lower(): text
    for title, text in re.findall(r"^##+ ([^\n]+)\n(.*?)(?=^##+ |\Z)", PAGE, re.MULTILINE | re.DOTALL)
}


def documented(title: str) -> set[str]:
    """Return the options in the first columns of a section's tables, and those of the sections that it refers to."""
    section = SECTIONS[title]
    cells = re.findall(r"^\| (`-.*?) \| ", section, re.MULTILINE)
    found = {option for cell in cells for option in re.findall(r"(?<![\w-])--?[a-z][a-z-]*", cell)}
    for group in re.findall(r"\]\(#(options-[a-z-]+)\)", section):
        found |= documented(group.replace("-", " "))
    return found


def offered(name: str) -> set[str]:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    return {option for parameter in command.params if isinstance(parameter, click.Option) for option in parameter.opts}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_has_the_options_that_its_section_lists(name: str) -> None:
    assert documented(f"daggy {name}") == offered(name)


def test_every_section_is_about_a_command_or_about_common_options() -> None:
    others = {title for title in SECTIONS if title.removeprefix("daggy ") not in COMMANDS}
    assert all(title.startswith(("options", "common")) for title in others), others


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_of_commands_has_each_with_a_help_of_its_own(name: str) -> None:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    assert command.help
    assert f"(#daggy-{name})" in PAGE


def test_exit_codes_are_those_of_help() -> None:
    rows = dict(re.findall(r"^\| (\d+) \| (.*?) \|$", PAGE, re.MULTILINE))
    epilog = " ".join((cli.epilog or "").split())
    assert set(re.findall(r"\b\d+\b", epilog)) == set(rows)
