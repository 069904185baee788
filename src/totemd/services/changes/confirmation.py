"""Whether a version holds: confirmed by a quorate ring, or gone back from when there is none for too long.

Who goes back has the version before in force, provisionally: whoever has seen the new one confirmed wins when they
meet. If nobody has, the next quorate ring makes a new version of the old text.
"""

import hashlib
from math import inf
from typing import Final

from totemd.cluster.change import IDENT_SIZE, Change
from totemd.cluster.text import with_version
from totemd.ids import NodeId, RingId
from totemd.services.base import Host
from totemd.services.changes.api import Surroundings
from totemd.services.changes.book import Book
from totemd.wire.changes import ChangesMessage, Confirm, Revert

CONFIRM_AFTER_MIN_S: Final = 0.1
CONFIRM_AFTER_MAX_S: Final = 5.0
"""Bounds of how long a ring has to hold together with a new version: a token timeout."""

ROLLBACK_AGAIN_S: Final = 10.0


class Confirmation:
    """Watches the version that is not confirmed yet."""

    def __init__(self, host: Host, around: Surroundings, book: Book) -> None:
        self._host = host
        self._around = around
        self._book = book
        self._since = inf
        """Since when this ring has worked with this version."""
        self._alone_since: float | None = None
        self._told = False
        self._must = False
        self._rolled_back_at = -inf

    def ring_formed(self) -> None:
        """A ring is synchronized."""
        self._since = self._host.now
        self._told = False

    def activated(self) -> None:
        """A new version is in force."""
        self.ring_formed()
        self._alone_since = None

    def look(self, ring: RingId | None, members: tuple[NodeId, ...], *, idle: bool) -> list[ChangesMessage]:
        """What the lowest member has to say now."""
        book, now = self._book, self._host.now
        ledger = book.ledger
        if ledger.confirmed or ledger.reverted:
            self._alone_since = None
            return []
        working = ring is not None and not self._host.sync_in_progress
        if working and self._around.quorate():
            self._alone_since = None
            if self._leads(members) and idle and now >= self._since + self._confirm_after_s() and not self._told:
                self._told = True
                assert ring is not None
                return [Confirm(ring, ledger.current.version, ledger.current.ident)]
            return []
        if self._alone_since is None:
            self._alone_since = now
        if working and self._is_due and self._leads(members) and not self._told:
            self._told = True
            assert ring is not None
            return [Revert(ring, ledger.current.version, ledger.current.ident)]
        return []

    @property
    def _is_due(self) -> bool:
        after_s = self._book.ledger.current.rollback_after_s
        return self._alone_since is not None and self._host.now >= self._alone_since + after_s and self._book.can_revert

    def ring_begins(self) -> None:
        """A ring forms, and nobody has said what he has: who has to go back and could not in a ring does it here."""
        if self._is_due or self._must:
            self._must = False
            self._revert()

    def decided(self, message: Confirm | Revert) -> None:
        """At its place of the order."""
        ledger = self._book.ledger
        self._told = False
        if ledger.confirmed or ledger.reverted or message.ident != ledger.current.ident:
            return
        if isinstance(message, Confirm):
            self._book.confirm()
            self._host.log("info", f"configuration version {message.version} is confirmed")
        elif self._book.meaning(ledger.previous) is not None:
            self._revert()
        else:
            # Not here and now, but together with the others all the same: when the next ring forms.
            self._must = True
            self._around.form_ring(f"this node goes back from configuration version {message.version}")

    def rollback(self, members: tuple[NodeId, ...], version: int) -> Change | None:
        """The change that makes going back a version of its own, if it is this node's to propose it, and time."""
        ledger, now = self._book.ledger, self._host.now
        if not self._leads(members) or self._around.obstacle() or now < self._rolled_back_at + ROLLBACK_AGAIN_S:
            return None
        self._rolled_back_at = now
        before, failed = ledger.active, ledger.current
        seed = b"totemd rollback" + failed.ident + version.to_bytes(8, "big")
        return Change(
            ident=hashlib.sha256(seed).digest()[:IDENT_SIZE],
            kind="rollback",
            base_version=failed.version,
            version=version,
            text=with_version(before.text, version),
            who="totemd",
            when=self._around.unix_time(),
            what=f"no quorum within {failed.rollback_after_s} s of version {failed.version}: back to {before.version}",
            proposer=self._host.nodeid,
        )

    def _leads(self, members: tuple[NodeId, ...]) -> bool:
        return bool(members) and members[0] == self._host.nodeid

    def _confirm_after_s(self) -> float:
        token_s = self._around.configuration().totem.token_timeout_s
        return min(max(token_s, CONFIRM_AFTER_MIN_S), CONFIRM_AFTER_MAX_S)

    def _revert(self) -> None:
        ledger = self._book.ledger
        if ledger.confirmed or ledger.reverted or ledger.previous is None or not self._book.meaning(ledger.previous):
            return
        self._host.log(
            "err",
            f"no quorum within {ledger.current.rollback_after_s} s of configuration version {ledger.current.version}: "
            f"version {ledger.previous.version} is in force again",
        )
        self._book.revert()
        self._since = self._host.now
