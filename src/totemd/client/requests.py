"""Every request of the native socket, once: its name, its arguments and how its reply reads.

Both faces of the client (trio and blocking) send these same objects, so they cannot differ.
"""

from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

from totemd.client import config_records, records
from totemd.client.config_records import ChangeOutcome, ConfigurationVersion, HistoryEntry
from totemd.client.records import CmapValue, GroupInfo, GroupMember, Membership, Node, QuorumStatus, Scalar, Status
from totemd.ids import NodeId

T = TypeVar("T")


class Request(Generic[T]):
    """`do` with `arguments`; `decode` turns the reply's value into a T or raises ProtocolError."""

    __slots__ = ("arguments", "decode", "do")

    def __init__(self, do: str, arguments: Mapping[str, object], decode: Callable[[object], T]) -> None:
        self.do = do
        self.arguments = arguments
        self.decode = decode

    def __repr__(self) -> str:
        return f"Request({self.do!r}, {dict(self.arguments)!r})"


def _name(group: str | bytes) -> bytes:
    return group.encode() if isinstance(group, str) else group


def ping() -> Request[dict[str, Any]]:
    return Request("ping", {}, records.as_map)


def status() -> Request[Status]:
    return Request("status", {}, records.decode_status)


def nodes() -> Request[tuple[Node, ...]]:
    return Request("nodes", {}, records.decode_nodes)


def stats() -> Request[dict[str, Any]]:
    return Request("stats", {}, records.as_map)


def track() -> Request[tuple[Membership | QuorumStatus, ...]]:
    return Request("track", {"current": True}, records.decode_current)


def untrack(subscription: int) -> Request[None]:
    """End a `track` or a `cmap_track`, named by the id of the request that began it."""
    return Request("untrack", {"id": subscription}, records.nothing)


def expected(votes: int) -> Request[None]:
    return Request("expected", {"votes": votes}, records.nothing)


def force_expected(votes: int, seconds: int, *, yes: bool) -> Request[None]:
    """Expected votes for a while; fewer than configured need a yes."""
    return Request("force_expected", {"votes": votes, "seconds": seconds, "yes": yes}, records.nothing)


def votes(nodeid: NodeId, votes: int) -> Request[None]:
    return Request("votes", {"nodeid": nodeid, "votes": votes}, records.nothing)


def cancel_wait_for_all() -> Request[None]:
    return Request("cancel_wait_for_all", {}, records.nothing)


def cpg_join(group: str | bytes) -> Request[None]:
    return Request("cpg_join", {"group": _name(group)}, records.nothing)


def cpg_leave(group: str | bytes) -> Request[None]:
    return Request("cpg_leave", {"group": _name(group)}, records.nothing)


def cpg_multicast(group: str | bytes, data: bytes, *, safe: bool) -> Request[None]:
    guarantee = "safe" if safe else "agreed"
    arguments = {"group": _name(group), "data": data, "guarantee": guarantee}
    return Request("cpg_multicast", arguments, records.nothing)


def cpg_post(group: str | bytes, data: bytes, *, safe: bool) -> Request[None]:
    """A multicast that has no reply but a refusal, and waits in the daemon while there is no room for it."""
    arguments = {**cpg_multicast(group, data, safe=safe).arguments, "quiet": True}
    return Request("cpg_multicast", arguments, records.nothing)


def cpg_members(group: str | bytes) -> Request[tuple[GroupMember, ...]]:
    return Request("cpg_members", {"group": _name(group)}, records.decode_group_members)


def cpg_groups() -> Request[tuple[GroupInfo, ...]]:
    return Request("cpg_groups", {}, records.decode_groups)


def _of_map(arguments: dict[str, object], map_name: str) -> dict[str, object]:
    """Without the argument it is the configuration map; daemons of before know no other."""
    return arguments if map_name == "icmap" else {**arguments, "map": map_name}


def cmap_get(key: str, map_name: str = "icmap") -> Request[CmapValue]:
    return Request("cmap_get", _of_map({"key": key}, map_name), lambda value: records.decode_cmap_value(value, key))


def cmap_set(key: str, value: Scalar, type_name: str | None = None) -> Request[None]:
    """Without a type the daemon keeps the key's present one, or takes the one that fits `value`."""
    arguments: dict[str, object] = {"key": key, "value": value}
    if type_name is not None:
        arguments["type"] = type_name
    return Request("cmap_set", arguments, records.nothing)


def cmap_delete(key: str) -> Request[None]:
    return Request("cmap_delete", {"key": key}, records.nothing)


def cmap_adjust(key: str, step: int) -> Request[None]:
    return Request("cmap_adjust", {"key": key, "step": step}, records.nothing)


def cmap_list(prefix: str = "", map_name: str = "icmap") -> Request[tuple[CmapValue, ...]]:
    return Request("cmap_list", _of_map({"prefix": prefix}, map_name), records.decode_cmap_list)


def cmap_track(prefix: str, *, exact: bool = False, map_name: str = "icmap") -> Request[None]:
    return Request("cmap_track", _of_map({"prefix": prefix, "exact": exact}, map_name), records.nothing)


def kill(nodeid: NodeId, reason: str) -> Request[None]:
    return Request("kill", {"nodeid": nodeid, "reason": reason}, records.nothing)


def shutdown() -> Request[None]:
    return Request("shutdown", {}, records.nothing)


def reload() -> Request[None]:
    return Request("reload", {}, records.nothing)


def cluster_invite(ttl_s: int, node_name: str | None = None, votes: int = 1) -> Request[dict[str, Any]]:
    """A ticket for one new node with so many votes at most: {ticket, expires, contacts}."""
    return Request("cluster_invite", {"ttl_s": ttl_s, "node_name": node_name, "votes": votes}, records.as_map)


def cluster_remove(node: str, *, force: bool = False) -> Request[dict[str, Any]]:
    """Take another node out of the cluster for good: {nodeid, name, version}."""
    return Request("cluster_remove", {"node": node, "force": force}, records.as_map)


def cluster_leave() -> Request[dict[str, Any]]:
    """Take this node out of the cluster for good; its daemon ends: {nodeid, name, version}."""
    return Request("cluster_leave", {}, records.as_map)


def config_show(version: int | None = None) -> Request[ConfigurationVersion]:
    """The version in force, or an earlier one."""
    return Request("config_show", {"version": version}, config_records.decode_version)


def config_history() -> Request[tuple[HistoryEntry, ...]]:
    return Request("config_history", {}, config_records.decode_history)


def config_validate(text: str) -> Request[ChangeOutcome]:
    """Would this text do, on every node that is present? Nothing changes."""
    return Request("config_validate", {"text": text}, config_records.decode_outcome)


def config_propose(
    text: str, *, base_version: int | None = None, what: str = "", rollback_after_s: int | None = None
) -> Request[ChangeOutcome]:
    """Have `text` become the next version in all the cluster."""
    arguments = {"text": text, "base_version": base_version, "what": what, "rollback_after_s": rollback_after_s}
    return Request("config_propose", arguments, config_records.decode_outcome)


def config_rollback(version: int | None = None) -> Request[ChangeOutcome]:
    """Have the text of an earlier version become the next version."""
    return Request("config_rollback", {"version": version}, config_records.decode_outcome)


def config_rotate_key() -> Request[ChangeOutcome]:
    """Have the ring sealed with a new key."""
    return Request("config_rotate_key", {}, config_records.decode_outcome)
