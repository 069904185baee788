"""totemd and Debian's corosync in one ring: it forms, both kinds list everyone, members leave, crash and return."""

import re
import time
from pathlib import Path

import pytest

from totemd_lab.configuration import RingSettings
from totemd_lab.loads import Load, LoadPlan, check_one_order, mixed_sizes
from totemd_lab.nodes import CorosyncNode, Node, TotemdNode
from totemd_lab.ring import SLOWNESS, Lab, LabMaker, wait_until
from totemd_lab.upstream import again_when_a_real_node_aborts

pytestmark = [pytest.mark.root, pytest.mark.corosync]

FORMED_WITHIN_S = 3.0
"""After the last start, with corosync's default timeouts."""

QUICK = RingSettings(token_ms=800, token_coefficient_ms=0)
"""A crash is noticed after the token timeout and agreed on after the consensus timeout (1.2 times that)."""

COMPLAINT = re.compile(r"\b(emerg|alert|crit|error)\b|assert|invalid|malformed|Message received from .* has bad", re.I)
SYNCHRONIZED = "Completed service synchronization, ready to provide service"


def check_corosync_is_content(lab: Lab) -> None:
    """Real nodes have synchronized and complain of nothing."""
    for node in lab.of_kind("C"):
        if node.running():
            assert SYNCHRONIZED in node.log_text(), lab.describe()
        complaints = [line for line in node.log_text(whole=True).splitlines() if COMPLAINT.search(line)]
        assert not complaints, complaints


def check_lists(lab: Lab) -> None:
    """Every running node names every running node, in its own command's output."""
    ids = [node.nodeid for node in lab.running()]
    for node in lab.running():
        if isinstance(node, CorosyncNode):
            status, text = node.tool("corosync-quorumtool", "-l")
            found = [int(line.split()[0]) for line in text.splitlines() if re.match(r" +\d", line)]
        else:
            assert isinstance(node, TotemdNode)
            status, text = node.control("status")
            table = text.partition("Membership information")[2]
            found = [int(word, 0) for word in re.findall(r"^ *(0x[0-9a-f]+|\d+) ", table, re.MULTILINE)]
        assert (status, found) == (0, ids), text


@pytest.mark.parametrize("transport", ["udp", "udpu"])
@pytest.mark.parametrize("kinds", ["TCC", "CTC", "CCT", "TTC", "TCT", "CTT", "TCTCTC", "CTCTCT"])
@again_when_a_real_node_aborts
def test_mixed_ring_forms(make_lab: LabMaker, kinds: str, transport: str) -> None:
    lab = make_lab(kinds, RingSettings(transport=transport))
    last_start = lab.start()
    view = lab.wait_formed()
    elapsed_s = time.monotonic() - last_start
    assert view.quorate
    assert elapsed_s < FORMED_WITHIN_S * SLOWNESS, lab.describe()
    wait_until(lambda: all(SYNCHRONIZED in node.log_text() for node in lab.of_kind("C")), 2.0)
    check_corosync_is_content(lab)
    check_lists(lab)


IPV6 = "fd00:78::{}"


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param(RingSettings("udp", mcast_address=None), id="computed-address"),
        pytest.param(RingSettings("udp", totem={"netmtu": "9000"}), id="large-netmtu"),
        pytest.param(
            RingSettings("udpu", totem={"ip_version": "ipv6"}, network=IPV6, prefix_length=64), id="udpu-ipv6"
        ),
        pytest.param(
            RingSettings("udp", 5405, "ff15::78", totem={"ip_version": "ipv6"}, network=IPV6, prefix_length=64),
            id="udp-ipv6",
        ),
        pytest.param(RingSettings("udp", totem={"cluster_name": "other"}, quorum={"two_node": "1"}), id="two-node"),
    ],
)
@again_when_a_real_node_aborts
def test_mixed_ring_forms_and_orders_with(make_lab: LabMaker, libcpg_program: Path, settings: RingSettings) -> None:
    lab = make_lab("CT" if "two_node" in settings.quorum else "CTC", settings)
    lab.start()
    assert lab.wait_formed().quorate
    one_order_now(lab, libcpg_program)
    check_corosync_is_content(lab)


@pytest.mark.parametrize("transport", ["udp", "udpu"])
@again_when_a_real_node_aborts
def test_members_leave_crash_and_return(make_lab: LabMaker, libcpg_program: Path, transport: str) -> None:
    """Two and two: every node in turn, the representative first, leaves and returns, crashes and returns."""
    lab = make_lab("TCTC", RingSettings(transport, token_ms=800, token_coefficient_ms=0))
    lab.start()
    before = lab.wait_formed()
    for node in lab.nodes:
        assert node.terminate() == 0, lab.describe()
        started = time.monotonic()
        lab.wait_formed()
        # A leave is announced; nobody waits for the token to be missed.
        assert time.monotonic() - started < 0.8 * SLOWNESS, f"{node!r} was not seen leaving\n{lab.describe()}"
        lab.start([node])
        lab.wait_formed()
        node.kill()
        lab.wait_formed()
        lab.start([node])
        after = lab.wait_formed()
        assert int(after.ring.partition(".")[2], 16) > int(before.ring.partition(".")[2], 16)
        before = after
    check_corosync_is_content(lab)
    check_lists(lab)
    one_order_now(lab, libcpg_program)


@again_when_a_real_node_aborts
def test_crash_and_immediate_restart(make_lab: LabMaker, libcpg_program: Path) -> None:
    """A daemon that is back before anyone missed it is a new member, whatever the others believed."""
    lab = make_lab("CTC", QUICK)
    lab.start()
    lab.wait_formed()
    for node in (lab.node(2), lab.node(1)):
        old_ring = lab.wait_formed().ring
        node.kill()
        lab.start([node])
        assert wait_until(lambda old=old_ring: lab.wait_formed().ring != old, 10.0)  # type: ignore[misc]
    check_corosync_is_content(lab)
    one_order_now(lab, libcpg_program)


def one_order_now(lab: Lab, libcpg_program: Path, per_node: int = 100) -> None:
    """All running nodes send at once and all record the same sequence."""
    nodes: list[Node] = lab.running()
    plans = [LoadPlan(len(nodes), mixed_sizes(node.nodeid, per_node), per_node * len(nodes)) for node in nodes]
    loads = [Load(node, plan, libcpg_program) for node, plan in zip(nodes, plans, strict=True)]
    for load in loads:
        load.finish()
    check_one_order(loads)
