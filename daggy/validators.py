"""Validators of settings, for attrs classes: each raises ValueError, which names the setting and the rule."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from attrs import Attribute

_DURATION = re.compile(r"(\d+(?:\.\d+)?)([smhd])")
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}

Validator = Callable[[object, Any, Any], None]


def least(least: float) -> Validator:
    """Return what refuses smaller numbers."""

    def check(_: object, attribute: Attribute[float], value: float) -> None:
        if value < least:
            raise ValueError(f"'{attribute.name}' must be at least {least:g}")

    return check


def one_of(*allowed: str) -> Validator:
    """Return what refuses other texts."""

    def check(_: object, attribute: Attribute[str], value: str) -> None:
        if value not in allowed:
            raise ValueError(f"'{attribute.name}' must be one of {', '.join(allowed)}, not {value!r}")

    return check


def one_line(_: object, attribute: Attribute[str], value: str) -> None:
    """Refuse texts of several lines."""
    if "\n" in value or "\0" in value:
        raise ValueError(f"'{attribute.name}' must be one line")


def absolute(_: object, attribute: Attribute[str], value: str) -> None:
    """Refuse relative paths, but for an empty one; `~` counts as absolute."""
    if value and not value.startswith("/") and value != "~" and not value.startswith("~/"):
        raise ValueError(f"'{attribute.name}' must be absolute or begin with ~/, not {value!r}")


def duration(_: object, attribute: Attribute[str], value: str) -> None:
    """Refuse what `seconds` cannot read, and what is shorter than a second."""
    if not _DURATION.fullmatch(value) or seconds(value) < 1:
        raise ValueError(f"'{attribute.name}' must be a duration of a second or more, such as '90s', '15m' or '2h'")


def seconds(duration: str) -> float:
    """Return the seconds of a duration such as "15m".

    Raises:
        ValueError: it is none.
    """
    found = _DURATION.fullmatch(duration)
    if found is None:
        raise ValueError(f"{duration!r} is no duration; write one such as '90s', '15m' or '2h'")
    return float(found[1]) * _UNITS[found[2]]
