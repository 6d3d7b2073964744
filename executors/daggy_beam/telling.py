"""What people are told of a job: errors without Beam's own frames, metrics by name."""

from __future__ import annotations

import json
import re
from typing import Any, Dict, Iterable, List, Mapping, Tuple

TRACEBACK = "Traceback (most recent call last):"
MARKS = re.compile(
    "^(During handling of the above exception, another exception occurred"
    "|The above exception was the direct cause of the following exception):$"
)
FOREIGN = (
    "apache_beam/", "<daggy_beam.", "<string>", "<frozen ", "/grpc/", "/dill/", "/pickle.py", "/threading.py",
    "/concurrent/futures/",
)  # fmt: skip
"""In paths of frames that are not the user's."""

ROOM = 60000
"""Bytes that metrics may take in a note or a result, of 65,536."""


def session_of(ticket: str) -> str:
    """Return the name of an attempt's job: its instance, run, index and attempt; empty if the ticket is none.

    Args:
        ticket: `instance:run.version.index.epoch.attempt`.
    """
    instance, _, numbers = ticket.rpartition(":")
    parts = numbers.split(".")
    return "-".join([instance, parts[0], parts[2], parts[4]]) if len(parts) == 5 else ""


def own_traceback(text: str) -> str:
    """Return a traceback, or a message that holds some, as the last one that has frames of the user's, and those only.

    What was raised last is told too, if it says something else.
    """
    told = [_parts(part) for part in text.split(TRACEBACK)[1:]]
    if not told:
        return text.strip()
    own = [(_last_of_user(frames), len(frames), said) for frames, said in told]
    frames, count, said = next((part for part in reversed(own) if part[0]), own[-1])
    lines = [] if not frames else [_heading(count - len(frames)), *(line for frame in frames for line in frame)]
    lines += said
    if told[-1][1] and told[-1][1][0] not in said:
        lines += told[-1][1]
    return "\n".join(lines)


def _heading(hidden: int) -> str:
    if not hidden:
        return TRACEBACK
    return "Traceback (most recent call last; %d other frame%s left out):" % (hidden, "" if hidden == 1 else "s")


def _parts(text: str) -> Tuple[List[List[str]], List[str]]:
    """Return the frames below a heading, each with its lines, and the lines of the error."""
    frames: List[List[str]] = []
    lines = text.strip("\n").split("\n")
    while lines and lines[0].startswith("  "):
        line = lines.pop(0)
        if line.startswith('  File "'):
            frames.append([line])
        elif frames:
            frames[-1].append(line)
    said: List[str] = []
    for line in lines:
        if MARKS.match(line) or line.startswith("\tat "):  # the frames of a runner in Java
            break
        said.append(line)
    while said and not said[-1].strip():
        said.pop()
    return frames, said


def _last_of_user(frames: List[List[str]]) -> List[List[str]]:
    """Return the last frames in a row that are the user's."""
    end = len(frames)
    while end and _foreign(frames[end - 1]):
        end -= 1
    start = end
    while start and not _foreign(frames[start - 1]):
        start -= 1
    return frames[start:end]


def _foreign(frame: List[str]) -> bool:
    path = frame[0].split('"')[1]
    return any(part in path for part in FOREIGN)


def totals(found: Mapping[str, Iterable[Any]]) -> Dict[str, Any]:
    """Return metrics by `namespace/name`, over all steps: numbers, and of distributions count, sum, min and max.

    Args:
        found: What `MetricResults.query()` gives.
    """
    summed: Dict[str, Any] = {}
    for metric in found.get("counters", ()):
        name, value = _name(metric), _value(metric)
        if value is not None:
            summed[name] = summed.get(name, 0) + value
    for metric in found.get("distributions", ()):
        name, value = _name(metric), _value(metric)
        if value is not None and value.count:
            one = {"count": value.count, "sum": value.sum, "min": value.min, "max": value.max}
            summed[name] = _joined(summed[name], one) if isinstance(summed.get(name), dict) else one
    for metric in found.get("gauges", ()):
        value = _value(metric)
        if value is not None:
            summed[_name(metric)] = value.value
    return summed


def _name(metric: Any) -> str:
    name = metric.key.metric
    return "%s/%s" % (name.namespace, name.name)


def _value(metric: Any) -> Any:
    return metric.attempted if metric.committed is None else metric.committed


def _joined(one: Dict[str, Any], other: Dict[str, Any]) -> Dict[str, Any]:
    return {
        "count": one["count"] + other["count"],
        "sum": one["sum"] + other["sum"],
        "min": min(one["min"], other["min"]),
        "max": max(one["max"], other["max"]),
    }


def fitting(metrics: Mapping[str, Any], room: int = ROOM) -> Dict[str, Any]:
    """Return `metrics`, and `metrics_left_out`, how many of the last by name have no room in so many bytes, if any."""
    kept: Dict[str, Any] = {}
    for name in sorted(metrics):
        room -= len(json.dumps({name: metrics[name]}))
        if room < 0:
            return {"metrics": kept, "metrics_left_out": len(metrics) - len(kept)}
        kept[name] = metrics[name]
    return {"metrics": kept}
