"""Messages between the cfg services of the nodes (protocol/, chapter "Services", section cfg).

Whole messages, the 16-byte service header included.
"""

from enum import IntEnum
from struct import Struct
from typing import Final

from totemd.errors import BadPacket
from totemd.ids import NodeId
from totemd.record import record

_SERVICE: Final = 1 << 16
KILL_REASON_MAX: Final = 255
"""Bytes of a kill's reason, its closing NUL not counted."""


class CfgFunction(IntEnum):
    """What a cfg message is about."""

    RING_REENABLE = 0
    KILL_NODE = 1
    SHUTDOWN = 2
    RELOAD_CONFIG = 3
    CRYPTO_RECONFIG = 4


@record
class KillNode:
    """`nodeid` is to end itself at once; `reason` is for its log."""

    nodeid: NodeId
    reason: str


@record
class RingReenable:
    """Nobody sends it any more, and nobody acts on it."""

    nodeid: NodeId
    cookie: int


@record
class ReloadConfig:
    """Every node is to read its configuration file again. `cookie` lets the sender find the client that asked."""

    nodeid: NodeId
    cookie: int


@record
class CryptoReconfig:
    """A step of changing keys: 1 activates the new key, 2 forgets the old one."""

    phase: int


_HEADER: Final = Struct("<i4xi4x")
_SOURCE: Final = Struct("<i4xi4xI4xQ")
_KILL_NODE: Final = Struct("<i4xi4xI4xH6x256s")
_CRYPTO: Final = Struct("<i4xi4xI4x")


def encode_kill_node(kill: KillNode) -> bytes:
    """Have a node killed; a reason beyond KILL_REASON_MAX bytes is cut."""
    # the length on the wire counts the closing NUL, as the tools of corosync send it
    reason = kill.reason.encode("utf-8", "replace")[:KILL_REASON_MAX] + b"\0"
    return _KILL_NODE.pack(_SERVICE | CfgFunction.KILL_NODE, _KILL_NODE.size, kill.nodeid, len(reason), reason)


def decode_kill_node(data: bytes) -> KillNode:
    """Read a kill; bytes of the reason that are no UTF-8 are replaced. BadPacket if it is not valid."""
    if len(data) < _KILL_NODE.size:
        raise BadPacket("cfg kill truncated", f"{len(data)} bytes")
    _, _, nodeid, length, reason = _KILL_NODE.unpack_from(data)
    if length > KILL_REASON_MAX + 1:
        raise BadPacket("cfg kill reason too long", f"{length} bytes")
    return KillNode(nodeid, reason[:length].split(b"\0", 1)[0].decode("utf-8", "replace"))


def encode_shutdown() -> bytes:
    """The sender is about to leave the cluster."""
    return _HEADER.pack(_SERVICE | CfgFunction.SHUTDOWN, _HEADER.size)


def decode_shutdown(data: bytes) -> None:
    """Check a shutdown message, which says nothing but its header; BadPacket if it is truncated."""
    if len(data) < _HEADER.size:
        raise BadPacket("cfg shutdown truncated", f"{len(data)} bytes")


def _decode_source(data: bytes) -> tuple[NodeId, int]:
    if len(data) < _SOURCE.size:
        raise BadPacket("cfg message truncated", f"{len(data)} bytes")
    _, _, nodeid, cookie = _SOURCE.unpack_from(data)
    return nodeid, cookie


def encode_reload_config(reload: ReloadConfig) -> bytes:
    """Have every node read its configuration file again."""
    return _SOURCE.pack(_SERVICE | CfgFunction.RELOAD_CONFIG, _SOURCE.size, reload.nodeid, reload.cookie)


def decode_reload_config(data: bytes) -> ReloadConfig:
    """Read a reload; BadPacket if it is not valid."""
    return ReloadConfig(*_decode_source(data))


def encode_ring_reenable(reenable: RingReenable) -> bytes:
    """The message that nobody acts on."""
    return _SOURCE.pack(_SERVICE | CfgFunction.RING_REENABLE, _SOURCE.size, reenable.nodeid, reenable.cookie)


def decode_ring_reenable(data: bytes) -> RingReenable:
    """Read a ring re-enable; BadPacket if it is not valid."""
    return RingReenable(*_decode_source(data))


def encode_crypto_reconfig(reconfig: CryptoReconfig) -> bytes:
    """A step of changing keys."""
    return _CRYPTO.pack(_SERVICE | CfgFunction.CRYPTO_RECONFIG, _CRYPTO.size, reconfig.phase)


def decode_crypto_reconfig(data: bytes) -> CryptoReconfig:
    """Read a step of changing keys; BadPacket if it is not valid."""
    if len(data) < _CRYPTO.size:
        raise BadPacket("cfg crypto reconfig truncated", f"{len(data)} bytes")
    return CryptoReconfig(_CRYPTO.unpack_from(data)[2])
