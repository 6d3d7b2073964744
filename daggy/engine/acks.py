"""Which reports a launcher may forget: those whose effect has been kept, in the launcher's own order."""

from __future__ import annotations

import numpy as np
from attrs import define, field

from daggy.attempt import Kind, Reason, Rows, Ticket
from daggy.executor import Ack


@define(eq=False)
class Acks:
    """Highest sequence number received from each launcher, held back below an end that is not applied yet.

    A generator's finish counts once its answer has been read and kept; till then it must come again after a crash,
    whole.
    """

    heard: dict[tuple[str, int], int] = field(factory=dict)
    sent: dict[tuple[str, int], int] = field(factory=dict)
    held: dict[Ticket, tuple[tuple[str, int], int] | None] = field(factory=dict)

    def hold(self, ticket: Ticket) -> None:
        """Hold back the end of this ticket; its report is noted in the same turn."""
        self.held.setdefault(ticket, None)

    def release(self, ticket: Ticket) -> None:
        """Stop holding it back: the resulting entries have been given."""
        self.held.pop(ticket, None)

    def forget_sent(self, pool: str) -> None:
        """Acknowledge to a pool's new executor again: the previous one may not have passed it on."""
        self.sent = {key: seq for key, seq in self.sent.items() if key[0] != pool}

    def note(self, pool: str, rows: Rows) -> None:
        """Note reports that have been applied."""
        seqs = rows["seq"]
        if not len(seqs) or not seqs.any():
            return
        launchers = rows["row"]["launcher"]
        for launcher in set(launchers.tolist()):
            key = (pool, launcher)
            highest = int(seqs[launchers == launcher].max())
            self.heard[key] = max(self.heard.get(key, 0), highest)
        for ticket in [ticket for ticket, known in self.held.items() if known is None]:
            self._find(pool, rows, ticket)

    def _find(self, pool: str, rows: Rows, ticket: Ticket) -> None:
        row = rows["row"]
        same = (row["index"] == ticket.index) & (row["attempt"] == ticket.attempt) & (rows["kind"] == Kind.FINISHED)
        same &= (rows["run"] == ticket.run) & (rows["version"] == ticket.version) & (rows["epoch"] == ticket.epoch)
        same &= row["reason"] == Reason.OK  # the end of an executor may have reported it as lost, too
        for position in np.flatnonzero(same).tolist():
            self.held[ticket] = ((pool, int(row["launcher"][position])), int(rows["seq"][position]))

    def take(self) -> list[tuple[str, Ack]]:
        """Return what may be acknowledged once everything given so far is kept, and was not yet."""
        acks = []
        for key, highest in self.heard.items():
            held = [place[1] for place in self.held.values() if place is not None and place[0] == key]
            upto = min([highest, *(seq - 1 for seq in held)])
            if upto > self.sent.get(key, 0):
                self.sent[key] = upto
                acks.append((key[0], Ack(key[1], upto)))
        return acks
