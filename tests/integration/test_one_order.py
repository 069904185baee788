"""One order of all messages in a mixed ring while the network loses packets."""

from pathlib import Path

import pytest

from totemd_lab.configuration import RingSettings
from totemd_lab.faults import drop_multicasts, dropped_packets
from totemd_lab.loads import Load, LoadPlan, check_one_order, mixed_sizes
from totemd_lab.ring import LabMaker
from totemd_lab.upstream import again_when_a_real_node_aborts

pytestmark = [pytest.mark.root, pytest.mark.corosync, pytest.mark.slow]

MESSAGES = 2000
BIG_MESSAGES = 10
LOSS_PERCENT = 5


@pytest.mark.timeout(300)
@again_when_a_real_node_aborts
def test_mixed_ring_keeps_one_order_under_loss(make_lab: LabMaker, libcpg_program: Path) -> None:
    lab = make_lab("CTCT")
    lab.start()
    ring = lab.wait_formed().ring
    for node in lab.nodes:
        drop_multicasts(node, LOSS_PERCENT)
    expected = len(lab.nodes) * (MESSAGES + BIG_MESSAGES)
    loads = []
    for node in lab.nodes:
        sizes = mixed_sizes(node.nodeid, MESSAGES, big_count=BIG_MESSAGES)
        loads.append(Load(node, LoadPlan(len(lab.nodes), sizes, expected, timeout_s=240), libcpg_program))
    for load in loads:
        load.finish()
    check_one_order(loads)
    assert all(dropped_packets(node) for node in lab.nodes)
    assert lab.wait_formed().ring == ring, "loss of this size must not break the ring"


@again_when_a_real_node_aborts
def test_safe_and_agreed_share_one_order(make_lab: LabMaker, libcpg_program: Path) -> None:
    """totemd's SAFE messages and corosync's in one ring: the order is one, and the ring carries on."""
    lab = make_lab("TCT", RingSettings())
    lab.start()
    lab.wait_formed()
    for node in lab.nodes:
        drop_multicasts(node, LOSS_PERCENT)
    loads = []
    for node in lab.nodes:
        plan = LoadPlan(3, mixed_sizes(node.nodeid, 150), 450, guarantee="safe")
        loads.append(Load(node, plan, libcpg_program))
    for load in loads:
        load.finish()
    check_one_order(loads)
