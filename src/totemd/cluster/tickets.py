"""The tickets that a member has given away, and who has used them; kept in STATE_DIR/tickets.

A ticket is used when the join of the node that brought it is committed. That node alone may bring it again, to be told
once more what it may have lost in a crash; after an aborted join it is as new.
"""

import json
from dataclasses import replace
from typing import Any, Final

from totemd.cluster.identity import UUID_SIZE
from totemd.record import record

TICKETS_FILE: Final = "tickets"
TICKETS_MAX: Final = 64
"""Valid at once; an invitation for each node of a large cluster."""

KEPT_S: Final = 86400
"""For how long an expired ticket is remembered, so that who brings it is told what is wrong with it."""


ABORTED_MAX: Final = 5
"""Joins that were listed and then broken off, after which a ticket is void: each is two entries of the history."""


@record
class IssuedTicket:
    """One of them. `digest` is of its secret; `node_name` None: whoever has it; `used_by` is a node's uuid; `votes` is
    how many the node may have that comes with it; `aborted` how many joins with it had to be undone."""

    digest: bytes
    expires: int
    node_name: str | None = None
    used_by: bytes | None = None
    votes: int = 1
    aborted: int = 0


class TooManyTickets(Exception):
    """TICKETS_MAX are valid."""


class Tickets:
    """All of one member's."""

    def __init__(self) -> None:
        self._tickets: dict[bytes, IssuedTicket] = {}
        self.busy: set[bytes] = set()
        """Nodes, by their uuids, that talk to this member now, or whose last try is just being undone."""

    def add(self, ticket: IssuedTicket, now: int) -> None:
        """Remember a new ticket; TooManyTickets."""
        self.forget_old(now)
        if sum(1 for known in self._tickets.values() if self.is_open(known, now)) >= TICKETS_MAX:
            raise TooManyTickets
        while len(self._tickets) >= 2 * TICKETS_MAX:
            closed = min(
                (known for known in self._tickets.values() if not self.is_open(known, now)),
                key=lambda known: known.expires,
            )
            del self._tickets[closed.digest]
        self._tickets[ticket.digest] = ticket

    def find(self, digest: bytes) -> IssuedTicket | None:
        """The ticket of that secret."""
        return self._tickets.get(digest)

    def use(self, digest: bytes, uuid: bytes) -> None:
        """The node `uuid` has joined with it."""
        known = self._tickets.get(digest)
        if known is not None:
            self._tickets[digest] = replace(known, used_by=uuid)

    def release(self, uuid: bytes, *, aborted: bool = False) -> None:
        """Nothing came of the join of the node `uuid`, or it was `aborted`: its ticket may be used again."""
        for ticket in list(self._tickets.values()):
            if ticket.used_by == uuid:
                self._tickets[ticket.digest] = replace(ticket, used_by=None, aborted=ticket.aborted + aborted)

    def open_until(self, now: int) -> int:
        """When the last ticket expires with which somebody may still come; 0 for none."""
        return max((ticket.expires for ticket in self._tickets.values() if ticket.expires > now), default=0)

    @staticmethod
    def is_open(ticket: IssuedTicket, now: int) -> bool:
        """Whether anybody may come with it."""
        return ticket.used_by is None and ticket.expires > now

    def forget_old(self, now: int) -> None:
        """Drop those that expired long ago."""
        self._tickets = {digest: kept for digest, kept in self._tickets.items() if kept.expires + KEPT_S > now}

    def to_bytes(self) -> bytes:
        """The file's content."""
        rows = [
            {
                "digest": ticket.digest.hex(),
                "expires": ticket.expires,
                "node_name": ticket.node_name,
                "used_by": None if ticket.used_by is None else ticket.used_by.hex(),
                "votes": ticket.votes,
                "aborted": ticket.aborted,
            }
            for ticket in self._tickets.values()
        ]
        return json.dumps(rows, indent=1).encode() + b"\n"

    @staticmethod
    def parse(data: bytes) -> "Tickets":
        """The tickets in a file; ValueError if it is none."""
        tickets = Tickets()
        try:
            rows = json.loads(data)
            for row in rows[: 2 * TICKETS_MAX]:
                ticket = _read(row)
                tickets._tickets[ticket.digest] = ticket
        except (TypeError, KeyError, AttributeError, RecursionError) as error:
            raise ValueError(f"no list of tickets: {error}") from None
        return tickets


def _read(row: dict[str, Any]) -> IssuedTicket:
    used_by, name = row["used_by"], row["node_name"]
    if type(row["expires"]) is not int or type(row["votes"]) is not int or not (name is None or isinstance(name, str)):
        raise ValueError("a ticket without its expiry or votes")
    aborted = row.get("aborted", 0)
    if type(aborted) is not int:
        raise ValueError("a ticket without its count of aborted joins")
    uuid = None if used_by is None else bytes.fromhex(used_by)
    if uuid is not None and len(uuid) != UUID_SIZE:
        raise ValueError("a ticket used by nobody")
    return IssuedTicket(bytes.fromhex(row["digest"]), row["expires"], name, uuid, row["votes"], aborted)
