"""`totemctl cluster doctor`: is this node, and the network between it and the others, fit for a cluster?"""

import time
from argparse import Namespace
from collections.abc import Iterator

from totemd.cli.command_line import EXIT_ERROR, EXIT_OK
from totemd.cli.commands_ring import connect, print_json, progress
from totemd.cli.daemon import read_configuration
from totemd.cli.doctor_checks import (
    IGMP_TIMEOUT_S,
    TRAP,
    check_address,
    check_clock,
    check_configuration,
    check_daemon,
    check_key,
    check_names,
    check_ports,
    check_quorum,
    check_timeouts,
    full_datagram_bytes,
)
from totemd.cli.doctor_exchange import Exchange, Peer
from totemd.cli.doctor_network import PORT_DISTANCE, probe
from totemd.cli.doctor_report import PROBLEM, Finding, advice, ok, problem, summary, unknown
from totemd.client.errors import TotemdClientError
from totemd.client.records import Status
from totemd.config.addresses import is_loopback
from totemd.config.model import Configuration, TransportKind
from totemd.errors import MachineError, OperatorError

PORT_MAX = 65535
CLOCK_ADVICE_S = 0.5
CLOCK_PROBLEM_S = 10.0


def doctor(arguments: Namespace) -> int:
    """`totemctl cluster doctor`."""
    findings = []
    for finding in examine(arguments):
        findings.append(finding)
        if not arguments.json:
            print(finding, flush=True)
    if arguments.json:
        print_json({"findings": findings})
    else:
        print(summary(findings))
    return EXIT_ERROR if any(finding.verdict == PROBLEM for finding in findings) else EXIT_OK


def examine(arguments: Namespace) -> Iterator[Finding]:
    """All findings, one after the other."""
    try:
        configuration = read_configuration(arguments.config, arguments.node, keyfile=arguments.keyfile)
    except (OperatorError, MachineError) as error:
        in_force = _in_force(arguments)
        if in_force is None:
            yield problem("configuration", str(error), "totemd -t checks it; what depends on it was not checked")
            yield from check_clock()
            return
        yield problem("configuration", str(error), "totemd -t checks it; all below is about what is in force instead")
        configuration = in_force
    status, reason = _ask_daemon(arguments)
    yield from check_configuration(configuration)
    yield from check_names(configuration)
    yield from check_address(configuration)
    yield from check_timeouts(configuration)
    yield from check_quorum(configuration)
    yield from check_key(configuration)
    yield from check_clock()
    yield from check_daemon(configuration, status, reason)
    yield from check_ports(configuration, status)
    progress(arguments, f"sending and hearing probes, for up to {arguments.seconds:g} s")
    yield from check_network(configuration, status, arguments.port, arguments.seconds)


def _ask_daemon(arguments: Namespace) -> tuple[Status | None, str]:
    try:
        with connect(arguments) as client:
            return client.status(), ""
    except TotemdClientError as error:
        return None, str(error)


def _in_force(arguments: Namespace) -> Configuration | None:
    """What the daemon of a managed node works with, whatever the file says; None if it does not tell."""
    try:
        with connect(arguments) as client:
            node = arguments.node or str(client.welcome.nodeid)
            text = client.config_show().text
        return read_configuration(arguments.config, node, keyfile=arguments.keyfile, text=text) if text else None
    except (TotemdClientError, OperatorError, MachineError):
        return None


def probe_port(ring_port: int) -> int:
    """Where probes go unless --port says it; below the ring's ports where there is none above."""
    above = ring_port + PORT_DISTANCE
    return above if above <= PORT_MAX else ring_port - PORT_DISTANCE


def check_network(
    configuration: Configuration, status: Status | None, port: int | None, seconds: float
) -> Iterator[Finding]:
    """What passes between this node and each other one: by the ring's own evidence, and by probes of two doctors."""
    others = {node.nodeid: node for node in configuration.nodes if node.nodeid != configuration.local.nodeid}
    names = {nodeid: f"{node.name or node.address} ({nodeid})" for nodeid, node in others.items()}
    if not others:
        yield ok("network", "this is the only node")
        return
    in_ring = {member.nodeid for member in status.members} if status is not None else set()
    exchange = Exchange(
        configuration.local.nodeid,
        {nodeid: node.address for nodeid, node in others.items()},
        full_datagram_bytes(configuration),
    )
    where = port or probe_port(configuration.transport.port)
    try:
        began = time.monotonic()
        refused = probe(configuration.transport, where, exchange, seconds)
        lasted_s = time.monotonic() - began
    except (MachineError, OSError) as error:
        yield unknown("network", f"no probes: {error}", "another doctor here? --port P, on all nodes alike")
        return
    for text in refused:
        remedy = "raise the MTU on the way, or lower totem.netmtu" if "bytes" in text else "look at routes and firewall"
        yield problem("network", f"this machine does not send {text}", remedy)
    multicast = configuration.transport.kind is TransportKind.UDP
    for peer in exchange.peers.values():
        if peer.here:
            yield from _check_peer(peer, names[peer.nodeid], multicast=multicast, port=where)
        elif peer.nodeid in in_ring:
            yield ok("network", f"{names[peer.nodeid]} is in the ring: its packets come here, and ours there")
        else:
            yield unknown(
                "network",
                f"{names[peer.nodeid]}: neither in the ring nor heard; no doctor runs there, or UDP {where} (of the "
                "probes) is closed",
                "run `totemctl cluster doctor` there at the same time",
            )
    for source, count in exchange.strangers.items():
        text = f"{count} probes from {source}, which is not listed under that id: another cluster, or another list"
        yield advice("network", text, "compare the configurations; give the clusters other names or ports")
    if multicast and not configuration.transport.broadcast and not is_loopback(configuration.local.address):
        yield _check_trap(status, in_ring & others.keys(), any(peer.here for peer in exchange.peers.values()), lasted_s)


def _check_peer(peer: Peer, name: str, *, multicast: bool, port: int) -> Iterator[Finding]:
    to_all_here = any(to_all for to_all, _ in peer.heard)
    to_all_there = peer.told is not None and any(to_all for to_all, _ in peer.told)
    if peer.told is None or not peer.told:
        text = f"{name} is heard here, and does not hear this node"
        yield problem(
            "network",
            text,
            f"open the ring's UDP ports there, and {port} for these probes; look at the route from here to there",
        )
        return
    if multicast:
        lost = [way for way, passes in (("from", to_all_here), ("to", to_all_there)) if not passes]
        if lost:
            text = f"multicast {' and '.join(lost)} {name} is lost; single packets pass. Most often: {TRAP}"
            remedy = "an IGMP querier, or no snooping, on the switches between; or transport: udpu"
            yield problem("multicast", text, remedy)
        else:
            yield ok("multicast", f"both ways between here and {name}")
    else:
        yield ok("network", f"single packets pass both ways between here and {name}")
    small_only = [
        way
        for way, counts in (("from", peer.heard), ("to", peer.told))
        if not any(full for _, full in counts) and sum(counts.values()) > 3
    ]
    if small_only:
        text = f"full packets {' and '.join(small_only)} {name} are lost, small ones pass"
        yield problem("mtu", text, "raise the MTU on the way, or lower totem.netmtu")
    else:
        yield ok("mtu", f"full packets pass between here and {name}")
    yield from _check_offset(peer, name)


def _check_offset(peer: Peer, name: str) -> Iterator[Finding]:
    if peer.offset is None:
        yield unknown("clock", f"that of {name} was not compared: too few probes came")
        return
    ahead_s = peer.offset.ahead_s
    text = f"that of {name} is {abs(ahead_s) * 1000:.1f} ms {'ahead' if ahead_s > 0 else 'behind'}"
    text += f" (packets take {peer.offset.round_trip_s * 1000:.1f} ms there and back)"
    if abs(ahead_s) >= CLOCK_PROBLEM_S:
        yield problem("clock", text, "keep both at the right time (chrony, ntpd): tickets expire by it")
    elif abs(ahead_s) >= CLOCK_ADVICE_S:
        yield advice("clock", text, "keep both at the right time (chrony, ntpd): logs cannot be compared else")
    else:
        yield ok("clock", text)


def _check_trap(status: Status | None, members: set[int], heard: bool, lasted_s: float) -> Finding:
    """Whether multicast still works when a switch would have forgotten who listens."""
    if status is not None and members and status.last_change is not None:
        age_s = status.last_change.time_ago_s
        if age_s > IGMP_TIMEOUT_S:
            return ok("igmp", f"the ring has been the same for {age_s:.0f} s, longer than switches remember")
        if lasted_s <= IGMP_TIMEOUT_S:
            text = f"the ring is {age_s:.0f} s old, too young to tell: {TRAP}"
            return unknown("igmp", text, f"again after {IGMP_TIMEOUT_S} s")
    if heard and lasted_s > IGMP_TIMEOUT_S:
        return ok("igmp", f"probes came for {lasted_s:.0f} s, longer than switches remember")
    text = f"not checked, it takes more than {IGMP_TIMEOUT_S} s: {TRAP}"
    return unknown("igmp", text, "doctor --seconds 300 on two nodes at once, or again when the ring is old")
