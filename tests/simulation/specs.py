"""Random run specs, what generators answer, and how specs are changed: all of it from a seed."""

from __future__ import annotations

import copy
import json
from random import Random
from typing import Any

Json = dict[str, Any]

NAMES = ["a", "b", "c", "d", "e", "f"]
POOLS = {"default": 3.0, "side": 2.0}
"""Pools, and the cores of the one machine of each."""

QUEUE = "queue"
"""A pool whose place has a queue of its own, and machines that come and go."""

TIMEOUT = 10.0
"""Seconds that its tasks may take: more than any does."""

CROWDED = 0.15
"""The part of all stories in which many short tasks wait their turn at launchers while the user asks for things."""

ENDS = ["ok", "ok", "ok", "ok", "flaky", "flaky", "bad", "gen", "crash"]
"""What becomes of a template's tasks: the first word of their command."""

PACES = ["0.0", "0.01", "0.01", "0.2", "1", "4"]
"""Seconds that they take, about."""


def document(rng: Random) -> Json:
    """Return a random run spec of up to a few dozen tasks."""
    parameters = {
        "P": rng.choice([["1"], ["1", "2"], ["1", "2", "3"], ["1", "2", "3", "4", "5"]]),
        "Q": rng.choice([["u"], ["v", "u"]]),
    }
    tasks: Json = {}
    for name in NAMES[: rng.randint(1, len(NAMES))]:
        tasks[name] = template(rng, tasks, parameters)
    made: Json = {"parameters": parameters, "tasks": tasks, "directory": "/"}
    if rng.random() < 0.15:
        made["max_failures"] = rng.randint(1, 3)
    if rng.random() < 0.2:
        made["limits"] = {"tokens": rng.randint(1, 3)}
        for one in tasks.values():
            if rng.random() < 0.5:
                one["resources"] = {**one.get("resources", {}), "tokens": 1}
    return made


def crowd(rng: Random) -> Json:
    """Return a run spec of many short tasks, of which a launcher has some that wait their turn."""
    values = [str(value) for value in range(rng.randint(15, 40))]
    tasks: Json = {}
    for name in NAMES[: rng.randint(1, 2)]:
        tasks[name] = {
            "expand": ["P"],
            "parents": [_parent(rng, one, tasks, ["P"]) for one in tasks],
            "details": {
                "command": [rng.choice(["ok", "flaky"]), "0.02", "x", "{{ P }}"],
                "environment": {"CORES": "1"},
            },
            "max_retries": 3,
            "crash_limit": 9,
            "pool": rng.choice([*POOLS]),
        }
    return {"parameters": {"P": values, "Q": ["u"]}, "tasks": tasks, "directory": "/"}


def template(rng: Random, known: Json, parameters: Json, *, may_generate: bool = True) -> Json:
    """Return one template that may wait for those known."""
    uses = rng.sample(sorted(parameters), rng.choice([0, 0, 1, 1, 2]))
    end = rng.choice(ENDS)
    if end == "crash" and rng.random() < 0.7:
        end = "ok"
    words = [end, rng.choice(PACES), rng.choice("xyz")]
    made: Json = {"expand": uses, "parents": [_parent(rng, name, known, uses) for name in _some(rng, known)]}
    if end == "gen":
        if not may_generate:
            words[0] = "ok"
        else:
            made["is_generator"] = True
            words += [",".join(rng.sample(sorted(known), min(len(known), rng.randint(0, 2)))), str(rng.randint(0, 999))]
    cores = rng.choice([1, 1, 1, 0.5, 2])
    if cores != 1:
        made["resources"] = {"cores": cores}
    command = [*words, *(f"{{{{ {one} }}}}" for one in uses)]
    made["details"] = {"command": command, "environment": {"CORES": str(cores)}}
    made["max_retries"] = rng.choice([0, 1, 3])
    made["retry_delay"] = rng.choice([0, 0, 0.1, 5])
    made["crash_limit"] = rng.choice([1, 3, 3, 9])
    made["priority"] = rng.choice([0, 0, 1])
    if rng.random() < 0.2:
        made["max_parallel"] = rng.randint(1, 2)
    made["pool"] = rng.choice(["default"] * 4 + ["side"] * 2 + [QUEUE] * 2)
    if made["pool"] == QUEUE:
        made["details"]["timeout"] = TIMEOUT
    return made


def _some(rng: Random, known: Json) -> list[str]:
    return rng.sample(sorted(known), min(len(known), rng.choice([0, 1, 1, 2, 3])))


def _parent(rng: Random, name: str, known: Json, uses: list[str]) -> Json:
    entry: Json = {"task": name, "on": rng.choice(["completed", "completed", "completed", "ended"])}
    shared = sorted(set(uses) & set(known[name]["expand"]))
    if shared and rng.random() < 0.7:
        entry["match"] = rng.sample(shared, rng.randint(1, len(shared)))
    return entry


def answer(argv: list[str], name: str, parameters: Json, attempt: int) -> bytes:
    """Return what a generator says, by its words: now and then its first attempt talks nonsense, and later ones say
    something else than those before.
    """
    rng = Random(f"{argv[3]}{argv[4]}{name}")
    if rng.random() < 0.2 and attempt == 1:
        return b"{ not json"
    outside = [one for one in argv[3].split(",") if one]
    tasks: Json = {}
    for one in ["x", "y", "z"][: rng.randint(0, 3)]:
        tasks[one] = template(rng, tasks, parameters, may_generate=rng.random() < 0.3 and name.count("/") == 0)
        if tasks[one].get("is_generator"):
            tasks[one]["details"]["command"][3] = ""
        tasks[one]["parents"] += [{"task": other} for other in outside if rng.random() < 0.5]
    if rng.random() < 0.5:
        for step in range(2, attempt + 1):
            _vary(Random(f"{argv[4]}{name}{step}"), tasks, parameters)
    return json.dumps({"tasks": tasks}).encode()


def _vary(rng: Random, tasks: Json, parameters: Json) -> None:
    """Change one thing in what a generator said."""
    change = rng.choice(["", "words", "drop", "more", "parents"])
    left = [one for one in ("x", "y", "z", "w") if one not in tasks]
    if change == "more" and left:
        tasks[left[0]] = template(rng, tasks, parameters, may_generate=False)
    elif tasks and change in ("words", "drop", "parents"):
        chosen = rng.choice(sorted(tasks))
        if change == "words":
            tasks[chosen]["details"]["command"][2] += "+"
        elif change == "parents":
            tasks[chosen]["parents"] = tasks[chosen]["parents"][1:]
        else:
            del tasks[chosen]
            for one in tasks.values():
                one["parents"] = [entry for entry in one["parents"] if entry["task"] != chosen]


def edited(rng: Random, before: Json) -> Json:
    """Return the same spec with some things changed."""
    made = copy.deepcopy(before)
    for name in list(made["tasks"]):
        one = made["tasks"][name]
        change = rng.choice(["", "", "", "", "words", "retries", "drop", "parents", "mend"])
        if change == "words":
            one["details"]["command"][2] += "+"
        elif change == "retries":
            one["max_retries"] += 1
        elif change == "mend" and one["details"]["command"][0] in ("bad", "crash"):
            one["details"]["command"][0] = "ok"
        elif change == "parents":
            one["parents"] = one["parents"][1:]
        elif change == "drop" and len(made["tasks"]) > 1:
            _drop(made["tasks"], name)
    made["parameters"]["P"] = rng.choice([made["parameters"]["P"]] * 3 + [["1"], ["3", "1"], ["2", "1", "4"]])
    unused = [name for name in NAMES if name not in made["tasks"]]
    if unused and rng.random() < 0.3:
        made["tasks"][unused[0]] = template(rng, made["tasks"], made["parameters"])
    return made


def _drop(tasks: Json, name: str) -> None:
    del tasks[name]
    for other in tasks.values():
        other["parents"] = [entry for entry in other["parents"] if entry["task"] != name]
        words = other["details"]["command"]
        if words[0] == "gen":
            words[3] = ",".join(one for one in words[3].split(",") if one != name)
