"""What a joining node and the member that lets it in say to each other (protocol/, chapter "Joining").

Each message is 4 bytes of length, most significant first, and a msgpack map; `do` says which it is. Everything that
comes in is checked here: types, sizes, ranges.
"""

from collections.abc import Callable
from ipaddress import ip_address
from typing import Any, Final, TypeAlias

import msgpack

from totemd.cluster.change import CHANGE_SIZE_MAX
from totemd.cluster.identity import KEY_SIZE, UUID_SIZE
from totemd.cluster.probe import MEMBERS_MAX, PROBE_ID_SIZE, PROBE_SIZE_MAX, PROBE_SIZE_MIN, ProbeOrder, Target
from totemd.cluster.ticket import SECRET_SIZE
from totemd.config.identity import is_low_order
from totemd.errors import BadPacket
from totemd.ids import NodeId
from totemd.limits import VOTES_MAX
from totemd.record import record

VERSION: Final = 1
LENGTH_SIZE: Final = 4
FROM_JOINER_MAX: Final = 64 * 1024
"""Bytes of a message that a member reads; all but a report of many problems are small."""

FIRST_MAX: Final = 2048
"""Bytes of the first message: its sender has not shown a ticket yet."""

FROM_MEMBER_MAX: Final = CHANGE_SIZE_MAX + FROM_JOINER_MAX + 64 * 1024
"""Bytes of a message that a joiner reads; a reservation carries the whole configuration."""

KEYS_MAX: Final = 64 * 1024
TEXT_MAX: Final = 1024
TEXTS_MAX: Final = 100


@record
class Hello:
    """Joiner: who it is and its ticket's secret. `nodeid` None: any."""

    version: int
    secret: bytes
    cluster: str
    name: str
    uuid: bytes
    public_key: bytes
    address: str
    votes: int
    nodeid: NodeId | None


@record
class Refused:
    """Member: no, and why; `code` is for programs. With "busy" it is worth another try in a moment."""

    code: str
    reasons: tuple[str, ...]


@record
class Report:
    """Joiner: what the probes did not prove; empty: all is well."""

    problems: tuple[str, ...]


@record
class Reservation:
    """Member: listed as `nodeid`, without votes yet. To be stored: `record`, the committed change with the
    configuration's text, and the key ring."""

    nodeid: NodeId
    record: bytes
    keys: bytes
    patience_s: int
    """For how long the place is kept without the node being seen."""


@record
class Stored:
    """Joiner: everything is on its disk."""


@record
class Welcome:
    """Member: start your daemon."""


Message: TypeAlias = Hello | Refused | ProbeOrder | Report | Reservation | Stored | Welcome


def encode(message: Message) -> bytes:
    """The bytes on the connection."""
    body: bytes = msgpack.packb({"do": _WORDS[type(message)], **_fields(message)})
    return len(body).to_bytes(LENGTH_SIZE, "big") + body


def decode(body: bytes) -> Message:
    """A message's body. BadPacket if it is not valid."""
    try:
        fields = msgpack.unpackb(body, strict_map_key=True)
        word = fields.pop("do") if isinstance(fields, dict) else None
        return _READERS[word](fields)
    except BadPacket:
        raise
    except Exception as error:
        # msgpack raises half a dozen kinds, and the readers the usual ones for what is missing or of another type.
        raise BadPacket("bad join message", f"{type(error).__name__}: {error}"[:200]) from None


def _fields(message: Message) -> dict[str, Any]:
    fields = {name: getattr(message, name) for name in message.__slots__}  # type: ignore[union-attr] # records have them
    if isinstance(message, ProbeOrder):
        fields["members"] = [[target.nodeid, target.name, target.address] for target in message.members]
    return fields


def _octets(value: object, size: int) -> bytes:
    if type(value) is not bytes or len(value) != size:
        raise BadPacket("bad join message", f"expected {size} bytes")
    return value


def _public_key(value: object) -> bytes:
    key = _octets(value, KEY_SIZE)
    if is_low_order(key):
        raise BadPacket("bad join message", "a public key for which there are no boxes")
    return key


def _octets_up_to(value: object, size: int) -> bytes:
    if type(value) is not bytes or len(value) > size:
        raise BadPacket("bad join message", f"expected up to {size} bytes")
    return value


def _text(value: object, size: int = TEXT_MAX) -> str:
    if type(value) is not str or len(value) > size:
        raise BadPacket("bad join message", f"expected a string of up to {size} characters")
    return value


def _number(value: object, low: int, high: int) -> int:
    if type(value) is not int or not low <= value <= high:
        raise BadPacket("bad join message", f"expected a number from {low} to {high}")
    return value


def _texts(value: object) -> tuple[str, ...]:
    if type(value) is not list or len(value) > TEXTS_MAX:
        raise BadPacket("bad join message", f"expected up to {TEXTS_MAX} strings")
    return tuple(_text(item) for item in value)


def _address(value: object) -> str:
    return str(ip_address(_text(value, 64)))


def _hello(fields: dict[str, Any]) -> Hello:
    nodeid = fields.get("nodeid")
    return Hello(
        version=_number(fields["version"], 1, 0xFFFF),
        secret=_octets(fields["secret"], SECRET_SIZE),
        cluster=_text(fields["cluster"], 64),
        name=_text(fields["name"], 256),
        uuid=_octets(fields["uuid"], UUID_SIZE),
        public_key=_public_key(fields["public_key"]),
        address=_address(fields["address"]),
        votes=_number(fields["votes"], 0, VOTES_MAX),
        nodeid=None if nodeid is None else _number(nodeid, 1, 0xFFFFFFFF),
    )


def _refused(fields: dict[str, Any]) -> Refused:
    return Refused(_text(fields["code"], 64), _texts(fields["reasons"]))


def _probe_order(fields: dict[str, Any]) -> ProbeOrder:
    members, group = fields["members"], fields["mcast_address"]
    if type(members) is not list or len(members) > MEMBERS_MAX:
        raise BadPacket("bad join message", f"expected up to {MEMBERS_MAX} members")
    return ProbeOrder(
        probe_id=_octets(fields["probe_id"], PROBE_ID_SIZE),
        key=_octets(fields["key"], 32),
        port=_number(fields["port"], 2, 65535),
        mcast_address=None if group is None else _address(group),
        ttl=_number(fields["ttl"], 0, 255),
        size_bytes=_number(fields["size_bytes"], PROBE_SIZE_MIN, PROBE_SIZE_MAX),
        members=tuple(_target(member) for member in members),
    )


def _target(value: object) -> Target:
    if type(value) is not list or len(value) != 3:
        raise BadPacket("bad join message", "expected a member")
    nodeid, name, address = value
    return Target(_number(nodeid, 1, 0xFFFFFFFF), _text(name, 256), _address(address))


def _reservation(fields: dict[str, Any]) -> Reservation:
    return Reservation(
        nodeid=_number(fields["nodeid"], 1, 0xFFFFFFFF),
        record=_octets_up_to(fields["record"], CHANGE_SIZE_MAX),
        keys=_octets_up_to(fields["keys"], KEYS_MAX),
        patience_s=_number(fields["patience_s"], 0, 1 << 31),
    )


_WORDS: Final[dict[type, str]] = {
    Hello: "hello",
    Refused: "refused",
    ProbeOrder: "probe",
    Report: "report",
    Reservation: "reserved",
    Stored: "stored",
    Welcome: "welcome",
}
_READERS: Final[dict[object, Callable[[dict[str, Any]], Message]]] = {
    "hello": _hello,
    "refused": _refused,
    "probe": _probe_order,
    "report": lambda fields: Report(_texts(fields["problems"])),
    "reserved": _reservation,
    "stored": lambda fields: Stored(),
    "welcome": lambda fields: Welcome(),
}
