"""Packets that a member of the ring would never send, made of ones that it did: they pass the gate, and mean harm."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from totemd.errors import BadPacket
from totemd.ids import NodeId, RingId
from totemd.wire.packets import (
    LEAVE_SENDER,
    CommitEntry,
    CommitToken,
    HoldCancel,
    Join,
    Mcast,
    MergeDetect,
    OrfToken,
    decode_packet,
    encode_commit_token,
    encode_hold_cancel,
    encode_join,
    encode_mcast,
    encode_merge_detect,
    encode_orf_token,
)

U32 = (1 << 32) - 1
NUMBERS_32 = (0, 1, 2, 29, 30, 255, 16383, 16384, 20_000, 0x6FFFFFFF, 0x7FFFFFFF, 0x80000000, 0x80000001, U32 - 1, U32)
NUMBERS_64 = (0, 1, 5, 1 << 32, 1 << 48, (1 << 48) + (1 << 32), (1 << 62) - 1, 1 << 62, (1 << 64) - 1)


class Forger:
    """Forges by one seed; `nodes` are the nodes of the cluster."""

    def __init__(self, seed: int, nodes: int) -> None:
        self._random = Random(f"forger {seed}")
        self._nodes = nodes

    def forge(self, data: bytes) -> bytes:
        """Another packet of the same sender."""
        if self._random.random() < 0.15:
            return self._flip(data)
        try:
            packet = decode_packet(data)
        except BadPacket:
            return self._flip(data)
        if isinstance(packet, OrfToken):
            return self._token(packet)
        if isinstance(packet, Mcast):
            return self._mcast(packet)
        if isinstance(packet, Join):
            return self._join(packet)
        if isinstance(packet, CommitToken):
            return self._commit(packet)
        if isinstance(packet, MergeDetect):
            return encode_merge_detect(replace(packet, ring=self._ring(packet.ring)))
        return encode_hold_cancel(HoldCancel(packet.sender, self._ring(packet.ring)))

    def _flip(self, data: bytes) -> bytes:
        changed = bytearray(data)
        for _ in range(self._random.choice((1, 1, 2, 8))):
            changed[self._random.randrange(len(changed))] = self._random.choice((0, 1, 0x7F, 0x80, 0xFF))
        return bytes(changed[: self._random.choice((len(changed), self._random.randrange(len(changed) + 1)))])

    def _number(self, value: int, maximum: int = U32) -> int:
        random = self._random
        match random.randrange(4):
            case 0:
                return value
            case 1:
                return min(
                    maximum, max(0, value + random.choice((-16384, -40, -2, -1, 1, 2, 17, 50, 16000, 16384, 32768)))
                )
            case 2:
                return min(maximum, random.choice(NUMBERS_32))
            case _:
                return random.randrange(min(maximum, 100_000))

    def _ring(self, ring: RingId) -> RingId:
        match self._random.randrange(4):
            case 0:
                return RingId(self._node(), ring.seq)
            case 1:
                return RingId(ring.rep, self._seq(ring.seq))
            case _:
                return ring

    def _seq(self, seq: int) -> int:
        random = self._random
        return random.choice((seq, max(0, seq - 4), seq + 1, seq + 4, seq + 4000, random.choice(NUMBERS_64)))

    def _node(self) -> NodeId:
        return self._random.randrange(0, self._nodes + 2)

    def _some_nodes(self, maximum: int) -> tuple[NodeId, ...]:
        random = self._random
        if random.random() < 0.05:
            return tuple(random.randrange(U32) for _ in range(maximum))
        return tuple(self._node() for _ in range(random.randrange(self._nodes + 3)))

    def _token(self, token: OrfToken) -> bytes:
        number, random = self._number, self._random
        fields = {
            "seq": number(token.seq),
            "token_seq": number(token.token_seq),
            "aru": number(token.aru),
            "aru_addr": self._node(),
            "backlog": number(token.backlog),
            "fcc": number(token.fcc),
            "retrans_flg": random.choice((0, 1, 2, -1, -(1 << 31))),
            "ring": self._ring(token.ring),
            "rtr_list": tuple((self._ring(token.ring), number(token.seq)) for _ in range(random.randrange(31))),
        }
        chosen = random.sample(sorted(fields), random.randrange(1, 4))
        return encode_orf_token(replace(token, **{name: fields[name] for name in chosen}))  # type: ignore[arg-type]

    def _mcast(self, message: Mcast) -> bytes:
        random = self._random
        payload = message.payload
        match random.randrange(5):
            case 0:
                payload = self._flip(payload)
            case 1:
                payload = payload + bytes(random.randrange(2000))
            case 2:
                payload = message.raw
            case _:
                pass
        kind = random.choice((message.encapsulated, message.encapsulated, 0, 1, 2, 127))
        guarantee = random.choice((message.guarantee, 0, 1, -1))
        sender = message.sender
        seq, ring = self._number(message.seq), self._ring(message.ring)
        return encode_mcast(sender, kind, seq, message.this_seqno & 0x7FFFFFFF, ring, guarantee, payload)

    def _join(self, join: Join) -> bytes:
        random = self._random
        sender = random.choice((join.sender, join.sender, LEAVE_SENDER))
        proc = join.proc_list if random.random() < 0.5 else (join.system_from, *self._some_nodes(383))
        failed = join.failed_list if random.random() < 0.3 else self._some_nodes(384)
        return encode_join(Join(sender, join.system_from, self._seq(join.ring_seq), proc, failed))

    def _commit(self, token: CommitToken) -> bytes:
        random, number = self._random, self._number
        if random.random() < 0.5:
            members = token.members
        else:
            members = tuple(sorted(set(random.sample(range(1, self._nodes + 1), random.randrange(1, self._nodes + 1)))))
        rings = [entry.ring for entry in token.entries]
        entries = tuple(
            CommitEntry(self._ring(random.choice(rings)), number(10), number(10), random.choice((0, 1, U32)))
            if random.random() < 0.7
            else random.choice(token.entries)
            for _ in members
        )
        index = random.choice((min(token.memb_index, len(members)), random.randrange(len(members) + 1)))
        token_seq = random.choice((token.token_seq, U32))
        return encode_commit_token(
            CommitToken(token.sender, token_seq, self._ring(token.ring), index, members, entries)
        )
