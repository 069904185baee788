"""Identities and boxes: what is sealed for a node opens there, and nowhere else, for nothing else, and not changed."""

import hashlib
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from totemd.cluster.boxes import BOX_DATA_MAX, BOX_OVERHEAD_BYTES, open_box, seal_box, seal_boxes
from totemd.cluster.identity import BadIdentity, Identity, new_identity
from totemd.config.identity import LOW_ORDER_POINTS, is_low_order
from totemd.errors import BadPacket


def random_of(seed: bytes) -> Callable[[int], bytes]:
    """Bytes that follow from `seed`, never the same twice."""
    state = [seed]

    def take(size: int) -> bytes:
        state[0] = hashlib.sha256(state[0]).digest()
        return hashlib.shake_128(state[0]).digest(size)

    return take


ALICE, BOB, EVE = (new_identity(random_of(name)) for name in (b"alice", b"bob", b"eve"))


@given(data=st.binary(max_size=300), context=st.binary(max_size=40))
@settings(max_examples=30)
def test_only_the_recipient_opens_a_box(data: bytes, context: bytes) -> None:
    box = seal_box(ALICE, BOB.public_key, data, context, random_of(b"1"))
    assert len(box) == len(data) + BOX_OVERHEAD_BYTES
    assert open_box(BOB, ALICE.public_key, box, context) == data
    for owner, sender, purpose in (
        (EVE, ALICE, context),
        (BOB, EVE, context),
        (BOB, ALICE, context + b"!"),
        (ALICE, BOB, context),
    ):
        with pytest.raises(BadPacket, match="bad box"):
            open_box(owner, sender.public_key, box, purpose)


def test_every_flipped_bit_and_every_truncation_is_noticed() -> None:
    box = seal_box(ALICE, BOB.public_key, b"the key", b"", random_of(b"1"))
    for bit in range(8 * len(box)):
        changed = bytearray(box)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(BadPacket):
            open_box(BOB, ALICE.public_key, bytes(changed), b"")
    for size in range(len(box)):
        with pytest.raises(BadPacket):
            open_box(BOB, ALICE.public_key, box[:size], b"")


def test_two_boxes_with_the_same_content_have_nothing_in_common() -> None:
    random = random_of(b"1")
    one, two = (seal_box(ALICE, BOB.public_key, b"x" * 64, b"", random) for _ in range(2))
    assert one[1:33] != two[1:33]
    assert one[33:] != two[33:]


@pytest.mark.parametrize("key", [b"", bytes(31), bytes(32), b"\1" + bytes(31)])
def test_public_keys_that_are_none(key: bytes) -> None:
    """Also those for which every secret is the same."""
    with pytest.raises(BadPacket):
        seal_box(ALICE, key, b"data", b"", random_of(b"1"))
    box = bytearray(seal_box(ALICE, BOB.public_key, b"data", b"", random_of(b"1")))
    if len(key) == 32:
        box[1:33] = key
        with pytest.raises(BadPacket):
            open_box(BOB, ALICE.public_key, bytes(box), b"")


def test_a_box_has_a_largest_size() -> None:
    box = seal_box(ALICE, BOB.public_key, bytes(BOX_DATA_MAX), b"", random_of(b"1"))
    assert len(open_box(BOB, ALICE.public_key, box, b"")) == BOX_DATA_MAX
    with pytest.raises(ValueError, match="do not fit"):
        seal_box(ALICE, BOB.public_key, bytes(BOX_DATA_MAX + 1), b"", random_of(b"1"))


def test_a_box_for_each() -> None:
    boxes = seal_boxes(ALICE, {2: BOB.public_key, 3: EVE.public_key}, b"ring", b"c", random_of(b"1"))
    assert {
        nodeid: open_box(owner, ALICE.public_key, boxes[nodeid], b"c") for nodeid, owner in ((2, BOB), (3, EVE))
    } == {
        2: b"ring",
        3: b"ring",
    }


def test_a_box_made_by_another_implementation_of_the_chapter() -> None:
    """The construction spelt out once more, with the primitives alone."""
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    ephemeral = X25519PrivateKey.from_private_bytes(b"e" * 32)
    bob = X25519PublicKey.from_public_bytes(BOB.public_key)
    shared = ephemeral.exchange(bob) + X25519PrivateKey.from_private_bytes(ALICE.private_key).exchange(bob)
    public = ephemeral.public_key().public_bytes_raw()
    info = b"totemd box 1" + ALICE.public_key + BOB.public_key + public
    key = HKDF(SHA256(), 32, salt=None, info=info).derive(shared)
    box = b"\1" + public + AESGCM(key).encrypt(bytes(12), b"data", b"context")
    assert open_box(BOB, ALICE.public_key, box, b"context") == b"data"
    assert seal_box(ALICE, BOB.public_key, b"data", b"context", lambda size: b"e" * size) == box


def test_an_identity_survives_its_file() -> None:
    assert Identity.parse(ALICE.to_bytes()) == ALICE


@given(data=st.one_of(st.binary(max_size=200), st.text(max_size=100).map(str.encode)))
@settings(max_examples=60)
def test_what_is_no_identity(data: bytes) -> None:
    with pytest.raises(BadIdentity):
        Identity.parse(data)


@pytest.mark.parametrize(
    ("old", "new"),
    [(b'"uuid"', b'"uid"'), (ALICE.uuid.hex().encode(), b"00" * 16), (b'="', b'"'), (b"{", b"[")],
)
def test_damaged_identities_are_not_used(old: bytes, new: bytes) -> None:
    data = ALICE.to_bytes()
    assert old in data
    with pytest.raises(BadIdentity, match="cannot be used"):
        Identity.parse(data.replace(old, new))
    with pytest.raises(BadIdentity):
        Identity.parse(data[:-5])
    with pytest.raises(BadIdentity):
        Identity.parse(data + b" " * 5000)


def test_a_node_for_which_there_can_be_no_box_is_named() -> None:
    with pytest.raises(BadPacket, match="node 7"):
        seal_boxes(ALICE, {2: BOB.public_key, 7: bytes(32)}, b"x", b"", random_of(b"1"))


def test_all_points_of_low_order_are_known() -> None:
    for point in LOW_ORDER_POINTS:
        for key in (point, point[:-1] + bytes([point[-1] | 0x80])):
            assert is_low_order(key)
            with pytest.raises(BadPacket, match="bad public key"):
                seal_box(ALICE, key, b"x", b"", random_of(b"1"))
    assert not is_low_order(BOB.public_key)
