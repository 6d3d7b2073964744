"""How often `daggy run` makes a plan: it is what costs of a large spec."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

COUNTING = """
import sys
import daggy.plan
original, made = daggy.plan.plan, []
daggy.plan.plan = lambda spec: made.append(1) or original(spec)
from daggy.cli import main
try:
    code = main()
except SystemExit as ended:
    code = ended.code
print("plans:", len(made))
sys.exit(code)
"""


def plans_made(tmp_path: Path, *arguments: str, expected: int = 0) -> int:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("DAGGY_")}
    command = [sys.executable, "-c", COUNTING, "run", "spec.json", *arguments]
    ended = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == expected, ended.stderr
    return int(ended.stdout.rpartition("plans: ")[2])


def write(tmp_path: Path, *words: str, **more: Any) -> None:
    tasks = {"one": {"details": {"command": ["echo", *words]}}, "two": {"details": {"shell": "test -e mended"}}}
    (tmp_path / "spec.json").write_text(json.dumps({"name": "plans", "tasks": tasks, **more}))


def test_a_run_is_planned_once_and_an_edit_twice(tmp_path: Path) -> None:
    write(tmp_path)
    assert plans_made(tmp_path, expected=1) == 1
    kept = ("--dir", "state")
    assert plans_made(tmp_path, *kept, "-n") == 1
    assert plans_made(tmp_path, *kept, expected=1) == 1
    assert plans_made(tmp_path, *kept, expected=1) == 1  # resumed: what is read back is the plan
    assert plans_made(tmp_path, *kept, "-n") == 1
    write(tmp_path, "edited")
    (tmp_path / "mended").touch()
    assert plans_made(tmp_path, *kept, "-n") == 2  # what is there, and what is to be
    assert plans_made(tmp_path, *kept, "--rerun", "one") == 2
    assert plans_made(tmp_path, *kept) == 2  # nothing to do: both versions are read back
