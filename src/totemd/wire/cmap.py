"""The one message between the cmap services of the nodes (protocol/, chapter "Services", section cmap).

A whole message, the 16-byte service header included. It is a list of keys with raw values; in practice the only key is
totem.config_version, with no value when the sender's configuration has none.
"""

from enum import IntEnum
from struct import Struct
from typing import Final

from totemd.errors import BadPacket
from totemd.limits import CMAP_KEY_MAX, CMAP_VALUE_MAX
from totemd.record import record

_SERVICE: Final = 0
CMAP_MCAST: Final = 0
"""cmap's only function."""

CONFIG_VERSION_KEY: Final = "totem.config_version"
_VERSION_KEY: Final = CONFIG_VERSION_KEY.encode("ascii")
_TYPE_NONE: Final = 0
_TYPE_U64: Final = 8


class CmapReason(IntEnum):
    """Why the values are sent."""

    SYNC = 0
    NEW_CONFIG_VERSION = 1


@record
class CmapItem:
    """A key with its type's number (0: not set) and its raw value."""

    key: bytes
    type: int
    value: bytes


@record
class CmapValues:
    """Some of the sender's keys; `reason` is a CmapReason's number."""

    reason: int
    items: tuple[CmapItem, ...]


# header: id, size; reason, number of items, two reserved fields
_HEADER: Final = Struct("<i4xi4xB7xB7x16x")
# name: length, bytes; type, length of the value, which follows, padded to a multiple of 8
_ITEM: Final = Struct("<H6x256sB7xQ")


def _padding(size: int) -> int:
    return -size % 8


def encode_cmap_values(values: CmapValues) -> bytes:
    """The values of some keys, 255 at most."""
    parts = []
    for item in values.items:
        parts.append(_ITEM.pack(len(item.key), item.key, item.type, len(item.value)))
        parts.append(item.value + bytes(_padding(len(item.value))))
    body = b"".join(parts)
    return _HEADER.pack(_SERVICE, _HEADER.size + len(body), values.reason, len(values.items)) + body


def decode_cmap_values(data: bytes) -> CmapValues:
    """Read the values of some keys; BadPacket if the message is not valid."""
    if len(data) < _HEADER.size:
        raise BadPacket("cmap message truncated", f"{len(data)} bytes")
    _, _, reason, count = _HEADER.unpack_from(data)
    items = []
    offset = _HEADER.size
    for _ in range(count):
        item, offset = _decode_item(data, offset)
        items.append(item)
    return CmapValues(reason, tuple(items))


def _decode_item(data: bytes, offset: int) -> tuple[CmapItem, int]:
    start = offset + _ITEM.size
    if start > len(data):
        raise BadPacket("cmap item truncated", f"{len(data)} bytes")
    length, name, kind, size = _ITEM.unpack_from(data, offset)
    if length > CMAP_KEY_MAX:
        raise BadPacket("cmap key too long", f"{length} bytes")
    if size > CMAP_VALUE_MAX:
        raise BadPacket("cmap value too long", f"{size} bytes")
    end = start + size
    if end + _padding(size) > len(data):
        raise BadPacket("cmap value truncated", f"{len(data)} bytes")
    return CmapItem(name[:length], kind, data[start:end]), end + _padding(size)


def encode_config_version(reason: CmapReason, version: int | None) -> bytes:
    """This node's totem.config_version; None if its configuration has none."""
    if version is None:
        item = CmapItem(_VERSION_KEY, _TYPE_NONE, b"")
    else:
        item = CmapItem(_VERSION_KEY, _TYPE_U64, version.to_bytes(8, "little"))
    return encode_cmap_values(CmapValues(reason, (item,)))


def config_version_of(values: CmapValues) -> int | None:
    """The sender's totem.config_version, 0 if it says that it has none; None if the message does not speak of it.

    BadPacket if the value is no 64-bit number.
    """
    for item in values.items:
        if item.key == _VERSION_KEY:
            if item.type == _TYPE_NONE:
                return 0
            if item.type != _TYPE_U64 or len(item.value) != 8:
                raise BadPacket("cmap config version", f"type {item.type}, {len(item.value)} bytes")
            return int.from_bytes(item.value, "little")
    return None
