"""Turns the entries of `tasks` into templates: merges defaults, checks strings, finds the parameters that apply."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Any

from msgspec import UNSET

from daggy.errors import SpecError
from daggy.spec.columns import Columns
from daggy.spec.details import Given, merge_details
from daggy.spec.exclude import applies, check_combinations
from daggy.spec.fast import NO_POLICY, PlainTask, Written, policy_given, policy_of
from daggy.spec.fields import noun
from daggy.spec.inputs import with_parents
from daggy.spec.model import Combination, Dependency, Draft, Policy, RunSpec, Template, Templating, Values, freeze
from daggy.spec.names import BAD, check_template_name
from daggy.spec.packed import LARGE, PackedTemplates
from daggy.spec.problems import Problems, join, kind, quote
from daggy.spec.source import Source
from daggy.spec.task import merge_policy, read_task
from daggy.spec.templating.expression import BUILTINS
from daggy.spec.templating.recipe import texts_of
from daggy.spec.templating.text import compile_text
from daggy.spec.unused import check_own, check_variables
from daggy.spec.values import Parameters, check_lengths, read_parameters


class _Dependencies(dict[str, Dependency]):
    """Dependencies that are only names, each made once."""

    def __missing__(self, name: str) -> Dependency:
        dependency = self[name] = Dependency(name)
        return dependency


class Reader:
    """Reads the tasks of one document.

    Args:
        spec: The run spec without its tasks.
        inherited: `defaults`, read.
        problems: Where to report.

    `templates` are those read so far, unless `packed` is all of them; `used` the parameters of the run that any of them
    uses. `read` counts entries, valid or not; `complete` is false once a string could not be parsed, which may hide
    uses.
    """

    def __init__(self, spec: RunSpec, inherited: Given, problems: Problems) -> None:
        self.spec = spec
        self.templates: list[Template] = []
        self.packed: PackedTemplates | None = None
        self.used: set[str] = set()
        self.read = 0
        self.complete = True
        self.defaults = Parameters()
        self.used_defaults: set[str] = set()
        self.excluded: set[Combination] = set()
        self._inherited = inherited
        self._details: Given = inherited.get("details", {})
        self._problems = problems
        self._templating: Templating = inherited.get("templating", spec.defaults.templating)
        self._policies: dict[Any, Policy] = {}
        self._dependencies = _Dependencies()
        self._names: set[str] = set()
        self._told: set[tuple[str, str]] = set()
        self._described: str = inherited.get("description", "")
        if "parameters" in inherited:
            literal = self._templating is Templating.LITERAL
            written = inherited["parameters"]
            self.defaults = read_parameters(written, "defaults.parameters", problems, literal=literal)

    def read_source(self, document: Source, *, pack: bool) -> None:
        """Read tasks that are still bytes: plain ones on the fast path, the others strictly.

        Args:
            document: What they stand in.
            pack: Whether templates are packed if all tasks are plain and there are many.
        """
        tasks = document.tasks or {}
        good = BAD.search("".join(tasks)) is None and all(tasks) and not any(map(str.isdigit, tasks))
        columns = Columns() if pack and len(tasks) >= LARGE else None
        for names, entries, read in document.batches(plain=good and self._plain()):
            plain = [task for task in read if task is not None]
            if columns is not None and len(plain) == len(read):
                columns.add(names, entries, plain, self._policies_of(names, plain))
                continue
            for added in columns.read_again() if columns is not None else ():
                self._add_plain(*added)
            columns = None
            self._read_batch(document, names, entries, read)
        if columns is not None:
            self.read += len(columns.entries)
            self.packed = columns.packed(self._details, self._described, self._templating)

    def _read_batch(
        self, document: Source, names: list[str], entries: list[bytes], tasks: Sequence[PlainTask | None]
    ) -> None:
        plain = [task for task in tasks if task is not None]
        if len(plain) == len(tasks):
            self._add_plain(names, entries, plain, self._policies_of(names, plain))
            return
        for name, raw, task in zip(names, entries, tasks, strict=True):
            if task is None:
                self._read(name, document.read(raw), join("tasks", name), ())
            else:
                self._add_plain([name], [raw], [task], self._policies_of([name], [task]))

    def _plain(self) -> bool:
        """Return whether a task can be plain: nothing that applies to all of them uses parameters."""
        if self._templating is Templating.LITERAL and (self.spec.parameters or self.defaults.values):
            return False
        if any(key in self._inherited for key in ("parameters", "expand")):
            return False
        return not any("{{" in text for _, text, _ in texts_of(merge_details({}, self._details)))

    def _add_plain(
        self, names: list[str], entries: list[bytes], tasks: list[PlainTask], policies: list[Policy]
    ) -> None:
        """Add valid plain tasks."""
        details, described = self._details, self._described
        templating = None if self._templating is Templating.JINJA else self._templating
        dependency, add = self._dependencies.__getitem__, self.templates.append
        for name, raw, task, policy in zip(names, entries, tasks, policies, strict=True):
            parents, children = task.parents, task.children
            draft = Draft(
                name,
                Written(raw, details),
                policy,
                tuple(map(dependency, parents)) if parents else (),
                tuple(map(dependency, children)) if children else (),
            )
            if templating:
                draft.templating = templating
            if (description := task.description) is not UNSET or described:
                draft.description = described if description is UNSET else description
            add(freeze(draft))
        self.read += len(tasks)

    def _policies_of(self, names: Sequence[str], tasks: Sequence[PlainTask]) -> list[Policy]:
        base = self._policy(NO_POLICY, {})
        policies = [
            base if key == NO_POLICY and not task.resources else self._plain_policy(key, task)
            for key, task in zip(map(policy_of, tasks), tasks, strict=True)
        ]
        for name, policy in zip(names, policies, strict=True) if self.spec.limits else ():
            self._check_limits(policy, join("tasks", name))
        return policies

    def _plain_policy(self, key: Any, task: Any) -> Policy:
        resources = tuple(sorted(task.resources.items())) if task.resources else ()
        return self._policy((key, resources), policy_given(task))

    def _policy(self, key: Any, given: Given) -> Policy:
        policy = self._policies.get(key)
        if policy is None:
            made = merge_policy(self._inherited, given, self.spec.defaults.pool)
            policy = self._policies[key] = self._policies.setdefault(made, made)
        return policy

    @property
    def tasks(self) -> Sequence[Template]:
        """All templates, in the order in which they are written."""
        return tuple(self.templates) if self.packed is None else self.packed

    def read_all(self, data: object) -> None:
        """Read `tasks` as plain data: a map, or a list of tasks that each have a name."""
        if isinstance(data, dict):
            for name, item in data.items():
                self._read(name, item, join("tasks", name), ())
        elif isinstance(data, list):
            for position, item in enumerate(data):
                self._read_listed(item, f"tasks[{position}]")
        else:
            self._problems.add("tasks", f"{kind(data)} where a map of tasks is expected")

    def _read_listed(self, item: object, path: str) -> None:
        if not isinstance(item, dict):
            self._read("", item, path, ("name", "class"))
            return
        given = [key for key in ("name", "class") if key in item]
        if len(given) != 1:
            message = "both 'name' and 'class'" if given else "no 'name'"
            self._problems.add(path, message, "each task of a list has one name")
        name = noun(item[given[0]], join(path, given[0]), self._problems) if given else None
        # Without a name the rest is still checked, under an impossible name.
        self._read(name or f"%{path}", item, path, ("name", "class"), named=name is not None)

    def _read(self, name: str, item: object, path: str, extra: tuple[str, ...], *, named: bool = True) -> None:
        self.read += 1
        if not isinstance(item, dict):
            self._problems.add(path, f"{kind(item)} where a task is expected", 'a task is {"details": {…}}')
            return
        if named:
            check_template_name(name, path, self._problems)
            if extra and name in self._names:
                self._problems.add(path, f"the task {quote(name)} is given twice", "names are unique")
            self._names.add(name)
        given = read_task(item, path, self._problems, extra=extra)
        self.templates.append(self._template(name, given, path))

    def _template(self, name: str, given: Given, path: str) -> Template:
        templating: Templating = given.get("templating", self._templating)
        literal = templating is Templating.LITERAL
        own = read_parameters(given.get("parameters", {}), join(path, "parameters"), self._problems, literal=literal)
        overlay = {**self.defaults.values, **own.values}
        details = merge_details(self._details, given.get("details", {}))
        policy = merge_policy(self._inherited, given, self.spec.defaults.pool)
        policy = self._policies.setdefault(policy, policy)
        self._check_limits(policy, path)
        parents, inputs = with_parents(given.get("parents", ()), given.get("inputs", {}), path, self._problems)
        template = Template(
            name=name,
            details=details,
            policy=policy,
            parents=parents,
            children=given.get("children", ()),
            parameters=overlay,
            templating=templating,
            description=given.get("description", self._described),
            spellings={**self.defaults.spellings, **own.spellings},
            inputs=inputs,
        )
        known = {**self.spec.parameters, **overlay}
        names = self._names_in(template, given.get("details", {}), known, path)
        self._add_expanded(names, given, known, path)
        uses = self._with_groups(names, overlay, path)
        self.used |= uses - overlay.keys()
        self.used_defaults |= uses - own.values.keys()
        if self.complete:
            check_own(template, own, uses, path, self._problems)
            check_variables(template, known, uses, path, self._problems)
        object.__setattr__(template, "uses", tuple(sorted(uses)))
        object.__setattr__(template, "exclude", self._excluded(given, known, uses, path))
        return template

    def _excluded(
        self, given: Given, known: Mapping[str, Values], uses: set[str], path: str
    ) -> tuple[Combination, ...]:
        """Return the combinations that a template leaves out: its own, or those of the defaults that it could have."""
        if "exclude" in given:
            if self.complete:
                check_combinations(given["exclude"], known, uses, join(path, "exclude"), self._problems)
            return tuple(given["exclude"])
        chosen = [rule for rule in self._inherited.get("exclude", ()) if applies(rule, known, uses)]
        self.excluded.update(chosen)
        return tuple(chosen)

    def _names_in(self, template: Template, given: Given, known: Mapping[str, Values], path: str) -> set[str]:
        """Return the parameters that the strings of details use; report strings that cannot be parsed."""
        details = template.details
        spellings: dict[str, str] = {}
        if template.templating is Templating.LITERAL:
            spelled = {**self.spec.spellings, **template.spellings}
            spellings = {name: spelled.get(name, name) for name in known}
        names: set[str] = set()
        for place, written, shell in texts_of(details):
            if template.templating is not Templating.LITERAL and "{{" not in written:
                continue
            where = join(path if _gives(given, place) else "defaults", f"details.{place}")
            try:
                text = compile_text(written, template.templating, shell=shell, spellings=spellings)
            except SpecError as error:
                self.complete = False
                self._tell(where, [(problem.message, problem.mend) for problem in error.problems])
                continue
            own = {name for name in text.names if name.startswith("inputs.")}
            self._check_inputs(own, template, where)
            names |= {name for name in text.names - own if self._is_parameter(name, where, known)}
        if template.templating is Templating.JINJA and _has_braces(details.options):
            mend = "nothing is substituted there: give the value in `environment`"
            self._problems.add(join(path, "details.options"), "a substitution in options", mend)
        return names

    def _tell(self, path: str, messages: Iterable[tuple[str, str]]) -> None:
        for message, mend in messages:
            if (path, message) not in self._told:  # a wrong default is reported once, not for each task
                self._told.add((path, message))
                self._problems.add(path, message, mend)

    def _is_parameter(self, name: str, path: str, known: Mapping[str, Values]) -> bool:
        if name in known:
            return True
        if name.startswith("run.tags."):
            tag = name.removeprefix("run.tags.")
            if tag not in self.spec.tags:
                mend = self._problems.suggest(tag, self.spec.tags) or "give it in `tags`"
                self._tell(path, [(f"no tag named '{tag}'", mend)])
        elif name not in BUILTINS:
            mend = self._problems.suggest(name, chain(known, BUILTINS)) or "give it in `parameters`"
            self._tell(path, [(f"no parameter named '{name}'", mend)])
        return False

    def _check_inputs(self, names: Iterable[str], template: Template, path: str) -> None:
        for name in sorted(own.removeprefix("inputs.") for own in names):
            if name not in template.inputs:
                mend = self._problems.suggest(name, template.inputs) or "give it in the task's `inputs`"
                self._tell(path, [(f"no input named '{name}'", mend)])

    def _add_expanded(self, names: set[str], given: Given, known: Mapping[str, Values], path: str) -> None:
        source = path if "expand" in given else "defaults"
        expand: Iterable[str] = given.get("expand", self._inherited.get("expand", ()))
        for position, name in enumerate(expand):
            if name in known:
                names.add(name)
            else:
                mend = self._problems.suggest(name, known) or "give it in `parameters`"
                self._tell(join(source, f"expand[{position}]"), [(f"no parameter named {quote(name)}", mend)])

    def _with_groups(self, names: set[str], overlay: Mapping[str, Values], path: str) -> set[str]:
        for group in self.spec.zip:
            if not names.isdisjoint(group) and not self.spec.is_sheet(group):
                names |= set(group)
                if not overlay.keys().isdisjoint(group):
                    known = {**self.spec.parameters, **overlay}
                    check_lengths(group, known, join(path, "parameters"), self._problems)
        return names

    def _check_limits(self, policy: Policy, path: str) -> None:
        for name, amount in policy.resources if self.spec.limits else ():
            limit = self.spec.limits.get(name)
            if limit is not None and amount > limit:
                mend = f"`limits` allows {limit:g} in all"
                self._problems.add(
                    join(path, f"resources.{name}"), f"{amount:g} of '{name}' can never be available", mend
                )


def _gives(given: Given, place: str) -> bool:
    """Return whether a string stands in the task's own details rather than in the defaults."""
    key, _, inner = re.split(r"[.\[]", place, maxsplit=1)[0], None, place.partition(".")[2]
    if key == "environment":
        return "environment" in given and (not inner or inner in given["environment"])
    return key in given or key == given.get("kind") or key in given.get("settings", ())


def _has_braces(value: object) -> bool:
    if isinstance(value, str):
        return "{{" in value
    if isinstance(value, Mapping):
        return any(_has_braces(item) for item in value.values())
    return isinstance(value, list) and any(map(_has_braces, value))
