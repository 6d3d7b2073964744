"""Inputs: results of tasks reach those that take them, through edits, repeated tasks, and the death of a server."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

from tests.integration.serve_rig import Server, command, serving, shell

FIT = {**shell("echo fit {{ N }}; echo {{ N * 10 }} > $DAGGY_RESULT"), "parameters": {"N": [1, 2, 3]}}
TAKE = {**shell("echo took {{ inputs.fit }}"), "expand": ["N"], "parameters": {"N": [1, 2, 3]}}
EACH = {**TAKE, "inputs": {"fit": {"task": "fit", "match": ["N"]}}}
ALL = {**shell("cat {{ inputs.fits }} | tr '\\n' ' '"), "inputs": {"fits": {"task": "fit"}}}


def output(server: Server, run: int, name: str) -> str:
    """What the last attempt at a task printed."""
    index = next(task["index"] for task in server.get(f"/runs/{run}/tasks")["items"] if task["name"] == name)
    return server.api("GET", f"/runs/{run}/tasks/{index}/logs/stdout").text.strip()


def attempts(server: Server, run: int) -> dict[str, int]:
    """How many attempts each task has had."""
    return {task["name"]: task["attempts"] for task in server.get(f"/runs/{run}/tasks")["items"]}


def edit(server: Server, run: int, tasks: Any) -> None:
    spec = {"directory": str(server.directory.parent), "tasks": tasks}
    answer = server.api("PATCH", f"/runs/{run}", json={"spec": spec})
    assert answer.status_code == 200, answer.text
    assert server.ended(run)["state"] == "completed"


def test_results_are_taken_one_by_one_and_all_together(tmp_path: Path) -> None:
    with serving(tmp_path / "state") as server:
        run = server.submit({"fit": FIT, "each": EACH, "all": ALL})
        assert server.ended(run)["state"] == "completed"
        assert [output(server, run, f"each.N:{n}") for n in (1, 2, 3)] == ["took 10", "took 20", "took 30"]
        assert output(server, run, "all") == "10 20 30"


def test_an_edit_may_take_results_that_are_there(tmp_path: Path) -> None:
    leaving = {**FIT, "result": True}
    with serving(tmp_path / "state") as server:
        run = server.submit({"fit": leaving})
        server.ended(run)
        edit(server, run, {"fit": leaving, "all": ALL})
        assert output(server, run, "all") == "10 20 30"
        assert attempts(server, run)["fit.N:1"] == 1
    with serving(tmp_path / "state") as server:
        edit(server, run, {"fit": leaving, "all": ALL, "each": EACH})
        assert output(server, run, "each.N:2") == "took 20"
        assert set(attempts(server, run).values()) == {1}


def test_what_took_a_result_runs_again_with_the_one_that_replaces_it(tmp_path: Path) -> None:
    value = tmp_path / "value"
    value.write_text("1")
    fit = shell(f"cat {value} > $DAGGY_RESULT")
    take = {
        **shell("cat {{ inputs.all }}; echo {{ inputs.fit }}"),
        "inputs": {"fit": {"task": "fit"}, "all": {"task": "n"}},
    }
    n = {**shell(f"cat {value} > $DAGGY_RESULT"), "expand": ["N"], "parameters": {"N": [1, 2]}}
    with serving(tmp_path / "state") as server:
        run = server.submit({"fit": fit, "n": n, "take": take})
        server.ended(run)
        assert output(server, run, "take").split() == ["1", "1", "1"]
        value.write_text("2")
        requeued = command("requeue", "last", "fit", "n.N:2", "--dir", "state", cwd=tmp_path)
        assert requeued.returncode == 0, requeued.stderr
        assert server.ended(run)["state"] == "completed"
        assert output(server, run, "take").split() == ["1", "2", "2"]


def test_results_are_there_for_a_server_that_takes_over(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    hold = {**shell(f"read line < {gate}")}
    waiting = [{"task": "hold"}]
    tasks = {"fit": FIT, "hold": hold, "each": {**EACH, "parents": waiting}, "all": {**ALL, "parents": waiting}}
    with serving(tmp_path / "state") as server:
        run = server.submit(tasks)
        server.until(lambda: server.get(f"/runs/{run}")["counts"]["completed"] == 3)
        server.stop(signal.SIGKILL)
    gate.write_text("go on\n")
    with serving(tmp_path / "state") as server:
        assert server.ended(run)["state"] == "completed"
        assert output(server, run, "all") == "10 20 30"
        assert output(server, run, "each.N:3") == "took 30"
        assert set(attempts(server, run).values()) == {1}


def test_a_result_that_is_not_there_is_named(tmp_path: Path) -> None:
    with serving(tmp_path / "state") as server:
        run = server.submit({"fit": shell("true"), "take": {**shell("true"), "inputs": {"fit": {"task": "fit"}}}})
        assert server.ended(run)["state"] == "errored"
        (attempt,) = server.get(f"/runs/{run}/tasks/1")["attempts"]
        assert (attempt["reason"], attempt["message"]) == ("missing", "'fit' left no result")


def test_a_list_is_refused_where_tasks_may_not_see_it(tmp_path: Path) -> None:
    (tmp_path / "daggy.toml").write_text('[pools.far]\nexecutor = "agent"\n')
    with serving(tmp_path / "state", "--config", str(tmp_path / "daggy.toml")) as server:
        spec = {
            "directory": str(tmp_path),
            "tasks": {"fit": FIT, "all": {**ALL, "pool": "far"}, "each": {**EACH, "pool": "far"}},
        }
        answer = server.api("POST", "/runs", json=spec)
        assert answer.status_code == 422
        (told,) = answer.json()["error"]["problems"]
        assert told["path"] == "tasks.all.inputs.fits"
        assert "which tasks in pool 'far' cannot read" in told["message"]


def test_a_generated_task_takes_a_result_from_outside(tmp_path: Path) -> None:
    new = {**shell("echo {{ inputs.fit }}"), "inputs": {"fit": {"task": "fit"}}}
    make = {"details": {"command": ["echo", json.dumps({"tasks": {"new": new}}).replace("{{", "{{ '{{' }}", 1)]}}
    with serving(tmp_path / "state") as server:
        fit = {**shell("echo 7 > $DAGGY_RESULT"), "result": True}
        run = server.submit({"fit": fit, "make": {**make, "is_generator": True, "parents": ["fit"]}})
        assert server.ended(run)["state"] == "completed"
        assert output(server, run, "make/new") == "7"


MODELS = """
def fit(alpha: float, folds: int = 5):
    return {"alpha": alpha, "score": alpha * folds}

def best(fits: list, least: float, label: str):
    return [label, least, max(fits, key=lambda fit: fit["score"])]
"""


def test_a_function_gets_its_inputs_as_parameters(tmp_path: Path) -> None:
    (tmp_path / "models.py").write_text(MODELS)
    fit = {"function": "models:fit", "arguments": {"alpha": "{{ ALPHA }}"}}
    again = {"function": "models:fit", "arguments": {"alpha": "{{ inputs.fit.score }}"}}
    best = {"function": "models:best", "arguments": {"label": "x"}}
    inputs = {"fits": {"task": "again"}, "least": {"value": 1.50}}
    tasks = {
        "fit": {"details": fit},
        "again": {"details": again, "expand": ["ALPHA"], "inputs": {"fit": {"task": "fit", "match": ["ALPHA"]}}},
        "best": {"details": best, "inputs": inputs},
        "sum": {"details": {"eval": "sum(fit['score'] for fit in fits)"}, "inputs": {"fits": {"task": "fit"}}},
    }
    (tmp_path / "daggy.toml").write_text("[pools.default]\neval = true\n")
    with serving(tmp_path / "state", "--config", str(tmp_path / "daggy.toml")) as server:
        run = server.submit(tasks, parameters={"ALPHA": [1, 2, 3]})
        assert server.ended(run)["state"] == "completed"
        told = command("result", "last", "--json", "--dir", "state", cwd=tmp_path).stdout
    results = {one["name"]: one["result"] for one in json.loads(told)}
    assert results["best"] == ["x", 1.5, {"alpha": 15.0, "score": 75.0}]
    assert results["sum"] == 30.0
