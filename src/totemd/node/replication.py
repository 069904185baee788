"""A managed node's surroundings of the service "changes": effects for the disk, and what a new version puts in force.

In the daemon a version that is in force has been applied as a reload is, but at one place of the order on all nodes.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from totemd.cluster.change import Change
from totemd.cluster.text import digest
from totemd.config.model import Configuration
from totemd.config.reload import compare
from totemd.errors import BadPacket, OperatorError
from totemd.node.effects import CheckConfiguration, StoreChange, WriteConfiguration
from totemd.node.host import ServiceHost
from totemd.services.changes.majorities import franchise, lacks_own_majority
from totemd.services.changes.service import Changes

if TYPE_CHECKING:
    from totemd.node.node import Node
    from totemd.seal.keys import KeyRing

OpenBox = Callable[[Change], bytes | None]
"""The key ring in this node's box of a change, None if it has none. BadPacket: it cannot be opened."""

OVERLAP_TOKEN_TIMEOUTS: Final = 2
"""For so long after a change of keys the ring's packets are opened with the old key, too."""

_OVERLAP: Final = "changes overlap"


class Replication:
    """Makes the service, and does for it what it cannot do itself."""

    def __init__(self, node: "Node", stored: Mapping[str, bytes], open_box: OpenBox | None) -> None:
        """BadPacket if what is stored is damaged."""
        self._node = node
        self._open_box = open_box
        self.changes = Changes(ServiceHost(node, "CHANGES"), self, stored, node.configuration)
        self._compare_by(self.changes.active())
        if node.sealing is not None and node.sealing.seal.keys.accepted:
            # The last life ended while two keys were understood.
            self._overlap()
        self.changes.accept_keys()

    # services.changes.Surroundings

    def check(self, ident: bytes, text: str) -> None:
        self._node.emit(CheckConfiguration(ident, text))

    def store(self, name: str, data: bytes, ident: bytes) -> None:
        self._node.emit(StoreChange(name, data, ident))

    def write(self, text: str, key_ring: bytes | None) -> None:
        self._node.emit(WriteConfiguration(text, key_ring))

    def objections(self, configuration: Configuration) -> tuple[str, ...]:
        return tuple(str(error) for error in compare(self._node.configuration, configuration).errors)

    def activate(self, configuration: Configuration) -> str | None:
        self._compare_by(self.changes.active())
        return self._node.put_in_force(configuration)

    def configuration(self) -> Configuration:
        return self._node.configuration

    def form_ring(self, reason: str) -> None:
        node = self._node
        node.ring.gather_again(reason, node.now)
        if node.sealing is not None:
            node.sealing.start(node.now)

    def quorate(self) -> bool:
        node = self._node
        if node.votequorum is not None:
            return node.votequorum.electorate.quorate
        needed = franchise(node.configuration)
        return node.membership is not None and needed.present(node.membership.members) >= needed.quorum

    def obstacle(self) -> str:
        if not self.quorate():
            return "there is no quorum"
        node, votequorum = self._node, self._node.votequorum
        if votequorum is None or not (votequorum.device.registered or node.configuration.quorum.device_model):
            return ""
        forced = votequorum.forced.now
        if forced is not None and forced.votes < forced.configured:
            return ""  # the operator has said that the others are off
        return lacks_own_majority(node.configuration, () if node.membership is None else node.membership.members)

    def unix_time(self) -> int:
        return max(0, int(self._node.now + self._node.clock_ahead_s))

    def open_box(self, change: Change) -> bytes | None:
        if not change.boxes:
            return None
        if self._node.nodeid not in change.boxes or self._open_box is None:
            raise BadPacket("no box", f"none for node {self._node.nodeid}, or no identity here to open it with")
        key_ring = self._open_box(change)
        if key_ring is not None and self._keys(key_ring) is None:
            # Written to the disk it would keep the daemon from starting.
            raise BadPacket("bad key ring", "what is in this node's box is no key ring")
        return key_ring

    def has_keys(self, key_ring: bytes) -> bool:
        sealing, keys = self._node.sealing, self._keys(key_ring)
        return sealing is None or keys is None or keys.sending.ident == sealing.seal.sending_key()

    def accept_keys(self, key_ring: bytes) -> None:
        sealing, keys = self._node.sealing, self._keys(key_ring)
        if sealing is not None and keys is not None:
            sealing.seal.accept_key(keys.sending)

    def switch_keys(self, key_ring: bytes) -> None:
        node, keys = self._node, self._keys(key_ring)
        sealing = node.sealing
        if sealing is None or keys is None:
            return
        old = sealing.seal.keys
        sealing.seal.set_keys(keys.accepting(old.sending) if old.sending.ident != keys.sending.ident else keys)
        self._overlap()

    def _overlap(self) -> None:
        node = self._node
        overlap_s = OVERLAP_TOKEN_TIMEOUTS * node.configuration.totem.token_timeout_s
        node.timers.set(_OVERLAP, node.now + overlap_s, self._settle_keys)

    def _settle_keys(self) -> None:
        """The overlap is over: what the old key sealed is no longer the ring's."""
        sealing = self._node.sealing
        assert sealing is not None
        keys = sealing.seal.keys.settled()
        sealing.seal.set_keys(keys)
        self.changes.accept_keys()
        self.write(self.changes.active().text, keys.to_bytes())

    def _keys(self, key_ring: bytes) -> "KeyRing | None":
        # Imported here: an open ring has no use for it.
        from totemd.seal.keys import KeyRing

        try:
            return KeyRing.parse(key_ring)
        except OperatorError as error:
            self._node.log("err", "CHANGES", f"the keys that came with a change cannot be used: {error}")
            return None

    def _compare_by(self, change: Change) -> None:
        """Admission compares what the configuration means."""
        if self._node.sealing is not None:
            self._node.sealing.admission.digest = digest(change.text)
