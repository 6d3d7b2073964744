"""Functions and source as tasks: what they come to, whatever they do to the process that calls them."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.integration.serve_rig import command, serving

FILES = {
    "models/__init__.py": "",
    "models/fit.py": """
        import asyncio, os, sys, threading
        from dataclasses import dataclass

        @dataclass
        class Fit:
            score: float
            label: str

        def fit(alpha: float, folds: int = 5) -> Fit:
            print("fitting", alpha)
            return Fit(alpha * folds, f"fold {folds}")

        async def later(n: int) -> int:
            await asyncio.sleep(0)
            return n + 1

        def prints() -> int:
            sys.stdout.write("no newline")
            sys.stdout = sys.stderr = None
            return 1

        def leaves_the_process() -> int:
            os._exit(0)

        def leaves_it_badly() -> int:
            os._exit(3)

        def forks() -> int:
            process = os.fork()
            if process:
                os.waitpid(process, 0)
                return 1
            return 2

        def starts_threads() -> int:
            threading.Thread(target=threading.Event().wait, daemon=True).start()
            late = threading.Timer(0.2, lambda: print("late"))
            late.start()
            return 1

        def not_a_number() -> float:
            return float("nan")

        def returns(size: int) -> str:
            return "x" * (size - 2)

        def nothing() -> None: ...

        def exits(code: int) -> int:
            sys.exit(code)

        def swallows(depth: int) -> int:
            if depth:
                return swallows(depth - 1)
            try:
                {}["missing"]
            except KeyError:
                raise ValueError("no such\\nthing")

        def hungry() -> int:
            raise MemoryError

        def reads() -> str:
            return sys.stdin.read()

        def where() -> dict:
            return {"first": sys.path[0], "argv": sys.argv, "here": os.getcwd()}

        def dies() -> int:
            os.kill(os.getpid(), 9)
    """,
    "broken.py": "import json\n1 / 0\n",
    "lacking.py": "import nowhere_at_all\n",
}


def written(directory: Path) -> Path:
    for name, text in FILES.items():
        path = directory / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(textwrap.dedent(text))
    return directory


CALLS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "fit": ("models.fit:fit", {"alpha": 0.5}),
    "awaited": ("models.fit:later", {"n": 1}),
    "prints": ("models.fit:prints", {}),
    "leaves": ("models.fit:leaves_the_process", {}),
    "leaves-badly": ("models.fit:leaves_it_badly", {}),
    "forks": ("models.fit:forks", {}),
    "threads": ("models.fit:starts_threads", {}),
    "nan": ("models.fit:not_a_number", {}),
    "limit": ("models.fit:returns", {"size": 65536}),
    "beyond": ("models.fit:returns", {"size": 65537}),
    "far-beyond": ("models.fit:returns", {"size": 50_000_000}),
    "nothing": ("models.fit:nothing", {}),
    "exits": ("models.fit:exits", {"code": 7}),
    "exits-well": ("models.fit:exits", {"code": 0}),
    "raises": ("models.fit:swallows", {"depth": 2}),
    "hungry": ("models.fit:hungry", {}),
    "reads": ("models.fit:reads", {}),
    "where": ("models.fit:where", {}),
    "dies": ("models.fit:dies", {}),
    "unknown": ("models.fit:fit", {"alhpa": 0.5}),
    "missing": ("models.fit:fit", {}),
    "ill-typed": ("models.fit:fit", {"alpha": "much"}),
    "class": ("models.fit:Fit", {}),
    "misspelt": ("models.fit:fitt", {}),
    "absent": ("models.nothing:f", {}),
    "broken": ("broken:f", {}),
    "lacking": ("lacking:f", {}),
}


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Any]:
    """Every call in one run of a server: the attempt of each by its name, with what it wrote."""
    place = written(tmp_path_factory.mktemp("calls"))
    (place / "daggy.json").write_text(json.dumps({"pools": {"default": {"executor": "fork", "eval": True}}}))
    tasks: dict[str, Any] = {
        name: {"details": {"function": function, "arguments": arguments}}
        for name, (function, arguments) in CALLS.items()
    }
    tasks["source"] = {"details": {"eval": "import math\nmath.sqrt(x) + y", "arguments": {"x": 16, "y": 0.5}}}
    tasks["statement"] = {"details": {"eval": "x = 1"}}
    tasks["wrong"] = {"details": {"eval": "x = 1\ny = x / 0\n"}}
    found = {}
    with serving(place / "state", "--config", str(place / "daggy.json")) as server:
        run = server.submit(tasks, directory=str(place))
        server.ended(run)
        for task in server.get(f"/runs/{run}/tasks?limit=1000")["items"]:
            (attempt,) = server.get(f"/runs/{run}/tasks/{task['index']}")["attempts"]
            for stream in ("stdout", "stderr"):
                attempt[stream] = server.api("GET", f"/runs/{run}/tasks/{task['index']}/logs/{stream}").text
            found[task["name"]] = attempt
    return found


@pytest.mark.parametrize(
    ("name", "result"),
    [
        ("fit", {"score": 2.5, "label": "fold 5"}),
        ("awaited", 2),
        ("prints", 1),
        ("forks", 1),
        ("threads", 1),
        ("limit", "x" * 65534),
        ("nothing", None),
        ("exits-well", None),
        ("reads", ""),
        ("source", 4.5),
        ("statement", None),
    ],
)
def test_what_a_function_returns_is_the_result(ended: Mapping[str, Any], name: str, result: Any) -> None:
    attempt = ended[name]
    assert (attempt["reason"], attempt["message"], attempt["result"]) == ("ok", "", result), attempt["stderr"]


@pytest.mark.parametrize(
    ("name", "reason", "code", "message"),
    [
        ("leaves", "result", 0, "its process ended before the call returned"),
        ("leaves-badly", "exit", 3, "its process ended before the call returned"),
        ("nan", "result", 0, "its result is no JSON: Out of range float values are not JSON compliant"),
        ("beyond", "result", 0, "its result is larger than 65536 bytes; put what is large into a file"),
        ("far-beyond", "result", 0, "its result is larger than 65536 bytes; put what is large into a file"),
        ("exits", "exit", 7, "exited with 7"),
        ("raises", "exit", 1, "ValueError: no such thing"),
        ("hungry", "exit", 137, "MemoryError"),
        ("dies", "signal", None, ""),
        ("unknown", "exit", 1, "fit() has no parameter 'alhpa'; did you mean 'alpha'?; it has: alpha, folds"),
        ("missing", "exit", 1, "fit() needs the argument 'alpha'"),
        ("ill-typed", "exit", 1, "argument 'alpha': \"much\" where float is expected"),
        ("class", "exit", 1, "'models.fit:Fit' is a class; name a function that makes and uses one"),
        ("misspelt", "exit", 1, "the module 'models.fit' has no 'fitt'; did you mean 'fit'?"),
        ("absent", "exit", 1, "there is no module 'models.nothing' in "),
        ("broken", "exit", 1, "ZeroDivisionError: division by zero"),
        ("lacking", "exit", 1, "ModuleNotFoundError: No module named 'nowhere_at_all'"),
        ("wrong", "exit", 1, "ZeroDivisionError: division by zero"),
    ],
)
def test_why_there_is_no_result_is_told(
    ended: Mapping[str, Any], name: str, reason: str, code: int | None, message: str
) -> None:
    attempt = ended[name]
    assert (attempt["reason"], attempt["exit_code"], attempt["result"]) == (reason, code, None), attempt["stderr"]
    assert attempt["message"].startswith(message)
    assert "\n" not in attempt["message"]


def test_output_is_that_of_any_process(ended: Mapping[str, Any]) -> None:
    assert ended["fit"]["stdout"] == "fitting 0.5\n"
    assert ended["prints"]["stdout"] == "no newline"
    assert ended["threads"]["stdout"] == "late\n"
    assert ended["missing"]["stderr"] == "daggy: fit() needs the argument 'alpha'\n"


@pytest.mark.parametrize(
    ("name", "frames"),
    [
        ("raises", ["swallows"] * 3 + ["swallows"]),
        ("broken", ["<module>"]),
        ("lacking", ["<module>"]),
        ("wrong", ["<module>"]),
    ],
)
def test_a_traceback_has_the_users_frames_alone(ended: Mapping[str, Any], name: str, frames: list[str]) -> None:
    told = ended[name]["stderr"]
    assert [line.rpartition(" in ")[2] for line in told.splitlines() if line.startswith("  File ")] == frames
    assert "daggy" not in told
    assert "importlib" not in told


def test_a_failing_line_of_source_is_shown(ended: Mapping[str, Any]) -> None:
    assert '  File "<eval>", line 2, in <module>\n    y = x / 0\n' in ended["wrong"]["stderr"]


def test_the_tasks_directory_is_where_modules_are_found_and_arguments_are_nowhere(ended: Mapping[str, Any]) -> None:
    told = ended["where"]["result"]
    assert told["first"] == told["here"]
    assert told["argv"] == ["-c"]


def test_a_server_executes_source_only_where_its_pool_says_so(tmp_path: Path) -> None:
    with serving(tmp_path / "state") as server:
        spec = {"directory": str(tmp_path), "tasks": {"a": {"details": {"eval": "1"}}}}
        answer = server.api("POST", "/runs", json=spec)
        assert answer.status_code == 422
        (problem,) = answer.json()["error"]["problems"]
        assert problem["path"] == "tasks.a.details.eval"
        assert problem["message"] == "the pool 'default' executes no Python source"


def test_modules_and_scripts_get_arguments_as_flags(tmp_path: Path) -> None:
    (tmp_path / "tool.py").write_text("import sys\nprint(__name__, sys.argv[1:])\n")
    (tmp_path / "run.sh").write_text('#!/bin/sh\nprintf "%s;" "$@"\n')
    (tmp_path / "run.sh").chmod(0o755)
    (tmp_path / "direct.py").write_text("#!/bin/sh\necho direct\n")
    (tmp_path / "direct.py").chmod(0o755)
    arguments = {"alpha": "{{ ALPHA }}", "dry_run": True, "tag": ["a", "b c"]}
    tasks = {
        "module": {"details": {"module": "tool", "arguments": arguments}},
        "python": {"details": {"script": "tool.py", "arguments": arguments}},
        "shell": {"details": {"script": "run.sh", "arguments": arguments}},
        "direct": {"details": {"script": "direct.py"}},
    }
    (tmp_path / "s.json").write_text(json.dumps({"tasks": tasks, "parameters": {"ALPHA": [0.5]}}))
    done = command("run", "--dir", "state", "s.json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    told = json.loads(command("logs", "--dir", "state", "last", "--json", cwd=tmp_path).stdout)
    words = "['--alpha', '0.5', '--dry-run', '--tag', 'a', '--tag', 'b c']"
    assert {one["name"].partition(".")[0]: one["stdout"] for one in told} == {
        "module": f"__main__ {words}\n",
        "python": f"__main__ {words}\n",
        "shell": "--alpha;0.5;--dry-run;--tag;a;--tag;b c;",
        "direct": "direct\n",
    }


def test_an_edit_of_arguments_runs_the_task_again_and_no_other(tmp_path: Path) -> None:
    written(tmp_path)

    def run(alpha: float) -> str:
        tasks = {
            "fit": {"details": {"function": "models.fit:fit", "arguments": {"alpha": alpha}}},
            "later": {"details": {"function": "models.fit:later", "arguments": {"n": 1}}},
        }
        (tmp_path / "s.json").write_text(json.dumps({"tasks": tasks}))
        done = command("run", "--dir", "state", "s.json", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        return done.stderr

    run(0.5)
    assert "setting 'arguments.alpha' changed" in run(1.5)
    told = json.loads(command("result", "--dir", "state", "last", "--json", cwd=tmp_path).stdout)
    assert [(one["name"], one["attempt"], one["result"]) for one in told] == [
        ("fit", 2, {"score": 7.5, "label": "fold 5"}),
        ("later", 1, 2),
    ]


def test_a_call_is_a_run_of_one_task_with_a_server_and_without(tmp_path: Path) -> None:
    written(tmp_path)

    def asked(*words: str) -> tuple[int, str, str]:
        done = command(*words, cwd=tmp_path, XDG_STATE_HOME=str(tmp_path))
        return done.returncode, done.stdout, done.stderr

    def check() -> None:
        assert asked("call", "models.fit:fit", "alpha=2", "folds=3") == (0, '{"score": 6.0, "label": "fold 3"}\n', "")
        assert asked("call", "models.fit:nothing") == (0, "null\n", "")
        code, out, err = asked("call", "models.fit:fit", "alpha=much")
        assert (code, out) == (1, "")
        assert "exit 1: argument 'alpha': \"much\" where float is expected" in err
        assert "--dir" not in err
        code, _, err = asked("call", "fit", "alpha=1")
        assert code == 2
        assert "'fit' is no function's place; write package.module:name" in err

    check()
    with serving(tmp_path / "daggy") as server:
        check()
        assert server.get("/runs")["items"][0]["name"] == "fit"


SHOWN = {
    "typed.py": '''
        from dataclasses import dataclass
        from datetime import date
        from typing import Annotated, Literal, Optional
        print("noise")

        @dataclass
        class Model:
            alpha: float
            parts: Optional["Model"] = None

        def fit(
            model: Model, day: date, kind: Literal["a", "b"] = "a", n: Annotated[int, "how many"] = 3
        ) -> list[float]:
            """Fit it.

            Args:
                day: Of the data.
            """

        def untyped(a, b=None, *rest, **more): ...

        def _hidden(): ...

        class AlsoHidden: ...
    ''',
    "bad.py": "import os\nos._exit(4)\n",
    "scripts/plot.py": """
        # /// script
        # [tool.daggy]
        # description = "Plot it."
        # [tool.daggy.parameters.size]
        # type = "integer"
        # ///
    """,
    "scripts/data.csv": "1\n",
}


def test_functions_and_scripts_are_shown_and_the_server_imports_none(tmp_path: Path) -> None:
    for name, text in SHOWN.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(textwrap.dedent(text))
    place = {"directory": str(tmp_path)}
    modules = [{"module": "typed", **place}, {"module": "bad", **place}, {"module": "absent", "python": "no-python"}]
    (tmp_path / "daggy.json").write_text(json.dumps({"functions": modules, "scripts": [str(tmp_path / "scripts")]}))
    with serving(tmp_path / "daggy", "--config", str(tmp_path / "daggy.json")) as server:
        told = server.get("/functions")
        assert [one["name"] for one in told["items"]] == ["typed:fit", "typed:untyped"]
        assert told["problems"] == [
            "bad: ends its process when it is imported, with exit code 4",
            "absent: 'no-python': no such file or directory",
        ]
        fit = server.get("/functions/typed:fit")
        assert (fit["description"], fit["returns"]) == ("Fit it.", {"type": "array", "items": {"type": "number"}})
        assert fit["parameters"]["required"] == ["model", "day"]
        properties = fit["parameters"]["properties"]
        model = {"alpha": {"type": "number"}, "parts": {"anyOf": [{}, {"type": "null"}]}}
        assert properties.pop("model")["properties"] == model
        assert properties == {
            "day": {"type": "string", "format": "date", "description": "Of the data."},
            "kind": {"enum": ["a", "b"], "default": "a"},
            "n": {"type": "integer", "description": "how many", "default": 3},
        }
        untyped = server.get("/functions/typed:untyped")["parameters"]
        assert untyped == {
            "type": "object",
            "properties": {"a": {}, "b": {"default": None}},
            "required": ["a"],
            "additionalProperties": True,
        }
        answer = server.api("GET", "/functions/typed:fitt")
        assert answer.status_code == 404
        assert "did you mean 'typed:fit'?" in answer.json()["error"]["message"]
        (script,) = server.get("/scripts")["items"]
        assert script["description"] == "Plot it."
        assert script["parameters"] == {"type": "object", "properties": {"size": {"type": "integer"}}}
        listed = command("functions", cwd=tmp_path, XDG_STATE_HOME=str(tmp_path))
        assert "typed:untyped" in listed.stdout
        assert "plot.py" in listed.stdout
    shown = command("functions", "--config", "daggy.json", "typed:fit", cwd=tmp_path, XDG_STATE_HOME=str(tmp_path))
    assert "day        date" in shown.stdout


def test_the_api_shows_a_task_as_its_call(tmp_path: Path) -> None:
    written(tmp_path)
    with serving(tmp_path / "state") as server:
        run = server.submit({"f": {"details": {"function": "models.fit:later", "arguments": {"n": 1}}}})
        server.ended(run)
        details = server.get(f"/runs/{run}/tasks/0")["details"]
        assert (details["call"], details["stdin"]) == ("models.fit:later(n=1)", None)
        assert server.get("/runs/last/tasks/0")["details"]["command"][0] == "python3"


def test_check_says_which_arguments_do_not_fit_and_imports_nothing_unasked(tmp_path: Path) -> None:
    (tmp_path / "m.py").write_text("open('imported', 'w').close()\ndef f(alpha, beta=1): ...\ndef g(**more): ...\n")
    calls = {
        "good": {"function": "m:f", "arguments": {"alpha": "{{ N }}"}},
        "bad": {"function": "m:f", "arguments": {"alhpa": 1, "gamma": 2}},
        "any": {"function": "m:g", "arguments": {"x": 1}},
        "elsewhere": {"function": "nowhere:f", "arguments": {"x": 1}},
        "varying": {"function": "m{{ N }}:f"},
    }
    tasks: dict[str, Any] = {name: {"details": details} for name, details in calls.items()}
    tasks["taking"] = {
        "inputs": {"alpha": {"task": "good"}, "other": {"value": 1}, "used": {"value": 2}},
        "details": {"function": "m:f", "arguments": {"beta": "{{ inputs.used }}"}},
    }
    (tmp_path / "s.json").write_text(json.dumps({"parameters": {"N": [1]}, "tasks": tasks}))
    assert "warning" not in command("check", "s.json", cwd=tmp_path).stderr
    assert not (tmp_path / "imported").exists()
    done = command("check", "--functions", "s.json", cwd=tmp_path)
    assert done.returncode == 0
    place = "s.json: warning: tasks.bad.details.arguments"
    assert done.stderr.splitlines() == [
        f"{place}.alhpa: f() has no parameter 'alhpa'; did you mean 'alpha'?",
        f"{place}.gamma: f() has no parameter 'gamma'; it has: alpha, beta",
        f"{place}: f() needs 'alpha'; give it",
        "s.json: warning: tasks.taking.inputs.other: f() has no parameter 'other'; it has: alpha, beta",
    ]
