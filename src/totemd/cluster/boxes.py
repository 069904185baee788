"""Secrets for one node, carried where others see them: the new keys in a change of the configuration.

    box = 1 | ephemeral public key (32) | AES-256-GCM(data) with its tag (16)

The key comes by HKDF-SHA256 from two X25519 secrets: of the ephemeral key and the recipient's, and of the sender's and
the recipient's. So only the recipient can open it, and only the sender (or the recipient) can have made it; what was
carried stays secret when the sender's private key is lost later, but not when the recipient's is. The nonce is zero:
each key seals one box (protocol/, chapter "Joining").
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from totemd.cluster.identity import KEY_SIZE, Identity
from totemd.errors import BadPacket
from totemd.ids import NodeId

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

BOX_VERSION: Final = 1
TAG_SIZE: Final = 16
BOX_OVERHEAD_BYTES: Final = 1 + KEY_SIZE + TAG_SIZE
BOX_DATA_MAX: Final = 64 * 1024
"""Bytes in one box; a ring of eight keys of the largest size has fewer."""

_NONCE: Final = bytes(12)


def seal_box(
    identity: Identity,
    recipient_public_key: bytes,
    data: bytes,
    context: bytes,
    random_bytes: Callable[[int], bytes],
) -> bytes:
    """`data` for the owner of `recipient_public_key` alone. It opens only with the same `context`, which says what the
    box is for. BadPacket if the public key is none, ValueError if `data` is larger than BOX_DATA_MAX."""
    if len(data) > BOX_DATA_MAX:
        raise ValueError(f"{len(data)} bytes do not fit into a box; at most {BOX_DATA_MAX} do")
    ephemeral = Identity(bytes(16), random_bytes(KEY_SIZE))
    shared = _exchange(ephemeral.private_key, recipient_public_key)
    shared += _exchange(identity.private_key, recipient_public_key)
    public = ephemeral.public_key
    cipher = _cipher(shared, identity.public_key, recipient_public_key, public)
    return bytes((BOX_VERSION,)) + public + cipher.encrypt(_NONCE, data, context)


def open_box(identity: Identity, sender_public_key: bytes, box: bytes, context: bytes) -> bytes:
    """What `seal_box` of the sender put in. BadPacket if it is for somebody else, of somebody else, for another purpose
    or damaged."""
    from cryptography.exceptions import InvalidTag

    if not BOX_OVERHEAD_BYTES <= len(box) <= BOX_DATA_MAX + BOX_OVERHEAD_BYTES or box[0] != BOX_VERSION:
        raise BadPacket("bad box", f"{len(box)} bytes that are no box of version {BOX_VERSION}")
    public = box[1 : 1 + KEY_SIZE]
    shared = _exchange(identity.private_key, public) + _exchange(identity.private_key, sender_public_key)
    cipher = _cipher(shared, sender_public_key, identity.public_key, public)
    try:
        return bytes(cipher.decrypt(_NONCE, box[1 + KEY_SIZE :], context))
    except InvalidTag:
        raise BadPacket("bad box", "not sealed by that sender for this node and purpose") from None


def seal_boxes(
    identity: Identity,
    recipients: Mapping[NodeId, bytes],
    data: bytes,
    context: bytes,
    random_bytes: Callable[[int], bytes],
) -> dict[NodeId, bytes]:
    """A box with the same `data` for each of `recipients`, their public keys by node; else as `seal_box`."""
    boxes = {}
    for nodeid, public_key in recipients.items():
        try:
            boxes[nodeid] = seal_box(identity, public_key, data, context, random_bytes)
        except BadPacket as error:
            raise BadPacket(error.reason, f"node {nodeid}: {error}") from None
    return boxes


def _exchange(private_key: bytes, public_key: bytes) -> bytes:
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

    try:
        public = X25519PublicKey.from_public_bytes(public_key)
        return X25519PrivateKey.from_private_bytes(private_key).exchange(public)
    except ValueError:
        # Not 32 bytes, or a point that gives the same secret with every key.
        raise BadPacket("bad public key", f"{len(public_key)} bytes that are no usable X25519 key") from None


def _cipher(shared: bytes, sender: bytes, recipient: bytes, ephemeral: bytes) -> "AESGCM":
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    info = b"totemd box 1" + sender + recipient + ephemeral
    return AESGCM(HKDF(SHA256(), 32, salt=None, info=info).derive(shared))
