"""A change of the replicated configuration, and its entry in the history (protocol/, chapter "Replicated
configuration").

Both travel and are stored as msgpack lists in a fixed order of fields. What is read here may come from anybody: each
field has a type and a bound, and BadPacket says what is wrong.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias, cast, get_args

import msgpack

from totemd.errors import BadPacket
from totemd.ids import NodeId

Kind: TypeAlias = Literal["create", "edit", "join", "count", "abort-join", "remove", "leave", "rotate-key", "rollback"]
KINDS: Final[tuple[str, ...]] = get_args(Kind)

TEXT_MAX_BYTES: Final = 256 * 1024
"""Of a configuration's text; corosync.conf of 64 nodes has 10 KiB. With its boxes a change fits into one message."""

BOXES_MAX_BYTES: Final = 256 * 1024
"""Of all boxes of one change together."""

CHANGE_SIZE_MAX: Final = TEXT_MAX_BYTES + BOXES_MAX_BYTES + 16 * 1024
"""Bytes of an encoded change."""

IDENT_SIZE: Final = 16
WHO_MAX: Final = 256
WHAT_MAX: Final = 1024
REASON_MAX: Final = 1024
"""Bytes of UTF-8 of these texts."""

VERSION_MAX: Final = 2**63 - 1
ROLLBACK_AFTER_DEFAULT_S: Final = 30
ROLLBACK_AFTER_MAX_S: Final = 24 * 3600

REASONS_MAX: Final = 384
"""Nodes of which an entry of the history keeps the reasons."""

_FORMAT: Final = 1
_NO_REASONS: Final[Mapping[NodeId, str]] = {}
_U32_MAX: Final = 2**32 - 1


@dataclass(frozen=True, slots=True)
class Change:
    """One version of the configuration: the whole text, and why it is so.

    `ident` (16 random bytes) is its identity; `base_version` is what it was made from; `when` is the proposer's time of
    day, Unix seconds; `boxes` has for each node the key ring that comes with it, sealed for that node by `proposer`
    (none: the keys stay); without quorum for `rollback_after_s` after its activation a node goes back by itself.
    """

    ident: bytes
    kind: Kind
    base_version: int
    version: int
    text: str
    who: str = ""
    when: int = 0
    what: str = ""
    boxes: Mapping[NodeId, bytes] = field(default_factory=dict)
    rollback_after_s: int = ROLLBACK_AFTER_DEFAULT_S
    proposer: NodeId = 0

    def encode(self) -> bytes:
        """The bytes that `decode` reads. ValueError if a field exceeds its bound."""
        fields = [_FORMAT, *_heading(self), self.text, dict(self.boxes), self.rollback_after_s, self.proposer]
        data: bytes = msgpack.packb(fields)
        try:
            Change.decode(data)
        except BadPacket as error:
            raise ValueError(str(error)) from None
        return data

    @staticmethod
    def decode(data: bytes) -> "Change":
        """The change in `data`; BadPacket if there is none."""
        reader = _Reader(data, "change", 12, CHANGE_SIZE_MAX)
        if reader.number(1) != _FORMAT:
            raise reader.bad("an unknown format")
        heading = reader.heading()
        text = reader.text(TEXT_MAX_BYTES)
        boxes = reader.boxes()
        rollback_after_s, proposer = reader.number(ROLLBACK_AFTER_MAX_S), reader.number(_U32_MAX)
        ident, kind, base_version, version, who, when, what = heading
        return Change(ident, kind, base_version, version, text, who, when, what, boxes, rollback_after_s, proposer)


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """What became of a change. `outcome` is a word: committed, rejected, aborted, rolled-back, superseded, reverted;
    `reasons` are those of the nodes that refused it; `text` is kept of the latest changes only; `why` is a reason that
    is no node's own, kept where the change was refused."""

    ident: bytes
    kind: Kind
    base_version: int
    version: int
    who: str
    when: int
    what: str
    outcome: str
    reasons: Mapping[NodeId, str] = field(default_factory=dict)
    text: str | None = None
    why: str = ""

    def encode(self) -> bytes:
        """The bytes that `decode` reads."""
        fields = [_FORMAT, *_heading(self), self.outcome, dict(self.reasons), self.text]
        if self.why:
            fields.append(self.why)
        data: bytes = msgpack.packb(fields)
        return data

    @staticmethod
    def decode(data: bytes) -> "HistoryEntry":
        """The entry in `data`; BadPacket if there is none."""
        size_max = TEXT_MAX_BYTES + REASONS_MAX * (REASON_MAX + 16) + 16 * 1024
        reader = _Reader(data, "history entry", 11, size_max, more=1)
        if reader.number(1) != _FORMAT:
            raise reader.bad("an unknown format")
        ident, kind, base_version, version, who, when, what = reader.heading()
        outcome = reader.text(32)
        reasons = reader.reasons()
        text = reader.optional_text(TEXT_MAX_BYTES)
        why = reader.text(REASON_MAX) if reader.has_more else ""
        return HistoryEntry(ident, kind, base_version, version, who, when, what, outcome, reasons, text, why)


def entry_of(change: Change, outcome: str, reasons: Mapping[NodeId, str] = _NO_REASONS) -> HistoryEntry:
    """The history's entry of `change`."""
    text = change.text
    return HistoryEntry(*_heading(change), outcome, reasons, text)


def box_context(cluster_id: bytes, change: Change) -> bytes:
    """What the boxes of `change` are for, as `boxes.seal_box` wants it. The version is not in it: it is given late."""
    return b"totemd key ring" + cluster_id + change.ident


def clipped(text: str, size_max: int = REASON_MAX) -> str:
    """`text` on one line of at most `size_max` bytes of UTF-8."""
    line = "".join(character if character.isprintable() else " " for character in text)
    return line.encode("utf-8", "replace")[:size_max].decode("utf-8", "ignore")


def _heading(source: Change | HistoryEntry) -> tuple[bytes, Kind, int, int, str, int, str]:
    return source.ident, source.kind, source.base_version, source.version, source.who, source.when, source.what


class _Reader:
    """Takes the fields of a list one by one and checks each."""

    def __init__(self, data: bytes, name: str, count: int, size_max: int, more: int = 0) -> None:
        """`more`: fields that may follow the `count` that there must be."""
        self._name = name
        if len(data) > size_max:
            raise self.bad(f"{len(data)} bytes, more than {size_max}")
        try:
            # Text and blob lengths are those of `data`; only containers can ask for more than was sent.
            fields = msgpack.unpackb(data, strict_map_key=False, max_array_len=count + more, max_map_len=REASONS_MAX)
        except (ValueError, TypeError, msgpack.exceptions.ExtraData, msgpack.exceptions.UnpackException) as error:
            raise self.bad(f"no msgpack ({type(error).__name__})") from None
        except RecursionError:  # nested deeper than any of ours
            raise self.bad("nested too deeply") from None
        if not isinstance(fields, list) or not count <= len(fields) <= count + more:
            raise self.bad("not a list of its fields")
        self.has_more = len(fields) > count
        self._fields = iter(fields)

    def bad(self, text: str) -> BadPacket:
        return BadPacket(f"bad {self._name}", text)

    def number(self, most: int) -> int:
        value = next(self._fields)
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= most:
            raise self.bad(f"no number up to {most}")
        return value

    def text(self, size_max: int) -> str:
        value = next(self._fields)
        if not isinstance(value, str):
            raise self.bad("no text")
        try:
            size = len(value.encode())
        except UnicodeEncodeError:
            raise self.bad("no text that UTF-8 has") from None
        if size > size_max:
            raise self.bad(f"a text of {size} bytes, more than {size_max}")
        return value

    def optional_text(self, size_max: int) -> str | None:
        value = next(self._fields)
        if value is None:
            return None
        self._fields = iter([value, *self._fields])
        return self.text(size_max)

    def heading(self) -> tuple[bytes, Kind, int, int, str, int, str]:
        ident = next(self._fields)
        if not isinstance(ident, bytes) or len(ident) != IDENT_SIZE:
            raise self.bad(f"no identity of {IDENT_SIZE} bytes")
        kind = self.text(16)
        if kind not in KINDS:
            raise self.bad("an unknown kind")
        base_version, version = self.number(VERSION_MAX), self.number(VERSION_MAX)
        who, when, what = self.text(WHO_MAX), self.number(VERSION_MAX), self.text(WHAT_MAX)
        return ident, cast("Kind", kind), base_version, version, who, when, what

    def boxes(self) -> dict[NodeId, bytes]:
        value = self._by_node(bytes)
        if sum(map(len, value.values())) > BOXES_MAX_BYTES:
            raise self.bad(f"boxes of more than {BOXES_MAX_BYTES} bytes")
        return value

    def reasons(self) -> dict[NodeId, str]:
        value = self._by_node(str)
        if any(len(text) > REASON_MAX for text in value.values()):
            raise self.bad(f"a reason of more than {REASON_MAX} characters")
        return value

    def _by_node(self, kind: type) -> dict[NodeId, Any]:
        value = next(self._fields)
        if not isinstance(value, dict):
            raise self.bad("no map by node")
        for nodeid, item in value.items():
            if not isinstance(nodeid, int) or not 0 < nodeid <= _U32_MAX or not isinstance(item, kind):
                raise self.bad("no map by node")
        return cast("dict[NodeId, Any]", value)
