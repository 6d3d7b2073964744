"""Reads `exclude`: combinations of values for which a template has no task."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set as AbstractSet
from decimal import Decimal

from daggy.spec.fields import items, members, unfit
from daggy.spec.model import Combination, Values
from daggy.spec.names import bare
from daggy.spec.problems import Problems, join, kind, quote


def read_exclude(value: object, path: str, problems: Problems) -> tuple[Combination, ...]:
    """Read a list of combinations, each an object of parameters with one value."""
    read = (_combination(item, place, problems) for place, item in items(value, path, problems))
    return tuple(combination for combination in read if combination)


def _combination(value: object, path: str, problems: Problems) -> Combination:
    given = members(value, path, problems, "an object of parameters and values")
    if given == {}:
        problems.add(path, "a combination without parameters", "give the values that are left out together")
    texts: dict[str, str] = {}
    for name, item in (given or {}).items():
        place = join(path, name)
        if isinstance(item, bool) or not isinstance(item, str | int | Decimal):
            mend = "write a combination for each" if isinstance(item, list) else "values are strings and numbers"
            problems.add(place, f"{kind(item)} where a value is expected", mend)
        elif isinstance(item, str) and (why := unfit(item)):
            problems.add(place, f"{quote(item)} {why}")
        elif bare(name) in texts:
            problems.add(place, f"the parameter '{bare(name)}' is given twice", "with and without braces mean the same")
        else:
            texts[bare(name)] = str(item)
    return tuple(sorted(texts.items()))


def check_combinations(
    given: Iterable[Combination], known: Mapping[str, Values], uses: AbstractSet[str], path: str, problems: Problems
) -> None:
    """Report what no task of a template has, so that leaving it out means nothing.

    Args:
        given: The template's own `exclude`.
        known: All parameters that apply, or would if they were used.
        uses: The parameters that the template uses.
        path: Of `exclude`.
        problems: Where to report.
    """
    for position, combination in enumerate(given):
        for name, text in combination:
            place = join(path, f"[{position}].{name}")
            if name not in known:
                problems.add(place, f"no parameter named {quote(name)}", problems.suggest(name, known))
            elif name not in uses:
                mend = "mention it, or leave it out here"
                problems.add(place, f"the task does not use '{name}'", mend)
            elif known[name].find(text) < 0:
                shown = ", ".join(f"'{known[name].text(number)}'" for number in range(min(3, len(known[name]))))
                more = ", …" if len(known[name]) > 3 else ""
                problems.add(place, f"'{name}' has no value {quote(text)}", f"it has {shown}{more}")


def applies(combination: Combination, known: Mapping[str, Values], uses: AbstractSet[str]) -> bool:
    """Return whether some task of a template may have these values."""
    return all(name in uses and known[name].find(text) >= 0 for name, text in combination)
