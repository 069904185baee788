"""What two doctors tell each other, so that both know what passes between them: probes, and what was heard of them.

    "TOTEMDOC" | u16 length | msgpack map | zeros up to the probe's size

A probe says who sends it and when, whether it went to all or to one, and for each other doctor how many small and full
probes of it were heard and when the last. Nothing here is secret or signed: it decides about a report alone. No IO.
"""

from collections.abc import Iterable, Mapping
from struct import Struct
from typing import Any, Final

import msgpack

from totemd.ids import NodeId
from totemd.record import record

MAGIC: Final = b"TOTEMDOC"
SMALL_BYTES: Final = 512
HEARD_MAX: Final = 8
"""Nodes of whose probes a probe tells, in turns: so many fit into a small one."""
_LENGTH: Final = Struct(">H")
_HEAD_BYTES: Final = len(MAGIC) + _LENGTH.size
_TIME_MAX: Final = 1e12


@record
class Offset:
    """By how much a peer's clock is ahead of ours, as the quickest answer tells; both ways took `round_trip_s`."""

    ahead_s: float
    round_trip_s: float


class Peer:
    """What is known of one other node's doctor. Counts are by (to all, full size)."""

    def __init__(self, nodeid: NodeId, address: str) -> None:
        self.nodeid = nodeid
        self.address = address
        self.heard: dict[tuple[bool, bool], int] = {}
        """Its probes that came here."""
        self.told: dict[tuple[bool, bool], int] | None = None
        """Our probes that came there; None: it has said nothing of us yet."""
        self.offset: Offset | None = None
        self.last: tuple[float, float] = 0.0, 0.0
        """When its last probe was sent, by its clock, and came, by ours."""

    @property
    def here(self) -> bool:
        """Whether anything was heard of it."""
        return bool(self.heard)


class Exchange:
    """One doctor's side. `peers`: the other listed nodes by id with their numeric addresses."""

    def __init__(self, own: NodeId, peers: Mapping[NodeId, str], full_bytes: int) -> None:
        self.own = own
        self.peers = {nodeid: Peer(nodeid, address) for nodeid, address in peers.items()}
        self.full_bytes = max(full_bytes, SMALL_BYTES)
        self.strangers: dict[str, int] = {}
        """Probes from addresses that are not listed, or under another's id: another cluster, or another list."""
        self._by_address = {address: self.peers[nodeid] for nodeid, address in peers.items()}
        self._turn = 0

    def probe(self, now: float, *, to_all: bool, full: bool) -> bytes:
        """The next probe at wall time `now`."""
        told = [peer for peer in self.peers.values() if peer.here]
        self._turn += HEARD_MAX
        first = self._turn % len(told) if told else 0
        chosen = (told[first:] + told[:first])[:HEARD_MAX]
        heard = {peer.nodeid: [*(peer.heard.get(kind, 0) for kind in _KINDS), *peer.last] for peer in chosen}
        body: bytes = msgpack.packb({"id": self.own, "at": now, "all": to_all, "full": full, "heard": heard})
        size = self.full_bytes if full else SMALL_BYTES
        return (MAGIC + _LENGTH.pack(len(body)) + body).ljust(size, b"\0")

    def complete(self, *, multicast: bool) -> bool:
        """Whether probes of every kind pass both ways between here and every peer: there is nothing more to learn."""
        kinds = {(to_all, full) for to_all, full in _KINDS if multicast or not to_all}
        return all(
            peer.told is not None and kinds <= peer.heard.keys() and kinds <= peer.told.keys()
            for peer in self.peers.values()
        )

    def receive(self, data: bytes, source: str, now: float) -> None:
        """A datagram from `source` came at wall time `now`. Whatever is no probe of a listed node is only counted."""
        probe = _decode(data)
        if probe is None or probe["id"] == self.own:
            return
        peer = self._by_address.get(source)
        if peer is None or peer.nodeid != probe["id"]:
            if len(self.strangers) < 1000 or source in self.strangers:
                self.strangers[source] = self.strangers.get(source, 0) + 1
            return
        kind = (probe["all"], probe["full"])
        peer.heard[kind] = peer.heard.get(kind, 0) + 1
        peer.last = probe["at"], now
        told = probe["heard"].get(self.own)
        if told is not None:
            counts = {kind: count for kind, count in zip(_KINDS, told[:4], strict=True) if count}
            peer.told = counts
            self._measure(peer, told[4], told[5], probe["at"], now)

    def _measure(self, peer: Peer, sent: float, came: float, answered: float, now: float) -> None:
        round_trip_s = (now - sent) - (answered - came)
        if round_trip_s < 0 or not sent:
            return
        if peer.offset is None or round_trip_s < peer.offset.round_trip_s:
            peer.offset = Offset(((came - sent) + (answered - now)) / 2, round_trip_s)


_KINDS: Final = ((True, False), (True, True), (False, False), (False, True))


def _decode(data: bytes) -> dict[str, Any] | None:
    """A probe's fields, all checked; None for anything else."""
    if not data.startswith(MAGIC) or len(data) < _HEAD_BYTES:
        return None
    (length,) = _LENGTH.unpack_from(data, len(MAGIC))
    body = data[_HEAD_BYTES : _HEAD_BYTES + length]
    try:
        fields = msgpack.unpackb(body, strict_map_key=False, max_map_len=64, max_array_len=64)
    except Exception:  # msgpack raises half a dozen unrelated kinds for bytes that are none of its own
        return None
    if not isinstance(fields, dict):
        return None
    heard = fields.get("heard")
    well = (
        type(fields.get("id")) is int
        and _is_time(fields.get("at"))
        and type(fields.get("all")) is bool
        and type(fields.get("full")) is bool
        and isinstance(heard, dict)
        and all(_is_count_of(told) for told in heard.values())
    )
    return fields if well else None


def _is_count_of(told: object) -> bool:
    return (
        isinstance(told, list)
        and len(told) == 6
        and all(type(count) is int and count >= 0 for count in told[:4])
        and all(map(_is_time, told[4:]))
    )


def _is_time(value: object) -> bool:
    return type(value) is float and 0 <= value < _TIME_MAX


def listed(peers: Iterable[Peer], names: Mapping[NodeId, str]) -> str:
    """The peers' names, for people."""
    return ", ".join(f"{names.get(peer.nodeid) or peer.address} ({peer.nodeid})" for peer in peers)
