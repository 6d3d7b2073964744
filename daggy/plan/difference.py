"""What an edit does to tasks, whatever their states: kept, added, removed, changed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from daggy.plan import translation
from daggy.plan.blocks import Block, Indexes
from daggy.plan.definition import Similar, definition, differences
from daggy.plan.parents import Versions, product_change, row_changes
from daggy.plan.plans import Plan
from daggy.plan.summary import FEW, group_name
from daggy.plan.translation import RowTranslation, Translation, partner
from daggy.spec.model import Template
from daggy.spec.packed import PackedTemplates

Changed = bool | NDArray[np.bool_]
"""Whether the tasks of a product block changed; one flag a task for an explicit one, and where only some did."""
Why = Mapping[int | None, str]
"""Causes by row; None stands for the whole block and for rows without a text of their own."""


@frozen
class DifferenceRow:
    """What becomes of the tasks of one template; `kept` leaves out those that changed."""

    name: str
    kept: int
    added: int
    removed: int
    changed: int


@frozen(eq=False)
class Difference:
    """The mapping between two versions of a plan.

    Tasks are the same if the names of their templates and the texts of their values are.

    Args:
        old, new: The two.
        forth: For each block of `old` how its tasks are found in `new`; None: they are not there.
        backward: For each block of `new` how its tasks are found in `old`.
        changed: For each block of `new`: whether definition or parents differ, of tasks that were there before.
        why: For each block of `new`: what changed.
    """

    old: Plan
    new: Plan
    forth: tuple[Translation | None, ...]
    backward: tuple[Translation | None, ...]
    changed: tuple[Changed, ...]
    why: tuple[Why, ...]

    def translate(self, indexes: Indexes) -> Indexes:
        """Return the new indexes of old tasks, -1 for those that were removed."""
        return translation.translate(self.old, self.forth, indexes)

    def back(self, indexes: Indexes) -> Indexes:
        """Return the old indexes of new tasks, -1 for those that were added."""
        return translation.translate(self.new, self.backward, indexes)

    def back_range(self, block: Block, start: int, stop: int) -> slice | Indexes | None:
        """Return the old indexes of a range of a new block, -1 for those that were added; None if all were."""
        found = self.backward[block.number]
        return None if found is None else found.of_range(start, stop)

    def cause(self, number: int) -> str:
        """Return in one text what changed in a block of `new`; empty if nothing did."""
        return _one_cause(self.why[number])

    def rows(self) -> list[DifferenceRow]:
        """Return what becomes of each template's tasks, in the order of the new plan, then those removed."""
        rows = [row for block in self.new.current for row in self._block_rows(block)]
        lost = (block for block in self.old.current if partner(self.old, self.new, block) is None)
        return rows + [DifferenceRow(_name(block), 0, 0, block.size, 0) for block in lost]

    def _block_rows(self, block: Block) -> list[DifferenceRow]:
        other = partner(self.new, self.old, block)
        found, is_changed = self.backward[block.number], self.changed[block.number]
        common = 0 if found is None else found.common()
        changed = int(np.count_nonzero(is_changed)) if isinstance(is_changed, np.ndarray) else common * is_changed
        removed = 0 if other is None else other.size - common
        whole = DifferenceRow(_name(block), common - changed, block.size - common, removed, changed)
        if not block.explicit or block.size + removed > FEW:
            return [whole]
        return self._explicit_rows(block, other)

    def _explicit_rows(self, block: Block, other: Block | None) -> list[DifferenceRow]:
        """Return a row for each of a few templates without parameters."""
        is_changed = self.changed[block.number]
        assert isinstance(is_changed, np.ndarray)
        before = {} if other is None else other.rows
        rows = []
        for name, row in block.rows.items():
            there, changed = name in before, bool(is_changed[row])
            rows.append(DifferenceRow(block.full(name), there and not changed, not there, 0, changed))
        rows += [DifferenceRow(block.full(name), 0, 0, 1, 0) for name in before if name not in block.rows]
        return rows


def _one_cause(why: Why) -> str:
    causes = Counter(why.values())
    if len(causes) <= 1:
        return next(iter(causes), "")
    return "definition or parents changed"


def _name(block: Block) -> str:
    return group_name(block) if block.explicit else block.full(block.templates[0].name)


def difference(old: Plan, new: Plan) -> Difference:
    """Return what leads from one plan of a run to another, generated tasks included.

    A generator's answers count only where both plans have grown by them.
    """
    forth = _translations(old, new)
    backward = _translations(new, old)
    versions = Versions(old, new, partial(translation.translate, old, forth))
    changed: list[Changed] = []
    why: list[Why] = []
    for block in new.blocks:
        before = partner(new, old, block)
        found = None if before is None else forth[before.number]
        is_changed, causes = _unchanged(block) if found is None else _change(versions, found, block)
        changed.append(is_changed)
        why.append(causes)
    return Difference(old, new, forth, backward, tuple(changed), tuple(why))


def changed_by_answer(plan: Plan, earlier: Iterable[int]) -> Iterator[tuple[Block, Changed, str]]:
    """Yield the blocks that took the place of these of an earlier answer: which of their tasks changed, and what did.

    Tasks that were not there before have not changed, but for those of a product block that changes as a whole.
    """
    versions = Versions(plan, plan, partial(translation.present, plan))
    for number in earlier:
        found = plan.replaced[number]
        if found is not None:
            is_changed, why = _change(versions, found, found.target)
            yield found.target, is_changed, _one_cause(why)


def _change(versions: Versions, found: Translation, new: Block) -> tuple[Changed, Why]:
    if isinstance(found, RowTranslation):
        return _explicit_change(versions, found, found.source, new)
    return _product_change(versions, found.source, new)


def _translations(plan: Plan, other: Plan) -> tuple[Translation | None, ...]:
    partners = [partner(plan, other, block) for block in plan.blocks]
    return tuple(
        None if target is None else translation.translation(block, target)
        for block, target in zip(plan.blocks, partners, strict=True)
    )


def _unchanged(block: Block) -> tuple[Changed, Why]:
    return (np.zeros(block.size, dtype=np.bool_) if block.explicit else False), {}


def _product_change(versions: Versions, old: Block, new: Block) -> tuple[Changed, Why]:
    before = definition(old.templates[0], versions.before)
    after = definition(new.templates[0], versions.new.spec)
    different = differences(before, after)
    others, some = product_change(versions, old, new)
    cause = ", ".join(part for part in (different, others) if part)
    changed: Changed = bool(cause) if different or some is None else some
    return changed, {None: cause} if cause else {}


def _explicit_change(versions: Versions, rows: RowTranslation, old: Block, new: Block) -> tuple[Changed, Why]:
    changed, causes = row_changes(versions, rows, new)
    why: dict[int | None, str] = dict(causes.items())
    if int(np.count_nonzero(changed)) > len(why):
        why[None] = "parents changed"
    for row, text in _definition_changes(versions, rows.table - new.start, old.templates, new.templates):
        why[row] = f"{text}, {why[row]}" if row in why else text
        changed[row] = True
    return changed, why


def _definition_changes(
    versions: Versions, rows: Indexes, old: Sequence[Template], new: Sequence[Template]
) -> Iterator[tuple[int, str]]:
    """Yield rows of the new block whose definitions differ, with what does; `rows` is by row of the old block."""
    before, after = versions.before, versions.new.spec
    alike = Similar(before, after)
    for place in _perhaps_changed(alike, rows, old, new).tolist():
        template, other = old[place], new[int(rows[place])]
        if not alike.surely(template, other):
            text = differences(definition(template, before), definition(other, after))
            if text:
                yield int(rows[place]), text


def _perhaps_changed(alike: Similar, rows: Indexes, old: Sequence[Template], new: Sequence[Template]) -> Indexes:
    """Return the old rows that are there, without those that are known to be written as before."""
    places = np.flatnonzero(rows >= 0)
    if not (isinstance(old, PackedTemplates) and isinstance(new, PackedTemplates) and alike.same_defaults):
        return places
    return places[~old.alike(places, new, rows[places])]
