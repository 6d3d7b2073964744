"""Turns tasks into launches just before they are sent: names, values, environment, argv."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from daggy.attempt import Reason
from daggy.engine.inputs import Inputs
from daggy.errors import MissingInputError, TemplateError
from daggy.executor import Launch
from daggy.plan import Block
from daggy.plan.names import quote_all, quote_key
from daggy.run.indexes import Indexes
from daggy.run.run import Run
from daggy.spec import Builtins, Recipe, recipe
from daggy.spec.model import Details, Template

Failure = tuple[int, str, Reason]
"""A task that cannot be rendered, and why."""


_launch = tuple.__new__  # a named tuple's own constructor costs as much as the rest of a plain task


_Task = tuple[int, int, str, dict[str, object], dict[str, str | None]]
"""What rendering one task starts from: index, attempt, name, values, and an environment that is its own to change."""


class Renderer:
    """Renders the tasks of one run under its present spec; compiles a template with parameters once."""

    def __init__(self, run: Run, folder: Path = Path()) -> None:
        """Start with nothing compiled; `folder` is where lists of results are written."""
        self.run = run
        self.spec = run.plan.spec
        self._inputs = Inputs(run, folder)
        self._recipes: dict[int, Recipe] = {}

    def launches(self, block: Block, indexes: Indexes, executor: str = "") -> tuple[list[Launch], list[Failure]]:
        """Return these tasks of one block as launches, in order, and those that cannot be rendered.

        Args:
            block: Theirs.
            indexes: In the run.
            executor: What the executor is registered as that is to run them: it gets its own options.
        """
        failures: list[Failure] = []
        attempts = self.run.frontier.attempt[indexes].tolist()
        if not block.explicit:
            return self._product(block, indexes, attempts, executor, failures), failures
        launches: list[Launch] = []
        for index, attempt in zip(indexes.tolist(), attempts, strict=True):
            template = block.template(index)
            task: _Task = (index, attempt, block.full(template.name), {}, {})
            launches += self._render(recipe(template, self.spec), block, template, (task,), executor, failures)
        return launches, failures

    def one(self, index: int) -> Launch:
        """Return one task as it would be launched as its last attempt.

        Raises:
            TemplateError: it cannot be rendered.
        """
        launches, failures = self.launches(self.run.plan.block_of(index), np.array([index], np.int64))
        if failures:
            raise TemplateError(failures[0][1])
        return launches[0]

    def _product(
        self, block: Block, indexes: Indexes, attempts: list[int], executor: str, failures: list[Failure]
    ) -> list[Launch]:
        """Render tasks of a template with parameters: by columns as far as it goes, a dictionary or two a task."""
        template = block.templates[0]
        compiled = self._recipes.get(block.number)
        if compiled is None:
            compiled = self._recipes[block.number] = recipe(template, self.spec)
        digits = block.digits(indexes)
        names = [name for name, _, _ in block.columns]
        variables = [f"DAGGY_PARAM_{name}" for name in names]
        columns = [list(map(values.value, digits[axis].tolist())) for _, axis, values in block.columns]
        texts = [list(map(str, column)) for column in columns]
        keys = [quote_key(name).replace("%", "%%") for name in names]
        labels = [quote_all(column) for column in texts]
        form = block.full(template.name).replace("%", "%%") + "".join(f".{key}:%s" for key in keys)
        rows = zip(
            indexes.tolist(),
            attempts,
            zip(*columns, strict=True),
            zip(*texts, strict=True),
            zip(*labels, strict=True),
            strict=True,
        )
        tasks = (
            (index, attempt, form % label, dict(zip(names, row)), dict(zip(variables, text)))  # noqa: B905 - equal, and hot
            for index, attempt, row, text, label in rows
        )
        return self._render(compiled, block, template, tasks, executor, failures)

    def _render(
        self,
        compiled: Recipe,
        block: Block,
        template: Template,
        tasks: Iterable[_Task],
        executor: str,
        failures: list[Failure],
    ) -> list[Launch]:
        """Return one template's tasks as launches; add those that have no value somewhere to `failures`."""
        details = compiled.details
        timeout, grace, options = details.timeout, details.grace, options_for(details, executor)
        generator, result = template.policy.is_generator, template.policy.result
        uses_builtins = not compiled.names <= set(template.uses)
        builtins: Builtins | None = None
        notes = self.run.notes
        launches: list[Launch] = []
        for index, attempt, name, values, environment in tasks:
            if uses_builtins:
                builtins = Builtins(self.run.id, self.spec.tags, name, index, attempt)
            try:
                if template.inputs:
                    values.update(self._inputs.of(block, template, index))
                argv, own, directory, stdin = compiled.render(values, builtins)
            except MissingInputError as error:
                failures.append((index, str(error), Reason.MISSING))
                continue
            except TemplateError as error:
                failures.append((index, str(error), Reason.TEMPLATE))
                continue
            environment["DAGGY_TASK"] = name
            if own:
                environment.update(own)
            note = notes[index].text if index in notes else ""
            rest = stdin, timeout, grace, generator, result, note, options
            launches.append(_launch(Launch, (index, attempt, argv, environment, directory, *rest)))
        return launches


def options_for(details: Details, executor: str) -> Mapping[str, Any] | None:
    """Return what `details.options` has for an executor; None if nothing."""
    options: Mapping[str, Any] | None = details.options.get(executor)  # type: ignore[assignment]  # checked when read
    return options or None
