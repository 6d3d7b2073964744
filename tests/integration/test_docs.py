"""Every example of the docs is executed: a page's files are written, its commands run, its specs checked, in order.

A fenced block with a file's name after its language becomes that file. A `console` block is a session: commands
after `$ `, then what they print; `...` stands for any text, alone on a line for any lines. Each command must succeed:
one that is to fail says so with `; echo "exit code $?"`. A `json` block with tasks is a good run spec, unless the page
shows an error of its file.
"""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import frozen

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md"))]
FENCE = re.compile(r"^```(\w+)(?: (\S+))?\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@frozen
class Block:
    """One fenced block: its language, the file that it becomes or nothing, its text, and the line where it opens."""

    language: str
    file: str
    text: str
    line: int


@frozen
class Command:
    """One command of a session and what it must print."""

    text: str
    expected: str


def blocks(page: str) -> Iterator[Block]:
    for found in FENCE.finditer(page):
        yield Block(found[1], found[2] or "", found[3], page.count("\n", 0, found.start()) + 1)


def commands(session: str) -> Iterator[Command]:
    for part in re.split(r"^\$ ", session, flags=re.MULTILINE)[1:]:
        text, _, expected = part.partition("\n")
        yield Command(text, expected)


def matches(expected: str, printed: str) -> bool:
    """Whether the two are the same, `...` standing for any text, and alone on a line for any lines."""
    lines = (
        "(?:.*\n)*" if line == "...\n" else re.escape(line).replace(r"\.\.\.", ".*")
        for line in expected.splitlines(keepends=True)
    )
    return re.fullmatch("".join(lines), printed) is not None


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Path]:
    """Give an empty directory, beside `bin` with `daggy` and `python`; end the servers that a page leaves running."""
    (tmp_path / "bin").mkdir()
    for name, arguments in (("python", ""), ("daggy", '-c "import sys; from daggy.cli import main; sys.exit(main())"')):
        program = tmp_path / "bin" / name
        program.write_text(f'#!/bin/sh\nexec {sys.executable} {arguments} "$@"\n')
        program.chmod(0o755)
    (tmp_path / "page").mkdir()
    yield tmp_path / "page"
    for lock in (tmp_path / "page").glob("*/lock"):
        with contextlib.suppress(ProcessLookupError, ValueError):
            os.kill(int(lock.read_text()), signal.SIGTERM)


def run(command: str, directory: Path) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("DAGGY_")}
    environment |= {"PATH": f"{directory.parent / 'bin'}:{os.environ['PATH']}", "COLUMNS": "120", "NO_COLOR": "1"}
    environment |= {"XDG_STATE_HOME": str(directory.parent / "state-home")}
    return subprocess.run(
        ["/bin/sh", "-c", command],
        cwd=directory,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    )


def write(block: Block, directory: Path) -> None:
    if block.file:
        (directory / block.file).write_text(block.text)


def is_spec(block: Block) -> bool:
    return block.language == "json" and "tasks" in json.loads(block.text)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.stem))
def test_sessions_print_what_the_page_says(page: Path, shell: Path) -> None:
    for block in blocks(page.read_text()):
        write(block, shell)
        for command in commands(block.text) if block.language == "console" else ():
            ended = run(command.text, shell)
            where = f"{page.name}:{block.line}: $ {command.text}\n{ended.stdout}"
            assert ended.returncode == 0, where
            assert matches(command.expected, ended.stdout), where


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.stem))
def test_specs_are_good(page: Path, shell: Path) -> None:
    text = page.read_text()
    for block in blocks(text):
        write(block, shell)
        if not is_spec(block) or re.search(rf"^{re.escape(block.file)}: ", text, re.MULTILINE):
            continue
        (shell / "block.json").write_text(block.text)
        checked = run("daggy check block.json", shell)
        assert checked.returncode == 0, f"{page.name}:{block.line}: {checked.stdout}"


def test_a_session_that_prints_something_else_is_noticed() -> None:
    assert matches("a ... c\n", "a b c\n")
    assert matches("...\n", "")
    assert matches("...\nlast\n", "first\nlast\n")
    assert not matches("a\n", "a\nb\n")
    assert not matches("", "warning\n")
