"""The packets of the ring: bytes to records and back (protocol/, chapters "Packets" and "The direct token").

Everything is little-endian and packed. A peer of the other byte order is told apart by its magic and refused: real
corosync nodes of different byte order form rings but never finish synchronization, so nothing is lost by saying no.
Trailing bytes are accepted, as real nodes accept them. Field `target_nodeid` of the header is stack garbage in real
packets: ignored on receipt, zero when sent, except that a token carries it on unchanged.
"""

from collections.abc import Callable
from enum import IntEnum
from itertools import pairwise
from struct import Struct
from typing import Final, TypeAlias

from totemd.errors import BadPacket
from totemd.ids import NodeId, RingId
from totemd.limits import MCAST_HEADER_SIZE, PROCESSOR_COUNT_MAX, RETRANSMIT_ENTRIES_MAX
from totemd.record import record

MAGIC: Final = 0xC070
MAGIC_SWAPPED: Final = 0x70C0
VERSION: Final = 3
LEAVE_SENDER: Final = 0
"""Header node id that turns a join into a leave."""


class PacketType(IntEnum):
    """Header byte 3."""

    ORF_TOKEN = 0
    MCAST = 1
    MERGE_DETECT = 2
    JOIN = 3
    COMMIT_TOKEN = 4
    HOLD_CANCEL = 5
    # Between totemd nodes only.
    TOKEN_ASK = 64
    TOKEN_LOAN = 65
    TOKEN_TAKEN = 66


ENCAPSULATED: Final = 1
ORDINARY: Final = 2
GUARANTEE_AGREED: Final = 0
GUARANTEE_SAFE: Final = 1

_HEADER: Final = Struct("<HbbbII")
_TOKEN: Final = Struct("<HbbbIIIIIIIQIIii")
_RTR_ITEM: Final = Struct("<IQI")
_MCAST: Final = Struct("<HbbbIIIIiIQIi")
_MERGE: Final = Struct("<HbbbIIIIQ")
_HOLD_CANCEL: Final = Struct("<HbbbIIIQ")
_JOIN: Final = Struct("<HbbbIIIIIQ")
_COMMIT: Final = Struct("<HbbbIIIIQIii")
_COMMIT_ENTRY: Final = Struct("<IQIII")
_FEATURES: Final = Struct("<IHH")
_ASK: Final = Struct("<HbbbIIIQIIB")
_LOAN: Final = Struct("<HbbbIIIQIIIIB")
_TAKEN: Final = Struct("<HbbbIIIQI")

FEATURES_MAGIC: Final = 0x3A746F74
"""How the announcement behind a join begins: "tot:"."""
FEATURES_VERSION: Final = 1
FEATURE_DIRECT_TOKEN: Final = 1

DIRECT_LAP: Final = 0x0D12EC70
"""Header field target_nodeid of a token that the representative will keep at the end of this rotation."""


@record
class OrfToken:
    """The ordering token. `sender` is the node of this hop; `target` is carried on as found."""

    sender: NodeId
    target: int
    seq: int
    token_seq: int
    aru: int
    aru_addr: NodeId
    ring: RingId
    backlog: int
    fcc: int
    retrans_flg: int
    rtr_list: tuple[tuple[RingId, int], ...]


@record
class Mcast:
    """A sequenced message. `raw` is the whole datagram, kept to be re-sent unchanged."""

    sender: NodeId
    encapsulated: int
    system_from: NodeId
    seq: int
    this_seqno: int
    ring: RingId
    guarantee: int
    raw: bytes

    @property
    def payload(self) -> bytes:
        """What the ring carries: a group packet, or for a recovery message a whole mcast of the old ring."""
        return self.raw[MCAST_HEADER_SIZE:]


@record
class MergeDetect:
    """The representative of an idle ring shows that the ring exists."""

    sender: NodeId
    system_from: NodeId
    ring: RingId


@record
class HoldCancel:
    """Somebody wants to send: the representative must release a parked token."""

    sender: NodeId
    ring: RingId


@record
class Join:
    """A node's view of who is there (`proc_list`) and who is not (`failed_list`); a leave has sender 0."""

    sender: NodeId
    system_from: NodeId
    ring_seq: int
    proc_list: tuple[NodeId, ...]
    failed_list: tuple[NodeId, ...]
    features: int = 0
    """What else the sender knows: FEATURE_ bits. Real nodes announce nothing."""

    @property
    def is_leave(self) -> bool:
        """A leaver announces itself with header node id 0 and stands last in its own failed list."""
        return self.sender == LEAVE_SENDER


@record
class CommitEntry:
    """What one member says of its old ring; all zero until it has."""

    ring: RingId
    aru: int
    high_delivered: int
    received_flg: int


@record
class CommitToken:
    """The proposal of a new ring; `members` ascending, one entry for each."""

    sender: NodeId
    token_seq: int
    ring: RingId
    memb_index: int
    members: tuple[NodeId, ...]
    entries: tuple[CommitEntry, ...]


@record
class TokenAsk:
    """`asker`, which has seen the token last with `token_seq`, wants it. `hops`: how often this was passed on by nodes
    that did not have it."""

    sender: NodeId
    ring: RingId
    asker: NodeId
    token_seq: int
    hops: int


class Lap(IntEnum):
    """What the representative is to do with a token that comes back."""

    NONE = 0
    ONE = 1
    """One rotation."""
    BUSY = 2
    """Rotate: several nodes want to send."""


@record
class TokenLoan:
    """The resting token goes to a member: lent, handed over or given back. `base`: a rotation has shown that everybody
    has the messages up to here; `age_us`: how long the token has not rotated."""

    sender: NodeId
    ring: RingId
    token_seq: int
    seq: int
    base: int
    age_us: int
    lap: Lap


@record
class TokenTaken:
    """The answer to a copy of a loan: it had arrived."""

    sender: NodeId
    ring: RingId
    token_seq: int


Packet: TypeAlias = OrfToken | Mcast | MergeDetect | Join | CommitToken | HoldCancel | TokenAsk | TokenLoan | TokenTaken


def _decode_token(data: bytes) -> OrfToken:
    if len(data) < _TOKEN.size:
        raise BadPacket("token truncated", f"{len(data)} bytes")
    fields = _TOKEN.unpack_from(data)
    (_, _, _, _, sender, target, seq, token_seq, aru, aru_addr, rep, ring_seq, backlog, fcc, retrans, count) = fields
    if count == 0:
        rtr: tuple[tuple[RingId, int], ...] = ()
    else:
        if not 0 <= count <= RETRANSMIT_ENTRIES_MAX:
            raise BadPacket("token retransmit list too long", str(count))
        if len(data) < _TOKEN.size + count * _RTR_ITEM.size:
            raise BadPacket("token truncated", f"{len(data)} bytes, {count} retransmit entries")
        end = _TOKEN.size + count * _RTR_ITEM.size
        rtr = tuple((RingId(r, s), q) for r, s, q in _RTR_ITEM.iter_unpack(data[_TOKEN.size : end]))
    return OrfToken(sender, target, seq, token_seq, aru, aru_addr, RingId(rep, ring_seq), backlog, fcc, retrans, rtr)


def encode_orf_token(token: OrfToken) -> bytes:
    """The token's datagram."""
    ring = token.ring
    head = _TOKEN.pack(
        MAGIC, VERSION, 0, 0, token.sender, token.target, token.seq, token.token_seq, token.aru, token.aru_addr,
        ring.rep, ring.seq, token.backlog, token.fcc, token.retrans_flg, len(token.rtr_list),
    )  # fmt: skip
    if not token.rtr_list:
        return head
    return head + b"".join(_RTR_ITEM.pack(r.rep, r.seq, seq) for r, seq in token.rtr_list)


PLAIN_TOKEN_HEAD: Final = bytes((0x70, 0xC0, VERSION, PacketType.ORF_TOKEN))
"""How every ordering token begins."""
PLAIN_TOKEN_SIZE: Final = _TOKEN.size
"""Bytes of a token that asks for nothing."""

_TOKEN_FIELDS: Final = Struct("<5xIIIIIIIQIIii")


def unpack_plain_token(data: bytes) -> tuple[int, int, int, int, int, NodeId, NodeId, int, int, int, int, int]:
    """The fields of a token of PLAIN_TOKEN_SIZE with PLAIN_TOKEN_HEAD, in OrfToken's order but with the ring's rep and
    seq as two, and the number of its requests as the last."""
    return _TOKEN_FIELDS.unpack(data)


def token_target(data: bytes) -> int:
    """The target in an ordering token's datagram."""
    return int.from_bytes(data[9:13], "little")


def pack_plain_token(*fields: int) -> bytes:
    """The datagram of a token without requests; `fields` as `unpack_plain_token` gives them, without the last."""
    return _TOKEN.pack(MAGIC, VERSION, 0, 0, *fields, 0)


PLAIN_MCAST_HEAD: Final = bytes((0x70, 0xC0, VERSION, PacketType.MCAST, ORDINARY))
"""How every message begins that is not a recovered one."""

_MCAST_FIELDS: Final = Struct("<5xI4xIIiIQ4xi")


def unpack_plain_mcast(data: bytes) -> tuple[NodeId, NodeId, int, int, NodeId, int, int]:
    """Of a message of MCAST_HEADER_SIZE at least: sender, originator, seq, its number at the originator, the ring's rep
    and seq, guarantee."""
    return _MCAST_FIELDS.unpack_from(data)


def _decode_mcast(data: bytes) -> Mcast:
    if len(data) < MCAST_HEADER_SIZE:
        raise BadPacket("mcast truncated", f"{len(data)} bytes")
    fields = _MCAST.unpack_from(data)
    (_, _, _, encapsulated, sender, _, system_from, seq, this_seqno, rep, ring_seq, _, guarantee) = fields
    return Mcast(sender, encapsulated, system_from, seq, this_seqno, RingId(rep, ring_seq), guarantee, data)


def encode_mcast(
    sender: NodeId, encapsulated: int, seq: int, this_seqno: int, ring: RingId, guarantee: int, payload: bytes
) -> bytes:
    """A message's datagram; the originator stands in both node id fields."""
    return (
        _MCAST.pack(
            MAGIC, VERSION, 1, encapsulated, sender, 0, sender, seq, this_seqno, ring.rep, ring.seq, 0, guarantee
        )
        + payload
    )


def _decode_merge_detect(data: bytes) -> MergeDetect:
    if len(data) < _MERGE.size:
        raise BadPacket("merge detect truncated", f"{len(data)} bytes")
    (_, _, _, _, sender, _, system_from, rep, seq) = _MERGE.unpack_from(data)
    return MergeDetect(sender, system_from, RingId(rep, seq))


def encode_merge_detect(packet: MergeDetect) -> bytes:
    """The datagram of a merge detect."""
    ring = packet.ring
    return _MERGE.pack(MAGIC, VERSION, 2, 0, packet.sender, 0, packet.system_from, ring.rep, ring.seq)


def _decode_hold_cancel(data: bytes) -> HoldCancel:
    if len(data) < _HOLD_CANCEL.size:
        raise BadPacket("hold cancel truncated", f"{len(data)} bytes")
    (_, _, _, _, sender, _, rep, seq) = _HOLD_CANCEL.unpack_from(data)
    return HoldCancel(sender, RingId(rep, seq))


def encode_hold_cancel(packet: HoldCancel) -> bytes:
    """The datagram of a hold cancel."""
    return _HOLD_CANCEL.pack(MAGIC, VERSION, 5, 0, packet.sender, 0, packet.ring.rep, packet.ring.seq)


def _decode_join(data: bytes) -> Join:
    if len(data) < _JOIN.size:
        raise BadPacket("join truncated", f"{len(data)} bytes")
    (_, _, _, _, sender, _, system_from, procs, failed, ring_seq) = _JOIN.unpack_from(data)
    if procs > PROCESSOR_COUNT_MAX or failed > PROCESSOR_COUNT_MAX:
        raise BadPacket("join lists too long", f"{procs} and {failed}")
    end = _JOIN.size + 4 * (procs + failed)
    if len(data) < end:
        raise BadPacket("join truncated", f"{len(data)} bytes, {procs} and {failed} entries")
    nodes = Struct(f"<{procs + failed}I").unpack_from(data, _JOIN.size)
    return Join(sender, system_from, ring_seq, nodes[:procs], nodes[procs:], _decode_features(data, end))


def _decode_features(data: bytes, offset: int) -> int:
    """What is announced behind a join; anything but an announcement is none."""
    if len(data) < offset + _FEATURES.size:
        return 0
    return decode_announcement(data[offset:])


def decode_announcement(data: bytes) -> int:
    """The features that `data`, which follows a join, announces; 0 if it is something else. BadPacket if too short."""
    if len(data) < _FEATURES.size:
        raise BadPacket("announcement truncated", f"{len(data)} bytes")
    magic, version, features = _FEATURES.unpack_from(data)
    return features if magic == FEATURES_MAGIC and version == FEATURES_VERSION else 0


def encode_announcement(features: int) -> bytes:
    """What a node appends to its joins."""
    return _FEATURES.pack(FEATURES_MAGIC, FEATURES_VERSION, features)


def encode_join(join: Join) -> bytes:
    """The datagram of a join or leave."""
    head = _JOIN.pack(
        MAGIC, VERSION, 3, 0, join.sender, 0, join.system_from,
        len(join.proc_list), len(join.failed_list), join.ring_seq,
    )  # fmt: skip
    nodes = (*join.proc_list, *join.failed_list)
    tail = encode_announcement(join.features) if join.features else b""
    return head + Struct(f"<{len(nodes)}I").pack(*nodes) + tail


def _decode_commit_token(data: bytes) -> CommitToken:
    if len(data) < _COMMIT.size:
        raise BadPacket("commit token truncated", f"{len(data)} bytes")
    (_, _, _, _, sender, _, token_seq, rep, seq, _, memb_index, count) = _COMMIT.unpack_from(data)
    if not 1 <= count <= PROCESSOR_COUNT_MAX or not 0 <= memb_index <= count:
        raise BadPacket("commit token counts", f"index {memb_index} of {count}")
    addresses_end = _COMMIT.size + 4 * count
    end = addresses_end + _COMMIT_ENTRY.size * count
    if len(data) < end:
        raise BadPacket("commit token truncated", f"{len(data)} bytes, {count} members")
    members = Struct(f"<{count}I").unpack_from(data, _COMMIT.size)
    if any(a >= b for a, b in pairwise(members)):
        # The order of this list is the ring; two nodes must never disagree on who follows whom.
        raise BadPacket("commit token members not ascending")
    entries = tuple(
        CommitEntry(RingId(r, s), aru, high, flag)
        for r, s, aru, high, flag in _COMMIT_ENTRY.iter_unpack(data[addresses_end:end])
    )
    return CommitToken(sender, token_seq, RingId(rep, seq), memb_index, members, entries)


def encode_commit_token(token: CommitToken) -> bytes:
    """The datagram of a commit token."""
    count = len(token.members)
    head = _COMMIT.pack(
        MAGIC, VERSION, 4, 0, token.sender, 0, token.token_seq, token.ring.rep, token.ring.seq, 0,
        token.memb_index, count,
    )  # fmt: skip
    entries = b"".join(
        _COMMIT_ENTRY.pack(e.ring.rep, e.ring.seq, e.aru, e.high_delivered, e.received_flg) for e in token.entries
    )
    return head + Struct(f"<{count}I").pack(*token.members) + entries


def _decode_ask(data: bytes) -> TokenAsk:
    if len(data) < _ASK.size:
        raise BadPacket("ask truncated", f"{len(data)} bytes")
    (_, _, _, _, sender, _, rep, seq, asker, token_seq, hops) = _ASK.unpack_from(data)
    return TokenAsk(sender, RingId(rep, seq), asker, token_seq, hops)


def encode_token_ask(ask: TokenAsk) -> bytes:
    """The datagram of an ask."""
    ring = ask.ring
    return _ASK.pack(
        MAGIC, VERSION, PacketType.TOKEN_ASK, 0, ask.sender, 0, ring.rep, ring.seq, ask.asker, ask.token_seq, ask.hops
    )


def _decode_loan(data: bytes) -> TokenLoan:
    if len(data) < _LOAN.size:
        raise BadPacket("loan truncated", f"{len(data)} bytes")
    (_, _, _, _, sender, _, rep, ring_seq, token_seq, seq, base, age_us, lap) = _LOAN.unpack_from(data)
    if lap > Lap.BUSY:
        raise BadPacket("loan with an unknown wish", str(lap))
    return TokenLoan(sender, RingId(rep, ring_seq), token_seq, seq, base, age_us, Lap(lap))


def encode_token_loan(loan: TokenLoan) -> bytes:
    """The datagram of a loan."""
    ring = loan.ring
    return _LOAN.pack(
        MAGIC, VERSION, PacketType.TOKEN_LOAN, 0, loan.sender, 0, ring.rep, ring.seq, loan.token_seq, loan.seq,
        loan.base, loan.age_us, loan.lap,
    )  # fmt: skip


def _decode_taken(data: bytes) -> TokenTaken:
    if len(data) < _TAKEN.size:
        raise BadPacket("taken truncated", f"{len(data)} bytes")
    (_, _, _, _, sender, _, rep, seq, token_seq) = _TAKEN.unpack_from(data)
    return TokenTaken(sender, RingId(rep, seq), token_seq)


def encode_token_taken(taken: TokenTaken) -> bytes:
    """The datagram that says that a loan had arrived."""
    ring = taken.ring
    return _TAKEN.pack(MAGIC, VERSION, PacketType.TOKEN_TAKEN, 0, taken.sender, 0, ring.rep, ring.seq, taken.token_seq)


_DECODERS: Final[dict[int, Callable[[bytes], Packet]]] = {
    PacketType.ORF_TOKEN: _decode_token,
    PacketType.MCAST: _decode_mcast,
    PacketType.MERGE_DETECT: _decode_merge_detect,
    PacketType.JOIN: _decode_join,
    PacketType.COMMIT_TOKEN: _decode_commit_token,
    PacketType.HOLD_CANCEL: _decode_hold_cancel,
    PacketType.TOKEN_ASK: _decode_ask,
    PacketType.TOKEN_LOAN: _decode_loan,
    PacketType.TOKEN_TAKEN: _decode_taken,
}


def decode_packet(data: bytes) -> Packet:
    """Decode one datagram; BadPacket, with a stable reason word for counters, if it is not a valid packet."""
    if len(data) < _HEADER.size:
        raise BadPacket("shorter than a header", f"{len(data)} bytes")
    if data[0] != 0x70 or data[1] != 0xC0:
        raise BadPacket(*_explain_magic(data))
    if data[2] != VERSION:
        raise BadPacket("wrong version", str(data[2]))
    decode = _DECODERS.get(data[3])
    if decode is None:
        raise BadPacket("unknown packet type", str(data[3]))
    return decode(data)


def _explain_magic(data: bytes) -> tuple[str, str]:
    magic = data[0] | data[1] << 8
    if magic == MAGIC_SWAPPED:
        return "big-endian peer", "rings of mixed byte order never synchronize"
    if magic in (0xFFFF, 0xFEFE):
        return "corosync 2 peer", "its wire format cannot join a corosync 3 ring"
    return "not a ring packet", f"starts with {data[:2].hex()}"
