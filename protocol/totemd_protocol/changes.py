"""The messages of the replicated configuration, service 32 (chapter "Replicated configuration").

All begin with the ring in which they were made. What `data` holds (a change, a record) is msgpack, see the chapter.
"""

from construct import Array, Bytes, Check, Construct, Int16ul, Int32ul, Int64ul, Rebuild, Struct, len_, this

from totemd_protocol.common import PROCESSOR_COUNT_MAX, RING_ID, message_header

CHANGES = 32
DATA_MAX = 1024 * 1024 - 1024
REASON_MAX = 1024


def _message(function: int, *fields: Construct) -> Struct:
    return Struct(*message_header(CHANGES << 16 | function), "ring" / RING_ID, *fields)


def _data() -> tuple[Construct, ...]:
    length = "length" / Rebuild(Int32ul, len_(this.data))
    return length, Check(this.length <= DATA_MAX), "data" / Bytes(this.length)


def _reason() -> tuple[Construct, ...]:
    length = "length" / Rebuild(Int16ul, len_(this.reason))
    return length, Check(this.length <= REASON_MAX), "reason" / Bytes(this.length)


STATE = _message(
    0,
    "version" / Int64ul,
    "ident" / Bytes(16),
    "digest" / Bytes(16),
    "flags" / Int32ul,
    "highest" / Int64ul,
    "accepted_seq" / Int64ul,
    "accepted_number" / Int32ul,
    "accepted_version" / Int64ul,
    "accepted_ident" / Bytes(16),
    "accepted_count" / Rebuild(Int32ul, len_(this.accepted_members)),
    Check(this.accepted_count <= PROCESSOR_COUNT_MAX),
    "accepted_members" / Array(this.accepted_count, Int32ul),
)
RECORD = _message(1, *_data())
PROPOSE = _message(2, *_data())
PREPARED = _message(3, "number" / Int32ul)
REJECTED = _message(4, "number" / Int32ul, *_reason())
COMMIT = _message(5, "number" / Int32ul)
WITHDRAW = _message(6, "number" / Int32ul, *_reason())
CONFIRM = _message(7, "version" / Int64ul, "ident" / Bytes(16))
CHECK = _message(8, "ident" / Bytes(16), *_data())
CHECKED = _message(9, "ident" / Bytes(16), *_reason())
REVERT = _message(10, "version" / Int64ul, "ident" / Bytes(16))

MESSAGES: dict[tuple[int, int], tuple[str, Construct]] = {
    (CHANGES, function): (f"changes_{name}", definition)
    for function, (name, definition) in enumerate(
        [
            ("state", STATE),
            ("record", RECORD),
            ("propose", PROPOSE),
            ("prepared", PREPARED),
            ("rejected", REJECTED),
            ("commit", COMMIT),
            ("withdraw", WITHDRAW),
            ("confirm", CONFIRM),
            ("check", CHECK),
            ("checked", CHECKED),
            ("revert", REVERT),
        ]
    )
}
