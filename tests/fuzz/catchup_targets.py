"""What comes to a node that fetches the newer configuration, or hands it over: from a member gone bad, or a forger."""

from __future__ import annotations

import contextlib
from random import Random
from typing import Final

from chunking import chunk, chunks
from totemd.cluster.catchup import BURST_PIECES, FETCH, NONCE_SIZE, NOTHING, PIECE, PIECES_PER_S, CatchUp
from totemd.cluster.handover import PARCEL_SIZE_MAX, Handover, unwrap, wrap
from totemd.cluster.identity import Identity, new_identity
from totemd.errors import BadPacket
from totemd.ids import NodeId

CLUSTER_ID: Final = bytes(range(16))
HANDED: Final = Handover(b"a record", b"keys")
RAW, ANSWER, WAIT, BEHIND = range(4)
"""Kinds of what happens: a body as it stands; one with the nonce of the question that is open; time; a newer version
is shown."""


class _Node:
    """A node without a network. `identity` None: of a cluster without own keys."""

    def __init__(self, identity: Identity | None) -> None:
        self.version = 5
        self.sent: list[bytes] = []
        self.taken: list[Handover] = []
        other = new_identity(Random(9).randbytes)
        self._keys = {2: other.public_key, 3: other.public_key} if identity is not None else {}
        self.machine = CatchUp(
            self, cluster_id=CLUSTER_ID, nodeid=1, identity=identity, random_bytes=Random(1).randbytes
        )

    def send(self, nodeid: NodeId, body: bytes) -> None:
        assert len(body) <= 1200
        self.sent.append(body)

    def public_key(self, nodeid: NodeId) -> bytes | None:
        return self._keys.get(nodeid)

    def handover(self) -> Handover | None:
        return HANDED

    def take(self, nodeid: NodeId, handed: Handover) -> int:
        self.taken.append(handed)
        return 0

    def log(self, level: str, text: str) -> None:
        assert text


def catching_up(data: bytes) -> None:
    """It raises nothing but BadPacket, keeps no more than a parcel may have, sends no more than its rate, and who has a
    key believes nobody who has not the member's own."""
    for identity in (new_identity(Random(7).randbytes), None):
        node = _Node(identity)
        now = start = 100.0
        question = bytes(NONCE_SIZE)
        for kind, piece in chunks(data, 64):
            if kind % 4 == WAIT:
                now += min(int.from_bytes(piece[:2], "little"), 5000) / 1000
                node.machine.handle_timer(now)
            elif kind % 4 == BEHIND:
                node.machine.behind(2 + piece[0] % 2 if piece else 2, int.from_bytes(piece[1:9], "little"), now)
                node.machine.handle_timer(now)
            else:
                body = piece[:1] + question + piece[1:] if kind % 4 == ANSWER else piece
                with contextlib.suppress(BadPacket):
                    node.machine.hear(2 + kind // 4 % 2, body[:1200], now)
            asked = [body for body in node.sent if body[0] == FETCH]
            question = asked[-1][1 : 1 + NONCE_SIZE] if asked else question
        assert identity is None or not node.taken
        answers = sum(body[0] != FETCH for body in node.sent)
        assert answers <= 2 * (BURST_PIECES + PIECES_PER_S * (now - start)) * 64


def handed_parcel(data: bytes) -> None:
    """What is unpacked is no larger than it may be, and packs again."""
    with contextlib.suppress(BadPacket):
        handed = unwrap(data[:PARCEL_SIZE_MAX], None, None, b"")
        assert unwrap(wrap(handed, None, None, b"", Random(1).randbytes), None, None, b"").record == handed.record
    with contextlib.suppress(BadPacket):
        unwrap(
            data[:PARCEL_SIZE_MAX], new_identity(Random(7).randbytes), new_identity(Random(8).randbytes).public_key, b""
        )
        raise AssertionError("forged")


def catching_up_seeds() -> dict[str, bytes]:
    """A good exchange in parts."""
    parcel = wrap(HANDED, None, None, b"", Random(1).randbytes)
    size = len(parcel).to_bytes(4, "little")
    behind, wait = chunk(BEHIND, b"\0" + (8).to_bytes(8, "little")), chunk(WAIT, b"\xe8\x03")
    whole = chunk(ANSWER, bytes((PIECE,)) + size + bytes(4) + parcel)
    return {
        "taken": behind + whole,
        "too much": behind + chunk(ANSWER, bytes((PIECE,)) + b"\xff" * 4 + bytes(4) + bytes(1100)),
        "nothing": behind + chunk(ANSWER, bytes((NOTHING,))) + wait + behind,
        "silence": behind + wait * 40,
        "asked": chunk(RAW, bytes((FETCH,)) + bytes(NONCE_SIZE) + bytes(12)) * 3 + wait,
    }


def parcel_seeds() -> dict[str, bytes]:
    """One open, one in a box."""
    one, two = new_identity(Random(7).randbytes), new_identity(Random(8).randbytes)
    return {
        "open": wrap(HANDED, None, None, b"", Random(1).randbytes),
        "boxed": wrap(HANDED, two, one.public_key, b"other", Random(1).randbytes),
    }
