"""Matches values of a parent with those of a child, and makes the gate array that follows."""

from __future__ import annotations

import math
from itertools import groupby

from attrs import frozen

from daggy.plan.blocks import Axis, Block
from daggy.plan.gates import GateArray
from daggy.plan.grouped import GroupedGates, grouped
from daggy.plan.lookup import Lookup, missing
from daggy.plan.matched import EqualGates, MatchedGates, Rest, Span, Spans, rest
from daggy.plan.rows import lookups
from daggy.spec.model import On


class MatchError(Exception):
    """Two templates cannot be matched as written. Becomes a problem with the path of the dependency."""

    def __init__(self, message: str, mend: str) -> None:
        """Keep the problem and its mend."""
        self.message = message
        self.mend = mend
        super().__init__(message, mend)


@frozen(eq=False)
class Pair:
    """One matched axis: its position in parent and child, and how values are found from child to parent and back.

    Both are None if the values are the same in the same order.
    """

    parent: int
    child: int
    back: Lookup | None
    forth: Lookup | None


def matched_names(parent: Block, child: Block, match: tuple[str, ...] | None) -> tuple[str, ...]:
    """Return the parameters on which two product blocks are matched, with those of their zip groups, sorted.

    Raises:
        MatchError: a name that one of them does not use, nothing shared, or groups that differ.
    """
    shared = match
    if shared is None:
        shared = tuple(name for axis in child.axes for name in axis.names if parent.axis_of(name) >= 0)
        if not shared:
            raise MatchError(
                "'match: true', but the two have no parameter in common",
                "leave out 'match' to wait for all of them",
            )
    names: set[str] = set()
    for name in shared:
        mine, theirs = child.group_of(name), parent.group_of(name)
        if not mine or not theirs:
            whose = parent if mine else child
            message = f"cannot match on '{name}': '{whose.templates[0].name}' does not use it"
            raise MatchError(message, f"mention it there, or add it to its 'expand', or take '{name}' out of 'match'")
        if mine != theirs:
            raise MatchError(f"cannot match on '{name}': the two zip it differently", "zip it alike in both")
        names.update(mine)
    return tuple(sorted(names))


def matched_array(number: int, parent: Block, child: Block, on: On, names: tuple[str, ...]) -> GateArray:
    """Return the gates between two product blocks that are matched on these parameters, at least one.

    Raises:
        MatchError: a child value that no parent has.
    """
    matched = [place for place, axis in enumerate(child.axes) if not set(names).isdisjoint(axis.names)]
    if not all(_is_whole(parent, child.axes[place], names) for place in matched):
        return _grouped(number, parent, child, on, names)
    pairs = [_pair(parent, child, place) for place in matched]
    whole = len(pairs) == len(parent.axes) == len(child.axes)
    if whole and all(pair.back is None for pair in pairs):
        return EqualGates(number, parent, on, names, child)
    sizes = [child.sizes[pair.child] for pair in pairs]
    steps = [math.prod(sizes[place + 1 :]) for place in range(len(sizes))]
    return MatchedGates(
        number, parent, on, names, child,
        feeds=_spans(parent, [pair.parent for pair in pairs], steps, [pair.forth for pair in pairs]),
        waits=_spans(child, [pair.child for pair in pairs], steps, [None] * len(pairs)),
        back=_gate_spans(parent, [pair.parent for pair in pairs], sizes, steps, [pair.back for pair in pairs]),
        ahead=_gate_spans(child, [pair.child for pair in pairs], sizes, steps, [None] * len(pairs)),
        others=_rest(parent, {pair.parent for pair in pairs}),
        fan=_rest(child, {pair.child for pair in pairs}),
        partial=any(child.sizes[pair.child] < parent.sizes[pair.parent] for pair in pairs),
        folds=tuple((size, any(pair.parent == place for pair in pairs)) for place, size in enumerate(parent.sizes)),
        tables=tuple(pair.back for pair in pairs),
        gate_count=math.prod(sizes),
    )  # fmt: skip


def _is_whole(parent: Block, axis: Axis, names: tuple[str, ...]) -> bool:
    """Return whether all parameters of a child's axis are matched, and the parent has an axis of the same."""
    return set(names).issuperset(axis.names) and parent.axes[parent.axis_of(axis.names[0])].names == axis.names


def _grouped(number: int, parent: Block, child: Block, on: On, names: tuple[str, ...]) -> GroupedGates:
    """Return one gate for each combination of values of the matched parameters that a child has.

    Raises:
        MatchError: a child's combination that no parent has.
    """
    array = grouped(number, parent, child, on, names)
    lost = array.empty()
    if len(lost):
        texts = [child.texts(array.children_of(gate)[0]) for gate in lost[:3].tolist()]
        raise _missing(parent, [[(name, text[name]) for name in names] for text in texts], len(lost))
    return array


def _pair(parent: Block, child: Block, place: int) -> Pair:
    """Return how the child's axis at `place` corresponds to the parent's axis of the same parameters."""
    mine = child.axes[place]
    other = parent.axis_of(mine.names[0])
    theirs = parent.axes[other]
    members = lookups(mine, theirs)
    if all(member.same for member in members):
        return Pair(other, place, None, None)
    lost = [positions for positions in missing(members) if len(positions)]
    if lost:
        columns = list(zip(mine.names, mine.values, strict=True))
        texts = [[(name, values.text(at)) for name, values in columns] for at in lost[0][:3].tolist()]
        raise _missing(parent, texts, sum(map(len, lost)))
    # All members of a zip group find their values at the same place, as was checked above.
    return Pair(other, place, members[0], lookups(theirs, mine)[0])


def _missing(parent: Block, texts: list[list[tuple[str, str]]], count: int) -> MatchError:
    """Return the problem that no parent has these parameters with these texts, and as many as `count` in all."""
    shown = [" with ".join(f"{name} '{text}'" for name, text in pairs) for pairs in texts]
    more = f" and {count - len(texts):,} more" if count > len(texts) else ""
    message = f"no task of '{parent.templates[0].name}' has {', '.join(shown)}{more}"
    return MatchError(message, "give it these values too, or leave them out here")


def _spans(block: Block, places: list[int], steps: list[int], tables: list[Lookup | None]) -> Spans:
    """Return how to read gates from offsets in a block, adjacent axes as one where nothing is translated."""
    spans: list[Span] = []
    last = -2
    for place, step, table in zip(places, steps, tables, strict=True):
        size = block.sizes[place]
        if spans and place == last + 1 and table is None and spans[-1].table is None:
            before = spans.pop()
            spans.append(Span(block.strides[place], before.size * size, step))
        else:
            spans.append(Span(block.strides[place], size, step, table))
        last = place
    return tuple(
        Span(span.stride, 0, span.step, span.table) if span.stride * span.size == block.size else span for span in spans
    )


def _gate_spans(
    block: Block, places: list[int], sizes: list[int], steps: list[int], tables: list[Lookup | None]
) -> Spans:
    """Return how to read offsets in a block from gates."""
    spans: list[Span] = []
    last = -2
    for place, size, step, table in zip(places, sizes, steps, tables, strict=True):
        if spans and place == last + 1 and table is None and spans[-1].table is None:
            before = spans.pop()
            spans.append(Span(step, before.size * size, block.strides[place]))
        else:
            spans.append(Span(step, size, block.strides[place], table))
        last = place
    total = math.prod(sizes)
    return tuple(
        Span(span.stride, 0, span.step, span.table) if span.stride * span.size == total else span for span in spans
    )


def _rest(block: Block, matched: set[int]) -> Rest:
    """Return the offsets of the axes that are not matched, adjacent ones as one."""
    spans: list[tuple[int, int]] = []
    free = [place for place in range(len(block.axes)) if place not in matched]
    for _, run in groupby(enumerate(free), key=lambda item: item[1] - item[0]):
        run_places = [place for _, place in run]
        spans.append((block.strides[run_places[-1]], math.prod(block.sizes[place] for place in run_places)))
    return rest(tuple(spans))
