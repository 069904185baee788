"""A node that loses its address: alone and loud until it is back, and never at home on 127.0.0.1 instead."""

import socket

import pytest

from totemd_lab.configuration import RingSettings
from totemd_lab.nodes import Node
from totemd_lab.places import run
from totemd_lab.ring import Lab, LabMaker, wait_until

pytestmark = pytest.mark.root

QUICK = {"downcheck": "200"}
WAIT_S = 10.0
LOOPBACK = socket.inet_aton("127.0.0.1")[::-1].hex().upper()
LOSSES = {
    "link": (["link", "set", "eth0", "down"], ["link", "set", "eth0", "up"]),
    "address": (["address", "flush", "dev", "eth0"], ["address", "add", "{address}/24", "dev", "eth0"]),
}


def ip(node: Node, words: list[str]) -> None:
    run(node.place, ["ip", *(word.format(address=node.member.address) for word in words)])


def bound_to_loopback(node: Node) -> bool:
    """Whether any UDP socket of the node's namespace has 127.0.0.1 (proc(5), /proc/net/udp)."""
    table = run(node.place, ["cat", "/proc/net/udp"]).stdout
    return any(line.split()[1].startswith(LOOPBACK + ":") for line in table.splitlines()[1:])


def alone(node: Node) -> bool:
    view = node.view()
    return view is not None and view.members == (node.nodeid,) and not view.quorate


def formed(lab: Lab) -> None:
    assert lab.wait_formed().members == (1, 2, 3)


@pytest.mark.parametrize("transport", ["udp", "udpu"])
def test_node_without_its_address_is_alone_until_it_is_back(make_lab: LabMaker, transport: str) -> None:
    lab = make_lab("TTT", RingSettings(transport, token_ms=600, token_coefficient_ms=0, totem=QUICK))
    lab.start()
    formed(lab)
    # The representative: the others have to find each other without it.
    node = lab.node(1)
    returned = f"] the address {node.member.address} is up again"
    gone = f"{node.member.address} is gone"
    for losses, (away, back) in enumerate(LOSSES.values(), 1):
        ip(node, away)
        assert wait_until(lambda: alone(node), WAIT_S), lab.describe()
        assert node.log_text().count(gone) == losses
        assert lab.wait_formed(lab.nodes[1:]).quorate
        assert not bound_to_loopback(node)
        ip(node, back)
        # The ring may have formed before the node looked at its address.
        assert wait_until(lambda: node.log_text().count(returned) == losses, WAIT_S), lab.describe()  # noqa: B023
        formed(lab)
    assert not bound_to_loopback(node)
    assert node.terminate() == 0


def test_daemon_does_not_start_without_its_address(make_lab: LabMaker) -> None:
    node = make_lab("T").node(1)
    ip(node, LOSSES["address"][0])
    node.start()
    assert node.wait_end(WAIT_S) == 1
    (line,) = node.log_text().splitlines()
    assert node.member.address in line
