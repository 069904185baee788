"""Messages of the votequorum service, whole, 16-byte service header included (protocol/, chapter "Services").

Names are byte strings of at most 254 bytes that end in a NUL; what follows the NUL is meaningless. Messages longer than
defined are read by their front, as the peers do.
"""

from struct import Struct
from typing import Final

from totemd.errors import BadPacket
from totemd.ids import NodeId
from totemd.record import record
from totemd.wire.service import SERVICE_HEADER_SIZE, encode_service_header

SERVICE_VOTEQUORUM: Final = 5

FUNCTION_NODEINFO: Final = 0
FUNCTION_RECONFIGURE: Final = 1
FUNCTION_QDEVICE_REG: Final = 2
FUNCTION_QDEVICE_RECONFIGURE: Final = 3

DEVICE_NODEID: Final[NodeId] = 0
"""The node id under which the votes of the quorum device travel."""

# Flags of a node in NODEINFO.
NODE_QUORATE: Final = 1
NODE_LEAVING: Final = 2
NODE_WAITING_FOR_ALL: Final = 4
NODE_FIRST: Final = 8
NODE_QDEVICE_REGISTERED: Final = 16
NODE_QDEVICE_ALIVE: Final = 32
NODE_QDEVICE_CAST_VOTE: Final = 64
NODE_QDEVICE_MASTER_WINS: Final = 128

# What a RECONFIGURE changes.
RECONFIGURE_EXPECTED_VOTES: Final = 1
RECONFIGURE_NODE_VOTES: Final = 2
RECONFIGURE_CANCEL_WAIT_FOR_ALL: Final = 3
RECONFIGURE_FORCED: Final = 4
"""totemd's own, which corosync ignores: `nodeid` votes (0: the sender's) are expected by force for `value` seconds."""

# Operations of QDEVICE_REG.
QDEVICE_UNREGISTER: Final = 0
QDEVICE_REGISTER: Final = 1

DEVICE_NAME_SIZE: Final = 255
"""Bytes of a name's field, the closing NUL included."""

U32_MAX: Final = 0xFFFF_FFFF

_NODEINFO: Final = Struct("<IIII")
_RECONFIGURE: Final = Struct("<IIB7x")
_QDEVICE_REG: Final = Struct(f"<I{DEVICE_NAME_SIZE}s5x")
_QDEVICE_RECONFIGURE: Final = Struct(f"<{DEVICE_NAME_SIZE}s{DEVICE_NAME_SIZE}s2x")


@record
class NodeInfo:
    """What a node says of itself, or (nodeid 0) of its quorum device."""

    nodeid: NodeId
    votes: int
    expected_votes: int
    flags: int


@record
class Reconfigure:
    """An operator's change for the whole cluster: `param` says of what, and what `nodeid` and `value` mean."""

    nodeid: NodeId
    value: int
    param: int


@record
class QdeviceReg:
    """A node registers or forgets the quorum device called `name`."""

    operation: int
    name: bytes


@record
class QdeviceReconfigure:
    """The quorum device `old_name` is called `new_name` from here on."""

    old_name: bytes
    new_name: bytes


def encode_nodeinfo(info: NodeInfo) -> bytes:
    """NODEINFO; counts that exceed 32 bits are sent as the highest number."""
    body = _NODEINFO.pack(info.nodeid, min(info.votes, U32_MAX), min(info.expected_votes, U32_MAX), info.flags)
    return _header(FUNCTION_NODEINFO, _NODEINFO) + body


def decode_nodeinfo(message: bytes) -> NodeInfo:
    """Read NODEINFO; BadPacket if it is short."""
    _check(message, _NODEINFO, "nodeinfo")
    return NodeInfo(*_NODEINFO.unpack_from(message, SERVICE_HEADER_SIZE))


def encode_reconfigure(change: Reconfigure) -> bytes:
    """RECONFIGURE; all values must fit their fields."""
    return _header(FUNCTION_RECONFIGURE, _RECONFIGURE) + _RECONFIGURE.pack(change.nodeid, change.value, change.param)


def decode_reconfigure(message: bytes) -> Reconfigure:
    """Read RECONFIGURE; BadPacket if it is short. `param` may be anything."""
    _check(message, _RECONFIGURE, "reconfigure")
    return Reconfigure(*_RECONFIGURE.unpack_from(message, SERVICE_HEADER_SIZE))


def encode_qdevice_reg(request: QdeviceReg) -> bytes:
    """QDEVICE_REG; ValueError if the name does not fit."""
    body = _QDEVICE_REG.pack(request.operation, check_device_name(request.name))
    return _header(FUNCTION_QDEVICE_REG, _QDEVICE_REG) + body


def decode_qdevice_reg(message: bytes) -> QdeviceReg:
    """Read QDEVICE_REG; BadPacket if it is short or the name has no end. `operation` may be anything."""
    _check(message, _QDEVICE_REG, "qdevice_reg")
    operation, name = _QDEVICE_REG.unpack_from(message, SERVICE_HEADER_SIZE)
    return QdeviceReg(operation, _name(name))


def encode_qdevice_reconfigure(change: QdeviceReconfigure) -> bytes:
    """QDEVICE_RECONFIGURE; ValueError if a name does not fit."""
    body = _QDEVICE_RECONFIGURE.pack(check_device_name(change.old_name), check_device_name(change.new_name))
    return _header(FUNCTION_QDEVICE_RECONFIGURE, _QDEVICE_RECONFIGURE) + body


def decode_qdevice_reconfigure(message: bytes) -> QdeviceReconfigure:
    """Read QDEVICE_RECONFIGURE; BadPacket if it is short or a name has no end."""
    _check(message, _QDEVICE_RECONFIGURE, "qdevice_reconfigure")
    old_name, new_name = _QDEVICE_RECONFIGURE.unpack_from(message, SERVICE_HEADER_SIZE)
    return QdeviceReconfigure(_name(old_name), _name(new_name))


def check_device_name(name: bytes) -> bytes:
    """`name` itself if it fits a name's field; else ValueError."""
    if len(name) >= DEVICE_NAME_SIZE or b"\0" in name:
        raise ValueError(f"a quorum device's name has at most {DEVICE_NAME_SIZE - 1} bytes and no NUL")
    return name


def _header(function: int, body: Struct) -> bytes:
    return encode_service_header(SERVICE_VOTEQUORUM, function, SERVICE_HEADER_SIZE + body.size)


def _check(message: bytes, body: Struct, what: str) -> None:
    if len(message) < SERVICE_HEADER_SIZE + body.size:
        raise BadPacket(f"votequorum {what} truncated", f"{len(message)} bytes")


def _name(field: bytes) -> bytes:
    name, end, _ = field.partition(b"\0")
    if not end:
        raise BadPacket("votequorum name without end")
    return name
