"""The gate in front of the ring: which datagrams are let in, and counts of those that are not.

The wire of an open ring is not authenticated, so this keeps out accidents and strangers rather than attackers with the
right address: a datagram must come from an address of the nodelist, be a valid packet, name only nodes of the nodelist,
and claim to be from the node whose address it came from (in a sealed ring, the address of the node that sealed it). An
unlisted node that were let in could never get a token (nobody knows where to send it) and would keep the whole ring
from forming (protocol/, chapter "Membership").
"""

from collections import Counter
from collections.abc import Collection

from totemd.config.model import Configuration
from totemd.errors import BadPacket
from totemd.ids import NodeId
from totemd.wire.packets import CommitToken, Join, Mcast, MergeDetect, Packet, decode_packet

_ORIGINATED = (Mcast, MergeDetect, Join)
"""Packets that name their originator; the others name the node of this hop."""

SEALED = b"tSD\x01"
"""What sealed datagrams begin with; an open ring does not load what could tell more of them."""

RING_SEQ_MAX = 1 << 62
"""No honest ring number is near this; one that is would use the numbers up for good."""


class Gate:
    """Decodes and checks datagrams; one per node."""

    def __init__(self, nodeid: NodeId, configuration: Configuration) -> None:
        self.dropped: Counter[str] = Counter()
        self._me = nodeid
        self._addresses: dict[str, NodeId] = {}
        self.configure(configuration)

    def configure(self, configuration: Configuration, members: Collection[NodeId] = ()) -> None:
        """Take the (new) nodelist. Nodes that it lacks and that are `members` of the ring are heard, and may be named,
        until `ring_formed`: the ring in which they were taken out has to end in good order."""
        addresses = {node.address: node.nodeid for node in configuration.nodes}
        listed = frozenset(addresses.values())
        leaving = {a: n for a, n in self._addresses.items() if n in members and n not in listed and a not in addresses}
        self._addresses = addresses
        self._check_source = configuration.transport.block_unlisted_ips
        self._let_in({**addresses, **leaving})

    def ring_formed(self) -> None:
        """The ring of those who were taken out is over."""
        if len(self._listed) != len(self._addresses):
            self._let_in(self._addresses)

    def _let_in(self, addresses: dict[str, NodeId]) -> None:
        self.node_at = addresses.get
        self._listed = frozenset(addresses.values())

    def admit(self, data: bytes, source: str) -> Packet | None:
        """The packet, or None for one's own echo. BadPacket says why a datagram is refused."""
        node = self.node_at(source)
        if node is None and self._check_source:
            raise BadPacket("source address is not in the nodelist", source)
        try:
            packet = decode_packet(data)
        except BadPacket:
            if data[: len(SEALED)] == SEALED:
                raise BadPacket("sealed, but the ring is open here (secauth, crypto_cipher)") from None
            raise
        claimed = packet.system_from if isinstance(packet, _ORIGINATED) else packet.sender
        if claimed == self._me and node in (self._me, None):
            return None
        self._check(packet, claimed)
        # Anybody may re-send a message unchanged; all else comes from the node that it names.
        if node is not None and node != claimed and not isinstance(packet, Mcast):
            raise BadPacket("node id does not belong to the source address", f"{source} claims to be node {claimed}")
        return packet

    def _check(self, packet: Packet, claimed: NodeId) -> None:
        if claimed not in self._listed:
            raise BadPacket("node is not in the nodelist", f"node {claimed}")
        if isinstance(packet, Mcast):
            if packet.sender != packet.system_from:
                raise BadPacket("message with two senders", f"{packet.sender} and {packet.system_from}")
        elif isinstance(packet, Join):
            self._check_join(packet)
        elif isinstance(packet, CommitToken):
            if packet.ring.seq >= RING_SEQ_MAX:
                raise BadPacket("absurd ring number", str(packet.ring.seq))
            self._check_nodes(packet.members)

    def _check_join(self, join: Join) -> None:
        if join.sender not in (0, join.system_from):
            raise BadPacket("join with two senders", f"{join.sender} and {join.system_from}")
        if join.ring_seq >= RING_SEQ_MAX:
            raise BadPacket("absurd ring number", str(join.ring_seq))
        if not join.is_leave and join.system_from not in join.proc_list:
            raise BadPacket("join without its sender", f"node {join.system_from}")
        self._check_nodes(join.proc_list)

    def _check_nodes(self, nodes: tuple[NodeId, ...]) -> None:
        unlisted = [nodeid for nodeid in nodes if nodeid not in self._listed]
        if unlisted:
            raise BadPacket(
                "names a node that is not in the nodelist",
                f"node {unlisted[0]}: add it to the nodelist here, or take it out of the sender's",
            )
