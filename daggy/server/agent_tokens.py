"""Tokens with which agents join: their digests, in a file of the state directory that commands and the server read."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from attrs import field, frozen

from daggy import files
from daggy.errors import DirectoryError, NotFoundError

FILE = "agents.json"
"""File in the state directory: digests of tokens, by id."""

IsToken = Callable[[str], bool]
"""Returns whether a token is the server's own."""

MARK = "dga_"
"""What a token begins with."""


@frozen
class AgentToken:
    """A token, without its secret.

    Args:
        id: Names it, for people.
        pool: The pool that it leads to; empty: any.
        made: When it was made, seconds since 1970.
        digest: SHA-256 of the whole token.
    """

    id: str
    pool: str
    made: float
    digest: str = field(repr=False)


def make(directory: Path, pool: str = "") -> str:
    """Return a new token; it is not kept itself, and cannot be shown again.

    Raises:
        DirectoryError: it cannot be written down.
    """
    name = secrets.token_hex(4)
    token = f"{MARK}{name}_{secrets.token_urlsafe(32)}"
    with _changing(directory) as kept:
        kept[name] = {"pool": pool, "made": time.time(), "digest": _digest(token)}
    return token


def revoke(directory: Path, name: str) -> None:
    """Forget a token: agents that joined with it are sent away.

    Raises:
        NotFoundError: there is none of this id.
        DirectoryError: the file cannot be read or written.
    """
    with _changing(directory) as kept:
        if name not in kept:
            there = ", ".join(sorted(kept)) or "none"
            raise NotFoundError(f"no agent token '{name}'; there are: {there}")
        del kept[name]


def tokens(directory: Path) -> Mapping[str, AgentToken]:
    """Return all tokens, by id.

    Raises:
        DirectoryError: the file cannot be read.
    """
    return {name: AgentToken(name, one["pool"], one["made"], one["digest"]) for name, one in _read(directory).items()}


def find(known: Mapping[str, AgentToken], shown: str) -> AgentToken | None:
    """Return the token that was shown; None if there is none."""
    digest = _digest(shown)
    return next((one for one in known.values() if hmac.compare_digest(one.digest, digest)), None)


def id_of(text: str) -> str:
    """Return the id in a token, or in the first part of one, or the id itself."""
    return text.removeprefix(MARK).partition("_")[0]


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode(errors="replace")).hexdigest()


@contextlib.contextmanager
def _changing(directory: Path) -> Iterator[dict[str, dict[str, Any]]]:
    """Read the file, let it be changed, and write it; one process at a time."""
    path = directory / FILE
    try:
        with open(directory / f".{FILE}", "w", opener=files.private) as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            kept = _read(directory)
            yield kept
            files.replace(path, json.dumps(kept).encode())
    except OSError as error:
        raise DirectoryError(f"'{path}' cannot be written: {(error.strerror or str(error)).lower()}") from error


def _read(directory: Path) -> dict[str, dict[str, Any]]:
    path = directory / FILE
    try:
        kept = json.loads(path.read_bytes())
        return {str(name): {"pool": str(one["pool"]), "made": float(one["made"]), "digest": str(one["digest"])}
                for name, one in kept.items()}  # fmt: skip
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise DirectoryError(f"'{path}' cannot be read: {(error.strerror or str(error)).lower()}") from error
    except (ValueError, KeyError, TypeError, AttributeError):
        raise DirectoryError(f"'{path}' is damaged; remove it, and make new agent tokens") from None
