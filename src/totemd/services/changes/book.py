"""What one node has of the configuration's versions: in force, on the disk, and understood.

Everything durable is written in order. What only has to be on the disk some day (a commit that others know, too) is
tried again until it is; what must be there before a word is said of it (an accepted change) says how it went.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import count
from typing import Final, TypeAlias

from totemd.cluster.change import Change, HistoryEntry, clipped, entry_of
from totemd.config.model import Configuration
from totemd.errors import BadPacket
from totemd.ids import NodeId
from totemd.services.base import Host
from totemd.services.changes.api import Surroundings
from totemd.services.changes.ledger import (
    COMMITTED_FILE,
    HISTORY_FILE,
    STATE_FILE,
    Accepted,
    History,
    Ledger,
    decode_entries,
    encode_entries,
    load,
)
from totemd.services.changes.majorities import can_go_back

STORE_AGAIN_S: Final = 1.0
_STORE: Final = "changes.store"
REASONS_KEPT_MAX: Final = 16
REASON_KEPT_MAX: Final = 256
UNDER_WAY_MAX: Final = 64

Meaning: TypeAlias = Configuration | str | None
"""What a text means to this node, or why it means nothing; None: this node is not in its nodelist."""


class Book:
    """Ledger, history and what is in force. `configuration` is what the active change's text means here."""

    def __init__(
        self, host: Host, around: Surroundings, stored: Mapping[str, bytes], configuration: Configuration
    ) -> None:
        """BadPacket if what is stored is damaged, or there is nothing."""
        ledger = load(stored)
        if ledger is None:
            raise BadPacket("bad configuration state", "there is no committed change")
        self.ledger = ledger
        self.history = History(decode_entries(stored[HISTORY_FILE]) if HISTORY_FILE in stored else [])
        if self.history.outcome(ledger.current.ident) is None:
            self.history.add(entry_of(ledger.current, "committed"))
        self.in_force = ledger.active.ident
        self.gone = False
        """Whether this node has been taken out of the cluster."""
        self._host = host
        self._around = around
        self._tickets = count(1)
        self._storing: dict[bytes, Callable[[str | None], None]] = {}
        self._meanings: dict[bytes, Configuration] = {ledger.active.ident: configuration}
        self._asked: dict[bytes, list[Callable[[Meaning], None]]] = {}

    def prepare(self) -> None:
        """Know what the text before means here, in case it is needed."""
        ledger = self.ledger
        if not ledger.confirmed and not ledger.reverted and ledger.previous is not None:
            self.understand(ledger.previous, lambda meaning: None)

    # What texts mean

    def understand(self, change: Change, then: Callable[[Meaning], None]) -> None:
        """Call `then` with what the change's text means here, perhaps before this returns."""
        known = self._meanings.get(change.ident)
        if known is not None:
            then(known)
            return

        def learnt(meaning: Meaning) -> None:
            if isinstance(meaning, Configuration):
                self._meanings[change.ident] = meaning
            then(meaning)

        self.examine(change.ident, change.text, learnt)

    def examine(self, ident: bytes, text: str, then: Callable[[Meaning], None]) -> None:
        """Call `then` with what a text means here. `ident` is the question's."""
        waiting = self._asked.get(ident, [])
        if (not waiting and len(self._asked) >= UNDER_WAY_MAX) or len(waiting) >= UNDER_WAY_MAX:
            then("too many texts are being checked here; try again")
            return
        self._asked[ident] = waiting
        waiting.append(then)
        if len(waiting) == 1:
            self._around.check(ident, text)

    def configuration_checked(self, ident: bytes, meaning: Meaning) -> None:
        """A text was looked at."""
        for then in self._asked.pop(ident, []):
            then(meaning)

    def meaning(self, change: Change | None) -> Configuration | None:
        """What a change's text means, if that is known already."""
        return None if change is None else self._meanings.get(change.ident)

    # What is durable

    def store(self, name: str, data: bytes, done: Callable[[str | None], None] | None = None) -> None:
        """Write a file; without `done` it is tried again until it works."""
        ticket = next(self._tickets).to_bytes(8, "big")
        self._storing[ticket] = self._store_again if done is None else done
        self._around.store(name, data, ticket)

    def change_stored(self, ticket: bytes, error: str | None) -> None:
        """The disk has answered."""
        done = self._storing.pop(ticket, None)
        if done is not None:
            done(error)

    def store_all(self) -> None:
        """Write everything that has no other witness."""
        self.store(COMMITTED_FILE, self.ledger.active.encode())
        self.store(STATE_FILE, self.ledger.encode())
        self.store_history()

    def store_history(self) -> None:
        """Write what is for people."""
        self.store(HISTORY_FILE, encode_entries(self.history.entries))

    def _store_again(self, error: str | None) -> None:
        if error is not None:
            self._host.log("err", f"the state of the configuration cannot be stored, and is tried again: {error}")
            self._host.set_timer(_STORE, STORE_AGAIN_S, self.store_all)

    def accept(self, accepted: Accepted, done: Callable[[str | None], None]) -> None:
        """Make durable what is accepted as the successor of the committed version; `done` tells how it went."""
        version = 0 if accepted.change is None else accepted.change.version
        highest = max(self.ledger.highest, version)
        self.ledger = replace(self.ledger, accepted=accepted, highest=highest)
        self.store(STATE_FILE, self.ledger.encode(), done)

    # What is in force

    def commit(self, change: Change, configuration: Configuration | None, key_ring: bytes | None) -> None:
        """`change` is decided on, and in force from here on; `configuration` None: this node is no longer listed."""
        before = self.ledger
        if before.reverted:
            self.history.add(entry_of(before.current, "rolled-back"))
        self.ledger = before.committed(change)
        self.history.add(entry_of(change, "committed"))
        self.store_all()
        if configuration is None:
            self.end(change)
        else:
            self._meanings[change.ident] = configuration
            self.enforce(key_ring)
        self._forget_meanings()

    def refuse(self, change: Change, why: str, reasons: Mapping[NodeId, str]) -> HistoryEntry:
        """`change` is decided not to follow; gives its entry."""
        kept = dict(sorted(reasons.items())[:REASONS_KEPT_MAX])
        short = {nodeid: clipped(reason, REASON_KEPT_MAX) for nodeid, reason in kept.items()}
        entry = entry_of(change, "rejected" if reasons else "aborted", short)
        entry = replace(entry, why=clipped(why, REASON_KEPT_MAX))
        self.history.add(entry)
        self.store_history()
        return entry

    def adopt(self, ledger: Ledger, entries: list[HistoryEntry]) -> None:
        """Others know more: have what they have. It is in force after `enforce`."""
        accepted = self.ledger.accepted if ledger.current.ident == self.ledger.current.ident else None
        highest = max(self.ledger.highest, ledger.highest)
        if ledger.current.ident == self.ledger.current.ident and self.ledger.confirmed:
            ledger = replace(ledger, confirmed=True, reverted=False)
        self.ledger = replace(ledger, accepted=accepted, highest=highest)
        self.history.learn(entries)
        if self.history.outcome(ledger.current.ident) is None:
            self.history.add(entry_of(ledger.current, "committed"))
        self.store_all()

    def confirm(self) -> None:
        """A quorate ring has worked with the current version."""
        self.ledger = replace(self.ledger, confirmed=True)
        self.store(STATE_FILE, self.ledger.encode())
        self._forget_meanings()

    @property
    def can_revert(self) -> bool:
        """Whether this node may go back by itself: nobody counts votes differently then, and the keys are the same."""
        ledger = self.ledger
        if ledger.confirmed or ledger.reverted or ledger.current.boxes:
            return False
        old, new = self.meaning(ledger.previous), self.meaning(ledger.current)
        return old is not None and new is not None and can_go_back(old, new)

    def revert(self) -> None:
        """Go back to the version before, until there is quorum again."""
        self.ledger = replace(self.ledger, reverted=True)
        self.history.add(entry_of(self.ledger.current, "reverted"))
        self.store_all()
        self.enforce(None)

    def enforce(self, key_ring: bytes | None) -> None:
        """Have the active change in force, if another one is; its meaning must be known."""
        active = self.ledger.active
        if active.ident == self.in_force and key_ring is None:
            return
        configuration = self._meanings[active.ident]
        self.in_force = active.ident
        error = self._around.activate(configuration)
        if key_ring is not None:
            self._around.switch_keys(key_ring)
        self._around.write(active.text, key_ring)
        if error is not None:
            self._host.shut_down(f"configuration version {active.version} takes a new start: {error}", status=1)

    def end(self, change: Change) -> None:
        """This node is not in the nodelist of `change`: it has no part in the cluster any more."""
        self.gone = True
        verb = "has left" if change.kind == "leave" else "was taken out of"
        by = f" by {clipped(change.who)}" if change.who else ""
        self._host.shut_down(f"this node {verb} the cluster{by} (configuration version {change.version})")

    def _forget_meanings(self) -> None:
        ledger = self.ledger
        keep = {ledger.current.ident, ledger.active.ident}
        if not ledger.confirmed and ledger.previous is not None:
            keep.add(ledger.previous.ident)
        self._meanings = {ident: meaning for ident, meaning in self._meanings.items() if ident in keep}
