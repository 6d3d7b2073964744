"""Targets among what people write: run specs, templates, selectors, generators' answers."""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable
from typing import Any

import msgspec

from daggy.engine.render import Renderer
from daggy.errors import TemplateError
from daggy.plan import grow, plan
from daggy.run.run import Run
from daggy.spec import RunSpec, Templating, compile_text, document, formats, normalise, parse, parse_fragment, source
from daggy.view.selectors import chosen
from tests.hostile.oracles import ATTACK, SHELLS, outcome, reads_alike

FEW = 10_000
"""Tasks of a run whose frontier is made: a plan of any size is made, a run costs by its tasks."""

VALUES = {
    "A": "a'b",
    "B": 2,
    "C": "",
    "D": "é\n",
    "run.id": 1,
    "task.name": "t",
    "task.index": 0,
    "attempt": 1,
    "run": {"id": 1, "tags": {"env": "x"}},
    "task": {"name": "t", "index": 0},
    "run.tags.env": "x",
}
"""What templates can use here."""


def json_spec(data: bytes) -> None:
    """Read a JSON spec both ways, the short one and to the letter; plan it; render its first and last task."""
    usual = source.SMALL
    outcomes = []
    try:
        for small in (0, 1 << 30):
            source.SMALL = small
            outcomes.append(outcome(lambda: parse(data, directory="/base")))
    finally:
        source.SMALL = usual
    short, exact = outcomes
    assert short == exact, f"read differently: {short!r} and {exact!r}"
    if isinstance(exact, RunSpec):
        outcome(lambda: _use(exact))


def _use(spec: RunSpec) -> None:
    made = plan(spec)
    assert sum(block.size for block in made.blocks) == made.size
    if made.size > FEW:
        return
    run = Run(1, made, created=0.0, epoch=1)
    renderer = Renderer(run)
    for index in {0, made.size - 1}:
        name = made.name(index)
        assert made.index(name) == index, f"the name {name!r} does not read back"
        try:
            launch = renderer.one(index)
        except TemplateError:
            continue
        for word in (*launch.argv, *launch.environment, launch.directory):
            assert b"\0" not in os.fsencode(word), "a process can be given it"


def _document(data: bytes, read: Callable[[bytes], object]) -> None:
    def encoded() -> bytes:
        return document.encode(read(data))

    raw = outcome(encoded)
    if isinstance(raw, bytes):
        assert json.loads(raw) is not ..., "what is encoded is JSON"
        outcome(lambda: parse(raw, directory="/base"))


def yaml_spec(data: bytes) -> None:
    """Read a YAML spec."""
    _document(data, formats.read_yaml)


def toml_spec(data: bytes) -> None:
    """Read a TOML spec."""
    _document(data, formats.read_toml)


def template(data: bytes) -> None:
    """Compile a text as a template, and render it. The first byte says how."""
    kind, text = data[:1], data[1:].decode(errors="replace").replace("\0", "")  # which no spec can hold
    templating = Templating.LITERAL if kind == b"l" else Templating.JINJA
    compiled = outcome(lambda: compile_text(text, templating, shell=kind == b"$", spellings={"A": "A", "AB": "AB"}))
    if isinstance(compiled, str):
        return
    assert ("{{" in text) or normalise(text, templating) == text
    rendered = outcome(lambda: compiled.render({**VALUES, "AB": "y"}))  # type: ignore[attr-defined]
    assert isinstance(rendered, str)
    assert len(rendered) <= len(text) + (8 << 20)


def shell(data: bytes) -> None:
    """Compile a shell command: whether a real shell can read it does not depend on the values put in."""
    text = data.decode(errors="replace").replace("\0", "")
    compiled = outcome(lambda: compile_text(text, Templating.JINJA, shell=True))
    if isinstance(compiled, str) or compiled.constant or "raw" in text:  # type: ignore[attr-defined]
        return
    scripts = []
    for value in ("x", ATTACK):
        try:
            scripts.append(compiled.render(dict.fromkeys(compiled.names, value)))  # type: ignore[attr-defined]
        except TemplateError:
            return
    for program in filter(os.path.exists, SHELLS):
        assert reads_alike(scripts, program), f"{program} reads {scripts}"


@functools.cache
def _run() -> Run:
    return Run(1, plan(parse(json.dumps(RUN).encode(), directory="/")), created=0.0, epoch=1)


RUN: dict[str, Any] = {
    "parameters": {"N": {"range": [0, 5]}, "DATE": ["2022-01-01", "a.b:c/d%e f", "é"], "Z": [1, 2, 3]},
    "zip": [["DATE", "Z"]],
    "tasks": {
        "pull": {"details": {"command": ["x", "{{ N }}", "{{ DATE }}"]}},
        "use": {"details": {"command": ["x", "{{ N }}"]}, "parents": [{"task": "pull", "match": ["N"]}]},
        "dotted.name": {"details": {"command": ["x"]}, "parents": ["use"], "is_generator": True},
        "sum": {"details": {"command": ["x"]}, "parents": ["dotted.name"]},
    },
}
"""The spec to which selectors and answers belong."""


def selector(data: bytes) -> None:
    """Select tasks by a JSON value, as bodies of requests hold it."""
    try:
        asked = msgspec.json.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return
    run = _run()
    found = outcome(lambda: chosen(run, asked))
    if not isinstance(found, str):
        listed = found.tolist()  # type: ignore[attr-defined]
        assert listed == sorted(set(listed))
        assert all(0 <= index < run.plan.size for index in listed)


def fragment(data: bytes) -> None:
    """Read a generator's answer, and add it to a plan."""
    made = _run().plan
    origin = made.index("dotted.name")

    def grown() -> None:
        answer = parse_fragment(data, made.spec, source="answer")
        if len(answer.tasks):
            larger = grow(made, origin, answer)
            assert larger.size > made.size
            assert larger.name(made.size).startswith("dotted.name/")

    outcome(grown)
