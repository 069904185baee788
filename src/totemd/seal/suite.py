"""The ciphers that seal, and the key that each session has of its own (chapter "Sealed datagrams", section "Keys")."""

from typing import Final, Protocol

from totemd.ids import NodeId
from totemd.seal.keys import Key, hkdf_expand, hkdf_extract

SUITES: Final[dict[str, int]] = {"aes128": 16, "aes192": 24, "aes256": 32, "chacha20": 32}
"""Bytes of a session's key, by the names that corosync.conf has for the ciphers. AES is in GCM; chacha20 is
ChaCha20-Poly1305."""

TO_ALL: Final[NodeId] = 0
"""In the place of a receiver's node id."""


class Aead(Protocol):
    """Authenticated encryption under one key."""

    def encrypt(self, nonce: bytes, data: bytes, associated_data: bytes, /) -> bytes:
        """The ciphertext and, behind it, the tag."""

    def decrypt(self, nonce: bytes, data: bytes, associated_data: bytes, /) -> bytes:
        """What was encrypted; one of `Suite.failures` if a single bit of anything is another one."""


class Suite:
    """Makes the sessions' keys of one cluster for one cipher."""

    def __init__(self, name: str, cluster_id: bytes) -> None:
        """`name` is one of SUITES."""
        # Imported here: loading it takes milliseconds and megabytes, and an unsealed daemon has no use for it.
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

        self.failures: Final = (InvalidTag, ValueError)
        """What decrypt raises; ValueError on a nonce that was cut off."""
        self._size = SUITES[name]
        self._make = ChaCha20Poly1305 if name == "chacha20" else AESGCM
        self._label = b"totemd seal 1 " + name.encode() + b"\0"
        self._cluster_id = cluster_id
        self._extracted: dict[bytes, bytes] = {}

    def session(self, key: Key, nodeid: NodeId, session: bytes, receiver: NodeId = TO_ALL) -> Aead:
        """What seals and opens the datagrams of that node's session for that receiver under that key."""
        extracted = self._extracted.get(key.secret)
        if extracted is None:
            extracted = self._extracted[key.secret] = hkdf_extract(self._cluster_id, key.secret)
        info = self._label + session + nodeid.to_bytes(4, "little") + receiver.to_bytes(4, "little")
        aead: Aead = self._make(hkdf_expand(extracted, info)[: self._size])
        return aead

    def keep(self, keys: tuple[Key, ...]) -> None:
        """Forget what was made of other keys."""
        secrets = {key.secret for key in keys}
        self._extracted = {secret: made for secret, made in self._extracted.items() if secret in secrets}
