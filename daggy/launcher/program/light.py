"""Parts of the standard library without their imports: typing, signal and json load longer than the whole launcher."""

from __future__ import annotations

from _json import encode_basestring_ascii as quoted, make_scanner

TYPE_CHECKING = False  # type checkers take any variable of this name as true

if TYPE_CHECKING:
    import signal as signal
    from collections import deque as deque
    from typing import Any
else:
    import _signal as signal
    from _collections import deque

__all__ = ["TYPE_CHECKING", "deque", "dumps", "loads", "signal"]


class _Options:
    """What the scanner asks: how to make values of JSON."""

    strict = True
    object_hook = object_pairs_hook = array_hook = parse_constant = None
    parse_float, parse_int = float, int


_scan = make_scanner(_Options)  # type: ignore[arg-type]  # as `json.scanner` calls it


def loads(text: bytes) -> Any:
    """Return the value of a text in JSON. ValueError: it is none."""
    try:
        value, _ = _scan(text.decode("utf-8", "surrogatepass"), 0)
    except StopIteration:
        raise ValueError("not JSON: %r" % text[:40]) from None
    return value


def dumps(value: Any) -> bytes:
    """Return strings, integers, sequences and mappings of them as JSON."""
    return _text(value).encode()


def _text(value: Any) -> str:
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, dict):
        return "{%s}" % ",".join(["%s:%s" % (quoted(str(key)), _text(one)) for key, one in value.items()])
    if isinstance(value, (list, tuple)):
        return "[%s]" % ",".join([_text(one) for one in value])
    return "%d" % value
