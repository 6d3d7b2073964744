"""Checks a plan against the pools before a run exists: needs that can never be met."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from typing import Protocol

import numpy as np
from attrs import evolve

from daggy.engine.dispatch import PoolLink
from daggy.engine.render import options_for
from daggy.errors import Problem, SpecError
from daggy.executor import Work
from daggy.plan import Block, Plan
from daggy.plan.inputs import source
from daggy.spec.model import Policy, RunSpec, Template

MOST_TEMPLATES = 10_000
"""Of a block of more hand-written tasks, one for each policy is checked."""


class Pools(Protocol):
    """Pools with their executors and machines, by name, and which is meant where none is named."""

    @property
    def links(self) -> Mapping[str, PoolLink]: ...  # noqa: D102 - see the class

    @property
    def default_pool(self) -> str: ...  # noqa: D102 - see the class


def check_needs(plan: Plan, pools: Pools) -> None:
    """Refuse a plan with tasks that no machine of their pool could ever run.

    Raises:
        SpecError: with a problem for each such template.
    """
    problems = [problem for block in plan.blocks for problem in _check_block(plan.spec, block, pools)]
    problems += [problem for block in plan.current if block.takes_inputs for problem in _unreadable(plan, block, pools)]
    if problems:
        raise SpecError(problems)


def check_generated(fragment: RunSpec, pools: Pools) -> None:
    """Refuse a generator's answer with tasks that no machine of their pool could ever run.

    Raises:
        SpecError: with a problem for each such template.
    """
    templates = fragment.tasks
    if len(templates) > MOST_TEMPLATES:
        templates = list({template.policy: template for template in templates}.values())
    if problems := list(_check_templates(fragment, templates, pools)):
        raise SpecError(problems)


def _check_block(spec: RunSpec, block: Block, pools: Pools) -> Iterator[Problem]:
    yield from _check_templates(spec, _samples(block), pools)


def _unreadable(plan: Plan, block: Block, pools: Pools) -> Iterator[Problem]:
    """Yield a problem for each input that is a file where tasks of a pool may not see it."""
    for row, template in enumerate(block.templates):
        pool = template.policy.pool or pools.default_pool
        link = pools.links.get(pool)
        if link is None or link.executor is None or link.executor.reads_state:
            continue
        for name, one in template.inputs.items():
            if one.task and not source(plan, block, block.start + row, one.task).is_one:
                message = f"it is a file on the server's machine, which tasks in pool '{pool}' cannot read"
                mend = f"match all parameters of '{one.task}', or use a pool of this machine"
                yield Problem(f"tasks.{template.name}.inputs.{name}", message, mend)


def _check_templates(spec: RunSpec, templates: Iterable[Template], pools: Pools) -> Iterator[Problem]:
    for template in templates:
        pool = template.policy.pool or pools.default_pool
        place = f"tasks.{template.name}"
        if pool not in pools.links:
            close = difflib.get_close_matches(pool, pools.links, n=1)
            mend = f"did you mean '{close[0]}'?" if close else f"there are: {', '.join(sorted(pools.links))}"
            yield Problem(f"{place}.pool", f"no pool named '{pool}'", mend)
            continue
        link = pools.links[pool]
        if template.policy.is_source and not link.evals:  # of the policy: of many tasks one for each is looked at
            mend = 'write a function, or have who configures the pool say "eval": true'
            yield Problem(f"{place}.details.eval", f"the pool '{link.pool.name}' executes no Python source", mend)
        yield from _unmet(spec, template.policy, link, place)
        yield from _refused(template, link, place)


def _samples(block: Block) -> Iterator[Template]:
    if len(block.templates) <= MOST_TEMPLATES or block.policy_of is None:
        yield from block.templates[:MOST_TEMPLATES] if len(block.templates) <= MOST_TEMPLATES else block.templates[:1]
        return
    first = np.zeros(len(block.policies), np.int64)
    first[block.policy_of[::-1]] = np.arange(block.size)[::-1]
    for row in first.tolist():
        yield block.templates[row]


def _unmet(spec: RunSpec, policy: Policy, link: PoolLink, place: str) -> Iterator[Problem]:
    for name, amount in policy.resources:
        limit = spec.limits.get(name)
        if limit is not None:
            if amount > limit:
                yield Problem(
                    f"{place}.resources.{name}",
                    f"needs {amount:g}, and the run's limit is {limit:g}",
                    "raise limits or ask for less",
                )
            continue
        if link.executor is None or not link.executor.fixed:
            continue
        most = max((machine.most(name) for machine in link.pool.machines.values()), default=0.0)
        if amount > most:
            yield Problem(
                f"{place}.resources.{name}",
                f"needs {amount:g}, and no machine of pool '{link.pool.name}' has more than {most:g}",
                f"ask for less, choose another pool, or give the run or the pool more '{name}'",
            )


def _refused(template: Template, link: PoolLink, place: str) -> Iterator[Problem]:
    if link.executor is None:
        return
    details = template.details
    kind = "shell" if details.shell is not None else "command"
    options = options_for(details, link.executor.name)
    policy = template.policy
    work = Work(kind, dict(policy.resources), options, policy.is_generator, policy.timeout, policy.result)
    for problem in link.executor.check(work):
        yield evolve(problem, path=f"{place}.{problem.path}" if problem.path else place)
