"""Values of the configuration map as the library cmap has them: bytes in the machine's order, strings with a NUL.

A client sends a string without its NUL, and its length without it; it is told the string with it, and with a length
that counts it.
"""

from struct import Struct
from typing import Final

from totemd.config.model import CmapEntry, CmapType
from totemd.errors import Code, ServiceError
from totemd.limits import CMAP_KEY_MAX

NAME: Final = Struct("=H6x256s")
"""A key or a prefix: its length, and room for it."""

_NUMBERS: Final = {
    CmapType.I8: Struct("=b"),
    CmapType.U8: Struct("=B"),
    CmapType.I16: Struct("=h"),
    CmapType.U16: Struct("=H"),
    CmapType.I32: Struct("=i"),
    CmapType.U32: Struct("=I"),
    CmapType.I64: Struct("=q"),
    CmapType.U64: Struct("=Q"),
    CmapType.FLOAT: Struct("=f"),
    CmapType.DOUBLE: Struct("=d"),
}
_TYPES: Final = {kind.value: kind for kind in CmapType}


def encode_value(entry: CmapEntry) -> bytes:
    """The value's bytes. The entry is one that a map holds, so it fits its type."""
    value = entry.value
    if isinstance(value, str):
        return value.encode() + b"\0"
    if isinstance(value, bytes):
        return value
    return _NUMBERS[entry.type].pack(value)


def value_size(entry: CmapEntry) -> int:
    """How many bytes `encode_value` gives."""
    return len(encode_value(entry))


def decode_value(kind: int, data: bytes) -> CmapEntry:
    """What a client wants to set. INVALID_PARAM: no such type, or the bytes are none of its values.

    Text that is no UTF-8 is refused: this daemon's keys are text to everybody who reads them.
    """
    known = _TYPES.get(kind)
    if known is None:
        raise ServiceError(Code.INVALID_PARAM, f"there is no type {kind}")
    if known is CmapType.BINARY:
        return CmapEntry(known, data)
    if known is CmapType.STRING:
        return CmapEntry(known, _text(data))
    number = _NUMBERS[known]
    if len(data) != number.size:
        raise ServiceError(Code.INVALID_PARAM, f"a {known.name} has {number.size} bytes, not {len(data)}")
    return CmapEntry(known, number.unpack(data)[0])


def _text(data: bytes) -> str:
    text = data[:-1] if data.endswith(b"\0") else data
    if b"\0" in text:
        raise ServiceError(Code.INVALID_PARAM, "a string has a NUL within")
    try:
        return text.decode()
    except UnicodeDecodeError:
        raise ServiceError(Code.INVALID_PARAM, "a string is not UTF-8") from None


def encode_name(key: str) -> bytes:
    """A key as a field of 264 bytes."""
    raw = key.encode()
    return NAME.pack(len(raw), raw)


def decode_name(message: bytes, offset: int) -> str:
    """The field at `offset`: up to its length or the first NUL. NAME_TOO_LONG: longer than any key.

    Bytes that no key may have become characters that no key may have; the map refuses them.
    """
    length, room = NAME.unpack_from(message, offset)
    if length > CMAP_KEY_MAX:
        raise ServiceError(Code.NAME_TOO_LONG, f"a key has at most {CMAP_KEY_MAX} characters, not {length}")
    name: bytes = room[:length]
    return name.partition(b"\0")[0].decode("latin-1")
