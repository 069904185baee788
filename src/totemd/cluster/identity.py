"""Who a node is: a random uuid, and an X25519 key pair that goes with it (protocol/, chapter "Joining").

A node gets an identity when it creates or joins a cluster and keeps it in STATE_DIR/identity. The nodelist has the uuid
and the public key. After a removal neither is ever accepted again: who comes back comes with a new identity.
"""

import base64
import binascii
import json
from collections.abc import Callable
from typing import Final

from totemd.errors import OperatorError
from totemd.record import record

UUID_SIZE: Final = 16
KEY_SIZE: Final = 32
"""Bytes of an X25519 key, private or public."""

IDENTITY_FILE: Final = "identity"
"""Its name in the state directory; mode 0600."""

FILE_SIZE_MAX: Final = 4096


class BadIdentity(OperatorError):
    """The identity file is not what it must be; the text says what to do."""


@record
class Identity:
    """A node's uuid (16 bytes) and private key (32 bytes)."""

    uuid: bytes
    private_key: bytes

    @property
    def public_key(self) -> bytes:
        """What others know of the private key, 32 bytes."""
        # Imported here, because a daemon without an identity does without OpenSSL.
        from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

        return X25519PrivateKey.from_private_bytes(self.private_key).public_key().public_bytes_raw()

    def to_bytes(self) -> bytes:
        """The file's content."""
        fields = {"uuid": self.uuid.hex(), "private_key": base64.b64encode(self.private_key).decode()}
        return json.dumps(fields, indent=2).encode() + b"\n"

    @staticmethod
    def parse(data: bytes) -> "Identity":
        """The identity in a file's content; BadIdentity if there is none."""
        try:
            if len(data) > FILE_SIZE_MAX:
                raise ValueError(f"it has more than {FILE_SIZE_MAX} bytes")
            fields = json.loads(data)
            if not isinstance(fields, dict):
                raise ValueError("it is no JSON object")
            uuid = bytes.fromhex(_text(fields, "uuid"))
            key = base64.b64decode(_text(fields, "private_key"), validate=True)
            if len(uuid) != UUID_SIZE or uuid == bytes(UUID_SIZE):
                raise ValueError("uuid is not 32 hexadecimal digits")
            if len(key) != KEY_SIZE:
                raise ValueError("private_key is not the base64 of 32 bytes")
        except (ValueError, RecursionError, binascii.Error) as error:
            raise BadIdentity(
                f"the identity file cannot be used: {error}; restore it from a backup, or remove this node from the "
                "cluster and join again"
            ) from None
        return Identity(uuid, key)


def new_identity(random_bytes: Callable[[int], bytes]) -> Identity:
    """A fresh identity; `random_bytes` must be fit for keys (os.urandom)."""
    return Identity(random_bytes(UUID_SIZE), random_bytes(KEY_SIZE))


def _text(fields: dict[str, object], name: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str):
        raise ValueError(f"{name} is missing")
    return value
