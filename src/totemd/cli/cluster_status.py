"""`totemctl cluster status` and `nodes`: the cluster as this node's daemon sees it."""

import sys
from argparse import Namespace
from collections.abc import Iterable

from totemd.cli import render
from totemd.cli.commands_ring import NOT_QUORATE, QUORATE, connect, counted, names_of, print_json
from totemd.client import requests
from totemd.client.blocking import BlockingClient
from totemd.client.config_records import ConfigurationVersion
from totemd.client.errors import Refused
from totemd.client.records import ConfigurationInForce, Node, Status

_LABEL_WIDTH = 16


def status(arguments: Namespace) -> int:
    """`totemctl cluster status`."""
    with connect(arguments) as client:
        found = client.status()
        nodes = () if arguments.json or arguments.compat else client.nodes()
        version = None if arguments.compat else _version(client, found)
    if arguments.json:
        print_json({**render.jsonable(found), "replication": _replication(version)})
    elif arguments.compat:
        sys.stdout.write(compat_text(found))
    else:
        sys.stdout.write(status_text(found, nodes, version))
    return QUORATE if found.quorate else NOT_QUORATE


def _version(client: BlockingClient, status: Status) -> ConfigurationVersion | None:
    """What becomes of the configuration of a managed cluster; None if the daemon knows nothing of it."""
    if status.configuration is None or status.configuration.cluster_id is None:
        return None
    try:
        return client.call(requests.config_show())
    except Refused:
        return None


def _replication(version: ConfigurationVersion | None) -> dict[str, object] | None:
    if version is None:
        return None
    keys = ("committed_version", "confirmed", "edited", "problem", "pending")
    return {key: render.jsonable(getattr(version, key)) for key in keys}


def compat_text(status: Status, date: str | None = None) -> str:
    """The text of `pvecm status`: its own block about the cluster, then those of corosync-quorumtool."""
    configuration = status.configuration
    block = ""
    if configuration is not None:
        fields = (
            ("Name", status.cluster_name),
            ("Config Version", configuration.version),
            ("Transport", configuration.transport),
            ("Secure auth", "off" if configuration.sealed is None else "on"),
        )
        block = "Cluster information\n-------------------\n"
        block += "".join(f"{label + ':':<17} {value}\n" for label, value in fields) + "\n"
    return block + render.status_text(status, date)


def status_text(status: Status, nodes: Iterable[Node], version: ConfigurationVersion | None = None) -> str:
    """What a person wants to know, from the whole to the single nodes."""
    known = list(nodes)
    lines = [*_cluster_lines(status, _change_lines(version, quorate=status.quorate)), *_quorum_lines(status)]
    lines += [*_refusal_lines(status), *_ring_lines(status, known)]
    text = "".join(f"{label + ':' if label else '':<{_LABEL_WIDTH}}{value}\n" for label, value in lines)
    absent = [node for node in known if node.state != "member"]
    if absent:
        names = names_of(absent)
        listed = ", ".join(f"{render.node_label(node.nodeid, names)} {node.state}" for node in absent)
        text += f"{'Absent:':<{_LABEL_WIDTH}}{listed}\n"
    return text


def _change_lines(version: ConfigurationVersion | None, *, quorate: bool) -> Iterable[tuple[str, str]]:
    """What is not as it should be, or not for long: changes under way, a file that was edited."""
    if version is None:
        return
    if version.pending is not None:
        change = version.pending
        doing = "is taken back" if change.withdrawn else "is being decided"
        waits = f", waits for node {', '.join(map(str, change.waiting))}" if change.waiting else ""
        yield "", f"version {change.version} {doing}{waits}: {change.what} ({change.who})"
    if version.committed_version > version.version:
        yield "", f"version {version.committed_version} gave no quorum: this node has gone back"
    elif not version.confirmed and not quorate:
        yield "", "no quorate ring has worked with it yet"
    if version.edited:
        yield "", f"{version.file} was edited and says something else: totemctl cluster config diff"
    if version.problem:
        yield "", f"problem: {version.problem}"


def _cluster_lines(status: Status, changes: Iterable[tuple[str, str]]) -> Iterable[tuple[str, str]]:
    configuration = status.configuration
    if configuration is None:
        yield "Cluster", status.cluster_name
    else:
        managed = configuration.cluster_id
        yield "Cluster", f"{status.cluster_name} ({f'id {managed}' if managed else 'not managed: configured by hand'})"
        yield "Configuration", f"version {configuration.version}, {configuration.file}"
        yield from changes
        where = f"{configuration.address} " if configuration.address else ""
        yield "Transport", f"{configuration.transport}, {where}port {configuration.port}"
        yield "Sealed", configuration.sealed or "no: whoever is in the network can read and forge packets"
    own = next((member for member in status.members if member.local), None)
    at = f", {own.address}" if own is not None and own.address else ""
    yield "This node", f"{render.node_label(status.nodeid, {status.nodeid: status.name})}{at}"


def _quorum_lines(status: Status) -> Iterable[tuple[str, str]]:
    if status.provider is None:
        yield "Quorum", "nobody counts votes: the configuration has no quorum.provider"
        return
    votes = status.votes
    word = "yes" if status.quorate else "NO"
    yield "Quorum", f"{word}: {votes.total} of {counted(votes.expected, 'vote')} present, {votes.quorum} needed"
    if status.forced is not None:
        forced = status.forced
        left = f"for {forced.seconds_left:.0f} s more at most"
        yield "", f"by force: {counted(forced.votes, 'vote')} expected instead of {forced.configured}, {left}"
    options = [flag for flag in status.flags if flag != "Quorate"]
    if options:
        yield "", f"options: {' '.join(options)}"


def _refusal_lines(status: Status) -> Iterable[tuple[str, str]]:
    """Who does not let this node in, and why; those who say the same stand together."""
    by_text: dict[tuple[str, str], list[str]] = {}
    for refusal in status.refused_by:
        by_text.setdefault((refusal.text, refusal.remedy), []).append(str(refusal.nodeid))
    for (text, remedy), nodeids in by_text.items():
        nodes = f"node{'s' * (len(nodeids) > 1)} {', '.join(nodeids)}"
        yield "Refused", f"by {nodes}: this node {text}"
        if remedy:
            yield "", f"to do: {remedy}"


def _ring_lines(status: Status, nodes: list[Node]) -> Iterable[tuple[str, str]]:
    if status.ring is None:
        yield "Ring", "none yet: this node looks for others"
        return
    listed = f" of {len(nodes)}" if nodes else ""
    state = ", its services are agreeing" if status.syncing else ""
    yield "Ring", f"{status.ring}, {len(status.members)}{listed} nodes{state}"
    if status.last_change is not None and status.last_change.reason:
        yield "", f"since {status.last_change.time_ago_s:.0f} s: {status.last_change.reason}"
    for number, member in enumerate(sorted(status.members, key=lambda member: member.nodeid)):
        name = render.node_label(member.nodeid, {member.nodeid: member.name or member.address})
        here = " (this node)" if member.local else ""
        yield "" if number else "Members", f"{name}, {counted(member.votes, 'vote')}, {member.address}{here}"


def nodes(arguments: Namespace) -> int:
    """`totemctl cluster nodes`."""
    with connect(arguments) as client:
        found = client.status()
        known = client.nodes() if arguments.all or arguments.json else ()
    configuration = found.configuration
    rows = [_with_join(node, configuration) for node in known]
    if arguments.json:
        shown = [row for row in rows if arguments.all or row.state in ("member", "leaving", "joining")]
        removed = configuration.removed if arguments.all and configuration is not None else ()
        print_json({"nodes": shown, **({"removed": removed} if arguments.all else {})})
    elif arguments.all:
        sys.stdout.write(render.all_nodes_text(rows) + _removed_text(configuration))
    else:
        sys.stdout.write(render.members_text(found.members))
    return 0


def _with_join(node: Node, configuration: ConfigurationInForce | None) -> Node:
    if configuration is None or node.nodeid not in configuration.joining:
        return node
    return Node(node.nodeid, node.name, node.address, node.votes, node.local, "joining")


def _removed_text(configuration: ConfigurationInForce | None) -> str:
    if configuration is None:
        return ""
    return "".join(
        f"{node.nodeid:>10} {0:>10} {'removed':>10} {'-':<15} {node.name} (in version {node.version})\n"
        for node in configuration.removed
    )
