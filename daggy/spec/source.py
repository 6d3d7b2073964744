"""Opens a JSON document so that its tasks stay bytes until each is used."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice

import msgspec
from attrs import define

from daggy.errors import Problem, SpecError
from daggy.spec.exact import Exact, count_keys, countable
from daggy.spec.fast import PlainTask, plain_task, plain_tasks
from daggy.spec.problems import kind

SMALL = 1 << 16
"""Size in bytes up to which a document is read strictly at once."""

_MANY = 4096
_VARIABLE = b"DAGGY_PARAM_"
_UNUSUAL = (b"{{", b"\\", b'""')
"""Characters that keep a batch from being decoded at once; then each of its entries is checked."""

_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_encode = msgspec.json.Encoder().encode
_STRANGE = re.compile(rb"\\u(?:0000|007|[dD][89a-fA-F])")  # NUL, braces, surrogates


@define
class Source:
    """An opened document.

    Args:
        members: Everything but `tasks`, as plain data.
        tasks: The entries of `tasks` as bytes, by name; None if `members` has them.
        data: The whole document.
        exact: What read `members`, and counts the keys that it reads.
        known: Keys that were found in other ways.
    """

    members: dict[str, object]
    tasks: dict[str, msgspec.Raw] | None
    _data: bytes
    _exact: Exact
    _known: int = 0

    def batches(self, *, plain: bool) -> Iterator[tuple[list[str], list[bytes], list[PlainTask | None]]]:
        """Return the entries of `tasks`, some thousand at a time: names, bytes, and the plain task where it is one.

        The bytes of what is not plain are for `read`. Duplicate keys are found once all batches have been taken.

        Args:
            plain: Whether tasks can be plain at all.

        Raises:
            SpecError: a key is given twice; raised at the end.
        """
        items = iter((self.tasks or {}).items())
        parameter = b"DAGGY_PARAM_" in self._data
        while chunk := list(islice(items, _MANY)):
            names = [name for name, _ in chunk]
            entries = [bytes(raw) for _, raw in chunk]
            joined = b"[" + b",".join(entries) + b"]"
            unusual = not plain or any(mark in joined for mark in _UNUSUAL) or (parameter and _VARIABLE in joined)
            tasks: list[PlainTask | None] = [*plain_tasks(joined)] if not unusual else []
            if not tasks:
                tasks = [plain_task(entry) if plain and not _is_unusual(entry) else None for entry in entries]
            self._known += count_keys(_encode([task for task in tasks if task is not None]))
            yield names, entries, tasks
        if self._known + self._exact.keys != count_keys(self._data) or not countable(self._data):
            Exact().decode(self._data)  # perhaps only strings that look like keys: reading it strictly decides

    def read(self, entry: bytes) -> object:
        """Return an entry of `tasks` as plain data.

        Raises:
            SpecError: it is not JSON, or a key is given twice.
        """
        try:
            return self._exact.decode(entry)
        except SpecError:
            Exact().decode(self._data)  # raises the same error with the place in the whole document
            raise


def _is_unusual(entry: bytes) -> bool:
    """Return whether an entry uses variables, or holds escapes that may stand for what a closer look is needed for."""
    return b"{{" in entry or _VARIABLE in entry or (b"\\u" in entry and _STRANGE.search(entry) is not None)


def open_source(data: bytes) -> Source:
    """Open a JSON document.

    Raises:
        SpecError: it is not JSON, not an object, or a key is given twice.
    """
    exact = Exact()
    if len(data) > SMALL:
        try:
            return _open(data.removeprefix(b"\xef\xbb\xbf"), exact)
        except (msgspec.MsgspecError, SpecError, UnicodeDecodeError, RecursionError):
            exact = Exact()  # reads all of it and reports the problem with its place
    value = exact.decode(data)
    if not isinstance(value, dict):
        raise SpecError([Problem("", f"{kind(value)} where an object with 'tasks' is expected")])
    return Source(value, None, data, exact)


def _open(data: bytes, exact: Exact) -> Source:
    if not data.isascii():
        data.decode()
    raw = _members(data)
    written = raw.pop("tasks", msgspec.Raw(b""))
    members = {name: exact.decode(bytes(member)) for name, member in raw.items()}
    tasks = _members(written)
    return Source(members, tasks, data, exact, len(raw) + 1 + len(tasks))
