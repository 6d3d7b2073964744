"""What tasks take as inputs, as their texts see it: values, results of other tasks, and files that list results."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from attrs import define, field

from daggy import files
from daggy.errors import MissingInputError, TemplateError
from daggy.kind import Listing
from daggy.plan import Block
from daggy.plan.inputs import Source, source
from daggy.run import states
from daggy.run.run import Run
from daggy.spec.document import encode
from daggy.spec.fields import unfit
from daggy.spec.model import Input, Template
from daggy.spec.numbers import Number, whole

_decode = json.JSONDecoder(parse_float=Number, parse_int=whole).decode

NULL = b"null"
"""What stands for the result of a task that is waited for until it has ended, and did not complete."""


@define(eq=False)
class Inputs:
    """Inputs of the tasks of one run under its present spec.

    Args:
        run: The run.
        folder: Where lists are written, absolute.
    """

    run: Run
    folder: Path
    _sources: dict[tuple[int, str, str], Source] = field(factory=dict)
    _values: dict[str, Any] = field(factory=dict)

    def of(self, block: Block, template: Template, index: int) -> dict[str, object]:
        """Return the inputs of a task by the names that its texts use: `inputs.NAME` as text, `inputs` as values.

        Raises:
            MissingInputError: a result is not there.
            TemplateError: one cannot be passed to a process.
        """
        values: dict[str, Any] = {}
        texts: dict[str, object] = {}
        for name, one in template.inputs.items():
            value = self._value(one) if not one.task else self._taken(block, template, index, name, one)
            values[name] = value
            texts[f"inputs.{name}"] = text = _text(value)
            if isinstance(text, str) and (why := unfit(text)):
                raise TemplateError(f"the input '{name}' {why}")
        return {**texts, "inputs": values}

    def _value(self, one: Input) -> Any:
        if one.value not in self._values:
            self._values[one.value] = _decode(one.value)
        return self._values[one.value]

    def _taken(self, block: Block, template: Template, index: int, name: str, one: Input) -> Any:
        key = block.number, template.name, name
        found = self._sources.get(key)
        if found is None:
            found = self._sources[key] = source(self.run.plan, block, index, one.task)
        gate = found.gate(index)
        tasks = found.tasks(gate)
        if not found.is_one:
            return self._list(found, gate, np.asarray(tasks, np.int64), name, one.key)
        return self._part(self._result(tasks[0]), one.key, tasks[0])

    def _result(self, task: int) -> Any:
        """Return the result of one task, as data.

        Raises:
            MissingInputError: as `_results`.
        """
        frontier = self.run.frontier
        state, text = frontier.mv_state[task], self.run.ledger.results.get(frontier.mv_last[task] - 1)
        if states.IS_FAILED[state]:
            return None
        if state != states.COMPLETED or not text:
            raise self._missing(task, is_completed=state == states.COMPLETED)
        return _data(text)

    def _missing(self, task: int, *, is_completed: bool) -> MissingInputError:
        why = "left no result" if is_completed else "has not completed yet"
        return MissingInputError(f"'{self.run.plan.name(task)}' {why}")

    def _results(self, tasks: np.ndarray[Any, np.dtype[np.int64]]) -> list[bytes]:
        """Return the results of tasks as JSON.

        Raises:
            MissingInputError: one of them left none, or has not completed yet.
        """
        frontier = self.run.frontier
        written = self.run.ledger.results.written(frontier.last[tasks].astype(np.int64) - 1)
        completed, failed = frontier.state[tasks] == states.COMPLETED, states.IS_FAILED[frontier.state[tasks]]
        lacking = ~(failed | (completed & np.fromiter(map(bool, written), np.bool_, len(written))))
        if lacking.any():
            first = int(lacking.argmax())
            raise self._missing(int(tasks[first]), is_completed=bool(completed[first]))
        if not failed.any():
            return written
        return [NULL if has_failed else text for text, has_failed in zip(written, failed.tolist(), strict=True)]

    def _part(self, result: Any, key: str, task: int) -> Any:
        if not key or result is None:
            return result
        if not isinstance(result, Mapping) or key not in result:
            raise MissingInputError(f"the result of '{self.run.plan.name(task)}' has no '{key}'")
        return result[key]

    def _list(self, found: Source, gate: int, tasks: np.ndarray[Any, np.dtype[np.int64]], name: str, key: str) -> str:
        """Return the path of a file with the results of some tasks, a line each; all tasks behind a gate share it."""
        last = int(self.run.frontier.last[tasks].max(initial=0))
        path = self.folder / f"{self.run.version}.{found.array.number}.{gate}.{last}.{name}"
        if not path.exists():
            lines = self._results(tasks)
            if key:
                whole = zip(tasks.tolist(), lines, strict=True)
                lines = [encode(self._part(_data(line.decode()), key, task)) for task, line in whole]
            try:
                self.folder.mkdir(mode=0o700, exist_ok=True)
                files.replace(path, b"\n".join([*lines, b""]))
            except OSError as error:
                raise MissingInputError(
                    f"the list of its input '{name}' cannot be written: {error.strerror}"
                ) from error
        return Listing(path)


def _data(result: str) -> Any:
    """Return a result as data in which numbers keep their text.

    Raises:
        TemplateError: it is nested too deep, or has a number of hundreds of digits.
    """
    try:
        return _decode(result)
    except (ValueError, RecursionError) as error:
        why = "it is nested too deep" if isinstance(error, RecursionError) else str(error)
        raise TemplateError(f"the result cannot be read: {why}") from error


def _text(value: Any) -> object:
    """Return what a text shows of a value: strings and numbers as they are, anything else as JSON."""
    if isinstance(value, bool | None | Mapping | Sequence) and not isinstance(value, str):
        return encode(value).decode()
    return value
