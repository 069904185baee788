"""Synchronization of the configuration: all members of a ring have the same version in force when it is over.

Each says what it has (STATE). Who has the latest hands it over (RECORD) if anybody lacks it, and who lacks it holds the
round until it knows what the text means here. What must be decided again is known then: the doubt.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from totemd.cluster.change import Change, HistoryEntry
from totemd.cluster.text import digest
from totemd.config.model import Configuration
from totemd.errors import BadPacket, ConfigError
from totemd.ids import NodeId, RingId
from totemd.services.base import Host
from totemd.services.changes.api import Surroundings
from totemd.services.changes.book import Book, Meaning
from totemd.services.changes.conclusion import Conclusion, conclude
from totemd.services.changes.ledger import Ledger, decode_record, encode_record
from totemd.services.changes.listed import lists_node
from totemd.wire.changes import FLAG_CONFIRMED, FLAG_FIRM, FLAG_REVERTED, NO_IDENT, ChangesMessage, Record, State


@dataclass(slots=True, eq=False)
class Doubt:
    """A change that may have been decided on: it is proposed again, by the lowest of those who have it."""

    ident: bytes
    firm: bool
    holders: tuple[NodeId, ...]
    change: Change | None
    sent: bool = False


@dataclass(slots=True, eq=False)
class _Round:
    ring: RingId
    members: tuple[NodeId, ...]
    states: dict[NodeId, State] = field(default_factory=dict)
    state_sent: bool = False
    record_sent: bool = False
    conclusion: Conclusion | None = None
    target: Ledger | None = None
    entries: list[HistoryEntry] = field(default_factory=list)
    asked: bool = False
    ready: bool = False


class Synchronization:
    """The current round, and what the last one has left to decide."""

    def __init__(
        self, host: Host, around: Surroundings, book: Book, multicast: Callable[[ChangesMessage], bool]
    ) -> None:
        self.highest = max(book.ledger.highest, book.ledger.current.version)
        """The highest version that this ring has seen."""
        self.doubt: Doubt | None = None
        self._host = host
        self._around = around
        self._book = book
        self._multicast = multicast
        self._round: _Round | None = None
        self._handed: tuple[Ledger, list[HistoryEntry], bytes | None] | None = None
        self._key_ring: bytes | None = None

    def hand(self, ledger: Ledger, entries: list[HistoryEntry], key_ring: bytes | None) -> None:
        """Adopt this when the next ring forms: then all of it do, in the same place."""
        self._handed = (ledger, entries, key_ring)

    def begin(self, ring: RingId, members: tuple[NodeId, ...]) -> None:
        """A round begins."""
        self._round = _Round(ring, members)
        self.doubt = None
        if self._handed is not None:
            (ledger, entries, key_ring), self._handed = self._handed, None
            if ledger.current.version >= self._book.ledger.current.version:
                self._key_ring = key_ring
                self._book.adopt(ledger, entries)

    def process(self) -> bool:
        """Say what this node has and get what it lacks; True once that is done."""
        now = self._round
        if now is None:
            return True
        if not now.state_sent:
            now.state_sent = self._multicast(self._state(now.ring))
        if len(now.states) < len(now.members):
            return False
        conclusion = self._concluded(now)
        if conclusion.lacking and conclusion.holder == self._host.nodeid and not now.record_sent:
            now.record_sent = self._multicast(Record(now.ring, encode_record(self._book.ledger, self._book.history)))
            if not now.record_sent:
                return False
        if not now.asked:
            self._understand(now, conclusion)
        return now.ready

    def state_received(self, sender: NodeId, message: State) -> None:
        """A member says what it has."""
        if self._round is not None:
            self._round.states[sender] = message

    def record_received(self, sender: NodeId, message: Record) -> None:
        """What some lack."""
        now = self._round
        if now is None or len(now.states) < len(now.members):
            return
        conclusion = self._concluded(now)
        if sender != conclusion.holder or self._host.nodeid not in conclusion.lacking:
            return
        target, entries = decode_record(message.data)
        if target.current.ident != conclusion.ident or target.current.version != conclusion.version:
            raise BadPacket("changes record of another version", f"{target.current.version}")
        now.target, now.entries = target, entries

    def finish(self) -> None:
        """All members are ready: have in force what all have."""
        now, self._round = self._round, None
        if now is None or now.conclusion is None:
            return
        conclusion = now.conclusion
        self.highest = conclusion.highest
        if conclusion.conflict:
            self._host.log(
                "err",
                f"the members had different contents of configuration version {conclusion.version}, made in components "
                "that both had quorum; one of them was taken over by all: look at the history",
            )
        if self._book.gone:
            return
        if now.target is not None:
            self._adopt(now.target, now.entries)
        if conclusion.doubtful is not None:
            accepted = self._book.ledger.accepted
            mine = self._host.nodeid in conclusion.doubtful_holders and accepted is not None
            change = accepted.change if mine and accepted is not None else None
            self.doubt = Doubt(conclusion.doubtful, conclusion.firm, conclusion.doubtful_holders, change)
        key_ring, self._key_ring = self._key_ring, None
        self._book.enforce(key_ring)

    def _adopt(self, target: Ledger, entries: list[HistoryEntry]) -> None:
        news = target.current.ident != self._book.ledger.current.ident
        before = self._book.ledger.current.version
        self._book.adopt(target, entries)
        if not news:
            return
        self._host.log("notice", f"configuration version {target.current.version} was taken over, after {before}")
        try:
            key_ring = self._around.open_box(target.current)
        except BadPacket as error:
            self._host.log("err", f"the keys of configuration version {target.current.version} cannot be read: {error}")
            return
        if key_ring is not None:
            # Else the keys are those before, which this node may just have been handed.
            self._key_ring = key_ring

    def _concluded(self, now: _Round) -> Conclusion:
        if now.conclusion is None:
            now.conclusion = conclude(now.states)
        return now.conclusion

    def _understand(self, now: _Round, conclusion: Conclusion) -> None:
        """Know what the text that will be in force means here."""
        if self._host.nodeid not in conclusion.lacking:
            ledger = self._book.ledger
        elif now.target is not None:
            ledger = now.target
        else:
            return
        now.asked = True
        change = ledger.active
        try:
            listed = lists_node(change.text, self._host.nodeid)
        except ConfigError as error:
            self._understood(now, change, str(error))
            return
        if listed:
            self._book.understand(change, lambda meaning: self._understood(now, change, meaning))
        else:
            now.ready = True
            self._book.end(change)

    def _understood(self, now: _Round, change: Change, meaning: Meaning) -> None:
        now.ready = True
        if not isinstance(meaning, Configuration) and now is self._round:
            self._book.gone = True
            text = f"configuration version {change.version} of the cluster cannot be used here: {meaning}"
            self._host.shut_down(text, status=1)

    def _state(self, ring: RingId) -> State:
        ledger = self._book.ledger
        current, accepted = ledger.current, ledger.accepted
        flags = FLAG_CONFIRMED if ledger.confirmed else FLAG_REVERTED if ledger.reverted else 0
        head = (ring, current.version, current.ident, digest(current.text))
        if accepted is None:
            return State(*head, flags, ledger.highest, 0, 0, 0, NO_IDENT, ())
        flags |= FLAG_FIRM if accepted.firm else 0
        change = accepted.change
        version, ident = (0, NO_IDENT) if change is None else (change.version, change.ident)
        place = (accepted.seq, accepted.number)
        return State(*head, flags, ledger.highest, *place, version, ident, accepted.members)
