"""Sealed datagrams and what is inside of the control ones (protocol/, chapter "Sealed datagrams")."""

from construct import (
    Bytes,
    Check,
    Const,
    Construct,
    FocusedSeq,
    GreedyBytes,
    Int8ub,
    Int16ul,
    Int32ul,
    Int64ul,
    Rebuild,
    Struct,
    len_,
    this,
)

MAGIC = b"tSD\x01"
TAG_SIZE = 16
HEADER_SIZE = 37
RING, CONTROL, RING_TO_ONE, CONTROL_TO_ONE = 1, 2, 3, 4

SEALED = Struct(
    "magic" / Const(MAGIC),
    "content" / Int8ub,
    Check((this.content >= RING) & (this.content <= CONTROL_TO_ONE)),
    "key" / Bytes(4),
    "nodeid" / Int32ul,
    "session" / Bytes(16),
    "counter" / Int64ul,
    "sealed" / GreedyBytes,
    Check(len_(this.sealed) >= TAG_SIZE),
)
"""A whole datagram; `sealed` is the ciphertext with its tag."""


def _text(length: Construct) -> Construct:
    """UTF-8 behind its length."""
    return FocusedSeq("value", "length" / Rebuild(length, len_(this.value)), "value" / Bytes(this.length))


CREDENTIALS = Struct(
    "cluster_id" / Bytes(16),
    "uuid" / Bytes(16),
    "nodeid" / Int32ul,
    "config_version" / Int64ul,
    "config_digest" / Bytes(16),
    "features" / Int32ul,
    "name" / _text(Int8ub),
)

HELLO = Struct("type" / Const(1, Int8ub))
CHALLENGE = Struct("type" / Const(2, Int8ub), "nonce" / Bytes(16))
RESPONSE = Struct("type" / Const(3, Int8ub), "nonce" / Bytes(16), "credentials" / CREDENTIALS)
RULING = Struct(
    "type" / Const(4, Int8ub),
    "session" / Bytes(16),
    "nonce" / Bytes(16),
    "reason" / Int8ub,
    Check(this.reason <= 9),
    "text" / _text(Int16ul),
    "remedy" / _text(Int16ul),
)
BODY = Struct("type" / Const(5, Int8ub), "data" / GreedyBytes)

MESSAGES: dict[int, tuple[str, Construct]] = {
    1: ("seal_hello", HELLO),
    2: ("seal_challenge", CHALLENGE),
    3: ("seal_response", RESPONSE),
    4: ("seal_ruling", RULING),
    5: ("seal_body", BODY),
}
"""By their first byte: the plaintext of datagrams with control content."""

SUITES = {"aes128": 16, "aes192": 24, "aes256": 32, "chacha20": 32}


def seal(
    suite: str, secret: bytes, cluster_id: bytes, content: int, nodeid: int, session: bytes, counter: int, data: bytes,
    receiver: int = 0,
) -> bytes:  # fmt: skip
    """The datagram that carries `data`, made as the chapter says and without the daemon's code."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    ident = HKDF(SHA256(), 4, None, b"totemd key id 1").derive(secret)
    info = (
        b"totemd seal 1 "
        + suite.encode()
        + b"\0"
        + session
        + nodeid.to_bytes(4, "little")
        + receiver.to_bytes(4, "little")
    )
    key = HKDF(SHA256(), SUITES[suite], cluster_id, info).derive(secret)
    cipher = ChaCha20Poly1305(key) if suite == "chacha20" else AESGCM(key)
    fields = {"content": content, "key": ident, "nodeid": nodeid, "session": session, "counter": counter}
    header: bytes = SEALED.build({**fields, "sealed": bytes(TAG_SIZE)})[:HEADER_SIZE]
    return header + cipher.encrypt(session[-4:] + counter.to_bytes(8, "little"), data, header)
