"""`totemctl cluster create`: identity, key and configuration of a new cluster whose only node is this machine."""

import os
import secrets
import socket
import time
from argparse import Namespace
from ipaddress import ip_address
from typing import Final

from totemd.cli.cluster_files import NodeFiles, default_node_name
from totemd.cli.commands_ring import CommandError, say
from totemd.cluster.identity import new_identity
from totemd.cluster.nodelist_text import ListedNode, check_cluster_name, new_cluster
from totemd.config.addresses import is_loopback, multicast_address, numeric
from totemd.config.transport import DEFAULT_PORT

LISTEN_S: Final = 1.0
"""For how long the multicast address is listened at: a ring that is alive is heard there several times a second."""


def create(arguments: Namespace) -> int:
    files = NodeFiles.of(arguments)
    check_cluster_name(arguments.name)
    if not arguments.dry_run:
        files.check_unused("create")
    address = _own_address(arguments.address)
    name = arguments.node_name or default_node_name()
    identity = new_identity(os.urandom)
    text = new_cluster(
        name=arguments.name,
        cluster_id=secrets.token_bytes(16),
        node=ListedNode(arguments.node_id, name, address, identity.uuid, identity.public_key, arguments.votes),
        transport=arguments.transport,
        mcast_address=arguments.mcast_addr,
        mcast_port=arguments.mcast_port,
        token_ms=arguments.token_ms,
        keyfile=files.keyfile_setting,
    )
    files.check_text(text, str(arguments.node_id))
    if arguments.dry_run:
        say(arguments, text.rstrip("\n"), dry_run=True, configuration=text)
        return 0
    warnings = _multicast_warnings(arguments, address)
    files.write_new_cluster(text, identity)
    facts = {
        "cluster_name": arguments.name,
        "nodeid": arguments.node_id,
        "name": name,
        "address": address,
        "files": [str(file) for file in (files.config, files.key, files.identity)],
        "warnings": warnings,
    }
    say(arguments, _report(arguments, files, name, address, warnings), **facts)
    return 0


def _report(arguments: Namespace, files: NodeFiles, name: str, address: str, warnings: list[str]) -> str:
    lines = [f"warning: {warning}" for warning in warnings]
    lines += [
        f"The cluster {arguments.name} has one node: {arguments.node_id}, {name}, {address}.",
        f"  {files.config}  its configuration, which is the same on all nodes",
        f"  {files.key}  its key, which nobody else may see",
        f"  {files.identity}  who this node is",
        "Next:",
        f"  {files.start_hint()}",
        "  totemctl cluster status      has it quorum?",
        "  totemctl cluster invite      prints a ticket for the next node",
    ]
    return "\n".join(lines)


def _own_address(given: str | None) -> str:
    """This machine's address in the ring: `given`, or the only one there is. CommandError."""
    from totemd.shell.addresses import machine_addresses

    own = machine_addresses()
    if given is not None:
        parsed = numeric(given)
        if parsed is None:
            raise CommandError(f'"{given}" is no IP address')
        if str(parsed) not in own and not parsed.is_loopback:
            raise CommandError(f"no interface has the address {given}; this machine has {', '.join(own)}")
        return str(parsed)
    usable = [address for address in own if not is_loopback(address) and not ip_address(address).is_link_local]
    found = [address for address in _resolved_hostname() if address in usable] or usable
    if len(found) == 1:
        return found[0]
    if not found:
        raise CommandError("this machine has no address but the loopback one; give it one, or say --address A")
    raise CommandError(
        f"this machine has several addresses: {', '.join(found)}; choose the one that the other nodes shall use with "
        "--address A"
    )


def _resolved_hostname() -> list[str]:
    try:
        found = socket.getaddrinfo(socket.gethostname(), None, type=socket.SOCK_DGRAM)
    except (OSError, UnicodeError):
        return []
    return list(dict.fromkeys(str(entry[4][0]).partition("%")[0] for entry in found))


def _multicast_warnings(arguments: Namespace, address: str) -> list[str]:
    """What is doubtful about the multicast address: other names have it too, or somebody speaks there now."""
    if arguments.transport != "udp":
        return []
    ipv6 = ":" in address
    group = arguments.mcast_addr or multicast_address(arguments.name, ipv6=ipv6)
    port = arguments.mcast_port or DEFAULT_PORT
    found = []
    if arguments.mcast_addr is None:
        found += _name_warnings(arguments.name, group, ipv6)
    if heard := _heard(group, port, address):
        found.append(
            f"somebody ({heard}) sends to {group} port {port} already: another cluster, whose name may be different. "
            "The key keeps the two apart, but better choose --mcast-addr or --mcast-port before you start the daemon"
        )
    return found


def _name_warnings(name: str, group: str, ipv6: bool) -> list[str]:
    if ipv6:
        return []
    # Of the sixteen bits that the name gives, the lower eight are taken modulo 255.
    last = int(multicast_address(name, ipv6=True).rpartition(":")[2] or "0", 16) & 0xFF
    if last not in (0, 0xFF):
        return []
    text = f"twice as many names as usual have the multicast address {group} of the name {name}; if there are other "
    return [text + "clusters in this network, compare them with totemctl cluster mcast-addr"]


def _heard(group: str, port: int, address: str) -> str:
    """Who sends to the ring's multicast address now; "" if nobody is heard, or nothing can be."""
    if ":" in group:
        return ""
    deadline = time.monotonic() + LISTEN_S
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listening:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            membership = socket.inet_aton(group) + socket.inet_aton(address)
            listening.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
            listening.bind((group, port))
            while (left := deadline - time.monotonic()) > 0:
                listening.settimeout(left)
                _, (sender, _) = listening.recvfrom(65536)
                if sender != address:
                    return str(sender)
    except OSError:
        pass
    return ""
