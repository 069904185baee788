"""What `status`, `nodes` and `stats` answer (protocol/, chapter "Native socket")."""

from typing import TYPE_CHECKING

from totemd.config.model import Configuration, NodeEntry
from totemd.ids import RingId
from totemd.services.votequorum.forced import Forced

if TYPE_CHECKING:
    from totemd.node.node import Node


def ring_dict(ring: RingId) -> dict[str, object]:
    """A ring id for clients."""
    return {"rep": ring.rep, "seq": ring.seq, "id": str(ring)}


def status(node: "Node") -> dict[str, object]:
    """The answer to `status`: quorate or not, votes, members, and why the membership is what it is."""
    membership = node.membership
    votequorum = node.votequorum
    members = membership.members if membership is not None else ()
    own = votequorum.get_info() if votequorum is not None else None
    return {
        "cluster_name": node.cluster_name,
        "nodeid": node.nodeid,
        "name": node.configuration.local.name,
        "version": node.version,
        "incarnation": node.incarnation,
        "ring": None if membership is None else ring_dict(membership.ring),
        "ring_state": node.ring.state.value,
        "syncing": node.synchronizing,
        "sync_phase": node.sync.phase,
        "sync_waits_for": list(node.sync.missing),
        "configuration": _configuration(node.configuration),
        "refused_by": _refusals(node, members),
        "provider": node.configuration.quorum.provider,
        "quorate": node.quorum.get_quorate(),
        "votes": None
        if own is None
        else {
            "expected": own.expected_votes,
            "highest": own.highest_expected,
            "total": own.total_votes,
            "quorum": own.quorum,
        },
        "forced": None if votequorum is None else _forced(votequorum.forced.now),
        "flags": list(votequorum.flags()) if votequorum is not None else [],
        "members": [_member(node, nodeid) for nodeid in members],
        "last_change": None
        if membership is None
        else {
            "reason": membership.reason,
            "ring": ring_dict(membership.ring),
            "time_ago_s": round(node.now - node.membership_at, 3),
        },
        "uptime_s": round(node.now - node.started_at, 3),
    }


def _refusals(node: "Node", members: tuple[int, ...]) -> list[dict[str, object]]:
    """Why others do not let this node in, as they said; members of its ring do no more."""
    if node.sealing is None:
        return []
    return [
        {
            "nodeid": nodeid,
            "reason": None if verdict.reason is None else verdict.reason.value,
            "text": verdict.text,
            "remedy": verdict.remedy,
        }
        for nodeid, verdict in sorted(node.sealing.refusals.items())
        if nodeid not in members
    ]


def _configuration(configuration: Configuration) -> dict[str, object]:
    """What is in force; `cluster_id` is None unless the cluster is managed, `sealed` unless its packets are."""
    transport = configuration.transport
    return {
        "file": configuration.file,
        "version": configuration.config_version,
        "cluster_id": None if configuration.cluster_id is None else configuration.cluster_id.hex(),
        "transport": transport.kind.value,
        "address": transport.mcast_address,
        "port": transport.port,
        "sealed": None if configuration.seal is None else configuration.seal.suite,
        "joining": [entry.nodeid for entry in configuration.nodes if _is_joining(configuration, entry)],
        "removed": [
            {"nodeid": removed.nodeid, "name": removed.name, "version": removed.version}
            for removed in configuration.removed
        ],
    }


def _is_joining(configuration: Configuration, entry: NodeEntry) -> bool:
    return f"nodelist.node.{entry.position}.joining_votes" in configuration.entries


def _forced(forced: Forced | None) -> dict[str, object] | None:
    if forced is None:
        return None
    return {
        "votes": forced.votes,
        "configured": forced.configured,
        "seconds_left": round(forced.seconds_left, 1),
    }


def _member(node: "Node", nodeid: int) -> dict[str, object]:
    entry = node.configuration.node(nodeid)
    votes = entry.quorum_votes if entry is not None else 1
    if node.votequorum is not None:
        voter = next((voter for voter in node.votequorum.nodes() if voter.nodeid == nodeid), None)
        votes = voter.votes if voter is not None else votes
    return {
        "nodeid": nodeid,
        "name": entry.name if entry is not None else None,
        "address": entry.address if entry is not None else None,
        "votes": votes,
        "local": nodeid == node.nodeid,
    }


def summary(node: "Node") -> str:
    """The state in a line, for people: quorum, who is there and who is not."""
    membership = node.membership
    if membership is None:
        return "looking for other nodes"
    present = len(membership.members)
    if node.synchronizing:
        waits_for = f", waiting for node {', '.join(map(str, node.sync.missing))}" if node.sync.missing else ""
        return f"agreeing with the other members of ring {membership.ring}{waits_for}"
    who = f"{present} of {len(node.configuration.nodes)} nodes in ring {membership.ring}"
    own = node.votequorum.get_info() if node.votequorum is not None else None
    if own is None:
        return who
    if node.quorum.get_quorate():
        return f"quorate: {who}"
    refused = _refusals(node, membership.members)
    refusals = "".join(f"; node {each['nodeid']} refuses this node ({each['reason']})" for each in refused)
    return f"no quorum: {who}; votes: {own.total_votes}, needed: {own.quorum}{refusals}"


def nodes(node: "Node") -> list[dict[str, object]]:
    """The answer to `nodes`: the nodelist and every node ever seen, ascending; not those that were removed since."""
    members = node.membership.members if node.membership is not None else ()
    states = dict.fromkeys(members, "member")
    if node.votequorum is not None:
        for voter in node.votequorum.nodes():
            states[voter.nodeid] = voter.state.name.lower()
    removed = {entry.nodeid for entry in node.configuration.removed} - set(members)
    known = {entry.nodeid for entry in node.configuration.nodes} | states.keys() - removed
    return [{**_member(node, nodeid), "state": states.get(nodeid, "never")} for nodeid in sorted(known) if nodeid]


def stats(node: "Node") -> dict[str, object]:
    """The answer to `stats`: counters since the start."""
    sync = node.sync.stats
    return {
        "ring": {
            **node.ring.stats.as_dict(),
            "state": node.ring.state.value,
            "send_queue_free": node.ring.send_queue_free,
        },
        "groups": node.groups.statistics(),
        "sync": {
            "phase": node.sync.phase,
            "started": sync.started,
            "completed": sync.completed,
            "aborted": sync.aborted,
            "strays": sync.strays,
            "malformed": sync.malformed,
        },
        "dropped": dict(node.gate.dropped),
        "sealing": None if node.sealing is None else node.sealing.statistics(),
        **node.machine_statistics(),
        "clients": {"connected": node.client_count},
        "uptime_s": round(node.now - node.started_at, 3),
    }
