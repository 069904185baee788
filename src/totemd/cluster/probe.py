"""Probes: whether a node that wants to join reaches every member on the ring's own addresses, and they reach it.

    "TPRB" | kind | asked | 0 0 | probe id (16) | node id (4) | joiner's address (16) | MAC (16) | zeros

The joiner asks from the ring's sockets, members answer from theirs; a probe is as large as the ring's largest datagram.
ASK_ALONE goes to one member and ASK_GROUP to the multicast address, and each is answered to the joiner alone; ASK_ECHO
goes to one member, which answers to the multicast address. The MAC's key follows from the cluster's key and the probe
id, so members need to know nothing of a join to answer, and answer nobody else (protocol/, chapter "Joining").
"""

import hmac
import struct
from collections.abc import Callable, Iterable, Sequence
from ipaddress import IPv6Address, ip_address
from typing import Final

from totemd.ids import NodeId
from totemd.record import record

MAGIC: Final = b"TPRB"
ASK_ALONE: Final = 1
ASK_GROUP: Final = 2
ASK_ECHO: Final = 3
ANSWER: Final = 4

PROBE_ID_SIZE: Final = 16
MAC_SIZE: Final = 16
_HEAD: Final = struct.Struct(">4sBBH16sI16s")
PROBE_SIZE_MIN: Final = _HEAD.size + MAC_SIZE
PROBE_SIZE_MAX: Final = 65507

ANSWERS_PER_S: Final = 500
"""Probes that a member looks at in a second, forged ones included; what one costs it is two HMACs."""

PERIOD_S: Final = 0.1
PATIENCE_S: Final = 3.0
"""How often the joiner asks, and for how long."""

MEMBERS_MAX: Final = 384


@record
class Probe:
    """One datagram. `nodeid` is the member's that is asked or answers (0: all); `address` is the joiner's."""

    kind: int
    asked: int
    probe_id: bytes
    nodeid: NodeId
    address: str

    def to_bytes(self, key: bytes, size: int) -> bytes:
        """The datagram, filled up to `size` bytes."""
        packed = _packed(self.address)
        head = _HEAD.pack(MAGIC, self.kind, self.asked, 0, self.probe_id, self.nodeid, packed)
        return (head + _mac(key, head)).ljust(size, b"\0")


@record
class Target:
    """A member to be probed."""

    nodeid: NodeId
    name: str
    address: str


@record
class ProbeOrder:
    """What a joiner is told to probe, and how; `mcast_address` None: there is no multicast (udpu)."""

    probe_id: bytes
    key: bytes
    port: int
    mcast_address: str | None
    ttl: int
    size_bytes: int
    members: tuple[Target, ...]


def probe_key(secret: bytes, cluster_id: bytes, probe_id: bytes) -> bytes:
    """The MAC's key; `secret` is the cluster's."""
    return hmac.digest(secret, b"totemd probe 1" + cluster_id + probe_id, "sha256")


def parse_probe(data: bytes, key_of: Callable[[bytes], Iterable[bytes]]) -> tuple[Probe, bytes] | None:
    """The probe in a datagram and its key, one of those that `key_of` gives for its probe id; None if it is none."""
    if not PROBE_SIZE_MIN <= len(data) <= PROBE_SIZE_MAX or data[:4] != MAGIC:
        return None
    _, kind, asked, _, probe_id, nodeid, packed = _HEAD.unpack_from(data)
    if not ASK_ALONE <= kind <= ANSWER or (kind == ANSWER) != (ASK_ALONE <= asked <= ASK_ECHO):
        return None
    head, mac = data[: _HEAD.size], data[_HEAD.size : PROBE_SIZE_MIN]
    for key in key_of(probe_id):
        if hmac.compare_digest(mac, _mac(key, head)):
            return Probe(kind, asked, probe_id, nodeid, _unpacked(packed)), key
    return None


class Responder:
    """The member's side."""

    def __init__(self, nodeid: NodeId, cluster_id: bytes, secrets: Callable[[], Iterable[bytes]]) -> None:
        """`secrets` gives the cluster's keys that count now."""
        self._nodeid = nodeid
        self._cluster_id = cluster_id
        self._secrets = secrets
        self._allowed = float(ANSWERS_PER_S)
        self._looked_at = 0.0

    def answer(self, data: bytes, now: float) -> tuple[str | None, bytes] | None:
        """What to send for a probe, and to whom: to an address, or None: to the group. None if nothing."""
        self._allowed = min(float(ANSWERS_PER_S), self._allowed + (now - self._looked_at) * ANSWERS_PER_S)
        self._looked_at = now
        if self._allowed < 1:
            return None
        self._allowed -= 1
        found = parse_probe(data, self._keys)
        if found is None:
            return None
        probe, key = found
        if probe.kind == ANSWER or probe.nodeid not in (0, self._nodeid):
            return None
        answer = Probe(ANSWER, probe.kind, probe.probe_id, self._nodeid, probe.address).to_bytes(key, len(data))
        return (None if probe.kind == ASK_ECHO else probe.address), answer

    def _keys(self, probe_id: bytes) -> list[bytes]:
        return [probe_key(secret, self._cluster_id, probe_id) for secret in self._secrets()]


class Prober:
    """The joiner's side: `due` until it is `complete` or the time is over, then `problems`."""

    def __init__(self, order: ProbeOrder, own_address: str) -> None:
        self._order = order
        self._own = own_address
        kinds = (ASK_ALONE,) if order.mcast_address is None else (ASK_ALONE, ASK_GROUP, ASK_ECHO)
        self._missing = {(target.nodeid, kind) for target in order.members for kind in kinds}

    @property
    def complete(self) -> bool:
        """Whether every way has been proven."""
        return not self._missing

    def due(self) -> list[tuple[str | None, bytes]]:
        """What to send now: to an address, or None: to the group."""
        sends: list[tuple[str | None, bytes]] = []
        for target in self._order.members:
            for kind in (ASK_ALONE, ASK_ECHO):
                if (target.nodeid, kind) in self._missing:
                    sends.append((target.address, self._ask(kind, target.nodeid)))
        if any(kind == ASK_GROUP for _, kind in self._missing):
            sends.append((None, self._ask(ASK_GROUP, 0)))
        return sends

    def receive(self, data: bytes) -> None:
        """A datagram came on one of the ring's sockets."""
        found = parse_probe(data, lambda probe_id: [self._order.key] if probe_id == self._order.probe_id else [])
        if found is not None and found[0].kind == ANSWER and found[0].address == self._own:
            self._missing.discard((found[0].nodeid, found[0].asked))

    def problems(self) -> list[str]:
        """What has not been proven, one sentence for each member, with what to look at."""
        return [text for target in self._order.members if (text := self._problem(target))]

    def _problem(self, target: Target) -> str:
        port, group = self._order.port, self._order.mcast_address
        lacks = {kind for nodeid, kind in self._missing if nodeid == target.nodeid}
        where = f"{target.name} ({target.address})"
        if not lacks:
            return ""
        if ASK_ALONE in lacks and (lacks == {ASK_ALONE} or len(lacks) == 3):
            return (
                f"{where} and {self._own} do not reach each other by UDP: let ports {port - 1} and {port} through on "
                f"both, and see that datagrams of {self._order.size_bytes} bytes pass"
            )
        if lacks == {ASK_GROUP}:
            return f"multicasts from {self._own} to {group} port {port} do not reach {where}: {_IGMP}"
        if lacks == {ASK_ECHO}:
            return f"multicasts from {where} to {group} port {port} do not reach {self._own}: {_IGMP}"
        if ASK_ALONE not in lacks:
            return f"multicasts to {group} port {port} pass neither way between {where} and {self._own}: {_IGMP}"
        return f"datagrams between {where} and {self._own} get lost: look at the network between the two"

    def _ask(self, kind: int, nodeid: NodeId) -> bytes:
        return Probe(kind, 0, self._order.probe_id, nodeid, self._own).to_bytes(self._order.key, self._order.size_bytes)


_IGMP: Final = "the switch needs an IGMP querier, or IGMP snooping off; or use transport udpu"


def targets(nodes: Sequence[tuple[NodeId, str | None, str]]) -> tuple[Target, ...]:
    """Targets of (node id, name, address)."""
    return tuple(Target(nodeid, name or str(nodeid), address) for nodeid, name, address in nodes)


def _mac(key: bytes, head: bytes) -> bytes:
    return hmac.digest(key, head, "sha256")[:MAC_SIZE]


def _packed(address: str) -> bytes:
    parsed = ip_address(address)
    return parsed.packed if parsed.version == 6 else b"\0" * 10 + b"\xff\xff" + parsed.packed


def _unpacked(packed: bytes) -> str:
    address = IPv6Address(packed)
    return str(address.ipv4_mapped or address)
