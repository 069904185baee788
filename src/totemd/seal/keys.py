"""The cluster's keys and the file that they lie in (protocol/, chapter "Sealed datagrams", section "Keys").

A key file is either what corosync-keygen writes, a secret and nothing else, or our text form, which has room for the
other keys of a rotation:

    totemd-keys 1
    sending <base64>
    accepted <base64>
    retired <base64>

One key seals. Packets of the ring are opened with it and the accepted ones; with the retired ones only what lets a
node that missed a rotation catch up.
"""

import base64
import binascii
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from totemd.errors import OperatorError

SECRET_SIZE_MIN: Final = 32
SECRET_SIZE_MAX: Final = 4096
SECRET_SIZE: Final = 32
"""Of a key that we make."""
IDENT_SIZE: Final = 4
KEYS_MAX: Final = 8
"""Of one ring: the sending one, one that comes, and the last few that went."""
FILE_SIZE_MAX: Final = 65536

_FORM: Final = b"totemd-keys "
_FIRST_LINE: Final = _FORM + b"1"


@dataclass(frozen=True, slots=True)
class Key:
    """A secret of the whole cluster, and the public number under which datagrams name it. Its text never shows it."""

    secret: bytes = field(repr=False)
    ident: bytes

    @classmethod
    def of(cls, secret: bytes) -> "Key":
        """The key with that secret."""
        return cls(secret, hkdf_expand(hkdf_extract(b"", secret), b"totemd key id 1")[:IDENT_SIZE])


def new_key(random_bytes: Callable[[int], bytes]) -> Key:
    """A key that nobody has yet."""
    return Key.of(random_bytes(SECRET_SIZE))


@dataclass(frozen=True, slots=True)
class KeyRing:
    """What a node seals and opens with. Newest first; when there are too many, the oldest retired ones are gone."""

    sending: Key
    accepted: tuple[Key, ...] = ()
    retired: tuple[Key, ...] = ()

    @classmethod
    def parse(cls, data: bytes) -> "KeyRing":
        """Read a key file. OperatorError says what is wrong with it, without a word of what it holds."""
        first, _, rest = data.partition(b"\n")
        if first.rstrip() == _FIRST_LINE:
            if len(data) > FILE_SIZE_MAX:
                raise OperatorError(f"the file is larger than {FILE_SIZE_MAX} bytes")
            return _parse_lines(rest)
        if data.startswith(_FORM):
            raise OperatorError("line 1: this form of a key file is another version's; 'totemd-keys 1' is expected")
        if not SECRET_SIZE_MIN <= len(data) <= SECRET_SIZE_MAX:
            raise OperatorError(
                f"a key has {SECRET_SIZE_MIN} to {SECRET_SIZE_MAX} bytes, this file has {len(data)}; "
                "'totemctl cluster keygen FILE' makes one"
            )
        return cls(Key.of(data))

    def to_bytes(self) -> bytes:
        """The text form, which `parse` reads."""
        lines = [_FIRST_LINE, _line("sending", self.sending)]
        lines += [_line("accepted", key) for key in self.accepted]
        lines += [_line("retired", key) for key in self.retired]
        return b"\n".join(lines) + b"\n"

    def find(self, ident: bytes) -> Key | None:
        """The key that datagrams name so, whatever it is for."""
        return next((key for key in self.all() if key.ident == ident), None)

    def all(self) -> tuple[Key, ...]:
        """Every key, the sending one first."""
        return (self.sending, *self.accepted, *self.retired)

    def accepting(self, key: Key) -> "KeyRing":
        """The same, and what is sealed with `key` is opened: the first step of a rotation."""
        if key.ident in (self.sending.ident, *_idents(self.accepted)):
            return self
        return _bounded(self.sending, (key, *self.accepted), _without(self.retired, key))

    def sending_with(self, key: Key) -> "KeyRing":
        """`key` seals from now on; what the former sealed is still opened: the second step."""
        if key.ident == self.sending.ident:
            return self
        accepted = (self.sending, *_without(self.accepted, key))
        return _bounded(key, accepted, _without(self.retired, key))

    def settled(self) -> "KeyRing":
        """Only the sending key opens the ring's packets: the last step."""
        return _bounded(self.sending, (), (*self.accepted, *self.retired))


def _bounded(sending: Key, accepted: tuple[Key, ...], retired: tuple[Key, ...]) -> KeyRing:
    accepted = accepted[: KEYS_MAX - 1]
    return KeyRing(sending, accepted, retired[: KEYS_MAX - 1 - len(accepted)])


def _idents(keys: Iterable[Key]) -> list[bytes]:
    return [key.ident for key in keys]


def _without(keys: tuple[Key, ...], key: Key) -> tuple[Key, ...]:
    return tuple(other for other in keys if other.ident != key.ident)


def _line(use: str, key: Key) -> bytes:
    return use.encode() + b" " + base64.b64encode(key.secret)


def _parse_lines(text: bytes) -> KeyRing:
    found: dict[bytes, list[Key]] = {b"sending": [], b"accepted": [], b"retired": []}
    known: set[bytes] = set()
    for number, line in enumerate(text.split(b"\n"), 2):
        words = line.split()
        if not words or words[0].startswith(b"#"):
            continue
        if len(words) != 2 or words[0] not in found:
            raise OperatorError(f"line {number}: 'sending', 'accepted' or 'retired' and a key in base64 are expected")
        key = Key.of(_secret(words[1], number))
        if key.ident in known:
            raise OperatorError(f"line {number}: this key stands in the file twice")
        known.add(key.ident)
        if len(known) > KEYS_MAX:
            raise OperatorError(f"line {number}: there are more than {KEYS_MAX} keys")
        found[words[0]].append(key)
    if len(found[b"sending"]) != 1:
        raise OperatorError(f"exactly one key is for sending, this file has {len(found[b'sending'])}")
    return KeyRing(found[b"sending"][0], tuple(found[b"accepted"]), tuple(found[b"retired"]))


def _secret(word: bytes, number: int) -> bytes:
    try:
        secret = base64.b64decode(word, validate=True)
    except binascii.Error:
        raise OperatorError(f"line {number}: the key is no valid base64") from None
    if not SECRET_SIZE_MIN <= len(secret) <= SECRET_SIZE_MAX:
        raise OperatorError(f"line {number}: a key has {SECRET_SIZE_MIN} to {SECRET_SIZE_MAX} bytes, not {len(secret)}")
    return secret


def hkdf_extract(salt: bytes, secret: bytes) -> bytes:
    """HKDF-Extract with SHA-256 (RFC 5869)."""
    # Imported here: it loads OpenSSL, which an unsealed daemon has no use for.
    from hmac import digest

    return digest(salt or bytes(32), secret, "sha256")


def hkdf_expand(pseudorandom_key: bytes, info: bytes) -> bytes:
    """The first 32 bytes of HKDF-Expand with SHA-256: one block of it, which is as long as any key here."""
    from hmac import digest

    return digest(pseudorandom_key, info + b"\x01", "sha256")
