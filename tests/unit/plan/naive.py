"""Plans written down task by task and edge by edge, and random specs to compare them on."""

from collections.abc import Sequence
from itertools import chain, product

from attrs import evolve, frozen
from hypothesis import strategies as st

from daggy.plan import Plan
from daggy.spec.model import Combination, Dependency, Details, On, Policy, RunSpec, Template, Value, Values
from daggy.spec.parameters import PickedValues, RangeValues

ECHO = Details(command=("echo",))


@frozen
class Words:
    """Values written out."""

    items: tuple[Value, ...]

    def __len__(self) -> int:
        return len(self.items)

    def value(self, position: int) -> Value:
        return self.items[position]

    def text(self, position: int) -> str:
        return str(self.items[position])

    def texts(self) -> Sequence[str]:
        return [str(item) for item in self.items]

    def find(self, text: str) -> int:
        texts = self.texts()
        return texts.index(text) if text in texts else -1


@frozen
class Span:
    """Integers that are never written out."""

    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start

    def value(self, position: int) -> int:
        return self.start + position

    def text(self, position: int) -> str:
        return str(self.start + position)

    def texts(self) -> Sequence[str]:
        raise AssertionError("a range was written out")

    def find(self, text: str) -> int:
        number = int(text) if text.removeprefix("-").isdigit() else self.start - 1
        return number - self.start if self.start <= number < self.stop and str(number) == text else -1


@frozen
class Task:
    """One task: its full name, its template's full name, its parameters' texts, its template."""

    name: str
    template: str
    texts: dict[str, str]
    written: Template


Edge = tuple[str, str, On]
"""Child, parent, condition."""


def encode(text: str) -> str:
    special = ":/%"
    return "".join(
        "".join(f"%{byte:02X}" for byte in char.encode())
        if char in special or char.isspace() or ord(char) < 32 or 127 <= ord(char) < 160
        else char
        for char in text
    )


def group_of(spec: RunSpec, name: str) -> tuple[str, ...]:
    """What a template uses or matches if it uses or matches one of them: the columns of a sheet are on their own."""
    return next((tuple(sorted(group)) for group in spec.zip if name in group and not spec.is_sheet(group)), (name,))


def axes_of(spec: RunSpec, template: Template) -> list[tuple[str, ...]]:
    """What a template steps through."""
    axes = {group_of(spec, name) for name in template.uses}
    for group in filter(spec.is_sheet, spec.zip):
        used = tuple(name for name in sorted(group) if name in template.uses and name not in template.parameters)
        axes = {axis for axis in axes if axis[0] not in used} | ({used} if used else set())
    return sorted(axes)


def tasks_of(spec: RunSpec, template: Template, scope: str) -> list[Task]:
    full = f"{scope}/{template.name}" if scope else template.name
    made = []
    for steps in product(*(rows_of(spec, template, axes) for axes in together(spec, template))):
        texts = dict(sorted(pair for step in steps for pair in step.items()))
        made.append(Task(".".join([full, *(f"{k}:{encode(v)}" for k, v in texts.items())]), full, texts, template))
    return made


def together(spec: RunSpec, template: Template) -> list[list[tuple[str, ...]]]:
    """The axes of a template, those in one list that its combinations to exclude name together."""
    groups = [[axis] for axis in axes_of(spec, template)]
    for combination in template.exclude:
        names = {name for name, _ in combination}
        named = [group for group in groups if any(names & set(axis) for axis in group)]
        groups = [group for group in groups if group not in named] + [sorted(chain.from_iterable(named))]
    return sorted(groups)


def rows_of(spec: RunSpec, template: Template, axes: Sequence[tuple[str, ...]]) -> list[dict[str, str]]:
    """The steps of some axes, without what is excluded."""
    rows = []
    for steps in product(*(range(len(spec.values(template, axis[0]))) for axis in axes)):
        pairs = zip(axes, steps, strict=True)
        texts = {name: spec.values(template, name).text(step) for axis, step in pairs for name in axis}
        if texts not in rows and not any(set(other) <= set(texts.items()) for other in template.exclude):
            rows.append(texts)
    return rows


def expand(spec: RunSpec, scope: str = "") -> list[Task]:
    """All tasks in the order of their indexes."""
    explicit = [task for template in spec.tasks if not template.uses for task in tasks_of(spec, template, scope)]
    made: list[Task] = []
    for template in spec.tasks:
        if template.uses:
            made += tasks_of(spec, template, scope)
        else:
            made += explicit
            explicit = []
    return made


def edges_of(spec: RunSpec, tasks: Sequence[Task], scope: str = "", around: Sequence[Task] = ()) -> set[Edge]:
    """All dependencies of `tasks`, which one spec expands to; names may also mean the templates of `around`."""
    siblings = {template.name for template in spec.tasks}
    prefix = f"{scope}/" if scope else ""
    written = {
        (template.name, entry.task, entry.match, entry.on) for template in spec.tasks for entry in template.parents
    } | {(entry.task, template.name, entry.match, entry.on) for template in spec.tasks for entry in template.children}
    edges: set[Edge] = set()
    for child_name, parent_name, match, on in written:
        children = [task for task in tasks if task.template == prefix + child_name]
        if parent_name in siblings:
            parents = [task for task in tasks if task.template == prefix + parent_name]
        else:
            parents = [task for task in around if task.template == parent_name]
        shared = sorted(set(children[0].texts) & set(parents[0].texts)) if match is None else match
        shared = [other for name in shared for other in group_of(spec, name)]
        edges |= {
            (child.name, parent.name, on)
            for child in children
            for parent in parents
            if all(child.texts[name] == parent.texts[name] for name in shared)
        }
    return edges


def edges_in(plan: Plan) -> list[Edge]:
    """All dependencies that a plan's gates come to, each as often as it is there."""
    return [
        (plan.name(child), plan.name(int(parent)), array.on)
        for array in plan.arrays
        for gate in range(array.size)
        for child in array.children_of(gate)
        for parent in array.parents(gate)
    ]


TEXTS = ["a", "b", "1", "0.30", "x.y", "p:q", "%41", " ", "\n", "é", "\u2028", "A", ""]
SHEETS = ["E", "F", "EF", "EFG", "EG", "FD", "EFA", "FG"]
NAMES = ["fetch", "clean", "a.b", "join", "report", "x", "tidy", "last"]


@st.composite
def run_parameters(draw: st.DrawFn) -> tuple[dict[str, Values], tuple[tuple[str, ...], ...]]:
    lists = st.lists(st.sampled_from(TEXTS), min_size=draw(st.sampled_from([1, 2, 2])), max_size=3, unique=True)
    parameters: dict[str, Values] = {name: Words(tuple(draw(lists))) for name in ("A", "C", "D")}
    start, size = draw(st.integers(-2, 2)), draw(st.integers(1, 4))
    ranges: list[Values] = [Span(start, start + size), RangeValues.of(start, start + size)]
    parameters["N"] = draw(st.sampled_from(ranges))
    if draw(st.booleans()):
        rows = draw(st.lists(st.tuples(*[st.sampled_from(TEXTS[:3])] * 3), min_size=1, max_size=5, unique=True))
        parameters |= {
            name: PickedValues.of_texts(column) for name, column in zip("EFG", zip(*rows, strict=True), strict=True)
        }
        return parameters, (("G", "F", "E"),)
    if not draw(st.booleans()):
        return parameters, ()
    size = len(parameters["C"])
    beside = draw(st.lists(st.sampled_from(TEXTS), min_size=size, max_size=size, unique=True))
    return {**parameters, "B": Words(tuple(beside))}, (("C", "B"),)


@st.composite
def overlays(draw: st.DrawFn, spec: RunSpec, uses: set[str]) -> dict[str, Values]:
    """Fewer values in another order for one of the parameters, for its whole zip group."""
    if not uses or draw(st.integers(0, 3)):
        return {}
    group = group_of(spec, draw(st.sampled_from(sorted(uses))))
    places = st.integers(0, len(spec.parameters[group[0]]) - 1)
    chosen = draw(st.lists(places, min_size=1, unique=True))
    return {name: Words(tuple(dict.fromkeys(spec.parameters[name].value(place) for place in chosen))) for name in group}


@st.composite
def exclusions(draw: st.DrawFn, spec: RunSpec, template: Template) -> tuple[Combination, ...]:
    """Some combinations of values, so that a task is left."""
    if not template.uses or draw(st.integers(0, 2)):
        return ()
    tasks = tasks_of(spec, template, "")
    made = []
    for _ in range(draw(st.integers(1, 3))):
        texts = draw(st.sampled_from(tasks)).texts
        names = draw(st.lists(st.sampled_from(sorted(texts)), min_size=1, unique=True))
        made.append(tuple(sorted((name, texts[name]) for name in names)))
    return fitting(spec, evolve(template, exclude=tuple(made))).exclude


def fitting(spec: RunSpec, template: Template) -> Template:
    """The template without combinations that no step of its axes has, or that would leave no task."""
    whole = evolve(template, exclude=())
    rows = [rows_of(spec, whole, [axis]) for axis in axes_of(spec, template)]
    kept = tuple(
        combination
        for combination in template.exclude
        if all(any(all(step.get(name, text) == text for name, text in combination) for step in steps) for steps in rows)
    )
    while kept and not tasks_of(spec, evolve(template, exclude=kept), ""):
        kept = kept[1:]
    return evolve(template, exclude=kept)


@st.composite
def dependencies(draw: st.DrawFn, child: Template, parents: Sequence[Template]) -> list[Dependency]:
    made = []
    chosen = st.lists(st.sampled_from(parents), min_size=1, max_size=3, unique_by=lambda other: other.name)
    linked = draw(st.integers(0, 5)) > 0
    for parent in draw(chosen) if parents and linked else []:
        shared = sorted(set(child.uses) & set(parent.uses))
        matches: list[tuple[str, ...] | None] = [()]
        if shared:
            some = tuple(draw(st.lists(st.sampled_from(shared), min_size=1, unique=True)))
            matches = [(), None, some, some]
        made.append(Dependency(parent.name, draw(st.sampled_from(matches)), draw(st.sampled_from(On))))
    return made


@st.composite
def specs(
    draw: st.DrawFn, names: Sequence[str] = NAMES, within: RunSpec | None = None, around: Sequence[Template] = ()
) -> RunSpec:
    """Acyclic specs, in any order, without wrong names; values of a child may be missing in its parent.

    With `within`: what a generator of that run may answer, whose tasks may wait for templates of `around`.
    """
    parameters, zipped = draw(run_parameters()) if within is None else (within.parameters, within.zip)
    spec = RunSpec(tasks=(), parameters=parameters, zip=zipped)
    made: list[Template] = []
    chosen = draw(st.lists(st.sampled_from(names), min_size=2, max_size=6, unique=True))
    around = [template for template in around if template.name not in chosen]
    for name in chosen:
        asked = draw(st.sampled_from(["", "", "A", "D", "AC", "CN", "ACD", "ADN", "DN", *SHEETS * ("E" in parameters)]))
        uses = {other for used in asked for other in group_of(spec, used)}
        policy = Policy(priority=draw(st.integers(0, 1)))
        overlay = draw(overlays(spec, uses))
        template = Template(name, ECHO, policy, parameters=overlay, uses=tuple(sorted(uses)))
        template = evolve(template, exclude=draw(exclusions(spec, template)))
        for entry in draw(dependencies(template, [*made, *around])):
            if any(other.name == entry.task for other in made) and draw(st.integers(0, 3)) == 0:
                place = next(place for place, other in enumerate(made) if other.name == entry.task)
                back = Dependency(name, entry.match, entry.on)
                made[place] = evolve(made[place], children=(*made[place].children, back))
            else:
                template = evolve(template, parents=(*template.parents, entry))
        made.append(template)
    return evolve(spec, tasks=tuple(draw(st.permutations(made))))


def lacking(spec: RunSpec, tasks: Sequence[Task], edges: set[Edge]) -> bool:
    """Whether a child of some dependency has values that no parent has: then the spec is refused."""
    by_name = {task.name: task for task in tasks}
    linked = {(child, by_name[parent].template) for child, parent, _ in edges}
    for template in spec.tasks:
        pairs = [(template.name, entry.task) for entry in template.parents]
        pairs += [(entry.task, template.name) for entry in template.children]
        for child, parent in pairs:
            if any(task.template == child and (task.name, parent) not in linked for task in tasks):
                return True
    return False
