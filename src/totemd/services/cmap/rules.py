"""Which keys and values the cmap takes, and which keys clients may not change (cmap_keys(7); chapter "Services").

Pure functions. All errors are ServiceError.
"""

import re
from struct import Struct
from typing import Final

from totemd.config.model import CmapEntry, CmapType, CmapValue
from totemd.errors import Code, ServiceError
from totemd.limits import CMAP_KEY_MAX, CMAP_KEY_MIN, CMAP_VALUE_MAX
from totemd.services.cmap.tracking import CmapChanged, TrackKind

_KEY_CHARACTERS: Final = re.compile(r"[A-Za-z0-9._/:-]*\Z")
_FLOAT: Final = Struct("<f")

_READ_ONLY_PREFIXES: Final = (
    "internal_configuration.",
    "runtime.services.",
    "runtime.config.",
    "runtime.totem.",
    "uidgid.config.",
    "system.",
    "nodelist.",
    "removed.",
)
_READ_ONLY_TOTEM: Final = (
    "crypto_cipher crypto_hash crypto_model keyfile key secauth ip_version rrp_mode transport cluster_name netmtu"
    " threads version nodeid clear_node_high_bit cluster_id join_port"
)
_READ_ONLY_QUORUM: Final = (
    "allow_downscale wait_for_all last_man_standing last_man_standing_window expected_votes_tracking auto_tie_breaker"
    " auto_tie_breaker_node"
)
_READ_ONLY_KEYS: Final = frozenset(
    [f"totem.{name}" for name in _READ_ONLY_TOTEM.split()]
    + [f"quorum.{name}" for name in _READ_ONLY_QUORUM.split()]
    + ["config.reload_in_progress", "config.totemconfig_reload_in_progress"]
)

_INTEGER_BITS: Final = {
    CmapType.I8: (8, True),
    CmapType.U8: (8, False),
    CmapType.I16: (16, True),
    CmapType.U16: (16, False),
    CmapType.I32: (32, True),
    CmapType.U32: (32, False),
    CmapType.I64: (64, True),
    CmapType.U64: (64, False),
}


def is_read_only(key: str) -> bool:
    """Whether only the daemon itself may change the key."""
    return key in _READ_ONLY_KEYS or key.startswith(_READ_ONLY_PREFIXES)


def check_key(key: str) -> None:
    """NAME_TOO_LONG (corosync's code for any bad name) unless the key is 3 to 255 characters of A-Za-z0-9._-/:"""
    if not CMAP_KEY_MIN <= len(key) <= CMAP_KEY_MAX:
        raise ServiceError(Code.NAME_TOO_LONG, f"a key has {CMAP_KEY_MIN} to {CMAP_KEY_MAX} characters, not {len(key)}")
    check_prefix(key)


def why_missing(key: str) -> str:
    """What to say of a key that is not there: perhaps it cannot be."""
    try:
        check_key(key)
    except ServiceError as error:
        return f"there is no key {key!r}, nor can there be: {error}"
    return f"there is no key {key}"


def check_prefix(prefix: str) -> None:
    """NAME_TOO_LONG unless the prefix (it may be empty) could be the start of a key."""
    if len(prefix) > CMAP_KEY_MAX:
        raise ServiceError(Code.NAME_TOO_LONG, f"a key has at most {CMAP_KEY_MAX} characters, not {len(prefix)}")
    if not _KEY_CHARACTERS.match(prefix):
        raise ServiceError(Code.NAME_TOO_LONG, f"key {prefix!r} has characters other than A-Z a-z 0-9 . _ - / :")


def checked(entry: CmapEntry) -> CmapEntry:
    """The entry, its value in the type's normal form. INVALID_PARAM if the value does not fit the type."""
    value = entry.value
    if entry.type in _INTEGER_BITS:
        low, high = _range(entry.type)
        if type(value) is not int or not low <= value <= high:
            raise _misfit(entry, f"a whole number from {low} to {high}")
        return entry
    if entry.type is CmapType.STRING:
        return _checked_string(entry)
    if entry.type is CmapType.BINARY:
        if not isinstance(value, bytes) or len(value) > CMAP_VALUE_MAX:
            raise _misfit(entry, f"at most {CMAP_VALUE_MAX} bytes")
        return entry
    return _checked_float(entry)


def _checked_string(entry: CmapEntry) -> CmapEntry:
    value = entry.value
    if not isinstance(value, str) or "\0" in value:
        raise _misfit(entry, "text without NUL")
    try:
        size = len(value.encode("utf-8"))
    except UnicodeEncodeError:
        raise _misfit(entry, "text that UTF-8 can carry") from None
    if size > CMAP_VALUE_MAX:
        raise _misfit(entry, f"text of at most {CMAP_VALUE_MAX} bytes")
    return entry


def _checked_float(entry: CmapEntry) -> CmapEntry:
    if type(entry.value) not in (int, float):
        raise _misfit(entry, "a number")
    try:
        number = float(entry.value)
        if entry.type is CmapType.FLOAT:
            number = _FLOAT.unpack(_FLOAT.pack(number))[0]
    except OverflowError:
        raise _misfit(entry, "a number that the type can hold") from None
    return CmapEntry(entry.type, number)


def _misfit(entry: CmapEntry, wanted: str) -> ServiceError:
    return ServiceError(Code.INVALID_PARAM, f"the value of a {entry.type.name} must be {wanted}")


def _range(kind: CmapType) -> tuple[int, int]:
    bits, signed = _INTEGER_BITS[kind]
    return (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)


def adjusted(entry: CmapEntry, step: int) -> CmapEntry:
    """The entry with `step` added, wrapped to the type's width. INVALID_PARAM if it is no whole number."""
    if entry.type not in _INTEGER_BITS or not isinstance(entry.value, int):
        raise ServiceError(Code.INVALID_PARAM, f"a {entry.type.name} cannot be adjusted")
    low, high = _range(entry.type)
    return CmapEntry(entry.type, low + (entry.value + step - low) % (high - low + 1))


def entry_of(value: CmapValue) -> CmapEntry:
    """The entry for a value whose type nobody named: the narrowest of U32, I32, U64, I64, or what the value is."""
    if type(value) is int:
        for kind in (CmapType.U32, CmapType.I32, CmapType.U64, CmapType.I64):
            low, high = _range(kind)
            if low <= value <= high:
                return CmapEntry(kind, value)
        raise ServiceError(Code.INVALID_PARAM, f"{value} does not fit 64 bits")
    if isinstance(value, str):
        return CmapEntry(CmapType.STRING, value)
    if isinstance(value, bytes):
        return CmapEntry(CmapType.BINARY, value)
    return CmapEntry(CmapType.DOUBLE, value)


def size_of(key: str, entry: CmapEntry) -> int:
    """Roughly the memory that a key and its value take, bytes."""
    return len(key) + (len(entry.value) if isinstance(entry.value, str | bytes) else 8)


def change_of(key: str, old: CmapEntry | None, new: CmapEntry | None) -> CmapChanged | None:
    """What has become of the key; None if nothing has."""
    if old == new:
        return None
    kind = TrackKind.ADD if old is None else TrackKind.DELETE if new is None else TrackKind.MODIFY
    return CmapChanged(kind, key, new, old)
