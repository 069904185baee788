"""What seals say to each other inside of control datagrams (chapter "Sealed datagrams", section "The handshake").

Little-endian; bytes behind a message are ignored, so that later versions can add to it.
"""

from collections.abc import Callable
from enum import IntEnum
from struct import Struct
from typing import Final, TypeAlias

from totemd.errors import BadPacket
from totemd.ids import NodeId
from totemd.record import record
from totemd.seal.verdict import ADMITTED, REASON_OF_CODE, Verdict

NONCE_SIZE: Final = 16
NAME_SIZE_MAX: Final = 255
TEXT_SIZE_MAX: Final = 400
"""Bytes of a ruling's text, and of its remedy."""
CONTROL_SIZE_MAX: Final = 1200
"""Bytes of a body that travels between two nodes: with everything in front it fits into any network's datagram."""

_CREDENTIALS: Final = Struct("<16s16sIQ16sIB")
_RULING: Final = Struct("<16s16sBH")


class MessageType(IntEnum):
    """The first byte."""

    HELLO = 1
    CHALLENGE = 2
    RESPONSE = 3
    RULING = 4
    BODY = 5


@record
class Credentials:
    """Who a node is and what configuration it has. `uuid`: zeros outside of a managed cluster. `config_digest`: of
    the configuration's meaning. `features`: bits of what else it knows."""

    cluster_id: bytes
    uuid: bytes
    nodeid: NodeId
    name: str
    config_version: int
    config_digest: bytes
    features: int


@record
class Hello:
    """The sender has just started: ask it who it is."""


@record
class Challenge:
    """Who is there? Only who is there now can know `nonce`."""

    nonce: bytes


@record
class Response:
    """The answer to the challenge with that nonce. The datagram's counter is where the session begins to count."""

    nonce: bytes
    credentials: Credentials


@record
class Ruling:
    """What was decided on the response to `nonce` by `session`."""

    session: bytes
    nonce: bytes
    verdict: Verdict


@record
class Body:
    """What one node's catching up says to another's."""

    data: bytes


Message: TypeAlias = Hello | Challenge | Response | Ruling | Body


def encode_credentials(credentials: Credentials) -> bytes:
    """The bytes of credentials; a name that is too long is cut."""
    name = _cut(credentials.name, NAME_SIZE_MAX)
    return (
        _CREDENTIALS.pack(
            credentials.cluster_id, credentials.uuid, credentials.nodeid, credentials.config_version,
            credentials.config_digest, credentials.features, len(name),
        )
        + name
    )  # fmt: skip


def decode_credentials(data: bytes) -> Credentials:
    """Credentials from the beginning of `data`; BadPacket if they are none."""
    if len(data) < _CREDENTIALS.size:
        raise BadPacket("control message truncated", f"credentials of {len(data)} bytes")
    cluster_id, uuid, nodeid, version, digest, features, length = _CREDENTIALS.unpack_from(data)
    name = _text(data, _CREDENTIALS.size, length)
    return Credentials(cluster_id, uuid, nodeid, name, version, digest, features)


def encode_message(message: Message) -> bytes:
    """The plaintext of a control datagram."""
    if isinstance(message, Hello):
        return bytes((MessageType.HELLO,))
    if isinstance(message, Challenge):
        return bytes((MessageType.CHALLENGE,)) + message.nonce
    if isinstance(message, Response):
        return bytes((MessageType.RESPONSE,)) + message.nonce + encode_credentials(message.credentials)
    if isinstance(message, Ruling):
        verdict = message.verdict
        text, remedy = _cut(verdict.text, TEXT_SIZE_MAX), _cut(verdict.remedy, TEXT_SIZE_MAX)
        code = 0 if verdict.reason is None else verdict.reason.code
        head = _RULING.pack(message.session, message.nonce, code, len(text))
        return bytes((MessageType.RULING,)) + head + text + len(remedy).to_bytes(2, "little") + remedy
    return bytes((MessageType.BODY,)) + message.data


def decode_message(data: bytes) -> Message:
    """Decode the plaintext of a control datagram; BadPacket if it is no valid message."""
    decode = _DECODERS.get(data[0]) if data else None
    if decode is None:
        raise BadPacket("unknown control message", data[:1].hex())
    return decode(data[1:])


def _decode_hello(_: bytes) -> Hello:
    return Hello()


def _decode_challenge(data: bytes) -> Challenge:
    return Challenge(_nonce(data))


def _decode_response(data: bytes) -> Response:
    return Response(_nonce(data), decode_credentials(data[NONCE_SIZE:]))


def _decode_ruling(data: bytes) -> Ruling:
    if len(data) < _RULING.size:
        raise BadPacket("control message truncated", f"ruling of {len(data)} bytes")
    session, nonce, code, length = _RULING.unpack_from(data)
    if code != 0 and code not in REASON_OF_CODE:
        raise BadPacket("ruling for an unknown reason", str(code))
    text = _text(data, _RULING.size, length)
    remedy_at = _RULING.size + length + 2
    if len(data) < remedy_at:
        raise BadPacket("control message truncated", "ruling without a remedy")
    remedy = _text(data, remedy_at, int.from_bytes(data[remedy_at - 2 : remedy_at], "little"))
    return Ruling(session, nonce, ADMITTED if code == 0 else Verdict(REASON_OF_CODE[code], text, remedy))


_DECODERS: Final[dict[int, Callable[[bytes], Message]]] = {
    MessageType.HELLO: _decode_hello,
    MessageType.CHALLENGE: _decode_challenge,
    MessageType.RESPONSE: _decode_response,
    MessageType.RULING: _decode_ruling,
    MessageType.BODY: Body,
}


def _nonce(data: bytes) -> bytes:
    if len(data) < NONCE_SIZE:
        raise BadPacket("control message truncated", f"{len(data)} bytes of a nonce")
    return data[:NONCE_SIZE]


def _text(data: bytes, start: int, length: int) -> str:
    """`length` bytes of UTF-8 at `start`."""
    if len(data) < start + length:
        raise BadPacket("control message truncated", f"{len(data) - start} of {length} bytes of text")
    try:
        return data[start : start + length].decode()
    except UnicodeDecodeError:
        raise BadPacket("text of a control message is not UTF-8") from None


def _cut(text: str, size: int) -> bytes:
    return text.encode("utf-8", "replace")[:size].decode("utf-8", "ignore").encode()
