"""Attempts to decide on the successor of the committed version, one after the other in a ring."""

from collections.abc import Callable
from typing import Final

from totemd.cluster.change import Change, clipped
from totemd.config.model import Configuration
from totemd.errors import BadPacket, ConfigError
from totemd.ids import NodeId, RingId
from totemd.services.base import Host
from totemd.services.changes.api import Surroundings
from totemd.services.changes.attempt import PATIENCE_S, Attempt
from totemd.services.changes.book import Book, Meaning
from totemd.services.changes.ledger import Accepted
from totemd.services.changes.listed import lists_node
from totemd.services.changes.majorities import problem
from totemd.wire.changes import ChangesMessage, Commit, Prepared, Rejected, Withdraw

AGAIN_S: Final = 1.0
_ACCEPT: Final = "accept"


class Attempts:
    """The one that is open, if there is one: this node's part in it, and the lowest member's."""

    def __init__(self, host: Host, around: Surroundings, book: Book, send: Callable[[ChangesMessage], None]) -> None:
        self.current: Attempt | None = None
        self._host = host
        self._around = around
        self._book = book
        self._send = send
        self._ring: RingId | None = None
        self._members: tuple[NodeId, ...] = ()
        self._number = 0

    def enter(self, ring: RingId, members: tuple[NodeId, ...]) -> None:
        """A new ring: what was open in the last one is left to synchronization."""
        self._ring, self._members = ring, members
        self._number = 0
        self.current = None

    def open(self, change: Change, *, firm: bool) -> None:
        """A proposal is heeded."""
        self._number += 1
        self.current = Attempt(self._number, change, firm, self._host.now + PATIENCE_S)
        self._prepare(self.current, change)

    def pending(self) -> dict[str, object] | None:
        """How far the open one is; None if there is none."""
        attempt = self.current
        if attempt is None:
            return None
        change = attempt.subject
        return {
            "version": change.version,
            "kind": change.kind,
            "who": change.who,
            "what": change.what,
            "withdrawn": attempt.change is None,
            "prepared": sorted(attempt.prepared),
            "waiting": sorted(set(self._members) - attempt.prepared - set(attempt.reasons)),
            "refused": dict(attempt.reasons),
        }

    # messages in the order

    def prepared(self, sender: NodeId, message: Prepared) -> None:
        """A member has made it durable."""
        if self.current is not None and self.current.number == message.number:
            self.current.prepared.add(sender)

    def rejected(self, sender: NodeId, message: Rejected) -> None:
        """A member cannot have it."""
        if self.current is not None and self.current.number == message.number:
            self.current.reasons[sender] = clipped(message.reason) or "without a reason"

    def withdrawn(self, sender: NodeId, message: Withdraw) -> None:
        """The lowest member has given it up: nothing is to follow."""
        attempt = self.current
        if attempt is None or attempt.number != message.number or sender != self._members[0]:
            return
        if attempt.change is None or attempt.firm:
            return
        self._number += 1
        deadline = self._host.now + PATIENCE_S
        why = clipped(message.reason)
        self.current = Attempt(self._number, None, False, deadline, attempt.change, why, attempt.reasons)
        self._accept(self.current)

    def committed(self, sender: NodeId, message: Commit) -> Attempt | None:
        """The lowest member says that all have prepared it: the attempt, which is over. BadPacket: they have not."""
        attempt = self.current
        if attempt is None or attempt.number != message.number or sender != self._members[0]:
            return None
        if not attempt.prepared.issuperset(self._members):
            raise BadPacket("changes committed before all have prepared")
        self.current = None
        return attempt

    # what this node has to say

    def _prepare(self, attempt: Attempt, change: Change) -> None:
        try:
            listed = lists_node(change.text, self._host.nodeid)
            # Of those who stay at least one must be here, to ask about votes.
            empty = not listed and not any(lists_node(change.text, nodeid) for nodeid in self._members)
        except ConfigError as error:
            self._refuse(attempt, str(error))
            return
        if listed:
            self._book.understand(change, lambda meaning: self._understood(attempt, change, meaning))
        elif empty and not attempt.firm:
            self._refuse(attempt, "none of the nodes that are here would be left in the nodelist")
        else:
            self._accept(attempt)

    def _understood(self, attempt: Attempt, change: Change, meaning: Meaning) -> None:
        if attempt is not self.current or attempt.answered:
            return
        if isinstance(meaning, str):
            self._refuse(attempt, meaning)
            return
        if meaning is None:
            self._accept(attempt)
            return
        try:
            attempt.key_ring = self._around.open_box(change)
        except BadPacket as error:
            self._refuse(attempt, f"the new keys cannot be read: {error}")
            return
        # What may be decided on already is not asked about votes: here and now is not where and when it was.
        members = () if attempt.firm else self._members
        reason = self.objection(meaning, members)
        if meaning.config_version != change.version:
            reason = f"the text has version {meaning.config_version}, not {change.version}"
        if reason:
            self._refuse(attempt, reason)
            return
        if attempt.key_ring is not None:
            self._around.accept_keys(attempt.key_ring)
        attempt.configuration = meaning
        self._accept(attempt)

    def _refuse(self, attempt: Attempt, reason: str) -> None:
        attempt.answered = True
        if attempt.firm:
            # Others may have it in force already: who cannot have it cannot stay.
            version = attempt.subject.version
            self._host.shut_down(f"configuration version {version} cannot be used here: {reason}", status=1)
        else:
            self._send(Rejected(self._own_ring, attempt.number, clipped(reason)))

    def _accept(self, attempt: Attempt) -> None:
        attempt.answered = True
        place = (self._own_ring.seq, attempt.number, self._members)
        self._book.accept(Accepted(*place, attempt.firm, attempt.change), lambda e: self._accepted(attempt, e))

    def _accepted(self, attempt: Attempt, error: str | None) -> None:
        if attempt is not self.current:
            return
        if error is None:
            self._send(Prepared(self._own_ring, attempt.number))
        elif attempt.change is not None and not attempt.firm:
            self._send(Rejected(self._own_ring, attempt.number, clipped(f"it cannot be stored: {error}")))
        else:
            self._host.log("err", f"what was decided cannot be stored, and is tried again: {error}")
            self._host.set_timer(_ACCEPT, AGAIN_S, lambda: self._accept_again(attempt))

    def _accept_again(self, attempt: Attempt) -> None:
        if attempt is self.current:
            self._accept(attempt)

    def objection(self, meaning: Configuration, members: tuple[NodeId, ...]) -> str:
        """Why `meaning` cannot be put in force here, in a ring of `members`; () for a ring that did not ask."""
        objections = [*self._around.objections(meaning)]
        votes = problem(self._around.configuration(), meaning, members) if members else None
        return clipped("; ".join([*objections, votes] if votes else objections))

    def decide(self) -> None:
        """The lowest member's part."""
        attempt = self.current
        if attempt is None or attempt.decision_sent or self._host.nodeid != self._members[0]:
            return
        can_be_refused = attempt.change is not None and not attempt.firm
        if len(attempt.prepared) == len(self._members) and (attempt.change is None or not self._around.obstacle()):
            attempt.decision_sent = True
            self._send(Commit(self._own_ring, attempt.number))
        elif can_be_refused and (attempt.reasons or self._host.now >= attempt.deadline):
            attempt.decision_sent = True
            missing = sorted(set(self._members) - attempt.prepared)
            late = f"not prepared within {PATIENCE_S:g} s: node {', '.join(map(str, missing))}" if missing else ""
            lost = self._around.obstacle() if self._around.quorate() else "quorum was lost"
            why = "" if attempt.reasons else late or lost
            self._send(Withdraw(self._own_ring, attempt.number, why))

    @property
    def _own_ring(self) -> RingId:
        assert self._ring is not None
        return self._ring
