"""The client of a Daggy server: what the command line uses, and scripts may.

    client = Client.find()                       # the server of this machine
    run = client.submit({"directory": "/tmp", "tasks": {"hello": {"details": {"command": ["echo", "hello"]}}}})
    print(client.wait(run)["state"])

Answers are the API's shapes, as plain JSON data. Errors are those of `daggy.errors`.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import httpx
import msgspec
from attrs import frozen

from daggy.api import API
from daggy.client_routes import Functions, Nodes as Nodes
from daggy.errors import (
    ConflictError,
    DaggyError,
    NoRoomError,
    NotFoundError,
    PreconditionError,
    Problem,
    SpecError,
    TooLargeError,
    UnavailableError,
    UsageError,
)
from daggy.paths import CERTIFICATE, DIRECTORY, address_in, current_directory, default_directory, process_using, text_of
from daggy.trust import trust

ENDED = ("completed", "errored", "killed")
"""States of runs that have ended."""

CONNECT = 5.0
"""Seconds for a connection."""

ANSWER = 600.0
"""Seconds for an answer: a large spec takes its time."""

RESTART = 60.0
"""Seconds for which a server that went away is waited for."""

RECONNECT = 1.0
"""Seconds before a stream of events that broke is opened again."""

Json = Any


@frozen
class Event:
    """One event: `number` is None for those that are not kept; `kind` is run, reset or forgotten."""

    number: int | None
    kind: str
    data: Mapping[str, Any]


class Client:
    """Talks to one server. Not for several threads at once."""

    def __init__(self, url: str, token: str, actor: str = "", certificate: Path | None = None) -> None:
        """Keep what is given; nothing is sent yet. `actor` is recorded with each command, for `explain`; `certificate`
        is the server's own, where it is known.
        """
        host = _host(url)
        headers = {"Authorization": f"Bearer {_header('the token', token)}"}
        if actor:
            headers["X-Daggy-Actor"] = _header("the actor", actor)
        self.url = url.rstrip("/")
        self._place: Path | None = None
        self.comes_back = True
        """Whether a server that is gone may be started again, as far as `ready` has told."""
        self.nodes = Nodes(self._call)
        """The machines of its pools."""
        self.functions = Functions(self._call)
        """What there is to call."""
        self._http = httpx.Client(
            base_url=self.url,
            headers=headers,
            timeout=httpx.Timeout(ANSWER, connect=CONNECT),
            trust_env=host not in ("127.0.0.1", "::1", "localhost"),
            verify=trust(certificate) if url.startswith("https:") else True,
        )

    @classmethod
    def find(cls, directory: Path | None = None, server: str = "", token: str = "", actor: str = "") -> Self:
        """Return a client of the server named, else of the one that uses a state directory on this machine.

        Args:
            directory: The state directory; None: `$DAGGY_DIR`, else `$XDG_STATE_HOME/daggy`.
            server: Its address; empty: `$DAGGY_SERVER`, else what the directory says.
            token: Its token; empty: `$DAGGY_TOKEN`, else the directory's.
            actor: Who asks, kept with what is asked.

        Raises:
            UnavailableError: no server uses the directory, or its token cannot be read.
        """
        address, shown = server or os.environ.get("DAGGY_SERVER", ""), token or os.environ.get("DAGGY_TOKEN", "")
        if address and shown:
            return cls(address, shown, actor)
        place = directory or Path(os.environ.get(DIRECTORY, "") or default_directory())
        is_named = bool(address)
        address = address or address_in(place)
        if not address:
            if (process := process_using(place)).isdigit():
                raise UnavailableError(
                    f"'{place}' is used by process {process}, which does not listen yet, or not any more; try again in "
                    f"a moment; 'kill -INT {process}' ends it gracefully"
                )
            raise UnavailableError(
                f"no server uses '{place}'; start one with 'daggy serve --dir {place}', or name one with --server"
            )
        shown = shown or text_of(place / "token")
        if not shown:
            raise UnavailableError(f"no token for {address}: give it with --token, or as DAGGY_TOKEN")
        certificate = None if is_named or not (place / CERTIFICATE).exists() else place / CERTIFICATE
        client = cls(address, shown, actor, certificate)
        client._place = None if is_named else place
        return client

    def find_again(self) -> None:
        """Take the address that the state directory names: a server that was started again may have another one."""
        address = "" if self._place is None else address_in(self._place)
        if address:
            self.url = address
            self._http.base_url = address

    def close(self) -> None:
        """Close its connections."""
        self._http.close()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close its connections."""
        self.close()

    # Runs.

    def submit(
        self, spec: bytes | str | os.PathLike[str] | Mapping[str, Any], *, key: str = "", dry_run: bool = False
    ) -> Any:
        """Submit a spec; return the run's id, with `dry_run` the plan.

        Args:
            spec: Plain data, JSON as bytes, or the path of a file: JSON, or YAML or TOML by its extension. Data and
                bytes need a `directory`; that of a file is relative to the current directory, as for `daggy submit`.
            key: A second submission under the same key within a day is the first one.
            dry_run: Only plan it.

        Raises:
            SpecError: everything that is wrong with it.
        """
        headers = {"Content-Type": "application/json"} | ({"Idempotency-Key": _header("the key", key)} if key else {})
        answer = self._call("POST", "/runs", {"dry_run": dry_run}, _content(spec), headers)
        return answer if dry_run else answer["run_id"]

    def runs(self, **filters: Any) -> Json:
        """Return a page of runs, newest first; filters as the API's: tag, state, name, since, until, limit, cursor."""
        return self._call("GET", "/runs", filters)

    def last(self) -> int:
        """Return the id of the newest run.

        Raises:
            NotFoundError: there is none.
        """
        items = self.runs(limit=1)["items"]
        if not items:
            raise NotFoundError(f"{self.url} has no runs yet")
        return int(items[0]["run_id"])

    def run(self, run: int) -> Json:
        """Return a run with its counts."""
        return self._call("GET", f"/runs/{run}")

    def spec(self, run: int, version: int | None = None) -> bytes:
        """Return a version of a run's spec, as it is kept; by default the present one."""
        return self._send("GET", f"/runs/{run}/spec", {"version": version}).content

    def graph(self, run: int) -> Json:
        """Return the plan of a run by template."""
        return self._call("GET", f"/runs/{run}/graph")

    def change(self, run: int, asked: Mapping[str, Any], *, spec: bytes = b"", dry_run: bool = False) -> Json:
        """Edit, resume or requeue a run; return it, with `dry_run` the difference.

        Args:
            run: The run.
            asked: `resume`, `requeue`, `keep_downstream`.
            spec: The new version of its spec, JSON.
            dry_run: Change nothing.
        """
        members = [json.dumps(key).encode() + b":" + json.dumps(value).encode() for key, value in asked.items()]
        members += [b'"spec":' + spec] if spec else []
        body = b"{" + b",".join(members) + b"}"
        return self._call("PATCH", f"/runs/{run}", {"dry_run": dry_run}, body, {"Content-Type": "application/json"})

    def kill(self, run: int, selector: Any = None) -> Json:
        """Kill a run, or what a selector chooses of it."""
        body = b"{}" if selector is None else json.dumps({"selector": selector}).encode()
        return self._call("POST", f"/runs/{run}/kill", None, body, {"Content-Type": "application/json"})

    def forget(self, run: int) -> Json:
        """Remove a run that has ended."""
        return self._call("DELETE", f"/runs/{run}", {"forget": True})

    def wait(self, run: int) -> Json:
        """Return a run once it has ended."""
        for _ in self.following(run):
            told = self.run(run)
            if told["state"] in ENDED:
                return told
        return self.run(run)

    # Tasks.

    def tasks(self, run: int, **filters: Any) -> Json:
        """Return a page of tasks; filters as the API's: state, template, param, name, limit, cursor."""
        return self._call("GET", f"/runs/{run}/tasks", filters)

    def all_tasks(self, run: int, **filters: Any) -> Iterator[Json]:
        """Yield all tasks that match, page by page; with `cursor` from that index on."""
        while True:
            page = self.tasks(run, **filters)
            yield from page["items"]
            filters["cursor"] = page["next"]
            if page["next"] is None:
                return

    def task(self, run: int, index: int) -> Json:
        """Return all about a task."""
        return self._call("GET", f"/runs/{run}/tasks/{index}")

    def explain_run(self, run: int) -> Json:
        """Return why a run is not completed: its other tasks, in groups."""
        return self._call("GET", f"/runs/{run}/explain")

    def explain(self, run: int, index: int) -> Json:
        """Return why a task is where it is."""
        return self._call("GET", f"/runs/{run}/tasks/{index}/explain")

    def log(self, run: int, index: int, stream: str = "stdout", **asked: Any) -> Iterator[bytes]:
        """Yield what an attempt wrote, nothing beyond its end; `attempt, offset, limit, follow` as the API's."""
        path = f"{API}/runs/{run}/tasks/{index}/logs/{stream}"
        try:
            with self._http.stream("GET", path, params=_query(asked), timeout=httpx.Timeout(None)) as response:
                if response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
                    return
                if response.is_error:
                    response.read()
                _check(response)
                yield from response.iter_bytes()
        except httpx.TransportError as error:
            raise _unreachable(self.url, error) from error

    # The server.

    def ready(self) -> Json:
        """Return whether work goes on as it should, with the reason if not, and whether runs can be submitted.

        They cannot to a `daggy run`, which ends with its own: then `comes_back` is False.
        """
        try:
            told = self._http.get("/ready").json()
            self.comes_back = told.get("takes_runs", True)
        except (httpx.TransportError, ValueError, AttributeError) as error:
            raise _unreachable(self.url, error) from error
        return told

    def pools(self) -> Json:
        """Return all pools."""
        return self._call("GET", "/pools")

    def events(self, run: int | None = None, after: int | None = None) -> Iterator[Event]:
        """Yield events of one run, or of all: first the present state, or what came after an event.

        A stream that breaks is resumed where it broke, also by a server that was started again meanwhile.

        Raises:
            UnavailableError: the server cannot be reached, or has been gone for a minute; that of a `daggy run`, once
                `ready` was asked: it is gone.
        """
        path = f"{API}/events" if run is None else f"{API}/runs/{run}/events"
        met, has_met = time.monotonic(), False
        while True:
            headers = {} if after is None else {"Last-Event-ID": str(after)}
            try:
                with self._http.stream("GET", path, headers=headers, timeout=httpx.Timeout(60, connect=CONNECT)) as got:
                    if got.is_error:
                        got.read()
                    _check(got)
                    for event in _events(got.iter_lines()):
                        met, has_met = time.monotonic(), True
                        after = event.number if event.number is not None else after
                        yield event
                met = time.monotonic()
            except (httpx.TransportError, UnavailableError) as error:
                patience = RESTART if has_met else 3 * RECONNECT
                if not self.comes_back or time.monotonic() - met > patience:
                    raise error if isinstance(error, UnavailableError) else _unreachable(self.url, error) from error
            time.sleep(RECONNECT)
            self.find_again()

    def following(self, run: int) -> Iterator[Event]:
        """Yield the events of a run until it has ended, or is no more."""
        for event in self.events(run):
            yield event
            if event.kind == "forgotten" or event.data.get("state") in ENDED:
                return

    # Requests.

    def _call(
        self,
        method: str,
        path: str,
        query: Mapping[str, Any] | None = None,
        content: bytes | Iterable[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        return self._send(method, path, query, content, headers).json()

    def _send(
        self,
        method: str,
        path: str,
        query: Mapping[str, Any] | None = None,
        content: bytes | Iterable[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        try:
            response = self._http.request(
                method, API + path, params=_query(query or {}), content=content, headers=dict(headers or {})
            )
        except httpx.TransportError as error:
            raise _unreachable(self.url, error) from error
        _check(response)
        return response


ERRORS: Mapping[int, type[DaggyError]] = {
    400: UsageError,
    404: NotFoundError,
    409: ConflictError,
    412: PreconditionError,
    413: TooLargeError,
    503: UnavailableError,
    507: NoRoomError,
}


def _unreachable(url: str, error: Exception) -> UnavailableError:
    told = str(error) or type(error).__name__
    if "CERTIFICATE_VERIFY_FAILED" in told:
        return UnavailableError(
            f"the certificate of {url} is not trusted: {told.rpartition(': ')[2]}; "
            "name the file of its authority in SSL_CERT_FILE"
        )
    return UnavailableError(f"the server at {url} does not answer: {told.lower()}; is it running?")


def _check(response: httpx.Response) -> None:
    """Raise the error of an answer that is not a success."""
    if not response.is_error:
        return
    try:
        error = response.json()["error"]
        message, problems = str(error["message"]), error["problems"]
    except (ValueError, KeyError, TypeError):
        raise DaggyError(f"the server answered {response.status_code}: {response.text[:200]}") from None
    if response.status_code == 422 and problems:
        raise SpecError([Problem(one["path"], one["message"], one["mend"]) for one in problems])
    if response.status_code in (401, 403, 421):
        raise UnavailableError(f"the server refuses: {message}")
    raise ERRORS.get(response.status_code, DaggyError)(message)


def _host(url: str) -> str:
    """Return the host of a server's address.

    Raises:
        UsageError: it is no such address.
    """
    try:
        parts, parsed = urlsplit(url), httpx.URL(url)
    except (ValueError, httpx.InvalidURL):
        parts, parsed = urlsplit(""), httpx.URL("")
    if parts.scheme not in ("http", "https") or not parsed.host:
        raise UsageError(f"{_shown(url)} is not a server address; write one such as http://127.0.0.1:2503")
    return parsed.host


def _header(noun: str, value: str) -> str:
    """Return a value that is valid in a header.

    Raises:
        UsageError: it has other characters.
    """
    if not (value.isascii() and value.isprintable() and value == value.strip()):
        raise UsageError(f"{noun} has characters that are not allowed in an HTTP header; use printable ASCII only")
    return value


def _shown(value: str) -> str:
    """Return a value in quotes as it can be printed."""
    return f"'{value.encode(errors='backslashreplace').decode()}'"


def _query(asked: Mapping[str, Any]) -> httpx.QueryParams:
    """Return query parameters: what is None or False is left out, a list is given several times.

    Raises:
        UsageError: a value is not UTF-8.
    """
    pairs: list[tuple[str, str | int | float | bool | None]] = []
    for name, value in asked.items():
        if value is None or value is False or value == "":
            continue
        values: Sequence[Any] = value if isinstance(value, (list, tuple)) else [value]
        pairs += [(name, "true" if one is True else str(one)) for one in values]
    try:
        return httpx.QueryParams(pairs)
    except UnicodeEncodeError as error:
        raise UsageError(f"{_shown(error.object)} is not UTF-8") from None


def _content(spec: bytes | str | os.PathLike[str] | Mapping[str, Any]) -> bytes:
    """Return a spec as JSON.

    Raises:
        SpecError: its file cannot be read, or is not what its extension says.
    """
    if isinstance(spec, bytes):
        return spec
    if isinstance(spec, Mapping):
        return json.dumps(spec).encode()
    from daggy.spec import load_file, overlay  # other requests need no parser

    document = load_file(Path(spec))
    if not document.has_absolute_directory:
        document = overlay(document, directory=str(current_directory()))
    members = msgspec.json.decode(document.raw, type=dict[str, msgspec.Raw])
    members.setdefault("name", msgspec.Raw(msgspec.json.encode(document.name)))
    return msgspec.json.encode(members)


def _events(lines: Iterable[str]) -> Iterator[Event]:
    number: int | None = None
    kind, data = "run", ""
    for line in lines:
        name, _, value = line.partition(": ")
        if name == "id":
            number = int(value)
        elif name == "event":
            kind = value
        elif name == "data":
            data += value
        elif not line and data:
            yield Event(number, kind, json.loads(data))
            number, kind, data = None, "run", ""
