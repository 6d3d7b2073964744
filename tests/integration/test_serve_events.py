"""What a server tells by itself: events that can be taken up again, and figures for a monitor."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.integration.serve_rig import Server, serving, shell, task

ENDED = ("completed", "errored", "killed")


class Events:
    """A stream of events as it comes."""

    def __init__(self, server: Server, path: str = "/events", after: int | None = None) -> None:
        headers = {} if after is None else {"Last-Event-ID": str(after)}
        self._stream = server.http.stream("GET", f"/api/v1{path}", headers=headers)
        self.response = self._stream.__enter__()
        self._lines = self.response.iter_lines()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.__exit__(None, None, None)

    def next(self) -> tuple[int, str, Any]:
        """Return number, kind and data of the next; -1 for one without a number."""
        fields: dict[str, str] = {}
        for line in self._lines:
            name, _, value = line.partition(": ")
            if name in ("id", "event", "data"):
                fields[name] = value
            elif not line and fields:
                return int(fields.get("id", -1)), fields["event"], json.loads(fields["data"])
        raise EOFError("the stream has ended")

    def until(self, condition: Callable[[Any], bool]) -> list[tuple[int, str, Any]]:
        found = [self.next()]
        while not condition(found[-1][2]):
            found.append(self.next())
        return found


def has_ended(run: int) -> Callable[[Any], bool]:
    return lambda data: data.get("run_id") == run and data.get("state") in ENDED


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("events") / "state", DAGGY_POOLS__DEFAULT__WORKERS="2") as one:
        yield one


def test_a_stream_begins_with_the_present_and_goes_on_with_what_comes(server: Server, tmp_path: Path) -> None:
    go = tmp_path / "go"
    run = server.submit({"a": shell(f"until [ -e {go} ]; do sleep 0.02; done"), "b": task("true", parents=["a"])})
    server.until(lambda: server.get(f"/runs/{run}")["counts"]["running"] == 1)
    with Events(server, f"/runs/{run}/events") as one, Events(server) as every:
        assert one.response.headers["content-type"].startswith("text/event-stream")
        assert one.response.headers["cache-control"] == "no-store"
        number, kind, first = one.next()
        assert (kind, first["state"], first["tasks"], first["counts"]["waiting"]) == ("run", "running", None, 1)
        assert every.next()[2]["run_id"] == run, "what has ended is nothing of the present"
        go.touch()
        told = one.until(has_ended(run))
        assert told[-1][2]["state"] == "completed"
        numbers = [number, *(number for number, _, _ in told)]
        assert numbers == sorted(set(numbers))
        mine = [one for one in every.until(has_ended(run)) if one[2]["run_id"] == run]
        assert mine[-1] == told[-1], "everybody is told the same under the same number"
    went = [data["tasks"].get("completed", []) for _, _, data in told if data["tasks"]]
    assert sorted(index for ranges in went for start, stop in ranges for index in range(start, stop)) == [0, 1]


def test_many_changes_are_few_events(server: Server) -> None:
    with Events(server) as events:
        run = server.submit({"a": task("true", "{{ N }}")}, parameters={"N": {"range": [0, 300]}})
        told = [one for one in events.until(has_ended(run)) if one[2]["run_id"] == run]
    assert len(told) < 100
    assert told[-1][2]["counts"]["completed"] == 300


def test_a_run_that_is_no_more_is_told(server: Server) -> None:
    run = server.submit({"a": task("true")})
    server.ended(run)
    with Events(server, f"/runs/{run}/events") as events:
        assert events.next()[2]["state"] == "completed"
        assert server.api("DELETE", f"/runs/{run}", params={"forget": "true"}).status_code == 200
        told = events.until(lambda data: data.get("forgotten"))
        assert told[-1][1] == "forgotten"
        assert set(told[-1][2]) == {"run_id", "at", "forgotten"}


def test_a_stream_is_taken_up_where_it_broke_also_at_the_next_server(tmp_path: Path) -> None:
    with serving(tmp_path / "state") as server:
        with Events(server) as events:
            first = server.submit({"a": task("true")})
            seen = events.until(has_ended(first))
        second = server.submit({"a": task("true")})
        server.ended(second)
        last = seen[-1][0]
        with Events(server, after=last) as events:
            missed = events.until(has_ended(second))
        with Events(server, after=last) as events:
            assert events.until(has_ended(second)) == missed
        assert [number for number, _, _ in missed] == list(range(last + 1, missed[-1][0] + 1)), "nothing is left out"
    with serving(tmp_path / "state") as server:
        third = server.submit({"a": task("true")})
        with Events(server, after=last) as events:
            later = events.until(has_ended(third))
        assert [one for one in later if one[0] <= missed[-1][0]] == missed
        with Events(server, f"/runs/{second}/events", after=0) as events:
            told = events.until(has_ended(second))
        assert {data["run_id"] for _, _, data in told} == {second}
        with Events(server, after=10**9) as events:
            assert events.next()[1:] == ("reset", {}), "a number that was never given"
            fourth = server.submit({"a": task("true")})
            assert events.until(has_ended(fourth))


def test_a_memory_server_has_events_too(tmp_path: Path) -> None:
    with serving(tmp_path / "state", keep=False) as server:
        run = server.submit({"a": task("true")})
        server.ended(run)
        with Events(server, after=0) as events:
            assert next(number for number, _, _ in events.until(has_ended(run))) == 1


def test_many_may_follow_and_whoever_goes_is_forgotten(server: Server) -> None:
    streams = [Events(server) for _ in range(30)]
    assert figures(server)["daggy_followers"][()] == 30
    run = server.submit({"a": task("true")})
    ends = [stream.until(has_ended(run))[-1] for stream in streams]
    assert len({(number, json.dumps(data)) for number, _, data in ends}) == 1
    for stream in streams:
        stream.__exit__()
    server.until(lambda: figures(server)["daggy_followers"][()] == 0)


@pytest.mark.parametrize("number", ["x", "-1", "1.5", "9" * 30, "٣"])
def test_what_is_no_number_of_an_event_is_refused(server: Server, number: str) -> None:
    for path in ("/events", "/runs/1/events"):
        answer = server.api("GET", path, headers=httpx.Headers({"Last-Event-ID": number}, encoding="utf-8"))
        assert answer.status_code in (400, 404)
    assert server.api("GET", "/events", params={"after": number}).status_code == 400


def figures(server: Server) -> dict[str, dict[tuple[str, ...], float]]:
    """All figures: by name, by the values of their labels."""
    answer = server.http.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in text_string_to_metric_families(answer.text):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sample.labels.values())] = sample.value
    return found


def test_figures_follow_what_happens(server: Server, tmp_path: Path) -> None:
    before = figures(server)
    go = tmp_path / "go"
    run = server.submit(
        {"ok": task("true"), "bad": task("false"), "wait": shell(f"until [ -e {go} ]; do sleep 0.02; done")}
    )
    server.until(lambda: server.get(f"/runs/{run}")["counts"]["running"] == 1)
    server.until(lambda: figures(server)["daggy_tasks"][("completed",)] == 1)
    during = figures(server)
    assert (during["daggy_tasks"][("errored",)], during["daggy_tasks"][("running",)]) == (1, 1)
    assert during["daggy_runs"][("running",)] == 1
    assert during["daggy_running"] == {("default",): 1}
    assert during["daggy_pool_total"][("default", "cores")] == 2
    assert during["daggy_pool_used"][("default", "cores")] == 1
    go.touch()
    server.ended(run)
    after = figures(server)
    for reason, more in (("ok", 2), ("exit", 1), ("lost", 0)):
        labels = ("default", reason)
        assert after["daggy_attempts_total"][labels] - before["daggy_attempts_total"][labels] == more
    assert (after["daggy_ready"][()], after["daggy_tracker_trouble"][()]) == (1, 0)
    server.until(lambda: figures(server)["daggy_events_total"][()] > before["daggy_events_total"][()])
    assert after["daggy_loop_late_seconds_count"][()] > 0
    assert after["process_resident_memory_bytes"][()] > 10_000_000


def test_labels_are_bounded_whatever_is_asked(server: Server) -> None:
    for number in range(20):
        server.http.get(f"/api/v1/runs/{1000 + number}")
        server.http.get(f"/nothing/{number}")
        server.http.request(f"METHOD{number}", "/api/v1/runs")
        server.submit({f"t{number}": task("true")}, name=f"run-{number}", tags={f"k{number}": "v"})
    found = figures(server)
    routes = {labels for labels in found["daggy_requests_total"] if labels[1] in ("other", "/api/v1/runs/{run_id}")}
    assert {("GET", "/api/v1/runs/{run_id}", "404"), ("GET", "other", "404")} <= routes
    assert len(routes) < 12
    text = server.http.get("/metrics").text
    assert not [word for word in ("run-1", "k1", "METHOD1", "/nothing") if word in text]
    assert server.token not in text
