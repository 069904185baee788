"""What comes to a seal: from a stranger, from somebody with an old key, and from a member gone bad."""

from __future__ import annotations

import contextlib
from random import Random
from typing import Final

from chunking import chunk, chunks
from sealed_nodes import CLUSTER_ID, KEY, Air, SealedNode
from totemd.errors import OperatorError
from totemd.seal import OVERHEAD_BYTES, Credentials, Key, KeyRing, Reason, Verdict
from totemd.seal.datagram import HEADER_SIZE, NONCE_AT, Header, Kind, decode_header, encode_header
from totemd.seal.keys import KEYS_MAX
from totemd.seal.messages import (
    Challenge,
    Hello,
    MessageType,
    Response,
    encode_message,
)
from totemd.seal.peers import PEERS_MAX
from totemd.seal.suite import Suite

OLD_KEY: Final = Key.of(bytes(range(32)))
RAW, CHANGED, MEMBER, STRANGER, FORMER, WAIT = range(6)
"""Kinds of what happens: a datagram as it stands; one of those that were sent, some bytes of it changed; a control
message or packet that a member seals; that a session seals which nobody knows; the same under a retired key; time."""


def key_file(data: bytes) -> None:
    """A key file."""
    with contextlib.suppress(OperatorError):
        ring = KeyRing.parse(data)
        assert 1 <= len(ring.all()) <= KEYS_MAX
        assert KeyRing.parse(ring.to_bytes()) == ring


def sealed_datagrams(data: bytes) -> None:
    """A node in a ring of three hears anything. It raises nothing, answers each datagram with three at most, forgets
    nobody and grows no further than it may."""
    air = Air(1)
    keys = KeyRing(KEY, (), (OLD_KEY,))
    nodes = [air.node(nodeid, keys=keys, judge=_judge) for nodeid in (1, 2, 3)]
    victim, member = nodes[0], nodes[1]
    sender = _Sender(member, victim)
    packets = len(victim.heard)
    for kind, piece in chunks(data, 64):
        if kind % 6 == WAIT:
            _wait(air, victim, min(int.from_bytes(piece[:2], "little"), 3000) / 1000)
            continue
        victim.receive(sender.make(kind, piece, air.sent), air.now)
        sent = victim.take()
        assert len(sent) <= 3
        for _, datagram in sent:
            decode_header(datagram)
            air.sent.append(datagram)
    assert len(victim.heard) <= packets + 64
    assert len(victim.seal._handshake.peers) <= PEERS_MAX
    assert len(victim.seal.counters) < 50
    assert len(victim.logged) < 200
    assert all(line.isprintable() for _, line in victim.logged)


def _judge(shown: Credentials) -> Verdict:
    """Names decide, so that every verdict is met."""
    reason = next((reason for reason in Reason if reason.value == shown.name), None)
    return Verdict(reason, shown.name, shown.name)


def _wait(air: Air, victim: SealedNode, seconds: float) -> None:
    air.now += seconds
    for _ in range(100):
        if victim.seal.next_deadline() > air.now:
            break
        victim.seal.handle_timer(air.now)
        victim.take()
    assert victim.seal.next_deadline() > air.now


class _Sender:
    """Makes the datagrams."""

    def __init__(self, member: SealedNode, victim: SealedNode) -> None:
        self._member = member
        self._victim = victim
        self._counter = 1000
        self._suite = Suite("aes256", member.cluster_id)

    def make(self, kind: int, piece: bytes, sent: list[bytes]) -> bytes:
        if kind % 6 == RAW:
            return piece
        if kind % 6 == CHANGED:
            original = bytearray(sent[piece[0] % len(sent)] if piece else sent[0])
            for place, value in zip(piece[1::2], piece[2::2], strict=False):
                original[place % len(original)] ^= value
            return bytes(original)
        piece = self._fitting(piece, retired=kind % 6 == FORMER)
        key = OLD_KEY if kind % 6 == FORMER else KEY
        session = self._member.session if kind % 6 == MEMBER else bytes([kind // 12]) * 16
        self._counter += 1
        to_one = kind // 12 % 2 == 1
        content = (Kind.RING_TO_ONE if to_one else Kind.RING) if kind // 6 % 2 else Kind.CONTROL
        header = encode_header(Header(content, key.ident, self._member.nodeid, session, self._counter))
        aead = self._suite.session(key, self._member.nodeid, session, 1 if content.to_one else 0)
        return header + aead.encrypt(header[NONCE_AT:HEADER_SIZE], piece, header)

    def _fitting(self, piece: bytes, *, retired: bool) -> bytes:
        """A response or a ruling with the numbers that belong there, which no fuzzer would guess."""
        peer = self._victim.seal._handshake.peers.get(self._member.nodeid)
        if peer is None:
            return piece
        dealings = peer.dealings[retired]
        if piece[:1] == bytes((MessageType.RESPONSE,)) and dealings.nonce is not None:
            return piece[:1] + dealings.nonce + piece[17:]
        if piece[:1] == bytes((MessageType.RULING,)) and dealings.answered:
            return piece[:1] + self._victim.session + dealings.answered[-1] + piece[33:]
        return piece


def seal_seeds(messages: dict[str, bytes]) -> dict[str, bytes]:
    """`messages`: golden vectors of what is inside of control datagrams."""
    seeds = {
        name: b"".join(chunk(kind, data) for kind in (MEMBER, STRANGER, FORMER)) for name, data in messages.items()
    }
    for reason in ("pike", *Reason):
        shown = Credentials(CLUSTER_ID, bytes(16), 2, reason, 1, bytes(16), 0)
        response = encode_message(Response(bytes(16), shown))
        for kind in (MEMBER, STRANGER, FORMER):
            hello = chunk(kind, encode_message(Hello())) + chunk(kind, encode_message(Challenge(bytes(16))))
            again = chunk(WAIT, b"\xff\x02") + chunk(kind + 6, b"packet")
            seeds[f"{reason} {kind}"] = hello + chunk(kind, response) + again + chunk(MEMBER, response) + again
    seeds["ring packets"] = b"".join(chunk(kind + 6, b"packet") for kind in (MEMBER, STRANGER, FORMER))
    seeds["changed"] = b"".join(chunk(CHANGED, bytes((number, number, 1))) for number in range(12))
    seeds["raw"] = chunk(RAW, bytes(OVERHEAD_BYTES)) + chunk(RAW, b"tSD\x01" + bytes(60))
    seeds["wait"] = chunk(STRANGER + 6, b"packet") + chunk(WAIT, b"\x2c\x01") + chunk(STRANGER + 6, b"packet")
    return seeds


def key_file_seeds() -> dict[str, bytes]:
    """Key files."""
    random = Random(1)
    ring = KeyRing(KEY, (Key.of(random.randbytes(40)),), (OLD_KEY,))
    return {"raw": random.randbytes(64), "short": b"key", "text": ring.to_bytes()}
