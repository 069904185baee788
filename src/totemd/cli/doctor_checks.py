"""The doctor's checks of this node alone: configuration, names, address, interface, time-outs, ports, key, daemon."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from totemd.cli.commands_ring import counted
from totemd.cli.daemon import resolve
from totemd.cli.doctor_machine import (
    IFF_LOOPBACK,
    IFF_MULTICAST,
    IFF_RUNNING,
    IFF_UP,
    Interface,
    bridge_of,
    clock_is_kept,
    input_filters,
    interface_of,
    port_is_free,
    snooping,
)
from totemd.cli.doctor_report import Finding, advice, ok, problem, unknown
from totemd.client.records import Status
from totemd.config.addresses import is_loopback, numeric
from totemd.config.model import Configuration, TransportKind
from totemd.errors import TotemdError
from totemd.limits import MCAST_HEADER_SIZE

IGMP_TIMEOUT_S: Final = 260
"""After so long without a question a switch that snoops forgets who listens (RFC 3376, group membership interval)."""
FAILOVER_LONG_S: Final = 30.0
IP_UDP_HEADERS: Final = {False: 28, True: 48}
"""Bytes, by whether it is IPv6."""

SEE_RULES: Final = "as root, with nft(8): totemctl cluster doctor; or look at the rules: nft list ruleset, iptables -S"

TRAP: Final = (
    f"a switch that snoops IGMP forgets who listens about {IGMP_TIMEOUT_S} s (4 min 20 s) after the last question of a "
    "querier, and then multicast stops: a cluster without a querier works at first, and falls apart after some minutes"
)


def check_configuration(configuration: Configuration) -> Iterator[Finding]:
    """It could be read; what it warns of."""
    local = configuration.local
    who = f"{len(configuration.nodes)} nodes, this is {local.name or local.address} ({local.nodeid})"
    yield ok("configuration", f"{configuration.file}, version {configuration.config_version}: {who}")
    for warning in configuration.warnings:
        yield advice("configuration", str(warning), "see corosync.conf(5)")


def check_names(configuration: Configuration) -> Iterator[Finding]:
    """Each address of the list, as this machine resolves it."""
    by_name = [node for node in configuration.nodes if numeric(node.addresses[0]) is None]
    failed = False
    for node in by_name:
        name = node.addresses[0]
        try:
            found = resolve(name, "ipv4-6")
        except OSError as error:
            failed = True
            yield problem("names", f"{name} cannot be resolved: {error}", "add it to /etc/hosts, or write its address")
            continue
        if is_loopback(found[0]) and len(configuration.nodes) > 1:
            failed = True
            text = f"{name} is {found[0]}, an address of this machine alone"
            yield problem("names", text, f"take {name} out of the loopback line of /etc/hosts, or write its address")
    if not by_name:
        yield ok("names", "all nodes are listed by address, so that no name needs to be resolved")
    elif not failed:
        yield ok("names", f"{len(by_name)} names are resolved")


def check_address(configuration: Configuration) -> Iterator[Finding]:
    """The node's own address, and the interface that has it."""
    address = configuration.local.address
    try:
        interface = interface_of(address)
    except OSError as error:
        yield unknown("address", f"the kernel does not say which interface has {address}: {error.strerror}")
        return
    if interface is None:
        remedy = "give it to an interface (ip address add), or correct ring0_addr"
        yield problem("address", f"no interface of this machine has {address}", remedy)
        return
    if interface.flags & IFF_LOOPBACK and len(configuration.nodes) > 1:
        text = f"{address} is on {interface.name}: only nodes of this machine can be reached"
        yield advice("address", text, "fine for trying; else use an address of the network")
    else:
        yield ok("address", f"{address} is on {interface.name}")
    yield from _check_interface(configuration, interface)


def _check_interface(configuration: Configuration, interface: Interface) -> Iterator[Finding]:
    name = interface.name
    if not interface.flags & IFF_UP:
        yield problem("interface", f"{name} is down", f"ip link set {name} up")
    elif not interface.flags & IFF_RUNNING:
        yield problem("interface", f"{name} is up and has no link", "look at the cable, the switch, or the bond")
    else:
        yield ok("interface", f"{name} is up")
    transport = configuration.transport
    if transport.kind is TransportKind.UDP and not transport.broadcast and not interface.flags & IFF_LOOPBACK:
        if interface.flags & IFF_MULTICAST:
            yield ok("interface", f"{name} can do multicast")
        else:
            remedy = f"ip link set {name} multicast on, or transport: udpu"
            yield problem("interface", f"{name} cannot do multicast", remedy)
        yield from _check_bridge(name)
    needed = full_datagram_bytes(configuration) + IP_UDP_HEADERS[transport.ipv6]
    if interface.mtu_bytes < needed:
        remedy = f"raise it, or set totem.netmtu to {interface.mtu_bytes - (needed - configuration.totem.netmtu_bytes)}"
        yield problem("mtu", f"{name} carries {interface.mtu_bytes} bytes, a full packet has {needed}", remedy)
    else:
        yield ok("mtu", f"{name} carries {interface.mtu_bytes} bytes, a full packet has {needed}")


def _check_bridge(interface: str) -> Iterator[Finding]:
    bridge = bridge_of(interface)
    if bridge is None:
        return
    found = snooping(bridge)
    if found is None:
        yield unknown("igmp", f"the bridge {bridge} does not say whether it snoops")
    elif found == (True, False):
        where = f"/sys/class/net/{bridge}/bridge"
        remedy = f"echo 1 > {where}/multicast_querier (one querier in the network is enough), or transport: udpu"
        yield advice("igmp", f"the bridge {bridge} snoops and is no querier: {TRAP}", remedy)
    else:
        yield ok("igmp", f"the bridge {bridge} {'is a querier' if found[1] else 'does not snoop'}")


def full_datagram_bytes(configuration: Configuration) -> int:
    """The largest packet with messages of clients, without IP and UDP."""
    return configuration.totem.netmtu_bytes - MCAST_HEADER_SIZE


def check_timeouts(configuration: Configuration) -> Iterator[Finding]:
    """How long a crash stops the cluster, at worst."""
    totem = configuration.totem
    token, consensus = totem.token_timeout_s, totem.consensus_timeout_s
    worst = token + consensus
    text = (
        f"token {token:g} s, consensus {consensus:g} s: a crash is noticed within {token:g} s, and the others go on "
        f"within {worst:.1f} s, at worst {consensus:g} s more for each node that dies meanwhile"
    )
    if worst > FAILOVER_LONG_S:
        remedy = "lower totem.token_coefficient (650 ms for each node beyond two), and keep watchdogs longer than that"
        yield advice("time-outs", text, remedy)
    else:
        yield ok("time-outs", text)


def check_quorum(configuration: Configuration) -> Iterator[Finding]:
    """How many nodes may fail."""
    quorum = configuration.quorum
    if quorum.provider is None:
        yield advice("quorum", "nobody counts votes", "quorum { provider: corosync_votequorum }")
        return
    votes = sorted((node.quorum_votes for node in configuration.nodes), reverse=True)
    may_fail, left = 0, sum(votes)
    for vote in votes:
        left -= vote
        if left < quorum.expected_votes // 2 + 1:
            break
        may_fail += 1
    if len(votes) == 2 and not quorum.two_node and quorum.device_model is None:
        remedy = "a third node, a quorum device, or two_node with fencing (votequorum(5))"
        yield advice("quorum", "two nodes: when one fails the other has no quorum", remedy)
    else:
        yield ok(
            "quorum", f"{counted(quorum.expected_votes, 'vote')} expected; any {counted(may_fail, 'node')} may fail"
        )


def check_ports(configuration: Configuration, status: Status | None) -> Iterator[Finding]:
    """Whether the ring's ports are its own."""
    transport = configuration.transport
    ports = (transport.port,) if transport.kind is TransportKind.UDPU else (transport.port - 1, transport.port)
    for port in ports:
        free = port_is_free(transport.local_address, port)
        if free is None:
            yield unknown("ports", f"UDP {port} on {transport.local_address} cannot be tried")
        elif free == (status is None):
            yield ok("ports", f"UDP {port} is {'free' if free else 'used by the daemon'}")
        elif free:
            text = f"the daemon runs, and nobody uses UDP {port} on {transport.local_address}"
            yield problem("ports", text, "does it run with another configuration? totemctl cluster status")
        else:
            text = f"UDP {port} on {transport.local_address} is used, and no totemd answers here"
            yield problem("ports", text, f"stop what uses it (corosync?): ss -ulpn 'sport = {port}'")
    yield _check_firewall(configuration, status, " and ".join(map(str, ports)))


def _check_firewall(configuration: Configuration, status: Status | None, ports: str) -> Finding:
    """A ring of all nodes shows that its own packets pass; of rules it is only seen whether there are any that drop."""
    whole = status is not None and len(status.members) == len(configuration.nodes) > 1
    join = f"TCP {configuration.join_port}" if configuration.cluster_id else ""
    wanted = join if whole else " and ".join(filter(None, (f"UDP {ports}", join)))
    text = f"all nodes are in the ring, so UDP {ports} is open" if whole else ""
    if not wanted:
        return ok("firewall", text)
    needed = f"{wanted} must be open to {'nodes that join' if whole else 'the other nodes'}"
    filters = input_filters()
    if filters is None:
        return unknown("firewall", "; ".join(filter(None, (text, f"{needed}, which was not tried"))), SEE_RULES)
    if not filters:
        return ok("firewall", "; ".join(filter(None, (text, f"nothing here drops what comes to {wanted}"))))
    rules = [f"udp dport {{ {ports.replace(' and ', ', ')} }}"] if not whole else []
    rules += [f"tcp dport {configuration.join_port}"] if join else []
    remedy = "; ".join(f"nft insert rule {filters[0]} {rule} accept" for rule in rules)
    found = f"{filters[0]} drops some of what comes in, and {needed}"
    return advice("firewall", "; ".join(filter(None, (text, found))), f"unless a rule lets it in already: {remedy}")


def check_key(configuration: Configuration) -> Iterator[Finding]:
    """Whether packets are sealed, and who can read the key."""
    if configuration.seal is None:
        text = "packets are open: whoever is in the network can read them, and join or stop the cluster"
        yield advice("key", text, "totem { crypto_cipher: aes256 } and one key file for all (totemctl cluster keygen)")
        return
    path = Path(configuration.seal.keyfile)
    try:
        status = path.stat()
    except PermissionError as error:
        yield unknown("key", f"{path} cannot be looked at: {error.strerror}", "run as root")
        return
    except OSError as error:
        yield problem("key", f"{path}: {error.strerror}", "copy it from another node, or join again")
        return
    if stat.S_IMODE(status.st_mode) & 0o077:
        yield problem("key", f"others than its owner have access to {path}", f"chmod 600 {path}")
    elif not os.access(path, os.R_OK):
        yield unknown("key", f"{path} cannot be read by this user", "run as root")
    else:
        yield from _check_key_content(path, configuration.seal.suite)


def _check_key_content(path: Path, suite: str) -> Iterator[Finding]:
    from totemd.shell.sealing import read_keys

    try:
        keys, _ = read_keys(path)
    except TotemdError as error:
        yield problem("key", str(error), "copy it from another node, or join again")
        return
    more = f", and {len(keys.accepted)} more are accepted" if keys.accepted else ""
    yield ok("key", f"{path}: sealed with {suite}, key {keys.sending.ident.hex()}{more}; only its owner can read it")


def check_clock() -> Iterator[Finding]:
    """Whether this machine's clock is kept."""
    kept = clock_is_kept()
    remedy = "run chrony, ntpd or systemd-timesyncd; the ring needs no clock, but logs, tickets and certificates do"
    if kept is None:
        yield unknown("clock", "the kernel does not say whether the clock is kept")
    elif kept:
        yield ok("clock", "something keeps it at the right time")
    else:
        yield advice("clock", "nothing keeps it at the right time", remedy)


def check_daemon(configuration: Configuration, status: Status | None, reason: str) -> Iterator[Finding]:
    """Whether it runs, and with this configuration."""
    if status is None:
        yield unknown("daemon", f"what only a running daemon knows was not asked: {reason}")
        return
    in_force = status.configuration
    if in_force is not None and in_force.version != configuration.config_version:
        text = f"it runs with version {in_force.version}, the file is version {configuration.config_version}"
        yield problem("daemon", text, "totemctl cluster config diff shows the difference; then apply or reload")
    elif status.quorate:
        yield ok("daemon", f"it runs and has quorum: {status.votes.total} of {status.votes.expected} votes")
    else:
        text = f"it runs without quorum: {status.votes.total} of {status.votes.expected} votes are present"
        yield problem("daemon", text, "start the nodes that are missing; see `network` below, if they run")
