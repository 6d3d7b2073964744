"""The HTTP API against a real server: every route, in the shapes that it promises, and every way to be refused."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest

from tests.integration.serve_rig import Server, events_of, serving, shell, task

RUN = {"run_id", "name", "tags", "state", "version", "created", "started", "ended", "counts", "templates", "held"}
TASK = {"index", "name", "template", "parameters", "state", "attempts", "started", "ended", "note"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("api") / "state") as one:
        yield one


@pytest.fixture(scope="module")
def diamond(server: Server) -> int:
    """A run that has ended: three pulls, one of which fails, and what waits for them."""
    tasks = {
        "pull": shell("echo {{ N }}; echo oops >&2; test {{ N }} != 2"),
        "use": shell("cat", [{"task": "pull", "match": ["N"]}], expand=["N"]),
        "sum": task("true", parents=["use"]),
        "clean": task("echo", "clean", parents=[{"task": "sum", "on": "ended"}]),
    }
    run = server.submit(tasks, parameters={"N": ["1", "2", "3"]}, name="diamond", tags={"env": "test", "who": "me"})
    assert server.ended(run)["state"] == "errored"
    return run


def moves(server: Server, run: int, index: int) -> list[dict[str, Any]]:
    """Return what commands did to a task, of what explains it."""
    because = server.get(f"/runs/{run}/tasks/{index}/explain")["because"]
    return [one for one in because if one["kind"] == "moved"]


def problem(response: httpx.Response, status: int) -> dict[str, Any]:
    """The error of an answer, which has the one shape of errors."""
    assert response.status_code == status, response.text
    error: dict[str, Any] = response.json()["error"]
    assert set(error) == {"code", "message", "problems"}
    assert "Traceback" not in response.text
    return error


def test_a_run_is_shown_with_its_counts(server: Server, diamond: int) -> None:
    run = server.get(f"/runs/{diamond}")
    assert set(run) == RUN
    assert run["counts"] | {"completed": 5, "errored": 1, "upstream_failed": 2} == run["counts"]
    assert {one["name"]: one["tasks"] for one in run["templates"]} == {"pull": 3, "use": 3, "sum": 1, "clean": 1}
    assert run["created"].endswith("Z")


def test_runs_are_listed_newest_first_by_page_and_filter(server: Server, diamond: int) -> None:
    later = [server.submit({"a": task("true")}, tags={"batch": "list"}, name="listed") for _ in range(3)]
    for run in later:
        server.ended(run)
    first = server.get("/runs", tag="batch:list", limit=2)
    assert [one["run_id"] for one in first["items"]] == later[:0:-1]
    rest = server.get("/runs", tag="batch:list", limit=2, cursor=first["next"])
    assert ([one["run_id"] for one in rest["items"]], rest["next"]) == ([later[0]], None)
    assert [one["run_id"] for one in server.get("/runs", name="diamond")["items"]] == [diamond]
    assert {one["state"] for one in server.get("/runs", state="errored")["items"]} == {"errored"}
    assert server.get("/runs", since="2999-01-01")["items"] == []
    assert server.get("/runs", until="2999-01-01", state="completed", limit=1)["next"] is not None


def test_tasks_are_paged_and_filtered(server: Server, diamond: int) -> None:
    page = server.get(f"/runs/{diamond}/tasks", limit=3)
    assert [set(one) for one in page["items"]] == [TASK] * 3
    rest = server.get(f"/runs/{diamond}/tasks", cursor=page["next"])
    names = [one["name"] for one in page["items"] + rest["items"]]
    assert len(names) == len(set(names)) == 8
    failed = server.get(f"/runs/{diamond}/tasks", state="errored")["items"]
    assert [one["name"] for one in failed] == ["pull.N:2"]
    of = server.get(f"/runs/{diamond}/tasks", template="use", param="N:3")["items"]
    assert [one["name"] for one in of] == ["use.N:3"]
    assert [one["name"] for one in server.get(f"/runs/{diamond}/tasks", name="use.N:1")["items"]] == ["use.N:1"]
    assert server.get(f"/runs/{diamond}/tasks", name="use.N:9")["items"] == []


def test_the_name_of_a_task_is_one_filter_among_the_others(server: Server, diamond: int) -> None:
    def named(name: str, **others: Any) -> list[str]:
        return [one["name"] for one in server.get(f"/runs/{diamond}/tasks", name=name, **others)["items"]]

    assert named("pull.N:2", state="errored", template="pull", param="N:2") == ["pull.N:2"]
    assert named("pull.N:2", state="completed") == []
    assert named("pull.N:2", template="use") == []
    assert named("pull.N:2", param="N:3") == []
    index = server.get(f"/runs/{diamond}/tasks", name="pull.N:2")["items"][0]["index"]
    assert named("pull.N:2", cursor=index + 1) == []
    for wrong in ({"param": "N"}, {"cursor": ""}, {"template": "nowhere"}, {"state": "nowhere"}):
        refused = server.api("GET", f"/runs/{diamond}/tasks", params={"name": "none", **wrong})
        assert refused.status_code == 400, wrong


def test_a_task_has_its_details_neighbours_attempts_and_output(server: Server, diamond: int) -> None:
    index = server.get(f"/runs/{diamond}/tasks", name="pull.N:2")["items"][0]["index"]
    told = server.get(f"/runs/{diamond}/tasks/{index}")
    assert told["details"]["command"] == ["/bin/sh", "-c", "echo '2'; echo oops >&2; test '2' != 2"]
    (child,) = told["children"]
    assert (child["template"], child["tasks"], child["counts"]["upstream_failed"]) == ("use", 1, 1)
    (attempt,) = told["attempts"]
    assert (attempt["reason"], attempt["exit_code"], attempt["stdout_bytes"]) == ("exit", 1, 2)
    logs = f"/runs/{diamond}/tasks/{index}/logs"
    whole = server.api("GET", f"{logs}/stdout")
    assert (whole.content, whole.headers["content-range"]) == (b"2\n", "bytes 0-1/2")
    assert server.api("GET", f"{logs}/stderr?offset=1&limit=3").content == b"ops"
    assert server.api("GET", f"{logs}/stdout?attempt=1&offset=2").content == b""
    problem(server.api("GET", f"{logs}/stdout?offset=3"), 416)
    problem(server.api("GET", f"{logs}/stdin"), 404)
    problem(server.api("GET", f"{logs}/stdout?attempt=7"), 404)


def test_the_graph_the_states_and_the_reasons_are_told(server: Server, diamond: int) -> None:
    graph = server.get(f"/runs/{diamond}/graph")
    assert (graph["tasks"], graph["edges"]) == (8, 7)
    states = server.get(f"/runs/{diamond}/state")
    assert sum(stop - start for start, stop, _ in states["ranges"]) == states["tasks"] == 8
    few = server.get(f"/runs/{diamond}/state", limit=1)
    assert (len(few["ranges"]), few["next"]) == (1, str(few["ranges"][0][1]))
    index = server.get(f"/runs/{diamond}/tasks", name="use.N:2")["items"][0]["index"]
    because = server.get(f"/runs/{diamond}/tasks/{index}/explain")
    assert because["state"] == "upstream_failed"
    assert because["because"][0]["examples"][0]["name"] == "pull.N:2"


def test_a_spec_is_kept_by_version_and_edits_are_previewed_guarded_and_done(server: Server) -> None:
    run = server.submit({"a": task("true"), "b": task("false", parents=["a"])})
    server.ended(run)
    spec = server.get(f"/runs/{run}/spec")
    spec["tasks"]["b"] = task("true", parents=["a"])
    shown = server.api("GET", f"/runs/{run}")
    dry = server.api("PATCH", f"/runs/{run}?dry_run=true", json={"spec": spec})
    (difference,) = [row for row in dry.json()["templates"] if row["name"] == "b"]
    assert (dry.json()["version"], difference["changed"]) == (2, 1)
    assert server.get(f"/runs/{run}")["version"] == 1
    problem(server.api("PATCH", f"/runs/{run}", json={"spec": spec}, headers={"If-Match": '"9-9"'}), 412)
    done = server.api("PATCH", f"/runs/{run}", json={"spec": spec}, headers={"If-Match": shown.headers["etag"]})
    assert done.json()["version"] == 2
    assert server.ended(run)["state"] == "completed"
    problem(server.api("PATCH", f"/runs/{run}", headers={"If-Match": shown.headers["etag"]}), 412)
    assert [one["version"] for one in server.get(f"/runs/{run}/versions")["items"]] == [1, 2]
    assert server.get(f"/runs/{run}/spec", version=1)["tasks"]["b"]["details"]["command"] == ["false"]
    problem(server.api("GET", f"/runs/{run}/spec?version=3"), 404)


def test_tasks_are_requeued_with_what_is_downstream(server: Server) -> None:
    run = server.submit({"a": task("true"), "b": task("true", parents=["a"])})
    server.ended(run)
    dry = server.api("PATCH", f"/runs/{run}?dry_run=true", json={"requeue": "a"}).json()
    assert {row["name"]: row["invalidated"] for row in dry["templates"]} == {"a": 0, "b": 1}
    kept = server.api("PATCH", f"/runs/{run}", json={"requeue": {"select": ["a"]}, "keep_downstream": True})
    assert kept.status_code == 200
    server.ended(run)
    attempts = [len(server.get(f"/runs/{run}/tasks/{index}")["attempts"]) for index in (0, 1)]
    assert attempts == [2, 1]
    assert server.api("PATCH", f"/runs/{run}", json={"requeue": [0]}).status_code == 200
    server.ended(run)
    assert [len(server.get(f"/runs/{run}/tasks/{index}")["attempts"]) for index in (0, 1)] == [3, 2]
    assert [one["cause"] for one in moves(server, run, 1)] == ["invalidated: a runs again"]
    problem(server.api("PATCH", f"/runs/{run}", json={"requeue": "nobody"}), 400)
    problem(server.api("PATCH", f"/runs/{run}", json={"requeue": {"what": 1}}), 400)
    assert problem(server.api("PATCH", f"/runs/{run}", json={"resum": True}), 422)["problems"][0]["path"] == "resum"


def test_runs_and_tasks_are_killed_resumed_and_forgotten(server: Server) -> None:
    run = server.submit({"a": task("sleep", "1000"), "b": task("sleep", "1000"), "c": task("true", parents=["a"])})
    server.until(lambda: server.get(f"/runs/{run}")["counts"]["running"] == 2)
    assert server.api(
        "POST", f"/runs/{run}/kill", json={"selector": "a"}, headers={"x-daggy-actor": "alice"}
    ).is_success
    server.until(lambda: server.get(f"/runs/{run}")["counts"]["killed"] == 1)
    assert server.get(f"/runs/{run}/tasks/2/explain")["because"][0]["examples"][0]["state"] == "killed"
    assert [one["actor"] for one in moves(server, run, 0)] == ["alice"]
    problem(server.api("DELETE", f"/runs/{run}?forget=true"), 409)
    assert server.api("DELETE", f"/runs/{run}").status_code == 202
    assert server.ended(run)["state"] == "killed"
    assert server.api("DELETE", f"/runs/{run}").status_code == 200
    assert server.api("PATCH", f"/runs/{run}").json()["state"] in ("queued", "running")
    server.until(lambda: server.get(f"/runs/{run}")["counts"]["running"] == 2)
    server.api("POST", f"/runs/{run}/kill")
    server.ended(run)
    assert server.api("DELETE", f"/runs/{run}?forget=true").status_code == 200
    for path in ("", "/tasks", "/spec", "/graph", "/events", "/tasks/0"):
        problem(server.api("GET", f"/runs/{run}{path}"), 404)
    problem(server.api("PATCH", f"/runs/{run}"), 404)


def test_a_key_makes_a_submission_once(server: Server) -> None:
    body = {"directory": "/", "tasks": {"a": task("true")}}
    headers = {"Idempotency-Key": "nightly-1"}
    answers: list[int] = []

    def submit() -> None:
        answers.append(server.api("POST", "/runs", json=body, headers=headers).json()["run_id"])

    threads = [threading.Thread(target=submit) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(answers)) == 1
    problem(server.api("POST", "/runs", json={**body, "name": "other"}, headers=headers), 409)


def test_a_submission_can_be_planned_only(server: Server) -> None:
    before = [run["run_id"] for run in server.get("/runs")["items"]]
    body = {"directory": "/", "parameters": {"N": {"range": [0, 1000]}}, "tasks": {"a": task("echo", "{{ N }}")}}
    answer = server.api("POST", "/runs?dry_run=true", json=body)
    assert (answer.status_code, answer.json()["tasks"]) == (200, 1000)
    assert [run["run_id"] for run in server.get("/runs")["items"]] == before


@pytest.mark.parametrize(
    ("content", "status", "path"),
    [
        (b"", 422, ""),
        (b"{", 422, ""),
        (b"[]", 422, ""),
        (b'{"tasks": {"a": {"details": {"command": ["true"]}}}}', 422, "directory"),
        (b'{"directory": "/", "tasks": {}}', 422, "tasks"),
        (b'{"directory": "/", "tasks": {"a": {"detials": {}}}}', 422, "tasks.a.detials"),
        (b'{"directory": "/", "tasks": {"a": {"details": {"shell": "x"}, "parents": ["b"]}}}', 422, "tasks.a.parents[0]"),  # noqa: E501
        (b'{"directory": "/", "directory": "/", "tasks": {"a": {"details": {"command": ["x"]}}}}', 422, "directory"),
        (
            b'{"directory": "/", "tasks": {"a": {"details": {"command": ["x"]}, "resources": {"cores": 999}}}}',
            422,
            "tasks.a.resources.cores",
        ),
        (b'{"directory": "/", "tasks": {"a": {"details": {"command": ["x"]}, "pool": "nope"}}}', 422, "tasks.a.pool"),
    ],
)  # fmt: skip
def test_a_bad_spec_is_refused_with_its_place(server: Server, content: bytes, status: int, path: str) -> None:
    answer = server.api("POST", "/runs", content=content, headers={"Content-Type": "application/json"})
    error = problem(answer, status)
    assert path in [one["path"] for one in error["problems"]]


def test_what_is_asked_wrongly_is_refused(server: Server, diamond: int) -> None:
    assert "there are: queued" in problem(server.api("GET", "/runs?state=complete"), 400)["message"]
    problem(server.api("GET", "/runs?limit=0"), 400)
    problem(server.api("GET", "/runs?limit=100000"), 400)
    problem(server.api("GET", "/runs?limit=x"), 400)
    problem(server.api("GET", "/runs?cursor=-1"), 400)
    problem(server.api("GET", "/runs?tag=nocolon"), 400)
    problem(server.api("GET", "/runs?since=yesterday"), 400)
    assert "there are: cursor" in problem(server.api("GET", "/runs?sort=up"), 400)["message"]
    problem(server.api("GET", f"/runs/{diamond}/tasks?template=nobody"), 400)
    problem(server.api("GET", f"/runs/{diamond}/tasks?state=done"), 400)
    problem(server.api("GET", "/runs/999999"), 404)
    problem(server.api("GET", "/runs/abc"), 404)
    problem(server.api("GET", "/nothing"), 404)
    problem(server.api("PUT", "/runs"), 405)
    problem(server.api("GET", f"/runs/{diamond}/tasks/{1 << 60}"), 404)
    problem(server.api("POST", "/runs", content=b"<a/>", headers={"Content-Type": "text/xml"}), 400)


def test_output_is_followed_while_a_task_runs(server: Server, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    script = f"echo one; while ! test -e {gate}; do sleep 0.05; done; echo two"
    run = server.submit({"a": shell(script)})
    server.until(lambda: server.get(f"/runs/{run}")["counts"]["running"] == 1)
    seen = b""
    with server.http.stream("GET", f"/api/v1/runs/{run}/tasks/0/logs/stdout?follow=true") as response:
        for piece in response.iter_raw():
            seen += piece
            if b"one" in seen:
                gate.touch()
    assert seen == b"one\ntwo\n"


def test_output_of_a_stopped_launcher_is_not_available_until_it_goes_on(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    with serving(tmp_path / "state") as server:
        wait = f"while ! test -e {gate}; do sleep 0.05; done"
        script = f"echo one; echo $PPID > {tmp_path}/new; mv {tmp_path}/new {tmp_path}/launcher; {wait}"
        run = server.submit({"a": shell(script)})
        server.until((tmp_path / "launcher").exists)
        server.until(lambda: server.get(f"/runs/{run}")["counts"]["running"] == 1)
        launcher = int((tmp_path / "launcher").read_text())
        os.kill(launcher, signal.SIGSTOP)
        try:
            error = problem(server.api("GET", f"/runs/{run}/tasks/0/logs/stdout"), 503)
        finally:
            os.kill(launcher, signal.SIGCONT)
        assert error["code"] == "unavailable"
        assert "it is stopped" in error["message"]
        assert server.api("GET", f"/runs/{run}/tasks/0/logs/stdout").text == "one\n"
        gate.touch()
        assert server.ended(run)["state"] == "completed"


def test_a_run_whose_folder_cannot_be_made_is_refused_and_not_kept(tmp_path: Path) -> None:
    with serving(tmp_path / "state") as server:
        first = server.submit({"a": task("true")})
        obstacle = tmp_path / "state/runs" / str(first + 1)
        obstacle.touch()
        spec = {"directory": str(tmp_path), "tasks": {"a": task("true")}}
        error = problem(server.api("POST", "/runs", json=spec), 503)
        assert f"'{obstacle}' cannot be made: file exists" in error["message"]
        assert [run["run_id"] for run in server.get("/runs")["items"]] == [first]
        assert server.ended(server.submit({"a": task("true")}))["state"] == "completed"


def test_events_begin_with_the_present_and_can_be_taken_up(server: Server, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    run = server.submit({"a": shell(f"while ! test -e {gate}; do sleep 0.05; done"), "b": task("true", parents=["a"])})
    text = ""
    with server.http.stream("GET", f"/api/v1/runs/{run}/events") as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        for piece in response.iter_text():
            text += piece
            if "event: run" in text:
                gate.touch()
            if '"state":"completed"' in text:
                break
    events = events_of(text)
    assert events[0]["data"]["tasks"] is None
    assert events[-1]["data"]["counts"]["completed"] == 2
    numbers = [int(event["id"]) for event in events]
    assert numbers == sorted(numbers)
    missed = ""
    header = {"Last-Event-ID": str(numbers[0])}
    with server.http.stream("GET", f"/api/v1/runs/{run}/events", headers=header) as response:
        for piece in response.iter_text():
            missed += piece
            if '"state":"completed"' in missed:
                break
    assert [event["id"] for event in events_of(missed)] == [event["id"] for event in events[1:]]
    with server.http.stream("GET", "/api/v1/events", headers={"Last-Event-ID": "99999999"}) as response:
        assert "event: reset" in next(response.iter_text())
    problem(server.api("GET", "/events", headers={"Last-Event-ID": "x"}), 400)


def test_pools_and_metrics_tell_what_is_in_use(server: Server) -> None:
    run = server.submit({"a": task("sleep", "1000")})
    server.until(lambda: server.get(f"/runs/{run}")["counts"]["running"] == 1)
    (pool,) = server.get("/pools")["items"]
    assert (pool["machines"][0]["running"], pool["machines"][0]["used"]["cores"]) == (1, 1)
    text = server.http.get("/metrics").text
    assert 'daggy_running{pool="default"} 1.0' in text
    assert "daggy_ready 1.0" in text
    assert f'run="{run}"' not in text
    server.api("POST", f"/runs/{run}/kill")
    server.ended(run)


@pytest.mark.parametrize(
    ("method", "path", "content", "status"),
    [
        (
            "POST",
            "/runs",
            '{"directory": "/", "tasks": {"a": {"details": {"command": ["x"], "grace": "\\ud800"}}}}',
            422,
        ),
        ("POST", "/runs", '{"directory": "/", "tasks": {"\\udfff": {"details": {"command": ["x"]}}}}', 422),
        ("POST", "/runs", '{"\\ud83d": 1}', 422),
        ("GET", "/runs?name=%ED%A0%80&limit=%ED%A0%80", "", 400),
        ("GET", "/runs/%ED%A0%80", "", 404),
    ],
)
def test_half_a_surrogate_pair_is_refused_and_quoted(
    server: Server, method: str, path: str, content: str, status: int
) -> None:
    problem(server.api(method, path, content=content), status)


def test_the_description_is_one_and_names_every_route(server: Server) -> None:
    told = server.http.get("/openapi.json").json()
    assert told["openapi"].startswith("3.1")
    routes = {(path, method) for path, item in told["paths"].items() for method in item}
    base = "/api/v1"
    wanted = {
        ("/ready", "get"), (f"{base}/runs", "post"), (f"{base}/runs", "get"), (f"{base}/runs/{{run_id}}", "get"),
        (f"{base}/runs/{{run_id}}", "patch"), (f"{base}/runs/{{run_id}}", "delete"),
        (f"{base}/runs/{{run_id}}/kill", "post"), (f"{base}/runs/{{run_id}}/spec", "get"),
        (f"{base}/runs/{{run_id}}/versions", "get"), (f"{base}/runs/{{run_id}}/state", "get"),
        (f"{base}/runs/{{run_id}}/graph", "get"), (f"{base}/runs/{{run_id}}/events", "get"), (f"{base}/events", "get"),
        (f"{base}/runs/{{run_id}}/tasks", "get"), (f"{base}/runs/{{run_id}}/tasks/{{index}}", "get"),
        (f"{base}/runs/{{run_id}}/tasks/{{index}}/logs/{{stream}}", "get"),
        (f"{base}/runs/{{run_id}}/tasks/{{index}}/explain", "get"), (f"{base}/pools", "get"),
        (f"{base}/metrics", "get"),
    }  # fmt: skip
    assert wanted <= routes
    assert told["security"] == [{"token": []}]
    operations = [operation for item in told["paths"].values() for operation in item.values()]
    assert len({operation["operationId"] for operation in operations}) == len(operations)
    for operation in operations:
        assert operation["responses"]["404"]["content"]["application/json"]["schema"] == {
            "$ref": "#/components/schemas/Error"
        }
    for schema in told["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)


def test_answers_have_the_shapes_that_the_description_gives(server: Server, diamond: int) -> None:
    told = server.http.get("/openapi.json").json()
    base = "/api/v1/runs/{run_id}"
    pairs = {
        "/api/v1/runs": "/runs", base: f"/runs/{diamond}", f"{base}/tasks": f"/runs/{diamond}/tasks",
        f"{base}/tasks/{{index}}": f"/runs/{diamond}/tasks/0", f"{base}/graph": f"/runs/{diamond}/graph",
        f"{base}/state": f"/runs/{diamond}/state", f"{base}/versions": f"/runs/{diamond}/versions",
        f"{base}/tasks/{{index}}/explain": f"/runs/{diamond}/tasks/0/explain", "/api/v1/pools": "/pools",
    }  # fmt: skip
    for path, asked in pairs.items():
        schema = told["paths"][path]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
        jsonschema.validate(server.get(asked), {**schema, "components": told["components"]})
    assert json.dumps(told)


CLIENT = """
import json, sys
from made import AuthenticatedClient
from made.api.default import list_tasks, show_run, submit_run, kill_run
from made.models import Error, Kill, RunSpec

client = AuthenticatedClient(base_url=sys.argv[1], token=sys.argv[2])
tasks = {"a": {"details": {"command": ["sleep", "1000"]}}}
spec = RunSpec.from_dict({"directory": "/", "name": "made", "tasks": tasks})
run = submit_run.sync(client=client, body=spec).run_id
assert isinstance(submit_run.sync(client=client, body=RunSpec.from_dict({"tasks": {}})), Error)
kill_run.sync(run, client=client, body=Kill.from_dict({"selector": "a"}))
told = show_run.sync(run, client=client)
print(json.dumps([told.name, told.version, [task.name for task in list_tasks.sync(run, client=client).items]]))
"""


def test_a_client_that_is_generated_from_the_description_works(server: Server, tmp_path: Path) -> None:
    (tmp_path / "openapi.json").write_text(server.http.get("/openapi.json").text)
    (tmp_path / "config.yaml").write_text("post_hooks: []\n")
    generate = [
        "generate",
        "--path",
        "openapi.json",
        "--meta",
        "none",
        "--output-path",
        "made",
        "--config",
        "config.yaml",
    ]
    made = subprocess.run(
        [sys.executable, "-m", "openapi_python_client", *generate],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert made.returncode == 0, made.stdout + made.stderr
    assert "omitted" not in made.stdout + made.stderr
    used = subprocess.run(
        [sys.executable, "-c", CLIENT, server.address, server.token],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert used.returncode == 0, used.stderr
    assert json.loads(used.stdout) == ["made", 1, ["a"]]


def _python(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], cwd=directory, capture_output=True, text=True, check=False, timeout=60
    )
