"""The nodelist: every node's address and id, and which of the nodes this machine is."""

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import TypeAlias, cast

from totemd.config.addresses import IpVersion, choose, is_local, is_loopback, nodeid_of, numeric, same_address
from totemd.config.document import Document, Table
from totemd.config.identity import read_ident, read_public_key
from totemd.config.model import NodeEntry
from totemd.config.schema import link_number
from totemd.errors import ConfigError
from totemd.ids import NodeId

Resolve: TypeAlias = Callable[[str, str], list[str]]
"""(name, ip_version) -> numeric addresses in the resolver's order; OSError or LookupError when there are none."""

_SHOWN_MAX = 16


def ip_version_of(document: Document) -> IpVersion:
    """`totem.ip_version` with the default of the transport."""
    totem = document.table("totem")
    default = "ipv4" if totem.text("transport") == "udp" else "ipv6-4"
    return cast(IpVersion, totem.text("ip_version") or default)


def read_nodes(document: Document, resolve: Resolve) -> tuple[NodeEntry, ...]:
    """The nodes in the order of the file. Raises ConfigError for whatever makes the list unusable."""
    if not document.nodes:
        where = document.tables.get("nodelist", Table(document.file, "nodelist"))
        raise where.error("", "there is no node; list all nodes: nodelist { node { ring0_addr: ... nodeid: ... } ... }")
    ip_version = ip_version_of(document)
    nodes = tuple(_read_node(document, position, ip_version, resolve) for position in range(len(document.nodes)))
    _check_families(document, nodes)
    _check_distinct(document, nodes)
    _check_loopback(document, nodes)
    return nodes


def _read_node(document: Document, position: int, ip_version: IpVersion, resolve: Resolve) -> NodeEntry:
    table = document.nodes[position]
    _check_links(document, table)
    written = table.text("ring0_addr")
    if not written:
        raise table.error("ring0_addr", "missing; give the node's IP address or a name that resolves to it")
    address = _resolved(table, written, ip_version, resolve)
    nodeid = table.number("nodeid")
    if nodeid is None:
        nodeid = _derived_nodeid(document, table, address)
    votes = table.number("quorum_votes")
    return NodeEntry(
        position=position,
        nodeid=nodeid,
        name=table.text("name") or None,
        addresses=(written,),
        address=address,
        quorum_votes=1 if votes is None else votes,
        uuid=read_ident(table, "uuid"),
        public_key=read_public_key(table),
    )


def _check_links(document: Document, table: Table) -> None:
    for key in table.values:
        if link_number(key):
            transport = document.table("totem").text("transport")
            raise table.error(key, f"transport {transport} has one link; remove this and keep ring0_addr")


def _resolved(table: Table, written: str, ip_version: IpVersion, resolve: Resolve) -> str:
    literal = numeric(written)
    if literal is not None:
        if choose([written], ip_version) is None:
            other = "ipv6" if literal.version == 6 else "ipv4"
            raise table.error(
                "ring0_addr",
                f"found the address {written}, but totem.ip_version is {ip_version}; "
                f"write ip_version: {other} in section totem or use another address",
            )
        address = str(literal)
    else:
        address = _looked_up(table, written, ip_version, resolve)
    parsed = numeric(address)
    if parsed is None or parsed.is_unspecified or parsed.is_multicast or address == "255.255.255.255":
        raise table.error("ring0_addr", f"{address} is not the address of one machine; give the node's own address")
    return address


def _looked_up(table: Table, name: str, ip_version: IpVersion, resolve: Resolve) -> str:
    node = table.text("name") or f"at line {table.line}"
    try:
        found = resolve(name, ip_version)
    except (OSError, LookupError, ValueError) as error:
        raise table.error(
            "ring0_addr",
            f'node {node}: the name "{name}" does not resolve ({error}); correct it, add it to /etc/hosts or DNS, '
            "or give a numeric address",
        ) from None
    address = choose(found, ip_version)
    if address is None:
        got = f"only {shown(found)}" if found else "no address"
        raise table.error(
            "ring0_addr",
            f'node {node}: the name "{name}" has {got}, none that totem.ip_version {ip_version} allows; '
            "change ip_version or give a numeric address",
        )
    return address


def _derived_nodeid(document: Document, table: Table, address: str) -> NodeId:
    try:
        return nodeid_of(address, document.table("totem").flag("clear_node_high_bit"))
    except ValueError:
        raise table.error("nodeid", f"missing; nodes with IPv6 addresses ({address}) need a nodeid") from None


def _check_families(document: Document, nodes: Sequence[NodeEntry]) -> None:
    first = nodes[0]
    for node, table in zip(nodes, document.nodes, strict=True):
        if (":" in node.address) != (":" in first.address):
            raise table.error(
                "ring0_addr",
                f"{node.address} and {first.address} (node {describe(first)}) are of different IP versions; all nodes "
                "need the same: set totem.ip_version to ipv4 or ipv6, or give numeric addresses",
            )


def _check_distinct(document: Document, nodes: Sequence[NodeEntry]) -> None:
    by_id: dict[NodeId, Table] = {}
    by_address: dict[str, Table] = {}
    by_name: dict[str, Table] = {}
    for node, table in zip(nodes, document.nodes, strict=True):
        if node.nodeid in by_id:
            line = by_id[node.nodeid].line_of("nodeid")
            raise table.error("nodeid", f"{node.nodeid} is also the id of the node at line {line}; ids must differ")
        if node.address in by_address:
            line = by_address[node.address].line_of("ring0_addr")
            raise table.error(
                "ring0_addr", f"{node.address} is also the address of the node at line {line}; addresses must differ"
            )
        if node.name in by_name:
            line = by_name[node.name].line_of("name")
            document.warn(table.warning("name", f'"{node.name}" is also the name of the node at line {line}'))
        by_id[node.nodeid] = by_address[node.address] = table
        if node.name:
            by_name[node.name] = table


def _check_loopback(document: Document, nodes: Sequence[NodeEntry]) -> None:
    """A name that /etc/hosts binds to 127.0.1.1 gives a node that nobody else can reach, itself excepted."""
    if len({is_loopback(node.address) for node in nodes}) < 2:
        return
    for node, table in zip(nodes, document.nodes, strict=True):
        if is_loopback(node.address):
            raise table.error(
                "ring0_addr",
                f'"{node.addresses[0]}" is the loopback address {node.address}, which the other nodes cannot reach; '
                "correct /etc/hosts or give the address of a network interface",
            )


def find_local(
    document: Document,
    nodes: Sequence[NodeEntry],
    local_addresses: Collection[str],
    hostname: str,
    override: str | None,
) -> NodeEntry:
    """The node that this machine is: by `override`, else by its addresses, else (of several) by its host name.

    Raises ConfigError that names what was compared with what.
    """
    if override is not None:
        chosen = _overridden(document, nodes, override)
    else:
        chosen = _by_address(document, nodes, local_addresses, hostname)
    if not is_local(chosen.address, local_addresses):
        where = "--node" if override is not None else f"the host name {hostname}"
        raise document.nodes[chosen.position].error(
            "ring0_addr",
            f"this is node {describe(chosen)} according to {where}, but no interface has the address "
            f"{chosen.address}; this machine has {shown(local_addresses)}",
        )
    return chosen


def _by_address(
    document: Document, nodes: Sequence[NodeEntry], local_addresses: Collection[str], hostname: str
) -> NodeEntry:
    candidates = [node for node in nodes if is_local(node.address, local_addresses)]
    named = _by_hostname(nodes, hostname)
    if len(candidates) == 1:
        if named and candidates[0] not in named:
            text = f'its address is this machine\'s, but the host name "{hostname}" fits node {describe(named[0])}'
            document.warn(document.nodes[candidates[0].position].warning("ring0_addr", f"{text}; the address decides"))
        return candidates[0]
    fitting = [node for node in candidates or nodes if node in named]
    if len(fitting) == 1:
        return fitting[0]
    nodelist = document.table("nodelist")
    if candidates:
        raise nodelist.error(
            "",
            f"{len(candidates)} nodes have an address of this machine ({shown(map(describe, candidates))}); "
            "say which one this daemon is with --node NAME, NODEID or ADDRESS",
        )
    raise nodelist.error(
        "",
        f"this machine is not in the nodelist: it has the addresses {shown(local_addresses)} "
        f'and the name "{hostname}"; '
        f"the nodelist has {shown(map(describe, nodes))}. Add a node for this machine or correct its ring0_addr",
    )


def _overridden(document: Document, nodes: Sequence[NodeEntry], override: str) -> NodeEntry:
    fits: tuple[Callable[[NodeEntry], bool], ...] = (
        lambda node: node.name == override,
        lambda node: str(node.nodeid) == override,
        lambda node: override in node.addresses or same_address(node.address, override),
    )
    for fit in fits:
        found = [node for node in nodes if fit(node)]
        if len(found) == 1:
            return found[0]
    raise ConfigError(
        f'--node "{override}" is no node of the nodelist, which has {shown(map(describe, nodes))}',
        file=document.file,
        key="nodelist",
    )


def _by_hostname(nodes: Sequence[NodeEntry], hostname: str) -> list[NodeEntry]:
    """Nodes that the host name fits best: whole, then without its domain, then both without (corosync.conf(5))."""
    if not hostname:
        return []
    host = hostname.lower()
    short = host.split(".")[0]
    names = [(node, (node.name or node.addresses[0]).lower()) for node in nodes]
    named = [(node, name) for node, name in names if numeric(name) is None]
    return (
        [node for node, name in named if name == host]
        or [node for node, name in named if name == short]
        or [node for node, name in named if name.split(".")[0] == short]
    )


def describe(node: NodeEntry) -> str:
    """A node for people: name or id, and address."""
    return f"{node.name or node.nodeid} ({node.address})"


def shown(items: Iterable[str]) -> str:
    """A list for people, cut when it is long."""
    words = sorted(items, key=lambda word: (len(word), word))
    rest = f" and {len(words) - _SHOWN_MAX} more" if len(words) > _SHOWN_MAX else ""
    return (", ".join(words[:_SHOWN_MAX]) or "none") + rest
