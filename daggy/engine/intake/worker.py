"""The process that reads and plans one large spec for the server; `main` is all that it does.

Standard input has one line of JSON, an `Order`, and stays open: when it ends, the parent process has gone, and this
process ends. The outcome is a transfer in the memory whose descriptor the order names: first an `Outcome` or an error,
then the pieces of the plan.
"""

from __future__ import annotations

import contextlib
import gc
import os
import sys
import threading
import traceback
from pathlib import Path

import msgspec
from attrs import frozen

from daggy.engine.intake.transfer import pack, pieces_of, write_all
from daggy.errors import DaggyError, InternalError, UnavailableError
from daggy.plan import Plan, plan
from daggy.spec import parse

NICE = 5
"""How much lower the priority of this process is than the server's."""

FIRST_TO_GO = "500"
"""If memory runs out, the kernel ends this process before the server."""


@frozen
class Order:
    """What is to be read.

    Args:
        source: A file.
        member: The member of its object that is the spec; empty: the whole document is.
        outcome: Descriptor of the memory for the outcome.
        copy: Descriptor of the memory for the member's own bytes.
    """

    source: str
    member: str
    outcome: int
    copy: int


@frozen
class Outcome:
    """What comes before the plan.

    Args:
        rest: The object without the member that was read, JSON; empty if the whole document was.
        planned: Whether a plan follows: the member may not be there.
    """

    rest: bytes
    planned: bool


def read(order: Order) -> tuple[Outcome, Plan | None]:
    """Return what an order asks for.

    Raises:
        SpecError: everything that is wrong with the spec.
    """
    data = Path(order.source).read_bytes()
    rest = b""
    if order.member:
        data, rest = split(data, order.member)
        write_all(order.copy, data)
    if not data and order.member:
        return Outcome(rest, planned=False), None
    return Outcome(rest, planned=True), plan(parse(data, directory=None))


def split(data: bytes, member: str) -> tuple[bytes, bytes]:
    """Return a member of a JSON object, empty if it is not there, and the object without it.

    What is no object comes back whole: reading it in full reports what is wrong with it.
    """
    try:
        members = msgspec.json.decode(data, type=dict[str, msgspec.Raw])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return b"", data
    found = members.pop(member, None)
    return b"" if found is None else bytes(found), msgspec.json.encode(members)


def main() -> None:
    """Carry out the order on standard input."""
    gc.disable()  # millions of values, none of them in a cycle, and the process ends with the work
    os.nice(NICE)
    with contextlib.suppress(OSError), Path("/proc/self/oom_score_adj").open("w") as file:
        file.write(FIRST_TO_GO)
    order = msgspec.json.decode(sys.stdin.buffer.readline(), type=Order)
    threading.Thread(target=_leave_with_stdin, daemon=True).start()
    try:
        outcome, made = read(order)
    except DaggyError as error:
        pack(order.outcome, [error], {})
    except MemoryError:
        pack(order.outcome, [UnavailableError("there is not enough memory to read and plan a spec of this size")], {})
    except Exception as error:  # noqa: BLE001  # a bug, which the parent process reports
        traceback.print_exc()
        pack(order.outcome, [InternalError(f"reading a spec failed: {type(error).__name__}: {error}")], {})
    else:
        pieces, reduced = ([], {}) if made is None else pieces_of(made)
        pack(order.outcome, [outcome, *pieces], reduced)
    os._exit(0)  # taking a million values apart one by one takes longer than leaving


def _leave_with_stdin() -> None:
    sys.stdin.buffer.read()
    os._exit(1)
