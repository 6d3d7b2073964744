"""Finds where a substitution appears in a shell command, and quotes values there."""

from __future__ import annotations

import re
from collections.abc import Iterator

from attrs import define

MARK = "\0"
"""Stands for a substitution in the text given to `places`; no shell command can hold it."""

LOST = "text whose quotes Daggy cannot follow"
_VARIABLE = "assign it to a variable first, or use `| raw`"

MENDS = {
    "quotes": "remove the quotes: Daggy quotes it",
    "a here-document": "nothing can be quoted there: give it in `stdin`, or use `| raw`",
    "a comment": "move it out of the comment",
    "backquotes": "use `$( )` or `| raw`",
    "arithmetic": _VARIABLE,
    "`${ }`": _VARIABLE,
    "text after a `$`": "remove the `$`, or use `| raw`",
    "text after a backslash": "remove the backslash: Daggy quotes it",
    LOST: "give the value in `environment`, or use `| raw`",
}
"""Why a substitution cannot be quoted where it stands, and what mends it."""

_HEREDOC = re.compile(r"<<(-?)[ \t]*((?:'[^'\n]*'|\"[^\"\n]*\"|\\.|[^\s;&|<>()'\"\\])+)")
_CLOSED = re.compile(r"\\.|\$\([^()`'\"\\$]*\)|\$\{[^{}()`'\"\\$]*\}|`[^`'\"\\$]*`")
_OPEN = re.compile(r"\$[({\[]|`")
_CASE = re.compile(r"case(?=[\s;&|()]|$)")
_SPECIAL = "$#?!@*-0123456789"  # parameters of one character: `$$` is one, and what follows is not part of it
_WORD_START = " \t\n;&|()"
_BLANK = (" ", "\t", "\n", ";", "&", "|", "")


def quote(text: str) -> str:
    """Return one shell word that stands for the text.

    It is always quoted, even where that seems needless: in `echo 2>file` a bare 2 would be a file descriptor.
    """
    return "'" + text.replace("'", "'\"'\"'") + "'"


def places(text: str) -> list[str]:
    """Return for each MARK of a command why it cannot be quoted there: a key of MENDS, or nothing if it can."""
    return list(_Lexer(text).scan())


@define
class _Heredoc:
    """A here-document that begins at the end of the line."""

    delimiter: str
    tabs: bool  # `<<-`: leading tabs do not count
    quoted: bool


class _Lexer:
    """Follows quotes, substitutions, comments and here-documents of a POSIX shell.

    `stack` holds what is open: `"` (double quotes), `$(` (a command substitution), `(` (a group), `{` and `"{` (a
    parameter expansion outside and inside double quotes), "`", `+` (arithmetic) and `+(` (a parenthesis in it). Where
    shells themselves differ, everything from there on is `lost`: refusing is better than quoting wrongly.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.stack: list[str] = []
        self.pending: list[_Heredoc] = []
        self.lost = False
        self.inside = -1  # where a word continues, although the character before usually ends words

    def scan(self) -> Iterator[str]:
        while self.at < len(self.text):
            character = self.text[self.at]
            if character == MARK:
                yield self._place()
                self.at += 1
            elif character == "\\":
                yield from self._escape()
            elif character == "\n" and self._plain():
                self.at += 1
                yield from self._heredocs()
            elif character == "#" and self._comment_starts():
                self.lost = self.lost or "`" in self.stack
                yield from self._until("\n", "a comment")
            elif character == "'" and self._top() not in ('"', "+", "+("):
                yield from self._single()
            else:
                self._step(character)

    def _top(self) -> str:
        return self.stack[-1] if self.stack else ""

    def _plain(self) -> bool:
        return self._top() in ("", "(", "$(", "`")

    def _before(self) -> str:
        if self.at == self.inside:
            return "a"
        return self.text[self.at - 1] if self.at else "\n"

    def _place(self) -> str:
        if self.lost:
            return LOST
        if "`" in self.stack:
            return "backquotes"
        if self._top() == '"':
            return "quotes"
        if self._top() in ("{", '"{'):
            return "`${ }`"
        if self._top() in ("+", "+("):
            return "arithmetic"
        return "text after a `$`" if self._before() == "$" else ""

    def _escape(self) -> Iterator[str]:
        follower = self.text[self.at + 1 : self.at + 2]
        if follower == MARK:
            yield "text after a backslash"
        elif follower == "\n":
            # The shell joins the lines before it splits tokens: a token split over two lines would be misread here.
            joined = self.text[self.at + 2 : self.at + 3] not in _BLANK and self._before() not in _BLANK
            self.lost = self.lost or (self._before() == "$" if self._top() == '"' else joined)
        elif follower in ("\\", "$", "`") and "`" in self.stack:
            self.lost = True
        self.at += 2
        self.inside = self.at if follower != "\n" else self.inside

    def _comment_starts(self) -> bool:
        return self._plain() and self._before() in _WORD_START

    def _until(self, end: str, place: str) -> Iterator[str]:
        stop = self.text.find(end, self.at)
        stop = len(self.text) if stop < 0 else stop
        yield from [place] * self.text.count(MARK, self.at, stop)
        self.at = stop

    def _single(self) -> Iterator[str]:
        start = self.at + 1
        if self._top() == '"{' or self._before() == "$":
            self.lost = True
        self.at = start
        yield from self._until("'", LOST if self.lost else "quotes")
        if "`" in self.stack and re.search(r"[`\\]", self.text[start : self.at]):
            self.lost = True
        self.at += 1

    def _step(self, character: str) -> None:
        top = self._top()
        if character == "$":
            self._dollar()
        elif character == "`":
            self._backquote()
        elif top in ("+", "+("):
            self._arithmetic(character)
        elif character == '"':
            self._double(top)
        elif top in ("{", '"{'):
            if character == "}":
                self.stack.pop()
            self.at += 1
        elif top == '"':
            self.at += 1
        else:
            self._command(character)

    def _dollar(self) -> None:
        following = self.text[self.at + 1 : self.at + 3]
        self.at += 2
        if following == "((":
            self.stack.append("+")
            self.at += 1
        elif following[:1] == "(":
            self.stack.append("$(")
        elif following[:1] == "{":
            self.stack.append('"{' if self._top() in ('"', '"{') else "{")
        elif following[:1] in _SPECIAL and following:
            self.inside = self.at
        else:
            self.lost = self.lost or following[:1] == "["  # arithmetic, in some shells
            self.at -= 1

    def _backquote(self) -> None:
        if "`" not in self.stack:
            self.lost = self.lost or bool(self.stack)
            self.stack.append("`")
        elif self._top() == "`":
            self.stack.pop()
        else:
            self.lost = True
        self.at += 1

    def _double(self, top: str) -> None:
        if top == '"':
            self.stack.pop()
        else:
            self.lost = self.lost or top == '"{'
            self.stack.append('"')
        self.at += 1

    def _arithmetic(self, character: str) -> None:
        # `$((` may also open a group in a command substitution; quotes, comments and lines give it away.
        if character in "'\"\n" or (character == "#" and self._before() in _WORD_START):
            self.lost = True
        if character == "(":
            self.stack.append("+(")
        elif character == ")" and self.stack.pop() == "+":
            closed = self.text.startswith("))", self.at)
            self.lost = self.lost or not closed
            self.at += closed
            self.inside = self.at + 1
        self.at += 1

    def _command(self, character: str) -> None:
        if character == "(":
            self.lost = self.lost or self.text.startswith("((", self.at)
            self.stack.append("(")
        elif character == ")" and self._top() in ("(", "$("):
            self.inside = self.at + 1 if self.stack.pop() == "$(" else self.inside
            self.lost = self.lost or bool(self.pending)
        elif character == "<" and self.text.startswith("<<", self.at):
            self._heredoc_begins()
            return
        elif character == "c" and self._nested_case():
            self.lost = True  # its patterns end in a parenthesis that closes nothing
        self.at += 1

    def _nested_case(self) -> bool:
        return bool(self.stack) and self._before() in _WORD_START + "`" and bool(_CASE.match(self.text, self.at))

    def _heredoc_begins(self) -> None:
        if self.text.startswith("<<<", self.at):
            self.at += 3
            return
        found = _HEREDOC.match(self.text, self.at)
        if found is None or MARK in found[2] or "`" in self.stack or "$" in found[2]:
            self.lost = True
            self.at += 2
            return
        quoted = any(character in found[2] for character in "'\"\\")
        self.pending.append(_Heredoc(re.sub(r"['\"\\]", "", found[2]), bool(found[1]), quoted))
        self.at = found.end()

    def _heredocs(self) -> Iterator[str]:
        pending, self.pending = self.pending, []
        for document in pending:
            continued = False
            while self.at < len(self.text):
                end = self.text.find("\n", self.at)
                end = len(self.text) if end < 0 else end
                line = self.text[self.at : end]
                self.at = end + 1
                bare = line.lstrip("\t") if document.tabs else line
                if bare == document.delimiter and not continued:
                    break
                yield from ["a here-document"] * line.count(MARK)
                if not document.quoted and _OPEN.search(_CLOSED.sub("", line)):
                    self.lost = True  # some shells look for the end of the document behind that of the substitution
                continued = not document.quoted and (len(line) - len(line.rstrip("\\"))) % 2 == 1
