"""Text and JSON of what `totemctl` shows.

`status` and `nodes` have the layout of corosync-quorumtool(8), options -siH and -l, of corosync 3.1, byte for byte:
scripts read it. Labels fill 18 columns, table cells 10, right-aligned, each followed by one blank.
"""

import time
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, Final

from totemd.client.records import CmapValue, GroupMember, Member, Node, Status
from totemd.ids import NO_RING, RingId

_LABEL_WIDTH: Final = 18
_CELL_WIDTH: Final = 10

NOT_CONFIGURED: Final = "Not configured"
"""Quorum provider when the configuration has none."""


def status_text(status: Status, date: str | None = None) -> str:
    """The three blocks of `totemctl status`; without a quorum provider the second is left out. `date`: as ctime(3)."""
    blocks = [_quorum_block(status, date or time.ctime())]
    if status.provider is not None:
        blocks.append(_votequorum_block(status))
    rows = [
        (f"0x{member.nodeid:08x}", member.votes, member.address or member.name, member.local)
        for member in _by_id(status.members)
    ]
    blocks.append(_membership_block(rows))
    return "\n".join(blocks)


def members_text(members: Iterable[Member]) -> str:
    """The table of `totemctl nodes`: decimal ids, names; it begins with an empty line, as quorumtool's does."""
    rows = [
        (str(member.nodeid), member.votes, member.name or member.address, member.local) for member in _by_id(members)
    ]
    return "\n" + _membership_block(rows)


def all_nodes_text(nodes: Iterable[Node]) -> str:
    """The table of `totemctl nodes --all`."""
    lines = [f"{'Nodeid':>10} {'Votes':>10} {'State':>10} {'Address':<15} Name"]
    for node in nodes:
        local = " (local)" if node.local else ""
        lines.append(f"{node.nodeid:>10} {node.votes:>10} {node.state:>10} {node.address:<15} {node.name}{local}")
    return "\n".join(lines) + "\n"


def _by_id(members: Iterable[Member]) -> list[Member]:
    return sorted(members, key=lambda member: member.nodeid)


def _heading(text: str) -> str:
    return f"{text}\n{'-' * len(text)}\n"


def _field(label: str, value: object) -> str:
    return f"{label + ':':<{_LABEL_WIDTH}}{value}\n"


def _quorum_block(status: Status, date: str) -> str:
    ring = status.ring or NO_RING
    return (
        _heading("Quorum information")
        + _field("Date", date)
        + _field("Quorum provider", status.provider or NOT_CONFIGURED)
        + _field("Nodes", len(status.members))
        + _field("Node ID", f"0x{status.nodeid:08x}")
        + _field("Ring ID", ring if status.provider is not None else f"{ring.seq:x}")
        + _field("Quorate", "Yes" if status.quorate else "No")
    )


def _votequorum_block(status: Status) -> str:
    votes = status.votes
    return (
        _heading("Votequorum information")
        + _field("Expected votes", votes.expected)
        + _field("Highest expected", votes.highest)
        + _field("Total votes", votes.total)
        + _field("Quorum", f"{votes.quorum} {' ' if status.quorate else 'Activity blocked'}")
        + _field("Flags", "".join(f"{flag} " for flag in status.flags))
    )


def _membership_block(rows: Iterable[tuple[str, int, str, bool]]) -> str:
    lines = [f"{'Nodeid':>{_CELL_WIDTH}} {'Votes':>{_CELL_WIDTH}} Name\n"]
    for nodeid, votes, name, local in rows:
        lines.append(f"{nodeid:>{_CELL_WIDTH}} {votes:>{_CELL_WIDTH}} {name}{' (local)' if local else ''}\n")
    return _heading("Membership information") + "".join(lines)


def escape(data: bytes) -> str:
    r"""Bytes as text that is safe for a terminal and can be read back: \\ and \xNN, printable UTF-8 as it is."""
    text = data.decode("utf-8", "surrogateescape")
    return "".join(_escape_character(character) for character in text)


def _escape_character(character: str) -> str:
    if character == "\\":
        return "\\\\"
    if character.isprintable():
        return character
    return "".join(f"\\x{byte:02x}" for byte in character.encode("utf-8", "surrogateescape"))


def node_label(nodeid: int, names: Mapping[int, str]) -> str:
    """`n1 (1)`, or the bare id of a node without a name."""
    name = names.get(nodeid)
    return f"{name} ({nodeid})" if name else str(nodeid)


def process_label(member: GroupMember, names: Mapping[int, str]) -> str:
    """`n1 pid 4711`."""
    return f"{names.get(member.nodeid) or f'node {member.nodeid}'} pid {member.pid}"


def cmap_text(entry: CmapValue) -> str:
    """`key (type) = value`, as corosync-cmapctl(8) prints it; binary values in hexadecimal."""
    value = entry.value
    if isinstance(value, bytes):
        shown = value.hex()
    elif isinstance(value, float):
        shown = f"{value:f}"
    elif isinstance(value, str):
        shown = escape(value.encode("utf-8", "surrogateescape"))
    else:
        shown = str(value)
    return f"{entry.key} ({entry.type}) = {shown}"


def flattened(value: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, object]]:
    """Nested maps as (dotted key, value), in the order given."""
    for key, item in value.items():
        if isinstance(item, Mapping):
            yield from flattened(item, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", item


def jsonable(value: object) -> Any:
    """Records as objects, ring ids as {rep, seq, id}, bytes as `escape` shows them."""
    if isinstance(value, RingId):
        return {"rep": value.rep, "seq": value.seq, "id": str(value)}
    if is_dataclass(value):
        return {field.name: jsonable(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, bytes):
        return escape(value)
    if isinstance(value, Mapping):
        return {str(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [jsonable(item) for item in value]
    return value
