"""How the nodes of the nodelist are reached, as the cfg service tells it (cfgtool(8)).

The transports that totemd speaks have one link; its number is 0.
"""

from ipaddress import ip_address
from typing import Final, Protocol

from totemd.ids import NodeId
from totemd.limits import MCAST_HEADER_SIZE
from totemd.record import record

LINK_NUMBER: Final = 0


class Network(Protocol):
    """What the node knows of addresses and of the ring."""

    @property
    def nodelist(self) -> tuple[NodeId, ...]:
        """The nodes of the nodelist, in the file's order."""

    @property
    def netmtu_bytes(self) -> int:
        """Of the ring in force."""

    def address_of(self, nodeid: NodeId) -> str | None:
        """A listed node's numeric address."""

    def in_ring(self, nodeid: NodeId) -> bool:
        """Whether the node is in the last regular configuration."""


@record
class NodeStatus:
    """A node's standing on its one link."""

    nodeid: NodeId
    reachable: bool
    mtu_bytes: int
    """Payload that fits into one datagram besides a recovery message's two headers."""
    address: str | None
    """None: the node is not in the nodelist, so there is no link to it."""


@record
class LinkStatus:
    """This node's end of a link, and the nodes behind it in the nodelist's order."""

    number: int
    address: str
    nodes: tuple[tuple[NodeId, bool], ...]
    """Each with whether it is in the ring."""


class NoNetwork:
    """No node but oneself, nowhere."""

    nodelist: tuple[NodeId, ...] = ()
    netmtu_bytes = 0

    def address_of(self, nodeid: NodeId) -> str | None:
        return None

    def in_ring(self, nodeid: NodeId) -> bool:
        return False


def node_status(network: Network, nodeid: NodeId) -> NodeStatus:
    """The standing of a node, listed or not."""
    mtu_bytes = max(network.netmtu_bytes - 2 * MCAST_HEADER_SIZE, 0)
    return NodeStatus(nodeid, network.in_ring(nodeid), mtu_bytes, network.address_of(nodeid))


def link_status(network: Network, own: NodeId) -> LinkStatus:
    """The one link."""
    nodes = tuple((nodeid, network.in_ring(nodeid)) for nodeid in network.nodelist)
    return LinkStatus(LINK_NUMBER, network.address_of(own) or "", nodes)


def packed_address(address: str) -> tuple[bool, bytes]:
    """Whether a numeric address is of IPv6, and its bytes in network order."""
    parsed = ip_address(address)
    return parsed.version == 6, parsed.packed
