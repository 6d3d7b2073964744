"""Random specs, what their generators answer, and both with some things changed."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import strategies as st

Json = dict[str, Any]
NAMES = ["a", "b", "c", "d", "e"]
BOTH = st.sampled_from([False, True])


@st.composite
def templates(draw: st.DrawFn, known: dict[str, Json], parameters: dict[str, list[str]]) -> Json:
    """One template that may wait for those known."""
    uses = draw(st.lists(st.sampled_from(sorted(parameters)), unique=True))
    made: Json = {
        "details": {"command": ["do", draw(st.sampled_from("xy")), *(f"{{{{ {p} }}}}" for p in uses)]},
        "expand": uses,
    }
    parents = []
    for name in draw(st.lists(st.sampled_from(sorted(known)), unique=True, max_size=3)) if known else []:
        entry: Json = {"task": name, "on": draw(st.sampled_from(["completed", "completed", "ended"]))}
        shared = sorted(set(uses) & set(known[name]["expand"]))
        if shared:
            match = draw(st.lists(st.sampled_from(shared), unique=True))
            entry.update({"match": match} if match else {})
        parents.append(entry)
    made["parents"] = parents
    made["max_retries"] = draw(st.integers(0, 2))
    made["retry_delay"] = draw(st.sampled_from([0, 0, 10]))
    made["crash_limit"] = draw(st.integers(0, 1))
    made["priority"] = draw(st.integers(0, 1))
    made["is_generator"] = draw(st.sampled_from([False, False, True]))
    if draw(BOTH):
        made["retry_on"] = draw(st.sampled_from([["exit"], [3, "signal"], ["timeout", "memory"]]))
    return made


@st.composite
def documents(draw: st.DrawFn) -> Json:
    parameters = {
        "P": draw(st.sampled_from([["1"], ["1", "2"], ["1", "2", "3"]])),
        "Q": draw(st.sampled_from([["u"], ["v", "u"]])),
    }
    made: dict[str, Json] = {}
    for name in NAMES[: draw(st.integers(1, 5))]:
        made[name] = draw(templates(made, parameters))
    document = {"tasks": made, "parameters": parameters}
    if draw(st.integers(0, 2)) == 0:
        document["max_failures"] = draw(st.integers(1, 2))
    return document


@st.composite
def edited(
    draw: st.DrawFn, document: Json, names: list[str], parameters: dict[str, list[str]], outside: dict[str, Json]
) -> Json:
    """The same document, or answer of a generator, with some things changed."""
    made = copy.deepcopy(document)
    for name in list(made["tasks"]):
        change = draw(st.sampled_from(["", "", "", "command", "retries", "drop", "parents", "generator"]))
        template = made["tasks"][name]
        if change == "command":
            template["details"]["command"][1] += "z"
        elif change == "retries":
            template["max_retries"] += 1
        elif change == "generator":
            template["is_generator"] = not template["is_generator"]
        elif change == "drop" and len(made["tasks"]) > 1:
            del made["tasks"][name]
            for other in made["tasks"].values():
                other["parents"] = [entry for entry in other["parents"] if entry["task"] != name]
        elif change == "parents":
            template["parents"] = template["parents"][1:]
    if "parameters" in made:
        made["parameters"]["P"] = draw(st.sampled_from([made["parameters"]["P"], ["1"], ["3", "1"], ["2", "1", "4"]]))
    unused = [name for name in names if name not in made["tasks"]]
    if unused and bool(draw(BOTH)):
        made["tasks"][unused[0]] = draw(templates({**outside, **made["tasks"]}, made.get("parameters", parameters)))
    return made


@st.composite
def answers(draw: st.DrawFn, outside: dict[str, Json], parameters: dict[str, list[str]]) -> Json:
    known = dict(outside)
    made = {}
    for name in draw(st.sampled_from([[], ["x"], ["x", "y"], ["y"], ["x", "y", "z"]])):
        made[name] = known[name] = draw(templates(known, parameters))
    return {"tasks": made}
