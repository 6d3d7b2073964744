"""Inputs that are as they should be, by target: what fuzzers begin with and what tests damage."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Mapping, Sequence

import numpy as np

from daggy.attempt import ATTEMPT, Kind
from daggy.launcher import frames as wire
from daggy.launcher.frames import about
from daggy.launcher.program.spool import ACCEPTED, PAIR, PROCESS, RECORD, TICKET
from tests.hostile.reading_files import SEAM
from tests.hostile.reading_specs import RUN


def record(payload: bytes) -> bytes:
    """Return a record of a spool."""
    return RECORD.pack(len(payload), zlib.crc32(payload)) + payload


def story() -> list[bytes]:
    """Return the payloads of a spool's records: of two tasks one runs and ends, the other is given back."""
    row = about(Kind.FINISHED, (1, 2, 3, 4, 5), 9).tobytes()
    accepted = b"A" + ACCEPTED.pack(1, 2, 4, 0, 2) + PAIR.pack(3, 5) + PAIR.pack(4, 5)
    started = b"S" + row + PROCESS.pack(1000, 3.5)
    return [
        b'H{"boot": "b", "version": 3}',
        b"E",
        accepted,
        started,
        b"F" + row + b"why",
        b"R" + TICKET.pack(1, 2, 4, 4, 5),
    ]


def told() -> list[tuple[bytes, bytes]]:
    """Return kind and payload of one frame of each kind that a launcher sends."""
    row = about(Kind.FINISHED, (1, 2, 3, 4, 5), 9).tobytes()
    greeting = json.dumps({"pid": 7, "version": 3, "epoch": 1, "lanes": [0, -1]}).encode()
    return [
        (b"R", b"\2\0\0\0" + row * 2 + b'{"1":"x"}'),
        (b"H", greeting),
        (b"W", b"[1,2,3]"),
        (b"D", b"\1\0\0\0\1out"),
        (b"T", b'"no room"'),
    ]


def stream() -> bytes:
    """Return one frame of each kind that a launcher sends."""
    return b"".join(wire.FRAME.pack(len(payload), kind[0]) + payload for kind, payload in told())


def output() -> bytes:
    """Return an attempt's row, and the pack with what it wrote."""
    row = np.zeros(1, ATTEMPT)
    row["stdout"], row["stderr"], row["crc"] = 3, 2, zlib.crc32(b"outer")
    return row.tobytes() + b"outer"


_WHOLE = b"".join(map(record, story()))
_BEGUN = b"".join(map(record, story()[:4]))
_SPEC = json.dumps({"name": "n", "tags": {"env": "x"}, "defaults": {"max_retries": 2}, **RUN}).encode()

SEEDS: Mapping[str, Sequence[bytes]] = {
    "json": [_SPEC, json.dumps(RUN, indent=1).encode()],
    "yaml": [_SPEC, b"tasks:\n  a: &a {details: {command: [x, 2022-01-01, 0x1F, no]}}\n  b:\n    <<: *a\n  c: *a\n"],
    "toml": [b'[parameters]\nA = [1, 2.5, "x"]\n[tasks.a]\nparents = []\ndetails.command = ["x", "{{ A }}"]\n'],
    "template": [b"je {{ A }} {{ B * 2 }} {{ C or 'x' | upper }}", b"$echo {{ A }} {{ D | raw }}", b"lA AB A"],
    "shell": [b"cat <<'E' | x {{ A }}\n$(y)\nE\necho \"$(z {{ B|upper }})\" # '", b"case {{ A }} in a) b;; esac"],
    "fragment": [json.dumps({"tasks": RUN["tasks"], "parameters": {"M": [1, 2]}}).encode(), b'{"t": {}}'],
    "selector": [
        b'"pull.DATE:2022-01-01.N:1.Z:1"',
        b'{"select": ["use", 3], "param": {"N": "1"}, "state": ["queued"]}',
    ],
    "frames": [stream(), stream() + SEAM + stream()],
    "answers": [SEAM.join(kind + payload for kind, payload in told())],
    "spool": [_WHOLE, _BEGUN + SEAM + _WHOLE],
    "records": [
        b"\xf6".join(story()),
        b"\xf6".join([b'H{"boot": "b", "version": 2}', *story()[1:]]),
        b"\xf6".join(story()[:4]) + SEAM + b"\xf6".join(story()),
    ],
    "pack": [output()],
    "columns": [bytes(180), b"".join(b"i" + struct.pack("<q", place) for place in range(20)) * 3],
    "database": [b"\0\0\0\0" + SEAM + b"\x64\0\0\0\0", b"\0\x10\0\0\x0d"],
}
