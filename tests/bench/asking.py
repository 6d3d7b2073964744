"""What a client of a server waits for: one connection, one request after the other, each timed."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping, Sequence
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit

from tests.bench.fresh import BenchError

API = "/api/v1"

PATIENCE = 300.0
"""Seconds for any answer: one that takes longer is a failure, not a figure."""


class Asker:
    """One connection to a server. Not for several threads at once."""

    def __init__(self, address: str, token: str) -> None:
        """Keep where and with what; nothing is sent yet."""
        parts = urlsplit(address)
        self._connection = HTTPConnection(parts.hostname or "", parts.port, timeout=PATIENCE)
        self._headers = {"Authorization": f"Bearer {token}"}

    def ask(self, method: str, path: str, body: bytes | None = None) -> bytes:
        """Return what a route of the API answers.

        Raises:
            BenchError: it refuses.
        """
        self._connection.request(method, API + path, body, self._headers | {"Content-Type": "application/json"})
        response = self._connection.getresponse()
        content = response.read()
        if response.status >= 400:
            raise BenchError(f"{method} {path}: {response.status}: {content[:500]!r}")
        return content

    def timed(self, path: str) -> float:
        """Return the seconds that a GET takes."""
        began = time.perf_counter()
        self.ask("GET", path)
        return time.perf_counter() - began

    def get(self, path: str) -> Any:
        """Return what a route answers, read."""
        return json.loads(self.ask("GET", path))

    def submit(self, spec: bytes) -> int:
        """Submit a spec; return the run's id."""
        return int(json.loads(self.ask("POST", "/runs", spec))["run_id"])

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def is_ready(address: str) -> bool:
    """Return whether a server says that it is ready.

    Raises:
        OSError: nobody listens there.
    """
    parts = urlsplit(address)
    connection = HTTPConnection(parts.hostname or "", parts.port, timeout=PATIENCE)
    try:
        connection.request("GET", "/ready")
        return connection.getresponse().status == 200
    finally:
        connection.close()


def quantile(figures: Sequence[float], part: float) -> float:
    """Return the least figure that this part of them does not exceed; of 50, the 0.99 quantile is the highest."""
    ordered = sorted(figures)
    return ordered[max(0, math.ceil(part * len(ordered)) - 1)]


def spread(figures: Mapping[str, Sequence[float]]) -> str:
    """Return p50 and p99 of several kinds of waiting, in milliseconds, for people."""
    shown = (
        f"{kind} {quantile(each, 0.5) * 1e3:.1f}/{quantile(each, 0.99) * 1e3:.1f}" for kind, each in figures.items()
    )
    return f"p50/p99 in ms: {', '.join(shown)}"
