"""Messages between the services "changes" of the nodes (protocol/, chapter "Replicated configuration").

Whole messages, the 16-byte service header included. All begin with the ring in which they were made: in any other they
mean nothing. What a change is made of is not known here: it is carried as bytes.
"""

from enum import IntEnum
from struct import Struct
from typing import Any, Final, TypeAlias

from totemd.errors import BadPacket
from totemd.ids import NodeId, RingId
from totemd.limits import MESSAGE_SIZE_MAX, PROCESSOR_COUNT_MAX
from totemd.record import record
from totemd.wire.service import SERVICE_HEADER_SIZE, encode_service_header

SERVICE_CHANGES: Final = 32
IDENT_SIZE: Final = 16
NO_IDENT: Final = bytes(IDENT_SIZE)

REASON_MAX: Final = 1024
"""Bytes of UTF-8 of a reason."""

DATA_MAX: Final = MESSAGE_SIZE_MAX - 1024
"""Bytes of a change or a text in a message."""

VERSION_LIMIT: Final = 1 << 62
"""No honest version is near this; one that is would leave no number for the next."""

FLAG_CONFIRMED: Final = 1
FLAG_REVERTED: Final = 2
FLAG_FIRM: Final = 4


class ChangesFunction(IntEnum):
    """What a message is about."""

    STATE = 0
    RECORD = 1
    PROPOSE = 2
    PREPARED = 3
    REJECTED = 4
    COMMIT = 5
    WITHDRAW = 6
    CONFIRM = 7
    CHECK = 8
    CHECKED = 9
    REVERT = 10


@record
class State:
    """What the sender has when a ring synchronizes.

    `version` and `ident` are of the last change that it knows to be committed, `digest` is of that one's meaning,
    `highest` is the highest version it has accepted. What it has accepted since, in which ring, of which members, and
    there as which attempt: a change, or (`accepted_ident` all zero) none. `accepted_seq` 0: nothing since.
    """

    ring: RingId
    version: int
    ident: bytes
    digest: bytes
    flags: int
    highest: int
    accepted_seq: int
    accepted_number: int
    accepted_version: int
    accepted_ident: bytes
    accepted_members: tuple[NodeId, ...]


@record
class Record:
    """A committed change for those who lack it, in synchronization."""

    ring: RingId
    data: bytes


@record
class Propose:
    """The encoded change that may become the next version."""

    ring: RingId
    data: bytes


@record
class Prepared:
    """The sender has made attempt `number` durable."""

    ring: RingId
    number: int


@record
class Rejected:
    """The sender cannot take part in attempt `number`."""

    ring: RingId
    number: int
    reason: str


@record
class Commit:
    """All have prepared attempt `number`: it is decided."""

    ring: RingId
    number: int


@record
class Withdraw:
    """Attempt `number` fails; the next attempt is that of nothing."""

    ring: RingId
    number: int
    reason: str


@record
class Confirm:
    """A quorate ring works with this version."""

    ring: RingId
    version: int
    ident: bytes


@record
class Revert:
    """No quorum was regained with this version: what was before it is active again, until there is quorum."""

    ring: RingId
    version: int
    ident: bytes


@record
class Check:
    """Would this text do? `ident` is the question's."""

    ring: RingId
    ident: bytes
    data: bytes


@record
class Checked:
    """The answer to a Check; an empty reason means yes."""

    ring: RingId
    ident: bytes
    reason: str


ChangesMessage: TypeAlias = (
    State | Record | Propose | Prepared | Rejected | Commit | Withdraw | Confirm | Check | Checked | Revert
)

_RING: Final = Struct("<IQ")
_STATE: Final = Struct("<IQQ16s16sIQQIQ16sI")
_NUMBER: Final = Struct("<IQI")
_NUMBER_TEXT: Final = Struct("<IQIH")
_CONFIRM: Final = Struct("<IQQ16s")
_DATA: Final = Struct("<IQI")
_CHECK: Final = Struct("<IQ16sI")
_CHECKED: Final = Struct("<IQ16sH")


def encode_changes(message: ChangesMessage) -> bytes:
    """The whole message. ValueError if a reason or the data is too long."""
    function, body = _encode(message)
    size = SERVICE_HEADER_SIZE + len(body)
    return encode_service_header(SERVICE_CHANGES, function, size) + body


def _encode(message: ChangesMessage) -> tuple[ChangesFunction, bytes]:
    ring = (message.ring.rep, message.ring.seq)
    match message:
        case State():
            fields = (message.version, message.ident, message.digest, message.flags, message.highest)
            accepted = (message.accepted_seq, message.accepted_number, message.accepted_version)
            members = message.accepted_members
            head = _STATE.pack(*ring, *fields, *accepted, message.accepted_ident, len(members))
            return ChangesFunction.STATE, head + Struct(f"<{len(members)}I").pack(*members)
        case Record() | Propose():
            function = ChangesFunction.RECORD if isinstance(message, Record) else ChangesFunction.PROPOSE
            return function, _DATA.pack(*ring, len(message.data)) + _sized(message.data, DATA_MAX)
        case Prepared() | Commit():
            function = ChangesFunction.PREPARED if isinstance(message, Prepared) else ChangesFunction.COMMIT
            return function, _NUMBER.pack(*ring, message.number)
        case Rejected() | Withdraw():
            function = ChangesFunction.REJECTED if isinstance(message, Rejected) else ChangesFunction.WITHDRAW
            text = _sized(message.reason.encode(), REASON_MAX)
            return function, _NUMBER_TEXT.pack(*ring, message.number, len(text)) + text
        case Confirm() | Revert():
            function = ChangesFunction.CONFIRM if isinstance(message, Confirm) else ChangesFunction.REVERT
            return function, _CONFIRM.pack(*ring, message.version, message.ident)
        case Check():
            data = _sized(message.data, DATA_MAX)
            return ChangesFunction.CHECK, _CHECK.pack(*ring, message.ident, len(data)) + data
        case Checked():
            text = _sized(message.reason.encode(), REASON_MAX)
            return ChangesFunction.CHECKED, _CHECKED.pack(*ring, message.ident, len(text)) + text


def _sized(data: bytes, size_max: int) -> bytes:
    if len(data) > size_max:
        raise ValueError(f"{len(data)} bytes in a field that takes {size_max}")
    return data


def decode_changes(function: int, message: bytes) -> ChangesMessage:
    """Read a whole message whose header says `function`; BadPacket if it is not valid. Bytes behind it are ignored."""
    reader = _Reader(message)
    match function:
        case ChangesFunction.STATE:
            return _decode_state(reader)
        case ChangesFunction.RECORD | ChangesFunction.PROPOSE:
            rep, seq, size = reader.take(_DATA)
            data = reader.data(size, DATA_MAX)
            return (Record if function == ChangesFunction.RECORD else Propose)(RingId(rep, seq), data)
        case ChangesFunction.PREPARED | ChangesFunction.COMMIT:
            rep, seq, number = reader.take(_NUMBER)
            return (Prepared if function == ChangesFunction.PREPARED else Commit)(RingId(rep, seq), number)
        case ChangesFunction.REJECTED | ChangesFunction.WITHDRAW:
            rep, seq, number, size = reader.take(_NUMBER_TEXT)
            reason = reader.text(size)
            return (Rejected if function == ChangesFunction.REJECTED else Withdraw)(RingId(rep, seq), number, reason)
        case ChangesFunction.CONFIRM | ChangesFunction.REVERT:
            rep, seq, version, ident = reader.take(_CONFIRM)
            return (Confirm if function == ChangesFunction.CONFIRM else Revert)(RingId(rep, seq), version, ident)
        case ChangesFunction.CHECK:
            rep, seq, ident, size = reader.take(_CHECK)
            return Check(RingId(rep, seq), ident, reader.data(size, DATA_MAX))
        case ChangesFunction.CHECKED:
            rep, seq, ident, size = reader.take(_CHECKED)
            return Checked(RingId(rep, seq), ident, reader.text(size))
        case _:
            raise BadPacket("changes unknown function", str(function))


def _decode_state(reader: "_Reader") -> State:
    rep, seq, version, ident, digest, flags, highest, *accepted, count = reader.take(_STATE)
    if count > PROCESSOR_COUNT_MAX:
        raise BadPacket("changes members", f"{count} of them")
    members = reader.take(Struct(f"<{count}I"))
    accepted_seq, number, accepted_version, accepted_ident = accepted
    if max(version, highest, accepted_version) >= VERSION_LIMIT:
        raise BadPacket("changes absurd version", f"{max(version, highest, accepted_version)}")
    known = (version, ident, digest, flags, highest)
    return State(RingId(rep, seq), *known, accepted_seq, number, accepted_version, accepted_ident, members)


class _Reader:
    def __init__(self, message: bytes) -> None:
        self._message = message
        self._at = SERVICE_HEADER_SIZE

    def take(self, struct: Struct) -> tuple[Any, ...]:
        if len(self._message) < self._at + struct.size:
            raise BadPacket("changes message truncated", f"{len(self._message)} bytes")
        fields = struct.unpack_from(self._message, self._at)
        self._at += struct.size
        return fields

    def data(self, size: int, size_max: int) -> bytes:
        data = self._message[self._at : self._at + size]
        if size > size_max or len(data) < size:
            raise BadPacket("changes message truncated", f"{len(data)} bytes of {size}")
        return bytes(data)

    def text(self, size: int) -> str:
        return self.data(size, REASON_MAX).decode("utf-8", "replace")
