"""Whether tasks wait for the same parents in two versions of a plan, and what differs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import numpy as np
from attrs import evolve, field, frozen
from numpy.typing import NDArray

from daggy.plan.blocks import Block, Indexes
from daggy.plan.gates import GateArray, RowsGate, WholeGate
from daggy.plan.grouped import GroupedGates
from daggy.plan.linked import JoinedGates, LinkedGates
from daggy.plan.matched import EqualGates, MatchedGates
from daggy.plan.plans import Plan
from daggy.plan.rows import same_set
from daggy.plan.translation import RowTranslation
from daggy.spec.model import On, RunSpec

_NAMED = 3  # parents named in a text, and rows whose differences are described one by one
_TOLD = 1000

Translate = Callable[[Indexes], Indexes]
"""Indexes of the old plan to those of the new one, -1 where they are not there."""


@frozen(eq=False)
class Versions:
    """Two plans, and the mapping from the first to the second."""

    old: Plan
    new: Plan
    translate: Translate
    before: RunSpec = field(init=False)
    """The old spec; if it has moved with its project, in its new place."""

    @before.default
    def _in_place(self) -> RunSpec:
        old, new = self.old.spec, self.new.spec
        return evolve(old, directory=new.directory) if old.has_moved_to(new) else old


def _full_name(block: Block) -> str:
    return block.full(block.templates[0].name)


def tasks_text(plan: Plan, added: Indexes, removed: Indexes) -> str:
    """Describe which tasks of a plan were added to some parents, and which removed."""
    return text_of(_some(plan, added), _some(plan, removed))


def _some(plan: Plan, indexes: Indexes) -> list[str]:
    more = [] if len(indexes) <= _NAMED else [f"and {len(indexes) - _NAMED:,} more"]
    return plan.names(indexes[:_NAMED]) + more


def text_of(added: Iterable[str], removed: Iterable[str]) -> str:
    """Describe which parents were added and removed."""
    parts = [*(f"+{name}" for name in added), *(f"-{name}" for name in removed)]
    return f"parents changed: {' '.join(parts)}"


def product_change(versions: Versions, old: Block, new: Block) -> tuple[str, NDArray[np.bool_] | None]:
    """Return how the parents of a product block's tasks differ, empty if they are the same, and of which; None: of all.

    Tasks that were not there before have not changed.
    """
    before, after = _products(versions.old, old), _products(versions.new, new)
    added, removed = sorted(after.keys() - before.keys()), sorted(before.keys() - after.keys())
    lost, gained = _rows_joined(versions, old, new)
    if added or removed or len(lost) or len(gained):
        return text_of([*added, *_some(versions.new, gained)], [*removed, *_some(versions.old, lost)]), None
    text, changed = "", None
    for name, array in after.items():
        if array.match != before[name].match:
            return f"parents changed: '{name}' is matched differently", None
        if array.on is not before[name].on:
            return f"parents changed: '{name}' is waited for until it {array.on.name.lower()}", None
        if _same_others(before[name], array):
            continue
        other = f"parents changed: '{name}' has other values"
        if not _picks(before[name], array):
            return other, None
        flags = _with_others(versions, before[name], array)
        if flags.any():
            text, changed = other, flags if changed is None else changed | flags
    return text, changed


def _products(plan: Plan, block: Block) -> dict[str, GateArray]:
    """Return the arrays from product blocks by the parent's name."""
    arrays = plan.into[block.number]
    return {_full_name(array.parent): array for array in arrays if not array.parent.explicit}


def _same_others(old: GateArray, new: GateArray) -> bool:
    """Return whether parents surely have the same unmatched values; a child's own values give the rest."""
    before = [axis for axis in old.parent.axes if not set(old.match).issuperset(axis.names)]
    after = [axis for axis in new.parent.axes if not set(new.match).issuperset(axis.names)]
    return len(before) == len(after) and all(map(same_set, before, after)) and _same_matched(old, new)


def _same_matched(old: GateArray, new: GateArray) -> bool:
    """Return whether the matched axes have the same parameters: a zip group is more than its members."""
    before = {axis.names for axis in old.parent.axes if set(old.match).issuperset(axis.names)}
    return before == {axis.names for axis in new.parent.axes if set(new.match).issuperset(axis.names)}


def _picks(old: GateArray, new: GateArray) -> bool:
    """Return whether one of the two has parents whose combinations are written out, so that axes do not say it all."""
    return any(axis.picked for array in (old, new) for axis in array.parent.axes)


_Product = WholeGate | MatchedGates | EqualGates | GroupedGates


def _with_others(versions: Versions, old: GateArray, new: GateArray) -> NDArray[np.bool_]:
    """Return which children have other parents in the new array than they had in the old one, matched alike.

    They have the same ones if these are as many, and all of the old ones are still there: they have the same values.
    """
    assert isinstance(old, _Product)
    assert isinstance(new, _Product)
    there = versions.translate(_all_of(old.parent)) >= 0
    kept = np.where(old.counts(there) == old.total, old.total, -1)
    children = _all_of(old.child)
    moved = versions.translate(children)
    children, moved = children[moved >= 0], moved[moved >= 0]
    after = np.broadcast_to(np.asarray(new.total), new.size)[new.gates_before(moved)]
    flags = np.zeros(new.child.size, dtype=np.bool_)
    flags[moved - new.child.start] = kept[old.gates_before(children)] != after
    return flags


def _all_of(block: Block) -> Indexes:
    return np.arange(block.start, block.stop, dtype=np.int64)


def _has_others(versions: Versions, old: GateArray, new: GateArray) -> bool:
    """Return whether the parents of two arrays are not the same tasks."""
    if _same_others(old, new):
        return False
    if not _picks(old, new):
        return True
    return old.parent.size != new.parent.size or bool((versions.translate(_all_of(old.parent)) < 0).any())


def _rows_joined(versions: Versions, old: Block, new: Block) -> tuple[Indexes, Indexes]:
    """Return the explicit parents of a product block that went (old indexes), and those that came (new indexes)."""
    lost, gained = [], []
    before, after = _joined(versions.old, old), _joined(versions.new, new)
    for on in On:
        translated = versions.translate(before[on])
        lost.append(before[on][~np.isin(translated, after[on])])
        gained.append(after[on][~np.isin(after[on], translated)])
    return np.concatenate(lost), np.concatenate(gained)


def _joined(plan: Plan, block: Block) -> dict[On, Indexes]:
    found: dict[On, list[Indexes]] = {on: [] for on in On}
    for array in plan.into[block.number]:
        if isinstance(array, JoinedGates):
            found[array.on].append(array.parents(array.gate_before(block.start)))
    return {on: np.concatenate([np.zeros(0, dtype=np.int64), *parts]) for on, parts in found.items()}


def row_changes(versions: Versions, rows: RowTranslation, new: Block) -> tuple[NDArray[np.bool_], Mapping[int, str]]:
    """Return which rows of an explicit block have other parents than before, with texts for the first of them.

    Rows that were not there before have not changed.
    """
    changed = np.zeros(new.size, dtype=np.bool_)
    texts: dict[int, str] = {}
    _compare_links(versions, rows, new, changed, texts)
    _compare_products(versions, rows, new, changed, texts)
    there = np.zeros(new.size, dtype=np.bool_)
    there[rows.table[rows.table >= 0] - new.start] = True
    changed &= there
    return changed, {row: text for row, text in texts.items() if changed[row]}


def _compare_links(
    versions: Versions, rows: RowTranslation, new: Block, changed: NDArray[np.bool_], texts: dict[int, str]
) -> None:
    """Mark rows with other explicit parents."""
    for on in On:
        child, parent = _links(versions.old, rows.source, on)
        row = rows.table[child - rows.source.start] - new.start
        kept = row >= 0
        row, parent = row[kept], parent[kept]
        moved = versions.translate(parent)
        child_after, parent_after = _links(versions.new, new, on)
        span = versions.new.size
        before = row[moved >= 0] * span + moved[moved >= 0]
        after = (child_after - new.start) * span + parent_after
        gained = np.setdiff1d(after, before, assume_unique=True)
        lost = np.setdiff1d(before, after, assume_unique=True)
        changed[gained // span] = True
        changed[lost // span] = True
        changed[row[moved < 0]] = True
        told: dict[int, tuple[list[str], list[str]]] = {}
        for sign, keys in ((0, gained[:_TOLD]), (1, lost[:_TOLD])):
            names = versions.new.names(keys % span)
            for place, name in zip((keys // span).tolist(), names, strict=True):
                told.setdefault(place, ([], []))[sign].append(name)
        gone = np.flatnonzero(moved < 0)[:_TOLD]
        for place, name in zip(row[gone].tolist(), versions.old.names(parent[gone]), strict=True):
            told.setdefault(place, ([], []))[1].append(name)
        texts |= {place: text_of(*sides) for place, sides in told.items()}


def _links(plan: Plan, block: Block, on: On) -> tuple[Indexes, Indexes]:
    """Return children and parents, as indexes, of all links into an explicit block under one condition."""
    none = np.zeros(0, dtype=np.int64)
    arrays = [array for array in plan.into[block.number] if isinstance(array, LinkedGates) and array.on is on]
    children = [np.repeat(array.rows, np.diff(array.links.into)) + np.int64(block.start) for array in arrays]
    parents = [array.links.feeders + np.int64(array.parent.start) for array in arrays]
    return np.concatenate([none, *children]), np.concatenate([none, *parents])


def _compare_products(
    versions: Versions, rows: RowTranslation, new: Block, changed: NDArray[np.bool_], texts: dict[int, str]
) -> None:
    """Mark rows with other product blocks as parents."""
    before, after = _fans(versions.old, rows.source), _fans(versions.new, new)
    for name, on in sorted(before.keys() | after.keys()):
        old_array, new_array = before.get((name, on)), after.get((name, on))
        was = _flags(new, rows.table[old_array.rows - rows.source.start]) if old_array else _flags(new, None)
        now = _flags(new, new_array.rows) if new_array else _flags(new, None)
        differs = was ^ now
        _tell(texts, np.flatnonzero(now & ~was), text_of([name], []))
        _tell(texts, np.flatnonzero(was & ~now), text_of([], [name]))
        if old_array and new_array and _has_others(versions, old_array, new_array):
            differs |= now
            _tell(texts, np.flatnonzero(was & now), f"parents changed: '{name}' has other values")
        changed |= differs


def _fans(plan: Plan, block: Block) -> dict[tuple[str, On], RowsGate]:
    arrays = plan.into[block.number]
    return {(_full_name(array.parent), array.on): array for array in arrays if isinstance(array, RowsGate)}


def _flags(block: Block, indexes: Indexes | None) -> NDArray[np.bool_]:
    flags = np.zeros(block.size, dtype=np.bool_)
    if indexes is not None:
        flags[indexes[indexes >= 0] - block.start] = True
    return flags


def _tell(texts: dict[int, str], rows: Indexes, text: str) -> None:
    for row in rows[:_TOLD].tolist():
        texts[row] = text
