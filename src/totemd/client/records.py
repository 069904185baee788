"""Results and events of the native socket as typed records (protocol/, chapter "native socket").

Every `decode_<name>(value)` takes what the daemon sent (already unpacked) and raises ProtocolError when it has another
shape than the chapter says. Unknown additional keys are ignored, so that a newer daemon can say more.
"""

from collections.abc import Callable
from typing import Any, TypeAlias

from totemd.client.errors import ProtocolError
from totemd.ids import NO_RING, NodeId, RingId
from totemd.record import record

Scalar: TypeAlias = "int | float | str | bytes"


@record
class Welcome:
    """The daemon's hello. `incarnation` is random and new with every start of the daemon."""

    version: str
    nodeid: NodeId
    cluster_name: str
    incarnation: str
    features: tuple[str, ...] = ()
    """Words for what this daemon has beyond the first of its protocol's version: "quiet"."""


@record
class Member:
    """One member of the present configuration."""

    nodeid: NodeId
    name: str
    address: str
    votes: int
    local: bool


@record
class Node:
    """One node of the nodelist, or ever seen. `state` is "member", "dead", "leaving" or "never"."""

    nodeid: NodeId
    name: str
    address: str
    votes: int
    local: bool
    state: str


@record
class Votes:
    """The arithmetic of votequorum(5)."""

    expected: int
    highest: int
    total: int
    quorum: int


@record
class ForcedVotes:
    """Expected votes that the operator has forced for a while, and how many are configured."""

    votes: int
    configured: int
    seconds_left: float


@record
class RemovedNode:
    """A node that was taken out of the cluster for good, in configuration version `version`."""

    nodeid: NodeId
    name: str
    version: int


@record
class ConfigurationInForce:
    """What the daemon runs with. `address` is the multicast address, if there is one."""

    file: str
    version: int
    cluster_id: str | None
    """32 hex digits; None: the cluster is not managed, its configuration is kept alike by hand."""
    transport: str
    address: str | None
    port: int
    sealed: str | None
    """The suite that packets are sealed with; None: they are open."""
    joining: tuple[NodeId, ...]
    """Listed without votes, as their join is not complete."""
    removed: tuple[RemovedNode, ...]


@record
class Refusal:
    """Why a node does not let ours into its ring, as it says: a word, what it found, what is to be done."""

    nodeid: NodeId
    reason: str
    text: str
    remedy: str


@record
class LastChange:
    """Why the membership changed last, and how long ago (seconds)."""

    reason: str
    ring: RingId
    time_ago_s: float


@record
class Status:
    """The node's own view of ring and quorum. `ring` is None before the first configuration."""

    cluster_name: str
    nodeid: NodeId
    name: str
    version: str
    incarnation: str
    ring: RingId | None
    ring_state: str
    syncing: bool
    provider: str | None
    quorate: bool
    votes: Votes
    flags: tuple[str, ...]
    members: tuple[Member, ...]
    last_change: LastChange | None
    forced: ForcedVotes | None = None
    """None: the expected votes are not forced."""
    configuration: ConfigurationInForce | None = None
    """None: the daemon is of an earlier version."""
    refused_by: tuple[Refusal, ...] = ()


@record
class Membership:
    """A configuration of the ring. `kind` is "regular", or "transitional" for those who go on together to the next."""

    kind: str
    ring: RingId
    members: tuple[NodeId, ...]
    joined: tuple[NodeId, ...]
    left: tuple[NodeId, ...]
    reason: str


@record
class NodeState:
    """A node as votequorum sees it."""

    nodeid: NodeId
    state: str


@record
class QuorumStatus:
    """Quorum gained, lost or confirmed on `ring`."""

    quorate: bool
    ring: RingId
    expected_votes: int
    total_votes: int
    quorum: int
    nodes: tuple[NodeState, ...]


@record
class ExpectedVotes:
    """The number of expected votes changed."""

    expected_votes: int


@record
class Synchronized:
    """All members of `ring` agree on the state of all services: multicasts flow again."""

    ring: RingId


@record
class GroupMember:
    """One process in a process group."""

    nodeid: NodeId
    pid: int


@record
class GroupChange:
    """A process that joined or left; `reason` is "join", "leave", "nodedown", "nodeup" or "procdown"."""

    nodeid: NodeId
    pid: int
    reason: str


@record
class Delivered:
    """One message at its place in the total order, the same on every node."""

    group: bytes
    nodeid: NodeId
    pid: int
    data: bytes


@record
class MembersChanged:
    """A process group's new membership, at its place in the total order."""

    group: bytes
    members: tuple[GroupMember, ...]
    joined: tuple[GroupChange, ...]
    left: tuple[GroupChange, ...]


@record
class GroupInfo:
    """A process group that exists in the cluster, and who is in it."""

    group: bytes
    members: tuple[GroupMember, ...]


@record
class CmapValue:
    """One key of the configuration map; `type` is corosync's word: "u32", "str", "bin" ..."""

    key: str
    type: str
    value: Scalar


@record
class CmapChanged:
    """A key was added, modified or deleted (`event`: "add", "modify" or "delete")."""

    event: str
    key: str
    new: CmapValue | None
    old: CmapValue | None


@record
class DaemonRestarted:
    """The connection was lost (`reason`) and made again: events may have been missed in between.

    When the daemon itself was started anew, `incarnation` differs from `previous`; when they are equal, only this
    connection was cut.
    """

    incarnation: str
    previous: str
    reason: str


GroupEvent: TypeAlias = Delivered | MembersChanged | DaemonRestarted
TrackEvent: TypeAlias = Membership | QuorumStatus | ExpectedVotes | Synchronized | DaemonRestarted
CmapEvent: TypeAlias = CmapChanged | DaemonRestarted
Event: TypeAlias = Delivered | MembersChanged | Membership | QuorumStatus | ExpectedVotes | Synchronized | CmapChanged


def _map(value: object, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ProtocolError(f"{what}: expected a map, got {type(value).__name__}")
    return value


def _get(value: dict[str, Any], key: str, kind: type | tuple[type, ...]) -> Any:
    """`value[key]` if it is a `kind`; a bool never passes for a number."""
    found = value.get(key)
    if not isinstance(found, kind) or (isinstance(found, bool) and kind is not bool):
        raise ProtocolError(f"field {key!r}: missing or of an unexpected type ({type(found).__name__})")
    return found


def _text(value: dict[str, Any], key: str) -> str:
    """A string; null and absence read as "" (a node without a name, a change without a reason)."""
    return "" if value.get(key) is None else str(_get(value, key, str))


def _list(value: dict[str, Any], key: str) -> list[Any]:
    """A list; absence reads as empty."""
    return [] if value.get(key) is None else list(_get(value, key, (list, tuple)))


def _ids(value: dict[str, Any], key: str) -> tuple[NodeId, ...]:
    ids = _list(value, key)
    if not all(isinstance(item, int) for item in ids):
        raise ProtocolError(f"field {key!r}: expected node ids")
    return tuple(ids)


def _ring(value: object) -> RingId:
    fields = _map(value, "ring")
    return RingId(_get(fields, "rep", int), _get(fields, "seq", int))


def _ring_or_none(value: object) -> RingId | None:
    return None if value is None else _ring(value)


def decode_welcome(value: object) -> Welcome:
    fields = _map(value, "hello")
    return Welcome(
        version=_text(fields, "version"),
        nodeid=_get(fields, "nodeid", int),
        cluster_name=_text(fields, "cluster_name"),
        incarnation=_get(fields, "incarnation", str),
        features=tuple(map(str, _list(fields, "features"))),
    )


def decode_member(value: object) -> Member:
    fields = _map(value, "member")
    return Member(
        nodeid=_get(fields, "nodeid", int),
        name=_text(fields, "name"),
        address=_text(fields, "address"),
        votes=_get(fields, "votes", int),
        local=_get(fields, "local", bool),
    )


def decode_status(value: object) -> Status:
    fields = _map(value, "status")
    votes = _map(fields.get("votes"), "votes")
    return Status(
        cluster_name=_text(fields, "cluster_name"),
        nodeid=_get(fields, "nodeid", int),
        name=_text(fields, "name"),
        version=_text(fields, "version"),
        incarnation=_text(fields, "incarnation"),
        ring=_ring_or_none(fields.get("ring")),
        ring_state=_text(fields, "ring_state"),
        syncing=bool(fields.get("syncing", False)),
        provider=_text(fields, "provider") or None,
        quorate=_get(fields, "quorate", bool),
        votes=Votes(*(_get(votes, key, int) for key in ("expected", "highest", "total", "quorum"))),
        flags=tuple(str(flag) for flag in _list(fields, "flags")),
        members=tuple(decode_member(member) for member in _list(fields, "members")),
        last_change=_last_change(fields.get("last_change")),
        forced=_forced(fields.get("forced")),
        configuration=_configuration(fields.get("configuration")),
        refused_by=tuple(_refusal(_map(item, "refusal")) for item in _list(fields, "refused_by")),
    )


def _forced(value: object) -> ForcedVotes | None:
    if value is None:
        return None
    fields = _map(value, "forced")
    left_s = float(_get(fields, "seconds_left", (int, float)))
    return ForcedVotes(_get(fields, "votes", int), _get(fields, "configured", int), left_s)


def _refusal(fields: dict[str, Any]) -> Refusal:
    words = (_text(fields, key) for key in ("reason", "text", "remedy"))
    return Refusal(_get(fields, "nodeid", int), *words)


def _configuration(value: object) -> ConfigurationInForce | None:
    if value is None:
        return None
    fields = _map(value, "configuration")
    removed = [_map(item, "removed") for item in _list(fields, "removed")]
    return ConfigurationInForce(
        file=_text(fields, "file"),
        version=_get(fields, "version", int),
        cluster_id=_text(fields, "cluster_id") or None,
        transport=_text(fields, "transport"),
        address=_text(fields, "address") or None,
        port=_get(fields, "port", int),
        sealed=_text(fields, "sealed") or None,
        joining=_ids(fields, "joining"),
        removed=tuple(
            RemovedNode(_get(item, "nodeid", int), _text(item, "name"), _get(item, "version", int)) for item in removed
        ),
    )


def _last_change(value: object) -> LastChange | None:
    if value is None:
        return None
    fields = _map(value, "last_change")
    ring = _ring_or_none(fields.get("ring")) or NO_RING
    return LastChange(_text(fields, "reason"), ring, float(_get(fields, "time_ago_s", (int, float))))


def decode_nodes(value: object) -> tuple[Node, ...]:
    return tuple(_node(node) for node in _list(_map(value, "nodes"), "nodes"))


def _node(value: object) -> Node:
    member = decode_member(value)
    state = _text(_map(value, "node"), "state")
    return Node(member.nodeid, member.name, member.address, member.votes, member.local, state)


def decode_membership(value: object) -> Membership:
    fields = _map(value, "membership")
    return Membership(
        kind=_text(fields, "kind") or "regular",
        ring=_ring(fields.get("ring")),
        members=_ids(fields, "members"),
        joined=_ids(fields, "joined"),
        left=_ids(fields, "left"),
        reason=_text(fields, "reason"),
    )


def decode_quorum(value: object) -> QuorumStatus:
    fields = _map(value, "quorum")
    return QuorumStatus(
        quorate=_get(fields, "quorate", bool),
        ring=_ring_or_none(fields.get("ring")) or NO_RING,
        expected_votes=_get(fields, "expected_votes", int),
        total_votes=_get(fields, "total_votes", int),
        quorum=_get(fields, "quorum", int),
        nodes=tuple(_node_state(node) for node in _list(fields, "nodes")),
    )


def _node_state(value: object) -> NodeState:
    fields = _map(value, "node")
    return NodeState(_get(fields, "nodeid", int), _text(fields, "state"))


def decode_current(value: object) -> tuple[Membership | QuorumStatus, ...]:
    """The reply to `track`: what is known at the moment of subscribing, as the events that would have said so."""
    fields = _map(value, "track")
    known: list[Membership | QuorumStatus] = []
    if fields.get("membership") is not None:
        known.append(decode_membership(fields["membership"]))
    if fields.get("quorum") is not None:
        known.append(decode_quorum(fields["quorum"]))
    return tuple(known)


def _bytes(value: dict[str, Any], key: str) -> bytes:
    found = _get(value, key, (bytes, str))
    return found.encode() if isinstance(found, str) else bytes(found)


def _group_member(value: object) -> GroupMember:
    fields = _map(value, "group member")
    return GroupMember(_get(fields, "nodeid", int), _get(fields, "pid", int))


def _group_change(value: object) -> GroupChange:
    fields = _map(value, "group change")
    return GroupChange(_get(fields, "nodeid", int), _get(fields, "pid", int), _text(fields, "reason"))


def _group_members(value: dict[str, Any]) -> tuple[GroupMember, ...]:
    return tuple(_group_member(member) for member in _list(value, "members"))


def decode_delivered(value: object) -> Delivered:
    fields = _map(value, "deliver")
    return Delivered(
        _bytes(fields, "group"), _get(fields, "nodeid", int), _get(fields, "pid", int), _bytes(fields, "data")
    )


def decode_members_changed(value: object) -> MembersChanged:
    fields = _map(value, "members")
    return MembersChanged(
        group=_bytes(fields, "group"),
        members=_group_members(fields),
        joined=tuple(_group_change(change) for change in _list(fields, "joined")),
        left=tuple(_group_change(change) for change in _list(fields, "left")),
    )


def decode_group_members(value: object) -> tuple[GroupMember, ...]:
    return _group_members(_map(value, "cpg_members"))


def decode_groups(value: object) -> tuple[GroupInfo, ...]:
    groups = [_map(group, "group") for group in _list(_map(value, "cpg_groups"), "groups")]
    return tuple(GroupInfo(_bytes(group, "group"), _group_members(group)) for group in groups)


def decode_cmap_value(value: object, key: str = "") -> CmapValue:
    fields = _map(value, "cmap value")
    scalar = _get(fields, "value", (int, float, str, bytes))
    return CmapValue(key or _get(fields, "key", str), _get(fields, "type", str), scalar)


def decode_cmap_list(value: object) -> tuple[CmapValue, ...]:
    return tuple(decode_cmap_value(entry) for entry in _list(_map(value, "cmap_list"), "entries"))


def decode_cmap_changed(value: object) -> CmapChanged:
    fields = _map(value, "cmap")
    key = str(_get(fields, "key", str))
    new, old = (None if fields.get(side) is None else decode_cmap_value(fields[side], key) for side in ("new", "old"))
    return CmapChanged(_text(fields, "event"), key, new, old)


def _decode_expected_votes(value: object) -> ExpectedVotes:
    return ExpectedVotes(_get(_map(value, "expected_votes"), "expected_votes", int))


def _decode_synchronized(value: object) -> Synchronized:
    return Synchronized(_ring(_map(value, "synchronized").get("ring")))


_EVENTS: dict[str, Callable[[object], "Event"]] = {
    "deliver": decode_delivered,
    "members": decode_members_changed,
    "membership": decode_membership,
    "quorum": decode_quorum,
    "expected_votes": _decode_expected_votes,
    "synchronized": _decode_synchronized,
    "cmap": decode_cmap_changed,
}


def decode_event(name: str, data: object) -> Event | None:
    """The event `name` with its `data`; None for a name that this version does not know."""
    decode = _EVENTS.get(name)
    return decode(data) if decode else None


def nothing(value: object) -> None:
    """Decoder of replies that only say that it worked."""


def as_map(value: object) -> dict[str, Any]:
    """Decoder of replies that are handed on as they are (stats)."""
    return _map(value, "reply")
