"""The keys of a run spec, and the message for an unknown one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from daggy.spec.problems import Problems, join, nearest, quote

# fmt: off
TOP = (
    "version", "name", "description", "tags", "parameters", "zip", "tasks", "defaults", "pool", "directory",
    "templating", "limits", "max_failures",
)
# fmt: on
# fmt: off
POLICY = (
    "is_generator", "result", "max_retries", "retry_delay", "retry_backoff", "retry_on", "crash_limit", "priority",
    "max_parallel", "pool", "resources",
)
# fmt: on
# fmt: off
TASK = [
    "details", "description", "parents", "children", "inputs", "parameters", "expand", "exclude", *POLICY, "templating",
]
DETAILS = [
    "command", "shell", "function", "module", "script", "eval", "arguments", "python", "environment", "directory",
    "timeout", "grace", "stdin", "options",
]
# fmt: on
OWN = ("parents", "children", "inputs")
"""Keys of a task that have no default."""
DEFAULTS = [key for key in TASK if key not in OWN]
FRAGMENT = ["tasks", "parameters", "zip"]
DEPENDENCY = ["task", "match", "on"]
INPUT = ["task", "match", "key", "value"]

_MEANT = {
    "env": "environment",
    "environ": "environment",
    "cmd": "command",
    "exec": "command",
    "argv": "command",
    "args": "arguments",
    "kwargs": "arguments",
    "bash": "shell",
    "sh": "shell",
    "run": "shell",
    "cwd": "directory",
    "workdir": "directory",
    "working_directory": "directory",
    "workingDir": "directory",
    "input": "stdin",
    "time_limit": "timeout",
    "retries": "max_retries",
    "maxRetries": "max_retries",
    "depends_on": "parents",
    "dependsOn": "parents",
    "depends": "parents",
    "dependencies": "parents",
    "needs": "parents",
    "upstream": "parents",
    "downstream": "children",
    "isGenerator": "is_generator",
    "generator": "is_generator",
    "jobs": "tasks",
    "steps": "tasks",
    "params": "parameters",
    "labels": "tags",
    "concurrency": "max_parallel",
    "parallelism": "max_parallel",
    "cores": "resources",
    "memory_mb": "resources",
    "gpus": "resources",
    "cpus": "resources",
    "memory": "resources",
    "after": "parents",
    "job": "task",
    "name": "task",
    "parent": "task",
}

_PLACES = {
    "top": (TOP, "at the top of the spec"),
    "task": (TASK, "beside `details`"),
    "details": (DETAILS, "inside `details`"),
    "dependency": (DEPENDENCY, "in an entry of `parents`"),
    "input": (INPUT, "in an entry of `inputs`"),
}


def ignored(key: str) -> bool:
    """Return whether a key is ignored: a user's own."""
    return key.startswith("x-") or key == "$schema"


def check_keys(data: Mapping[str, object], known: Iterable[str], place: str, path: str, problems: Problems) -> None:
    """Report every unknown key, with the one that was meant or the place where it belongs.

    Args:
        data: The object as written.
        known: Its keys.
        place: "top", "task", "details", "dependency" or "input": where the object stands.
        path: Of the object.
        problems: Where to report.
    """
    known = list(known)
    for key in data:
        if key not in known and not ignored(key):
            mend = "" if problems.full else _mend(key, known, place)
            problems.add(join(path, key), f"unknown key {quote(key)}", mend)


def _mend(key: str, known: list[str], place: str) -> str:
    meant = _MEANT.get(key, key)
    if meant in known:
        return f"did you mean '{meant}'?"
    where = _where(meant, place)
    if not where:
        every = [*known, *(other for keys, _ in _PLACES.values() for other in keys)]
        near = nearest(key, every)
        meant = near or key
        where = "" if near in known else _where(near, place)
    meaning = "" if meant == key else f"did you mean '{meant}'?"
    more = "; no kind of task with this name is installed" if place == "details" else ""
    return f"{meaning} {where}".strip() or f"known here: {', '.join(known)}{more}"


def _where(key: str, place: str) -> str:
    """Return where a key belongs, if that is another place than this one."""
    for other, (keys, where) in _PLACES.items():
        if key in keys and other not in (place, "dependency", "input"):
            return f"it belongs {where}"
    return ""
