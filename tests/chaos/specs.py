"""Random run specs that are known on both sides: as the JSON that Daggy gets, and as rules that the oracle expands."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attrs import evolve, field, frozen

Json = Any

NEVER = 1_000_000
"""Of tasks that fail in every attempt."""

SIZES = {"line": 0, "page": 40_000, "long": 1_200_000}
"""Characters that a task writes beside its line: beyond one read of its output, and beyond what goes to a pack."""

PACKED = 1 << 20
"""Bytes of output up to which it has a checksum."""

SCRIPT = (
    'say() {{ echo "$1 $DAGGY_TICKET $DAGGY_TASK $DAGGY_ATTEMPT $MARK" >> {oracle}; }}; say start; '
    '{out}; echo "err $DAGGY_TASK" >&2; {work}'
    '[ "$DAGGY_ATTEMPT" -ge "$FROM" ] || {{ say fail; exit 3; }}; say end'
)


@frozen
class Link:
    """What a template waits for; `match` None: all, (): all that both use, else these parameters."""

    task: str
    match: tuple[str, ...] | None = None
    on: str = "completed"


@frozen
class Shape:
    """A template.

    Args:
        name: Its name.
        parameters: Those that it expands over.
        links: What it waits for.
        mark: What its tasks write beside each line; another one is another definition.
        fails_below: Attempts with lower numbers fail.
        retries: `max_retries`.
        nap: Seconds that it sleeps.
        output: A key of SIZES.
        generated: Templates that it answers with; None: it is no generator.
        is_loud: Whether it answers on standard output, which then has nothing else.
    """

    name: str
    parameters: tuple[str, ...] = ()
    links: tuple[Link, ...] = ()
    mark: str = "m0"
    fails_below: int = 1
    retries: int = 0
    nap: float = 0.0
    output: str = "line"
    generated: tuple[Shape, ...] | None = None
    is_loud: bool = False

    @property
    def may_fail(self) -> bool:
        """Whether it may end as errored."""
        return self.fails_below > self.retries + 1


@frozen
class Script:
    """A run spec: parameters and templates, each after those that it waits for."""

    name: str
    parameters: Mapping[str, tuple[str, ...]]
    shapes: tuple[Shape, ...]
    crash_limit: int = 1000
    version: int = 1

    def document(self, home: Path) -> Json:
        """Return the spec as Daggy gets it; `home` has the oracle's file, and takes what generators answer."""
        return {
            "name": self.name,
            "directory": str(home),
            "templating": "none",
            "parameters": {name: list(values) for name, values in self.parameters.items()},
            "defaults": {"crash_limit": self.crash_limit, "retry_delay": 0.02, "details": {"grace": 1}},
            "tasks": {shape.name: _task(shape, home) for shape in self.shapes},
        }

    def replaced(self, shape: Shape) -> Script:
        """Return it with another template of the same name."""
        return evolve(self, shapes=tuple(shape if one.name == shape.name else one for one in self.shapes))


def _task(shape: Shape, home: Path) -> Json:
    work = [f"sleep {shape.nap:g}; "] if shape.nap else []
    if SIZES[shape.output]:
        work.append(f"head -c {SIZES[shape.output]} /dev/zero | tr '\\0' x; ")
    environment = {"MARK": shape.mark, "FROM": str(shape.fails_below)}
    if shape.generated is not None:
        environment["ANSWER"] = str(answer(shape.generated, home))
        if not shape.is_loud:
            work.append('cat "$ANSWER" > "$DAGGY_GENERATE"; ')
    out = 'cat "$ANSWER"' if shape.is_loud else 'echo "out $DAGGY_TASK $DAGGY_ATTEMPT"'
    script = SCRIPT.format(oracle=home / "oracle", out=out, work="".join(work))
    task = {
        "details": {"shell": script, "environment": environment},
        "expand": list(shape.parameters),
        "parents": [_parent(link) for link in shape.links],
        "max_retries": shape.retries,
    }
    return task if shape.generated is None else {**task, "is_generator": True}


def _parent(link: Link) -> Json:
    match = {} if link.match is None else {"match": list(link.match) or True}
    return {"task": link.task, "on": link.on, **match}


def answer(shapes: tuple[Shape, ...], home: Path) -> Path:
    """Return the file that has what a generator answers."""
    text = json.dumps({"tasks": {shape.name: _task(shape, home) for shape in shapes}})
    path = home / f"answer.{hashlib.sha256(text.encode()).hexdigest()[:12]}"
    path.write_text(text)
    return path


@frozen
class Writer:
    """Makes specs of random numbers."""

    dice: random.Random
    may_fail: bool = field(kw_only=True)

    def script(self, name: str, tasks: int) -> Script:
        """Return a spec of about so many tasks."""
        dice = self.dice
        counts = {name: dice.randint(2, 6) for name in "AB"}
        parameters = {name: tuple(f"{name.lower()}{at}" for at in range(count)) for name, count in counts.items()}
        shapes: list[Shape] = []
        left = tasks
        while left > 0:
            chosen = dice.choice([(), ("A",), ("B",), ("A", "B")])
            shapes.append(self.shape(f"t{len(shapes)}", chosen, shapes))
            left -= self._size(shapes[-1], counts)
            if dice.random() < 0.1:
                shapes += self._chain(f"t{len(shapes)}", dice.randint(2, 8))
                left -= 8
        limit = 1000 if dice.random() < 0.8 else dice.randint(0, 2)
        return Script(name, parameters, tuple(shapes), limit if self.may_fail else 1000)

    def shape(self, name: str, parameters: tuple[str, ...], earlier: list[Shape]) -> Shape:
        """Return a template that waits for some of the earlier ones."""
        dice = self.dice
        parents = dice.sample(earlier, min(len(earlier), dice.choice([0, 1, 1, 1, 2])))
        links = tuple(self._link(parameters, parent) for parent in parents)
        shape = self._worker(Shape(name, parameters, links))
        if dice.random() < 0.12 and len(parameters) < 2:
            first = self._worker(Shape("g0", dice.choice([(), ("B",)])))
            second = self._worker(Shape("g1", (), (Link("g0", None, dice.choice(["completed", "ended"])),)))
            generated = dice.choice([(), (first,), (first, second)])
            if dice.random() < 0.5:
                return evolve(shape, generated=generated, is_loud=True, output="line")
            return evolve(shape, generated=generated)
        return shape

    def _size(self, shape: Shape, counts: Mapping[str, int]) -> int:
        size = 1
        for name in shape.parameters:
            size *= counts[name]
        return size * (1 + sum(self._size(one, counts) for one in shape.generated or ()))

    def _worker(self, shape: Shape) -> Shape:
        dice = self.dice
        nap = dice.choice([0.0] * 7 + [0.01, 0.02, 0.05, 0.05, 0.2, 0.4])
        output = dice.choices(list(SIZES), [30, 2, 0.3])[0]
        retries, below = 0, 1
        if dice.random() < 0.15:
            retries = dice.randint(1, 2)
            below = dice.randint(1, retries + 1)
        if self.may_fail and dice.random() < 0.1:
            below = dice.choice([NEVER, retries + 3])
        return evolve(shape, nap=nap, output=output, retries=retries, fails_below=below)

    def _link(self, parameters: tuple[str, ...], parent: Shape) -> Link:
        dice = self.dice
        both = tuple(name for name in parameters if name in parent.parameters)
        match: tuple[str, ...] | None = None
        if both and dice.random() < 0.7:
            match = () if dice.random() < 0.5 else tuple(dice.sample(both, dice.randint(1, len(both))))
        return Link(parent.name, match, "ended" if dice.random() < 0.2 else "completed")

    def _chain(self, stem: str, length: int) -> list[Shape]:
        made: list[Shape] = []
        for number in range(length):
            links = (Link(made[-1].name),) if made else ()
            made.append(self._worker(Shape(f"{stem}c{number}", (), links)))
        return made

    def edited(self, script: Script) -> Script:
        """Return another version of a spec."""
        dice, version = self.dice, script.version + 1
        script = evolve(script, version=version)
        shape = dice.choice(script.shapes)
        match dice.choice(["mark", "mark", "add", "remove", "values", "policy"]):
            case "mark":
                return script.replaced(evolve(shape, mark=f"m{version}"))
            case "add":
                new = self.shape(f"n{version}", dice.choice([(), ("A",)]), list(script.shapes))
                return evolve(script, shapes=(*script.shapes, new))
            case "remove" if len(script.shapes) > 1:
                used = {link.task for one in script.shapes for link in one.links}
                leaves = [one for one in script.shapes if one.name not in used]
                gone = dice.choice(leaves)
                return evolve(script, shapes=tuple(one for one in script.shapes if one is not gone))
            case "values":
                values = script.parameters["A"]
                values = values[1:] if len(values) > 2 and dice.random() < 0.5 else (*values, f"a{version}x")
                return evolve(script, parameters={**script.parameters, "A": values})
        return script.replaced(evolve(shape, retries=shape.retries + 1))
