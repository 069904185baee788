"""corosync-cfgtool on other networks than the usual one, and corosync-quorumtool where nobody counts votes: what they
print, and what becomes of the node, as with corosync."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from totemd_lab.configuration import RingSettings
from totemd_lab.places import run
from totemd_lab.ring import Lab, LabMaker, wait_until
from totemd_lab.upstream import again_when_a_real_node_aborts

pytestmark = [pytest.mark.root, pytest.mark.corosync]

SETTINGS = RingSettings(token_ms=800, token_coefficient_ms=0)
IPV6 = replace(SETTINGS, network="fd78::{}", prefix_length=64)
NETWORKS = {
    "udpu, IPv6, small packets": replace(IPV6, transport="udpu", totem={"netmtu": "1200"}),
    "udp, large packets": replace(SETTINGS, totem={"netmtu": "4000"}),
}


def tool(lab: Lab, nodeid: int, command: str) -> str:
    result = run(lab.node(nodeid).place, command.split(), check=False)
    return f"{nodeid}$ {command}: {result.returncode}\n{result.stdout}{result.stderr}"


def cfgtool(lab: Lab) -> str:
    """Everything that cfgtool does, until both nodes have ended."""
    lab.start()
    lab.wait_formed()
    words = ["-s", "-sb", "-n", "-a 1", "-a 2", "-a 9", "-a 0", "-R", "-L", "-k 9", "-H"]
    printed = [tool(lab, 1, f"corosync-cfgtool {word}") for word in words]
    printed.append(f"ended with {lab.node(1).wait_end(10)}")
    lab.wait_formed([lab.node(2)])
    printed += [tool(lab, 2, f"corosync-cfgtool {word}") for word in ("-s", "-n", "-k 1", "-k 2")]
    printed.append(f"ended with {lab.node(2).wait_end(10)}")
    return "\n".join(printed)


def compare(make_lab: LabMaker, settings: RingSettings, script: Callable[[Lab], str], nodes: int = 2) -> str:
    """Play the script on both kinds. Returns what both print."""
    real, ours = (script(make_lab(kind * nodes, settings)) for kind in "CT")
    assert ours == real
    return ours


@pytest.mark.parametrize("network", NETWORKS)
@again_when_a_real_node_aborts
def test_cfgtool(make_lab: LabMaker, network: str) -> None:
    printed = compare(make_lab, NETWORKS[network], cfgtool)
    assert "enabled connected mtu: " in printed


def without_provider(lab: Lab) -> str:
    (node,) = lab.nodes
    node.conf.write_text(node.conf.read_text().replace("    provider: corosync_votequorum\n", ""))
    lab.start()
    served = "corosync-cmapctl -g runtime.members.1.status"
    assert wait_until(lambda: tool(lab, 1, served).endswith("= joined\n"), 20)
    return "\n".join(tool(lab, 1, f"corosync-quorumtool {word}") for word in ("-l", "-e 2", "-v 2", "-f", "-p"))


@again_when_a_real_node_aborts
def test_quorumtool_without_a_provider(make_lab: LabMaker) -> None:
    compare(make_lab, SETTINGS, without_provider, nodes=1)
