"""What a node knows for good of its configuration's versions: stored before anything is built on it.

Three files of the state directory: "committed" is the change whose text is in force (the one the daemon starts with),
"state" is all that decides, "history" is for people. On each commit they are written in this order, so after a crash
"committed" may be newer than "state", or, after a node has gone back by itself, older.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

import msgpack

from totemd.cluster.change import CHANGE_SIZE_MAX, VERSION_MAX, Change, HistoryEntry
from totemd.errors import BadPacket
from totemd.ids import NodeId
from totemd.limits import PROCESSOR_COUNT_MAX
from totemd.record import record

COMMITTED_FILE: Final = "committed"
STATE_FILE: Final = "state"
HISTORY_FILE: Final = "history"

HISTORY_MAX: Final = 100
"""Entries of the history, and of how many of them the texts are kept, up to so many bytes."""

HISTORY_TEXTS_MAX: Final = 20
HISTORY_TEXT_BYTES_MAX: Final = 1024 * 1024
HANDED_OVER_MAX: Final = 50
"""Entries that go with a record for who was away, without texts and reasons."""

_FORMAT: Final = 1
_U64_MAX: Final = 2**64 - 1


@record
class Accepted:
    """What this node has made durable as the successor of the committed version: a change, or None (no change).

    `seq` and `number` order what was accepted: ring, and attempt in that ring; `members` are the ring's. `firm`: the
    change may have been decided in an earlier ring already, so it can no longer be refused.
    """

    seq: int
    number: int
    members: tuple[NodeId, ...]
    firm: bool
    change: Change | None


@record
class Ledger:
    """The durable state. `previous` is what was in force before `current` (None: not known); `confirmed`: a quorate
    ring has worked with `current`; `reverted`: this node has gone back from it to `previous`, until there is quorum."""

    current: Change
    previous: Change | None = None
    confirmed: bool = True
    reverted: bool = False
    highest: int = 0
    accepted: Accepted | None = None

    @property
    def active(self) -> Change:
        """The change whose text is in force."""
        return self.previous if self.reverted and self.previous is not None else self.current

    def committed(self, change: Change) -> "Ledger":
        """After `change` was decided on."""
        previous = replace(self.active, boxes={})
        return Ledger(change, previous, confirmed=False, highest=max(self.highest, change.version))

    def handed_over(self) -> "Ledger":
        """What another node needs of it."""
        return replace(self, accepted=None)

    def encode(self) -> bytes:
        """The file "state"."""
        accepted = self.accepted
        fields = [
            _FORMAT,
            self.current.encode(),
            None if self.previous is None else self.previous.encode(),
            self.confirmed,
            self.reverted,
            self.highest,
            None
            if accepted is None
            else [
                accepted.seq,
                accepted.number,
                list(accepted.members),
                accepted.firm,
                None if accepted.change is None else accepted.change.encode(),
            ],
        ]
        data: bytes = msgpack.packb(fields)
        return data

    @staticmethod
    def decode(data: bytes) -> "Ledger":
        """The ledger in `data`; BadPacket if there is none."""
        if len(data) > 3 * CHANGE_SIZE_MAX + 64 * 1024:
            raise _bad("too long")
        match _unpacked(data):
            case [1, bytes(current), bytes() | None as previous, bool(confirmed), bool(reverted), int(highest), last]:
                pass
            case _:
                raise _bad("not its fields")
        if not 0 <= highest <= VERSION_MAX or (reverted and previous is None):
            raise _bad("impossible values")
        return Ledger(
            current=Change.decode(current),
            previous=None if previous is None else Change.decode(previous),
            confirmed=confirmed,
            reverted=reverted,
            highest=highest,
            accepted=None if last is None else _accepted(last),
        )


def _accepted(fields: object) -> Accepted:
    match fields:
        case [int(seq), int(number), list(members), bool(firm), bytes() | None as change]:
            pass
        case _:
            raise _bad("not what was accepted")
    numbers = [seq, number, *members]
    if not all(isinstance(n, int) and 0 <= n <= _U64_MAX for n in numbers) or len(members) > PROCESSOR_COUNT_MAX:
        raise _bad("impossible numbers")
    return Accepted(seq, number, tuple(members), firm, None if change is None else Change.decode(change))


def load(stored: Mapping[str, bytes]) -> Ledger | None:
    """The ledger as the last life left it, None for a first life; BadPacket if a file is damaged."""
    if COMMITTED_FILE not in stored:
        return None
    active = Change.decode(stored[COMMITTED_FILE])
    if STATE_FILE not in stored:
        return Ledger(active, highest=active.version)
    ledger = Ledger.decode(stored[STATE_FILE])
    if active.ident == ledger.active.ident:
        return ledger
    # It ended between the two files. The daemon starts with the text of the first, so that one is to be active.
    if active.ident == ledger.current.ident:
        return replace(ledger, reverted=False)
    if active.version >= ledger.current.version:
        return ledger.committed(active)
    return replace(ledger, previous=active, reverted=True, confirmed=False)


@dataclass(slots=True)
class History:
    """The latest changes and what became of them, the oldest first."""

    entries: list[HistoryEntry] = field(default_factory=list)

    def add(self, entry: HistoryEntry) -> None:
        """Keep `entry`, instead of what was known of this change before."""
        self.entries = [known for known in self.entries if known.ident != entry.ident]
        self.entries.append(entry)
        del self.entries[:-HISTORY_MAX]
        texts = size = 0
        for index in range(len(self.entries) - 1, -1, -1):
            known = self.entries[index]
            if known.text is None:
                continue
            texts, size = texts + 1, size + len(known.text.encode())
            if texts > HISTORY_TEXTS_MAX or size > HISTORY_TEXT_BYTES_MAX:
                self.entries[index] = replace(known, text=None)

    def outcome(self, ident: bytes) -> HistoryEntry | None:
        """What became of a change, if it is known."""
        return next((entry for entry in reversed(self.entries) if entry.ident == ident), None)

    def learn(self, entries: list[HistoryEntry]) -> None:
        """Take entries that another node has and this one lacks; all in the order of versions then."""
        known = {entry.ident for entry in self.entries}
        lacking = [_without_texts(entry) for entry in entries if entry.ident not in known]
        if lacking:
            self.entries = sorted([*lacking, *self.entries], key=lambda entry: entry.version)[-HISTORY_MAX:]

    def latest(self) -> list[HistoryEntry]:
        """What goes with a record for who was away."""
        return [_without_texts(entry) for entry in self.entries[-HANDED_OVER_MAX:]]


def _without_texts(entry: HistoryEntry) -> HistoryEntry:
    return replace(entry, text=None, reasons={}, why="")


def encode_entries(entries: list[HistoryEntry]) -> bytes:
    """The file "history"."""
    data: bytes = msgpack.packb([entry.encode() for entry in entries])
    return data


def decode_entries(data: bytes) -> list[HistoryEntry]:
    """The entries in `data`; BadPacket if they are none."""
    fields = _unpacked(data)
    if not isinstance(fields, list) or not all(isinstance(entry, bytes) for entry in fields):
        raise _bad("no list of entries")
    return [HistoryEntry.decode(entry) for entry in fields]


def encode_record(ledger: Ledger, history: History) -> bytes:
    """What a node that was away needs to be of the present version."""
    data: bytes = msgpack.packb([ledger.handed_over().encode(), encode_entries(history.latest())])
    return data


def decode_record(data: bytes) -> tuple[Ledger, list[HistoryEntry]]:
    """What `encode_record` gave; BadPacket if it did not."""
    match _unpacked(data):
        case [bytes(ledger), bytes(entries)]:
            return replace(Ledger.decode(ledger), accepted=None), decode_entries(entries)
        case _:
            raise _bad("no record")


def _unpacked(data: bytes) -> Any:
    try:
        return msgpack.unpackb(data, max_array_len=PROCESSOR_COUNT_MAX, max_map_len=0)
    except (ValueError, TypeError, RecursionError, msgpack.exceptions.ExtraData, msgpack.exceptions.UnpackException):
        raise _bad("no msgpack") from None


def _bad(text: str) -> BadPacket:
    return BadPacket("bad configuration state", text)
