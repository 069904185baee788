"""The service "changes" (32): the configuration as replicated data (protocol/, chapter "Replicated configuration").

    proposal -> PROPOSE -> every member checks it and makes it durable -> PREPARED or REJECTED
             -> the lowest member: COMMIT, or WITHDRAW (nothing follows: prepared and committed in the same way)
             -> at the delivery of COMMIT all have the new version in force; CONFIRM once a quorate ring works with it

Everything that decides happens at the delivery of messages, at one place of the order on every member. What a member
has made durable outlives rings: the next quorate ring finds in synchronization what may have been decided already.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

from totemd.cluster.change import Change, HistoryEntry, clipped
from totemd.cluster.text import with_version
from totemd.config.model import Configuration
from totemd.errors import BadPacket, ConfigError
from totemd.ids import NodeId, RingId
from totemd.services.base import Host, ServiceId
from totemd.services.changes.api import Outcome, OutcomeDone, Surroundings
from totemd.services.changes.attempt import Attempt
from totemd.services.changes.attempts import Attempts
from totemd.services.changes.book import Book, Meaning
from totemd.services.changes.checks import Checks
from totemd.services.changes.confirmation import Confirmation
from totemd.services.changes.ledger import Ledger, decode_record, encode_record
from totemd.services.changes.listed import lists_node
from totemd.services.changes.proposals import DECIDE_S, Proposal, Proposals
from totemd.services.changes.synchronization import Synchronization
from totemd.totem.api import ConfigurationChanged
from totemd.wire.changes import (
    ChangesMessage,
    Check,
    Checked,
    Commit,
    Confirm,
    Prepared,
    Propose,
    Record,
    Rejected,
    Revert,
    State,
    Withdraw,
    decode_changes,
    encode_changes,
)

TICK_S: Final = 0.5
GONE: Final = "this node is not in the nodelist any more"
_TICK: Final = "tick"
_SAFE: Final = (Propose, Commit, Withdraw, Confirm, Revert)


class Changes:
    """Service 32. The node calls `retry_pending` when the send queue has room again and when synchronization is over.

    `stored` has the files of the last life, at least "committed"; BadPacket if they are damaged. `configuration` is
    what the text of "committed" means here.
    """

    def __init__(
        self, host: Host, surroundings: Surroundings, stored: Mapping[str, bytes], configuration: Configuration
    ) -> None:
        self._host = host
        self._around = surroundings
        self._book = Book(host, surroundings, stored, configuration)
        self._ring: RingId | None = None
        self._members: tuple[NodeId, ...] = ()
        self._synchronization = Synchronization(host, surroundings, self._book, self._multicast)
        self._proposals = Proposals()
        self._outbox: list[ChangesMessage] = []
        self._checks = Checks(host, self._send, self._examine_text)
        self._confirmation = Confirmation(host, surroundings, self._book)
        self._attempts = Attempts(host, surroundings, self._book, self._send)
        self._proceeding = False

    @property
    def service_id(self) -> int:
        return ServiceId.CHANGES

    # --- callers

    def propose(self, change: Change, done: OutcomeDone) -> None:
        """Have `change` become the next version of the configuration in all the cluster.

        Its version, the version in its text and its proposer are filled in here; `base_version` must be the committed
        version. `done` is called once it is in force here, or refused, perhaps before this returns.
        """
        try:
            fixed = self._fixed(change)
            fixed.encode()
        except (ConfigError, ValueError) as error:
            done(Outcome(False, why=str(error)))
            return
        self._proposals.add(fixed, done, self._host.now)
        self._proceed()

    def dry_run(self, text: str, done: OutcomeDone) -> None:
        """Have every present node say whether `text` would do; nothing is stored or changed."""
        self._checks.ask(text, done)
        self._proceed()

    def history(self) -> list[HistoryEntry]:
        """The latest changes and what became of them, the oldest first."""
        return list(self._book.history.entries)

    def current(self) -> Change:
        """The committed change."""
        return self._book.ledger.current

    def active(self) -> Change:
        """The change whose text is in force: the committed one, or the one before while this node has gone back."""
        return self._book.ledger.active

    def obstacle(self) -> str:
        """Why no change can be decided on in this component now, for people; "" if one can."""
        return self._around.obstacle()

    @property
    def confirmed(self) -> bool:
        """Whether a quorate ring has worked with the committed version."""
        return self._book.ledger.confirmed

    @property
    def settled(self) -> bool:
        """Whether the committed version is confirmed and in force, and nothing else is to be decided."""
        return self._book.ledger.confirmed and not self._waits

    def pending(self) -> dict[str, object] | None:
        """The change that is being decided on, with the progress of each member; None if there is none."""
        return self._attempts.pending()

    def record_for(self, nodeid: NodeId) -> bytes:
        """What node `nodeid` needs to be of the committed version; `catch_up` of its service takes it. The boxes in
        it are those of the committed change: who missed an earlier change of keys needs the keys besides."""
        return encode_record(self._book.ledger, self._book.history)

    def catch_up(self, data: bytes, key_ring: bytes | None, done: OutcomeDone) -> int:
        """Adopt what a member handed over (`record_for`), with its keys if they are new. In force with the next ring,
        which begins at once; a node that it does not list ends. Gives the version that is to be in force. BadPacket: it
        is no record."""
        record, entries = decode_record(data)
        own = self._book.ledger
        version = record.current.version
        same = record.current.ident == own.current.ident
        if version < own.current.version or (version == own.current.version and not (record.confirmed or same)):
            done(Outcome(False, why=f"version {version} is not newer than {own.current.version}"))
        elif same and not self._brings_news(record, key_ring):
            done(Outcome(True, version))
        else:
            self._take_over(record, entries, key_ring, done)
        return record.active.version

    def _brings_news(self, record: Ledger, key_ring: bytes | None) -> bool:
        """Whether a record of this node's own version is worth a new ring."""
        own = self._book.ledger
        if own.active.ident != self._book.in_force or (key_ring is not None and not self._around.has_keys(key_ring)):
            return True
        return (record.confirmed and not own.confirmed) or (own.reverted and not record.reverted)

    def _take_over(
        self, record: Ledger, entries: list[HistoryEntry], key_ring: bytes | None, done: OutcomeDone
    ) -> None:
        version = record.current.version

        def understood(meaning: Meaning) -> None:
            if version < self._book.ledger.current.version:
                done(Outcome(False, why="this node has a newer version by now"))
            elif not isinstance(meaning, Configuration):
                done(Outcome(False, why=meaning or GONE))
            else:
                self._synchronization.hand(record, entries, key_ring)
                self._around.form_ring(f"configuration version {version} was handed over")
                done(Outcome(True, version))

        try:
            listed = lists_node(record.active.text, self._host.nodeid)
        except ConfigError as error:
            done(Outcome(False, why=str(error)))
            return
        if listed:
            self._book.understand(record.active, understood)
        else:
            done(Outcome(False, why=GONE))
            self._book.end(record.active)

    def accept_keys(self) -> None:
        """Understand the keys of the change that this node has accepted, if it has: others may seal with them already.
        For the node, after a start and whenever it forgets keys."""
        accepted = self._book.ledger.accepted
        if accepted is None or accepted.change is None:
            return
        try:
            key_ring = self._around.open_box(accepted.change)
        except BadPacket as error:
            self._host.log("err", f"the new keys of version {accepted.change.version} cannot be read: {error}")
            return
        if key_ring is not None:
            self._around.accept_keys(key_ring)

    # --- the node's answers

    def configuration_checked(self, ident: bytes, configuration: Meaning) -> None:
        """A text was looked at: what it means here, why it cannot be used, or None: this node is not listed."""
        self._book.configuration_checked(ident, configuration)
        self._proceed()

    def change_stored(self, ident: bytes, error: str | None) -> None:
        """A file of the state is durable, or why not."""
        self._book.change_stored(ident, error)
        self._proceed()

    def retry_pending(self) -> bool:
        """Send what found no room, and go on with what waited for the end of synchronization."""
        self._proceed()
        return not self._outbox

    # --- the ring

    def configuration_changed(self, change: ConfigurationChanged) -> None:
        """Nothing: synchronization brings the members."""

    def sync_init(self, transitional: tuple[NodeId, ...], members: tuple[NodeId, ...], ring: RingId) -> None:
        self._ring = ring
        self._members = tuple(sorted(members))
        self._outbox = []
        self._attempts.enter(ring, self._members)
        self._book.prepare()
        self._confirmation.ring_begins()
        self._proposals.ring_changed()
        self._checks.enter(ring, self._members)
        self._synchronization.begin(ring, self._members)

    def sync_process(self) -> bool:
        return self._book.gone or self._synchronization.process()

    def sync_activate(self) -> None:
        self._synchronization.finish()
        self._confirmation.ring_formed()
        self._settle()

    def sync_abort(self) -> None:
        """The next round begins anew."""

    def receive(self, function: int, sender: NodeId, message: bytes) -> None:
        """Act on a message; BadPacket if it is not valid."""
        decoded = decode_changes(function, message)
        if sender not in self._members:
            raise BadPacket("changes sender is no member", f"node {sender}")
        if decoded.ring != self._ring or self._book.gone:
            return
        self._act(sender, decoded)
        self._proceed()

    def _act(self, sender: NodeId, message: ChangesMessage) -> None:
        match message:
            case State():
                self._synchronization.state_received(sender, message)
            case Record():
                self._synchronization.record_received(sender, message)
            case Propose():
                self._proposed(sender, message)
            case Prepared():
                self._attempts.prepared(sender, message)
            case Rejected():
                self._attempts.rejected(sender, message)
            case Withdraw():
                self._attempts.withdrawn(sender, message)
            case Commit():
                attempt = self._attempts.committed(sender, message)
                if attempt is not None:
                    self._decided(attempt)
            case Confirm() | Revert() if sender == self._members[0]:
                self._confirmation.decided(message)
            case Check():
                self._checks.asked(message)
            case Checked():
                self._checks.answered(sender, message)
            case _:
                pass

    # --- a change

    def _proposed(self, sender: NodeId, message: Propose) -> None:
        change = Change.decode(message.data)
        mine = self._proposals.first if sender == self._host.nodeid else None
        if mine is not None and mine.change.ident == change.ident:
            mine.on_its_way = False
        if not self._may_follow(change):
            return
        if mine is not None and mine.change.ident == change.ident:
            mine.uncertain = True
        doubt, self._synchronization.doubt = self._synchronization.doubt, None
        self._synchronization.highest = max(self._synchronization.highest, change.version)
        self._attempts.open(change, firm=doubt is not None and doubt.firm)

    def _may_follow(self, change: Change) -> bool:
        """Whether a proposal is heeded. All members answer alike: it depends on what they agree on only."""
        ledger, doubt = self._book.ledger, self._synchronization.doubt
        if self._attempts.current is not None or change.base_version != ledger.current.version:
            return False
        if doubt is not None:
            return change.ident == doubt.ident
        in_turn = change.kind == "rollback" if ledger.reverted else ledger.confirmed
        return in_turn and change.version == self._synchronization.highest + 1

    def _decided(self, attempt: Attempt) -> None:
        change = attempt.subject
        if attempt.change is None:
            self._book.refuse(change, attempt.why, attempt.reasons)
            self._host.log("warning", f"configuration version {change.version} was refused: {_why(attempt)}")
            self._proposals.settle(change, Outcome(False, reasons=dict(attempt.reasons), why=attempt.why))
            return
        self._book.commit(change, attempt.configuration, attempt.key_ring)
        self._confirmation.activated()
        by = f" by {clipped(change.who)}" if change.who else ""
        self._host.log("notice", f"configuration version {change.version}{by} is in force: {clipped(change.what)}")
        self._proposals.settle(change, Outcome(True, change.version))

    # --- going on

    def _proceed(self) -> None:
        """Do what can be done now. Callbacks of callers may come back here: once is enough."""
        if self._proceeding or self._book.gone:
            return
        self._proceeding = True
        try:
            self._flush()
            self._checks.look()
            if self._ring is not None and not self._host.sync_in_progress:
                self._attempts.decide()
                self._next_proposal()
            for message in self._confirmation.look(self._ring, self._members, idle=self._attempts.current is None):
                self._send(message)
            self._flush()
        finally:
            self._proceeding = False
        if self._waits:
            self._host.set_timer(_TICK, TICK_S, self._proceed)

    @property
    def _waits(self) -> bool:
        ledger, doubt = self._book.ledger, self._synchronization.doubt
        settled = ledger.confirmed and self._attempts.current is None and doubt is None
        return not settled or bool(self._proposals) or self._checks.waiting or bool(self._outbox)

    def _next_proposal(self) -> None:
        """What was in doubt first, then going back, then this node's own proposals."""
        if self._attempts.current is not None:
            return
        doubt = self._synchronization.doubt
        if doubt is not None:
            if doubt.change is not None and self._leads_doubt(doubt.holders) and not doubt.sent:
                doubt.sent = self._offer(doubt.change)
        elif self._book.ledger.reverted:
            change = self._confirmation.rollback(self._members, self._synchronization.highest + 1)
            if change is not None:
                self._offer(change)
        first = self._proposals.first
        while first is not None and self._turn_of(first):
            first = self._proposals.first

    def _leads_doubt(self, holders: tuple[NodeId, ...]) -> bool:
        return self._host.nodeid == holders[0] and not self._around.obstacle()

    def _turn_of(self, proposal: Proposal) -> bool:
        """Send the proposal whose turn it is, or finish it: True if the next one may be looked at."""
        now, ledger, change = self._host.now, self._book.ledger, proposal.change
        doubt = self._synchronization.doubt
        if proposal.on_its_way or (doubt is not None and doubt.ident == change.ident):
            if now >= proposal.deadline:
                self._proposals.finish(proposal, Outcome(False, why="nobody knows yet", undecided=True))
                return True
            return False
        if change.base_version != ledger.current.version:
            why = f"it was made from version {change.base_version}, and {ledger.current.version} is committed now"
            self._proposals.finish(proposal, Outcome(False, why=why))
            return True
        obstacle = self._around.obstacle()
        if doubt is not None or not ledger.confirmed or obstacle:
            if now < proposal.deadline:
                return False
            why = obstacle or "the version before is not confirmed yet"
            undecided = proposal.uncertain
            self._proposals.finish(proposal, Outcome(False, why=why, quorate=not obstacle, undecided=undecided))
            return True
        fits = change.version == self._synchronization.highest + 1
        if not fits and proposal.uncertain:
            why = "the membership changed meanwhile; look at the history before you try again"
            self._proposals.finish(proposal, Outcome(False, why=why, undecided=True))
            return True
        if not fits:
            proposal.change = self._fixed(change)
        if self._offer(proposal.change):
            proposal.on_its_way = True
            proposal.deadline = now + DECIDE_S
        return False

    def _fixed(self, change: Change) -> Change:
        """The change as the next version. ConfigError, ValueError."""
        version = self._synchronization.highest + 1
        return replace(change, version=version, text=with_version(change.text, version), proposer=self._host.nodeid)

    def _offer(self, change: Change) -> bool:
        if self._outbox:
            return False
        self._send(Propose(self._own_ring, change.encode()))
        return True

    def _settle(self) -> None:
        """After synchronization: proposals of which others know what became of them."""
        for proposal in self._proposals.all():
            entry = self._book.history.outcome(proposal.change.ident)
            if entry is not None:
                accepted = entry.outcome not in ("rejected", "aborted")
                outcome = Outcome(accepted, entry.version if accepted else 0, entry.reasons, entry.why)
                self._proposals.finish(proposal, outcome)

    # --- sending

    @property
    def _own_ring(self) -> RingId:
        assert self._ring is not None
        return self._ring

    def _send(self, message: ChangesMessage) -> None:
        self._outbox.append(message)
        self._flush()

    def _flush(self) -> None:
        while self._outbox and not self._host.sync_in_progress and self._multicast(self._outbox[0]):
            del self._outbox[0]

    def _multicast(self, message: ChangesMessage) -> bool:
        return self._host.multicast(encode_changes(message), safe=isinstance(message, _SAFE))

    def _examine_text(self, ident: bytes, text: str, then: Callable[[str], None]) -> None:
        def examined(meaning: Meaning) -> None:
            then(
                self._attempts.objection(meaning, self._members)
                if isinstance(meaning, Configuration)
                else meaning or ""
            )

        self._book.examine(ident, text, examined)


def _why(attempt: Attempt) -> str:
    reasons = [f"node {nodeid}: {reason}" for nodeid, reason in sorted(attempt.reasons.items())[:4]]
    return "; ".join([attempt.why, *reasons] if attempt.why else reasons)
