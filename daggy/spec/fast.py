"""The fast path for plain tasks: msgspec decodes a million of them; unusual ones are left to `task`."""

from __future__ import annotations

import re
from operator import attrgetter
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from daggy.spec.details import Given, merge_details
from daggy.spec.durations import LONGEST
from daggy.spec.model import Details
from daggy.spec.sizes import SIZED, resources_of

_Integer = Annotated[int, Meta(ge=0, le=60_000)] | UnsetType
_Length = Annotated[float, Meta(ge=0, le=LONGEST)] | UnsetType
_Name = Annotated[str, Meta(min_length=1, pattern=r"^[^\x00-\x1f\x7f]*\Z")]


class _Details(Struct, forbid_unknown_fields=True, gc=False):
    """The details that the fast path accepts; whatever it accepts is valid."""

    command: Annotated[list[str], Meta(min_length=1)] | UnsetType = UNSET
    shell: str | UnsetType = UNSET
    environment: dict[str, str | None] | UnsetType = UNSET
    directory: str | UnsetType = UNSET
    timeout: Annotated[float, Meta(gt=0, le=LONGEST)] | UnsetType = UNSET
    grace: _Length = UNSET
    stdin: str | UnsetType = UNSET


class PlainTask(Struct, forbid_unknown_fields=True, gc=False):
    """An entry of `tasks` without anything that needs full validation."""

    details: _Details
    parents: list[str] | UnsetType = UNSET
    children: list[str] | UnsetType = UNSET
    description: str | UnsetType = UNSET
    max_retries: _Integer = UNSET
    retry_delay: _Length = UNSET
    retry_backoff: Annotated[float, Meta(ge=1, le=1000)] | UnsetType = UNSET
    crash_limit: _Integer = UNSET
    priority: Annotated[int, Meta(ge=-(2**31), le=2**31 - 1)] | UnsetType = UNSET
    max_parallel: Annotated[int, Meta(ge=1, le=2**32 - 1)] | UnsetType = UNSET
    pool: _Name | UnsetType = UNSET
    resources: dict[_Name, Annotated[float, Meta(ge=0, le=1e15)] | str] | UnsetType = UNSET
    is_generator: bool | UnsetType = UNSET
    result: bool | UnsetType = UNSET


POLICY_FIELDS = [
    "max_retries",
    "retry_delay",
    "retry_backoff",
    "crash_limit",
    "priority",
    "max_parallel",
    "pool",
    "is_generator",
    "result",
]
policy_of = attrgetter(*POLICY_FIELDS, "details.timeout")
"""Returns the fields of a plain task that make its policy, `resources` left out."""

NO_POLICY: tuple[Any, ...] = (UNSET,) * (len(POLICY_FIELDS) + 1)

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_decode = msgspec.json.Decoder(PlainTask).decode
_decode_all = msgspec.json.Decoder(list[PlainTask]).decode
_DETAILS = _Details.__struct_fields__


def plain_tasks(joined: bytes) -> list[PlainTask]:
    """Return tasks that are all valid, or nothing if one of them needs full validation.

    Args:
        joined: A JSON list of entries, without any escape, empty string or `{{`.
    """
    try:
        tasks = _decode_all(joined)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return []
    for task in tasks:
        details = task.details
        if (details.command is UNSET) is (details.shell is UNSET):
            return []
        if details.environment is not UNSET and not _good_variables(details.environment):
            return []
        if task.resources is not UNSET and not _good_resources(task.resources):
            return []
    return tasks


def plain_task(raw: bytes) -> PlainTask | None:
    """Return a task that is valid, or None for one that needs full validation.

    Args:
        raw: The entry's JSON, without `{{` and without escapes that stand for NUL, surrogates or braces.
    """
    try:
        task = _decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    details = task.details
    if (details.command is UNSET) is (details.shell is UNSET):
        return None
    if details.environment is not UNSET and not _good_variables(details.environment):
        return None
    if task.resources is not UNSET and not _good_resources(task.resources):
        return None
    for names in (task.parents, task.children):
        if names is not UNSET and not (all(names) and _CONTROL.search("".join(names)) is None):
            return None
    return task


def _good_variables(environment: dict[str, str | None]) -> bool:
    return all(name and "=" not in name and not name.startswith("DAGGY_") for name in environment)


def _good_resources(resources: dict[str, float | str]) -> bool:
    if str not in map(type, resources.values()) and SIZED.keys().isdisjoint(resources):
        return True
    try:
        resources_of(resources)
    except ValueError:
        return False
    return True


def policy_given(task: PlainTask) -> dict[str, Any]:
    """Return what a plain task gives of its policy."""
    *values, timeout = policy_of(task)
    given = {key: value for key, value in zip(POLICY_FIELDS, values, strict=True) if value is not UNSET}
    if timeout is not UNSET:
        given["details"] = {"timeout": timeout}
    if task.resources is not UNSET:
        given["resources"] = resources_of(task.resources)
    return given


class Written:
    """The details of a plain task, kept as bytes until they are used."""

    __slots__ = ("inherited", "raw")

    def __init__(self, raw: bytes, inherited: Given) -> None:
        """Keep the task's JSON and the defaults of `details`."""
        self.raw = raw
        self.inherited = inherited

    def __eq__(self, other: object) -> bool:
        """Return whether both are written alike; if not, they may still be equal."""
        if not isinstance(other, Written):
            return NotImplemented
        return self.raw == other.raw and (self.inherited is other.inherited or self.inherited == other.inherited)

    __hash__ = None  # type: ignore[assignment]  # they are never keys

    def read(self) -> Details:
        """Return the details, decoded."""
        return plain_details(_decode(self.raw), self.inherited)


read_plain = _decode
"""Returns the plain task that these bytes are known to hold."""


def plain_details(task: PlainTask, inherited: Given) -> Details:
    """Return the details of a plain task, over the defaults."""
    details = task.details
    if details.shell is UNSET and not inherited and details.environment is UNSET:
        command, rest = details.command, (details.directory, details.timeout, details.grace, details.stdin)
        if rest == _NOTHING_ELSE and command is not UNSET:
            return Details(tuple(command))
    given = {name: value for name in _DETAILS if (value := getattr(details, name)) is not UNSET}
    if "command" in given:
        given["command"] = tuple(given["command"])
    return merge_details(inherited, given)


_NOTHING_ELSE = (UNSET,) * 4
