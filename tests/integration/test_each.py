"""`daggy each`: a task a line, whatever the lines hold."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Daggy = Callable[..., subprocess.CompletedProcess[str]]
LINES = [
    "plain",
    "two words",
    "a'b\"c",
    "$HOME `id` ; echo no",
    "{{ LINE }} {{LINE}} {}",
    "-n",
    "%s\\n",
    " lead",
    "tab\tö",
]


def test_every_line_arrives_as_it_is(daggy: Daggy, tmp_path: Path) -> None:
    (tmp_path / "lines.txt").write_bytes("\ufeff".encode() + "\r\n\r\n".join(LINES).encode())
    ended = daggy("each", "-q", "-j1", "--output", "all", "lines.txt", "--", "printf", "<%s>\n", "a{}b{}", "{{ 1 }}")
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines() == [text for line in LINES for text in (f"<a{line}b{line}>", "<{{ 1 }}>")]


def test_without_braces_the_line_is_the_last_word(daggy: Daggy) -> None:
    ended = daggy("each", "-q", "--output", "all", "-", "--", "echo", "x", stdin="one\n")
    assert (ended.returncode, ended.stdout) == (0, "x one\n")


def test_a_kept_run_runs_lines_that_are_new_and_those_that_failed(daggy: Daggy) -> None:
    command = ("each", "--dir", "state", "-", "--", "sh", "-c", 'test -e "$1"', "test", "{}")
    assert daggy(*command, stdin="missing\n.\n").returncode == 1
    ended = daggy(*command, stdin="missing\n.\n..\n")
    assert (ended.returncode, "each: edited, 2 of 3 tasks to do" in ended.stderr) == (1, True)


@pytest.mark.parametrize(
    ("arguments", "stdin", "said"),
    [
        (("-", "--", "echo"), "a\nb\na\n", "standard input has a line 2 times: 'a'; leave out what is repeated"),
        (("-", "--", "echo"), "\n \n", "standard input has no lines; there is nothing to run"),
        (("none.txt", "--", "echo"), "", "'none.txt' cannot be read: no such file or directory"),
        (("-",), "a\n", "Missing argument '-- COMMAND...'"),
        (("-", "--", "echo"), "a\0b\n", "holds a NUL character"),
    ],
)
def test_what_cannot_be_run_is_told(daggy: Daggy, arguments: tuple[str, ...], stdin: str, said: str) -> None:
    ended = daggy("each", *arguments, stdin=stdin)
    assert ended.returncode == 2
    assert said in ended.stderr
    assert "Traceback" not in ended.stderr
