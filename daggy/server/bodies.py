"""Receives bodies of requests piece by piece, within limits; large ones in a file."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import msgspec
import trio
from attrs import frozen
from litestar import Request

from daggy.errors import NoRoomError, Problem, SpecError, TooLargeError, UsageError

SMALL = 1 << 20
"""Bytes of a body that are kept in memory."""

MOST_PROBLEMS = 100
"""Bytes of a body at most."""

JSON_TYPES = ("application/json", "application/merge-patch+json", "text/json", "")
"""Accepted content types."""


@frozen
class Body:
    """A complete body: in memory if it is small, else in a file that is removed with the request."""

    content: bytes | Path
    digest: str
    size: int


@asynccontextmanager
async def received(request: Request[Any, Any, Any], directory: Path, most: int) -> AsyncIterator[Body]:
    """Receive a body; a file that it needed is removed in the end.

    Args:
        request: The request.
        directory: Where large bodies are put meanwhile.
        most: Bytes that are accepted.

    Raises:
        UsageError: its content type is not JSON.
        TooLargeError: it is larger than that.
        NoRoomError: the disk is full.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in JSON_TYPES:
        raise UsageError(f"a body of type '{kind}' is not supported; send JSON, as 'application/json'")
    digest, size, held = hashlib.sha256(), 0, bytearray()
    spill: Path | None = None
    try:
        async for piece in request.stream():
            size += len(piece)
            if size > most:
                raise TooLargeError(f"the body is larger than the {most:,} bytes that this server accepts here")
            digest.update(piece)
            held += piece
            if len(held) > SMALL:
                spill = spill or _spill_file(directory)
                await trio.to_thread.run_sync(_add, spill, bytes(held))
                held.clear()
        if spill is not None:
            await trio.to_thread.run_sync(_add, spill, bytes(held))
        yield Body(bytes(held) if spill is None else spill, digest.hexdigest(), size)
    finally:
        if spill is not None:
            spill.unlink(missing_ok=True)


def _spill_file(directory: Path) -> Path:
    try:
        descriptor, name = tempfile.mkstemp(prefix="body-", dir=directory)
    except OSError as error:
        raise _no_room(error) from error
    os.close(descriptor)
    return Path(name)


def _add(path: Path, data: bytes) -> None:
    try:
        with path.open("ab") as file:
            file.write(data)
    except OSError as error:
        raise _no_room(error) from error


def _no_room(error: OSError) -> NoRoomError:
    return NoRoomError(
        f"the body cannot be received: {(error.strerror or str(error)).lower()}; make room, and send it again"
    )


async def members(
    request: Request[Any, Any, Any], directory: Path, most: int, known: Mapping[str, type]
) -> dict[str, Any]:
    """Return the members of a small JSON object, by name; an empty body is an empty object.

    Raises:
        UsageError: it is not JSON.
        SpecError: it is no object, or has keys that are not known, or values of other types.
    """
    async with received(request, directory, most) as body:
        content = body.content if isinstance(body.content, bytes) else await trio.Path(body.content).read_bytes()
    return members_of(content, known)


def members_of(content: bytes, known: Mapping[str, type]) -> dict[str, Any]:
    """Return the members of a JSON object; what is typed `Raw` stays bytes.

    Raises:
        UsageError: it is not JSON.
        SpecError: it is no object, or has keys that are not known, or values of other types.
    """
    if not content.strip():
        return {}
    try:
        found = msgspec.json.decode(content, type=dict[str, msgspec.Raw])
    except msgspec.ValidationError:
        raise SpecError([Problem("", "the body is not a JSON object", f"its keys are: {', '.join(known)}")]) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"the body is not JSON: {error}") from None
    problems: list[Problem] = []
    values: dict[str, Any] = {}
    for key, raw in found.items():
        if len(problems) == MOST_PROBLEMS:
            break
        if key not in known:
            close = get_close_matches(key, known, 1)
            mend = f"did you mean '{close[0]}'?" if close else f"there are: {', '.join(known)}"
            problems.append(Problem(key, "no such key", mend))
            continue
        try:
            values[key] = bytes(raw) if known[key] is msgspec.Raw else msgspec.json.decode(raw, type=known[key])
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            problems.append(Problem(key, str(error).lower()))
    if problems:
        raise SpecError(problems)
    return values
