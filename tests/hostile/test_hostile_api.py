"""What the API answers to requests that once were a bug, a wrong answer, or the end of somebody's tasks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio.testing

from daggy.errors import NotFoundError
from tests.hostile.test_hostile_targets import patience
from tests.integration.engine_rig import Scene, at_work
from tests.integration.serve_rig import Server, serving, shell, task

LARGEST = 2**63 - 1


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("hostile") / "state") as one:
        yield one
        assert "Traceback" not in one.errors.read_text()


@pytest.fixture(scope="module")
def run(server: Server) -> int:
    number = server.submit({"a": task("echo", "{{ N }}")}, parameters={"N": ["1", "2"]})
    server.ended(number)
    return number


def test_a_log_read_from_beyond_any_file_does_not_end_the_launcher(server: Server) -> None:
    number = server.submit({"a": shell("echo here; exec sleep 1000")})
    logs = f"/runs/{number}/tasks/0/logs/stdout"
    server.until(lambda: server.api("GET", logs).content == b"here\n")
    for offset in (LARGEST - 1, LARGEST):
        assert (server.api("GET", f"{logs}?offset={offset}").content, offset) == (b"", offset)
    for offset in (LARGEST + 1, 2**64, 10**30):
        assert server.api("GET", f"{logs}?offset={offset}").status_code == 400
    assert server.api("GET", f"{logs}?offset=1&limit=2").content == b"er"
    shown = server.get(f"/runs/{number}/tasks/0")
    assert (shown["state"], shown["attempts"]) == ("running", [])
    server.api("POST", f"/runs/{number}/kill")
    assert server.ended(number)["state"] == "killed"


@pytest.mark.parametrize("number", [0, -1, 2**32, LARGEST, LARGEST + 1, 10**30, -(10**30)])
@pytest.mark.parametrize("place", ["", "/spec", "/versions", "/graph", "/state", "/tasks", "/tasks/0/explain"])
def test_a_run_of_any_number_is_not_there_and_no_damage(server: Server, number: int, place: str) -> None:
    assert server.api("GET", f"/runs/{number}{place}").status_code == 404


@pytest.mark.trio
async def test_runs_that_are_not_there_leave_nothing_in_memory(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with at_work(tmp_path, Scene(), follow=True) as engine:
        for number in range(5, 25):
            with pytest.raises(NotFoundError, match=f"no run {number}"):
                await engine.runs.find(number)
        assert not engine.runs._reading


STRANGE: list[tuple[bytes, int]] = [
    (b'"\xed\xa0\x80"', 422),
    (b'{"param": {"N": "\xff"}}', 422),
    (b'"' + b"9" * 5000 + b'"', 400),
    (b"9" * 5000, 422),
    (b'["' + b"9" * 30 + b'"]', 400),
    (b"[" * 50_000 + b"]" * 50_000, 400),
]


@pytest.mark.parametrize(("selector", "status"), STRANGE, ids=lambda value: str(value)[:20])
def test_a_selector_that_is_no_text_or_too_long_is_refused(
    server: Server, run: int, selector: bytes, status: int
) -> None:
    assert server.api("POST", f"/runs/{run}/kill", content=b'{"selector": ' + selector + b"}").status_code == status
    answer = server.api("PATCH", f"/runs/{run}?dry_run=true", content=b'{"requeue": ' + selector + b"}")
    assert answer.status_code == status


def test_an_index_with_zeros_in_front_is_an_index(server: Server, run: int) -> None:
    body = {"requeue": "0" * 6000 + "1"}
    assert server.api("PATCH", f"/runs/{run}?dry_run=true", json=body).status_code == 200


@pytest.mark.parametrize("query", ["attempt=null", "offset=null", "limit=null"])
def test_null_is_no_number(server: Server, run: int, query: str) -> None:
    assert server.api("GET", f"/runs/{run}/tasks/0/logs/stdout?{query}").status_code == 400
    assert server.api("GET", "/runs?name=null").status_code == 200


def test_a_path_names_all_its_methods(server: Server, run: int) -> None:
    for path, methods in ((f"/runs/{run}", "DELETE, GET, OPTIONS, PATCH"), ("/runs", "GET, OPTIONS, POST")):
        answer = server.api("OPTIONS", path)
        assert (answer.status_code, answer.headers["allow"]) == (204, methods)


def test_readiness_is_described_as_it_is_open(server: Server) -> None:
    paths = server.http.get("/openapi.json").json()["paths"]
    for path in ("/ready", "/api/v1/ready"):
        assert paths[path]["get"]["security"] == []
        assert "401" not in paths[path]["get"]["responses"]
    assert "security" not in paths["/api/v1/pools"]["get"]


def _keys(count: int) -> bytes:
    return b"{" + b",".join(b'"selectr%d": 1' % number for number in range(count)) + b"}"


def test_no_more_wrong_keys_are_told_than_anybody_reads(server: Server, run: int) -> None:
    with patience():
        answer = server.api("POST", f"/runs/{run}/kill", content=_keys(50_000))
    assert (answer.status_code, len(answer.json()["error"]["problems"])) == (422, 100)


LARGE: list[tuple[object, int]] = [
    ("a" * 900_000, 400),
    ("pull.N:" + "%41" * 300_000, 400),
    ({"state": ["errored," * 100_000 + "errored"]}, 200),
    (["a"] * 150_000, 200),
]


@pytest.mark.parametrize(("selector", "status"), LARGE, ids=["name", "value", "states", "names"])
def test_a_large_selector_is_answered_soon(server: Server, run: int, selector: object, status: int) -> None:
    body = json.dumps({"selector": selector}).encode()
    with patience():
        assert server.api("POST", f"/runs/{run}/kill", content=body).status_code == status
