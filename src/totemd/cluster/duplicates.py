"""Whether a node may be added to a configuration: every check for something that is there already, in one place."""

from ipaddress import ip_address

from totemd.config.addresses import is_loopback, same_address
from totemd.config.model import Configuration, NodeEntry, RemovedNode
from totemd.ids import NodeId
from totemd.record import record


@record
class Candidate:
    """A node that wants to be listed. `nodeid` None: it takes what it is given."""

    name: str
    address: str
    uuid: bytes
    public_key: bytes
    nodeid: NodeId | None = None


def free_nodeid(configuration: Configuration) -> NodeId:
    """The lowest id that no node has and no removed one had."""
    taken = {node.nodeid for node in configuration.nodes} | {tomb.nodeid for tomb in configuration.removed}
    nodeid = 1
    while nodeid in taken:
        nodeid += 1
    return nodeid


def objections(configuration: Configuration, candidate: Candidate) -> list[str]:
    """Why `candidate` cannot be added; all reasons at once, each with what to do. Empty: it can."""
    found = [*_about_names(configuration, candidate), *_about_addresses(configuration, candidate)]
    uuid = candidate.uuid.hex()
    for tomb in configuration.removed:
        if tomb.uuid == uuid:
            found.append(
                f"this node was removed as {_label(tomb)}; it may come back as a new node only: put its old files "
                "aside (join --replace does) and join again"
            )
        if tomb.nodeid == candidate.nodeid:
            found.append(f"node id {tomb.nodeid} was a removed node's, and such ids are never used again")
    for node in configuration.nodes:
        label = _label(node)
        if node.uuid == uuid:
            found.append(
                f"{label} has this node's uuid: was its disk copied? Join with a new identity (join --replace)"
            )
        elif node.public_key == candidate.public_key:
            found.append(f"{label} has this node's public key: join with a new identity (join --replace)")
        if node.nodeid == candidate.nodeid:
            found.append(f"node id {node.nodeid} is that of {label}; choose another, or none")
    return found


def _about_names(configuration: Configuration, candidate: Candidate) -> list[str]:
    wanted = candidate.name.lower()
    return [
        f'the name "{candidate.name}" is that of node {node.nodeid} ({node.address}); '
        "choose another with --node-name, or remove that node first"
        for node in configuration.nodes
        if (node.name or "").lower() == wanted
    ]


def _about_addresses(configuration: Configuration, candidate: Candidate) -> list[str]:
    found = []
    for node in configuration.nodes:
        if same_address(node.address, candidate.address):
            found.append(
                f"the address {candidate.address} is that of {_label(node)}; choose this machine's own with --address"
            )
    first = configuration.nodes[0].address
    if ip_address(first).version != ip_address(candidate.address).version:
        family = f"IPv{ip_address(first).version}"
        found.append(f"the nodes have {family} addresses; choose such a one of this machine with --address")
    elif is_loopback(first) != is_loopback(candidate.address):
        found.append(
            f"{candidate.address} and the nodes' {first} do not reach each other: one of them is a loopback address; "
            "choose another with --address"
        )
    return found


def _label(node: NodeEntry | RemovedNode) -> str:
    return f"node {node.nodeid} ({node.name})" if node.name else f"node {node.nodeid}"
